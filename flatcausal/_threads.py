"""Pin torch's threads for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def pinned_threads(n_threads: int) -> Iterator[None]:
    """Compute with ``n_threads`` intra-op threads, then restore the caller's setting.

    Sums are split over threads, so their rounding depends on the number; a fixed one gives the same bits
    whatever runs around it.
    """
    ambient = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(ambient)
