"""Seeds for engines that take a 32-bit integer."""

from __future__ import annotations

import numpy as np


def integers(seeds: np.random.SeedSequence, n: int) -> list[int]:
    """Return ``n`` of them."""
    return [int(value) for value in seeds.generate_state(n)]
