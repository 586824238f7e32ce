"""The rows that a measure is taken on."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.utils import _safe_indexing
from torch import Tensor

from flatcausal.exceptions import DataError

_SEED = 0  # of the choice of rows: models are compared on the same ones


def chosen_rows(X: Any, y: Any, n_rows: int | None) -> tuple[Any, Any]:
    """X and y, or ``n_rows`` random rows of both, in order: the same at each call."""
    n = _length("X", X)
    if _length("y", y) != n:
        raise DataError(f"y has {len(y)} rows, but X has {n}: pass one target for each row.")
    if n == 0:
        raise DataError("X has no rows: pass some of those that the model was trained on.")
    if n_rows is None or n <= n_rows:
        return X, y
    rows = np.sort(np.random.default_rng(_SEED).choice(n, n_rows, replace=False))
    return take(X, rows), take(y, rows)


def take(values: Any, rows: np.ndarray) -> Any:
    """Some rows of an array, a tensor, a data frame or a list."""
    if isinstance(values, Tensor):
        return values[torch.as_tensor(rows, device=values.device)]
    return _safe_indexing(values, rows)


def content_hash(*tables: Any) -> str:
    """16 hexadecimal digits; equal numbers have equal ones, whatever container and precision hold them."""
    digest = hashlib.sha256()
    for table in tables:
        array = table.detach().cpu().double().numpy() if isinstance(table, Tensor) else np.asarray(table)
        digest.update(str(array.shape).encode())
        try:
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        except (ValueError, TypeError):  # names of categories
            digest.update(repr(array.tolist()).encode())
    return digest.hexdigest()[:16]


def cut(start: int, stop: int, size: int) -> list[slice]:
    """Batches of ``size`` rows, the last one ragged; a last single row, which has no variance, joins them."""
    edges = [*range(start, stop, size), stop]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return [slice(a, b) for a, b in pairwise(edges)]


def _length(name: str, values: Any) -> int:
    try:
        return len(values)
    except TypeError:
        raise DataError(f"{name} must be a table with rows, got {type(values).__name__}.") from None
