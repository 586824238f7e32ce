"""Results on disk: all of them or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path


def write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write each file under another name first, and give them their own when all are whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        parts = {}
        for name, content in contents.items():
            parts[name] = folder / f".{name}.{os.getpid()}"
            stack.callback(parts[name].unlink, missing_ok=True)
            parts[name].write_bytes(content)
        for name, part in parts.items():
            part.replace(folder / name)
