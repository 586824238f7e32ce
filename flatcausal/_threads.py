"""Pin torch's threads for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

_lock = Lock()
_pins = 0
_ambient = 1


@contextmanager
def pinned_threads(n_threads: int) -> Iterator[None]:
    """Compute with ``n_threads`` intra-op threads, then restore the caller's setting.

    Sums are split over threads, so their rounding depends on the number; a fixed one gives the same bits
    whatever runs around it. Torch hands the setting on to threads started later: where fits overlap in
    several threads, the one that ends last restores what the first one found.
    """
    global _pins, _ambient
    before = torch.get_num_threads()
    with _lock:
        _ambient = before if _pins == 0 else _ambient
        _pins += 1
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        with _lock:
            _pins -= 1
            torch.set_num_threads(_ambient if _pins == 0 else before)
