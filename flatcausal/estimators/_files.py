"""Saved models and mid-fit checkpoints as sealed safetensors files, there whole or not at all.

The tensors are readable by any program that knows safetensors. The metadata hold one entry, ``flatcausal``:
a JSON text with the seal, the format, the version of flatcausal that wrote it, the kind and the rest of the
state. The seal is the SHA-256 of every byte of the file except its own 64 digits; this, and where it stands,
is the same in all formats, so that a file of a later one can be told from a damaged one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from flatcausal.estimators._state_tree import pack, unpack
from flatcausal.exceptions import WeightsError

FORMAT_VERSION = 1

# Its bare quotes cannot stand within a JSON string, so no name and no text of the state looks like it.
_STAMP = b'"flatcausal":"{\\"sha256\\":\\"'
_SEAL_LENGTH = 64


def write_state(path: str | os.PathLike[str], state: Mapping[str, Any], *, kind: str) -> None:
    """Write a nest of values to a file that is there whole or not at all.

    Equal states give equal bytes. What is read back is equal in type and bit for bit, with four
    exceptions: a tensor is detached, on the CPU and shares no memory; arrays and tensors are in C order;
    an OrderedDict is a dict, a memory map an array.

    Parameters
    ----------
    path : str or path-like
        Where to write; a file of that name is replaced.
    state : Mapping
        None, bool, int, float, str, NumPy scalars, arrays of numbers, arrays of text or of plain values,
        and dense tensors, in dicts with keys of type str or int, lists and tuples.
    kind : str
        What the file holds, such as ``"model"`` or ``"checkpoint"``.

    Raises
    ------
    ParameterTypeError
        If something else is in the nest.
    WeightsError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "fit.safetensors")
    ...     write_state(path, {"epoch": 3, "losses": (0.5, float("nan"))}, kind="checkpoint")
    ...     read_state(path, kind="checkpoint")
    {'epoch': 3, 'losses': (0.5, nan)}
    """
    tree, tensors = pack(state)
    about = {
        "sha256": "0" * _SEAL_LENGTH,
        "format": FORMAT_VERSION,
        "version": version("flatcausal"),
        "kind": kind,
        "state": tree,
    }
    text = json.dumps(about, separators=(",", ":"), allow_nan=False)
    try:
        data = save(tensors, metadata={"flatcausal": text})
    except SafetensorError as error:
        raise WeightsError(f"{path} cannot be written: {error}; keep less in the state.") from error
    start, stop = _seal_place(data)
    view = memoryview(data)
    _replace(path, [view[:start], _seal(data, start, stop), view[stop:]])


def read_state(path: str | os.PathLike[str], *, kind: str) -> dict[str, Any]:
    """Read what :func:`write_state` wrote; the seal is checked before anything else is believed.

    The file is read once and nothing in it is executed. Arrays and tensors own their memory.

    Parameters
    ----------
    path : str or path-like
        File to read.
    kind : str
        What the file must hold.

    Returns
    -------
    dict
        The state.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    WeightsError
        If it is damaged, of another program, of another kind or of a later format, or cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:  # names the path, and callers wait for it
        raise
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read: {error.strerror or error}; pass the path of a saved file."
        ) from error
    _check_seal(path, data)
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header["__metadata__"]["flatcausal"])
        _check_stamps(path, about, kind)
        return unpack(about["state"], load(data))
    except (MemoryError, WeightsError):
        raise
    except Exception as error:  # the seal holds, so nobody damaged it: it was never one of ours
        raise WeightsError(
            f"{path} was not written by flatcausal ({type(error).__name__}: {error}); pass a file that was."
        ) from error


def _check_seal(path: str | os.PathLike[str], data: bytes) -> None:
    if not data:
        raise WeightsError(f"{path} is empty; save it anew, or pass another file.")
    start, stop = _seal_place(data)
    if start < 0:
        raise WeightsError(
            f"{path} was not written by flatcausal, or its beginning is damaged; pass another file."
        )
    if data[start:stop] != _seal(data, start, stop):
        raise WeightsError(f"{path} is damaged: its SHA-256 does not match; save it anew, or pass a copy.")


def _check_stamps(path: str | os.PathLike[str], about: dict[str, Any], kind: str) -> None:
    if about["format"] > FORMAT_VERSION:
        raise WeightsError(
            f"{path} was written by flatcausal {about['version']} in format {about['format']}, and this "
            f"version reads formats up to {FORMAT_VERSION}; upgrade flatcausal."
        )
    if about["kind"] != kind:
        raise WeightsError(f"{path} holds a {about['kind']}, not a {kind}; pass a file with a {kind}.")


def _seal_place(data: bytes) -> tuple[int, int]:
    """Start and end of the seal's digits; the start is negative if there is no seal."""
    found = data.find(_STAMP)
    start = found + len(_STAMP) if found >= 0 else -1
    return start, start + _SEAL_LENGTH


def _seal(data: bytes, start: int, stop: int) -> bytes:
    """SHA-256 of all bytes before ``start`` and from ``stop`` on, in hexadecimal digits."""
    view = memoryview(data)
    digest = hashlib.sha256(view[:start])
    digest.update(view[stop:])
    return digest.hexdigest().encode()


def _replace(path: str | os.PathLike[str], parts: list[bytes | memoryview]) -> None:
    """Write beside the file and rename: at any moment the old file is there, or the new one."""
    target = Path(os.path.realpath(path))  # a link goes on pointing to its file
    part = target.with_name(f".{token_hex(8)}.part")
    try:
        if target.exists() and not target.is_file():  # renaming would replace a device
            raise OSError(f"{target} is not a regular file")
        try:
            with part.open("xb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written: {error.strerror or error}; choose another path, or make room."
        ) from error
