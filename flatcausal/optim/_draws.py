"""Where torch's own random generators stand, so that two passes draw the same dropout masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


@contextmanager
def drawing_as(states: Sequence[torch.Tensor]) -> Iterator[None]:
    """Have torch's own generators start at ``states``, and stand afterwards where they stood before."""
    now = random_states()
    rewind(states)
    try:
        yield
    finally:
        rewind(now)


def random_states() -> list[torch.Tensor]:
    """Where torch's own generators stand: the CPU's, then those of GPUs in use."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])]


def rewind(states: Sequence[torch.Tensor]) -> None:
    """Set torch's own generators back to ``states``."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(list(states[1:]))
