"""CIFAR-10's python batches, read without running code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
_TEST = "test_batch"
_PIXELS = 3 * 32 * 32
_N_CLASSES = 10


def read_cifar(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32), classes, and which are for training."""
    batches = [_read_batch(folder, name) for name in (*_TRAIN, _TEST)]
    X = np.concatenate([pixels for pixels, _ in batches]).reshape(-1, 3, 32, 32)
    y = np.concatenate([labels for _, labels in batches])
    train = np.ones(len(y), dtype=bool)
    train[-len(batches[-1][1]) :] = False
    return X, y, train


def _read_batch(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{folder} has no file {name}: pass the folder with CIFAR-10's python batches.")
    try:
        with path.open("rb") as file:
            batch = Plain(file, encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} cannot be read: {error}; download it again.") from error
    except Exception as error:  # of bytes that are no pickle, nearly any
        raise ValueError(f"{path} is no pickle ({error!r}): download it again.") from error
    if not isinstance(batch, dict):
        raise ValueError(f"{path} must hold a dictionary, got {type(batch).__name__}: download it again.")
    pixels, labels = (_entry(path, batch, key) for key in (b"data", b"labels"))
    return _pixels(path, pixels), _labels(path, labels, len(pixels))


def _entry(path: Path, batch: dict[Any, Any], key: bytes) -> Any:
    if key not in batch:
        raise ValueError(f"{path} has no key {key!r}, only {sorted(map(repr, batch))}: download it again.")
    return batch[key]


def _pixels(path: Path, pixels: Any) -> np.ndarray:
    shape, dtype = getattr(pixels, "shape", None), getattr(pixels, "dtype", type(pixels).__name__)
    if not isinstance(pixels, np.ndarray) or dtype != np.uint8 or shape != (len(pixels), _PIXELS):
        raise ValueError(
            f"{path}: b'data' must be a uint8 array of shape (n, {_PIXELS}), got {dtype} of shape {shape}: "
            f"download it again."
        )
    return pixels


def _labels(path: Path, labels: Any, n: int) -> np.ndarray:
    found = labels if isinstance(labels, list) else []
    if len(found) != n or not n:
        raise ValueError(
            f"{path}: b'labels' must be a list of {n} classes, one an image, got {type(labels).__name__} of "
            f"{len(found)}: download it again."
        )
    wrong = [label for label in found if type(label) is not int or not 0 <= label < _N_CLASSES]
    if wrong:
        raise ValueError(f"{path}: b'labels' must hold integers from 0 to 9, got {wrong[0]!r}: mend it.")
    return np.array(found, dtype=np.int64)


class Plain(pickle.Unpickler):
    """Unpickle arrays of numbers and plain containers; any other name in the file is refused.

    NumPy's own names are not called: a dtype whose state a file may set reads bytes as addresses of objects.
    """

    def find_class(self, module: str, name: str) -> Any:
        """What stands for one of the few names that are allowed."""
        if (module.replace("_core", "core"), name) not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only arrays and lists are read")
        return _NAMES[module.replace("_core", "core"), name]


def _empty(*_: Any) -> np.ndarray:
    return np.empty(0, dtype=np.uint8)  # its shape, dtype and bytes follow as its state


def _number(code: Any, *_: Any) -> np.dtype:
    dtype = np.dtype(code)
    if dtype.kind not in "biuf":
        raise pickle.UnpicklingError(f"it holds an array of {dtype}, and only arrays of numbers are read")
    return np.dtype(dtype.type)  # NumPy's own, whose state cannot be set


_NAMES: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _number,
}
