"""Names made from content: equal plain data, equal identifier, on any machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# Raise this when the same specification would give other numbers than before, so that a
# store never mixes results of both.
RESULTS_VERSION = 4


def content_id(specification: Any) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of the canonical JSON of plain data."""
    text = json.dumps(
        {"results_version": RESULTS_VERSION, "specification": specification},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]
