"""From ``random_state`` to independent random streams that never touch global state."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from flatcausal.exceptions import ParameterTypeError

RandomState: TypeAlias = int | np.random.SeedSequence | np.random.RandomState | np.random.Generator | None


def seed_sequence(random_state: RandomState) -> np.random.SeedSequence:
    """Turn any accepted ``random_state`` into a :class:`numpy.random.SeedSequence`.

    A generator is advanced by one draw, as scikit-learn does; an integer and a
    ``SeedSequence`` give the same streams each time; None gives fresh entropy.
    """
    if random_state is None:
        return np.random.SeedSequence()
    if isinstance(random_state, np.random.SeedSequence):
        return random_state
    if (
        isinstance(random_state, (int, np.integer))
        and not isinstance(random_state, bool)
        and random_state >= 0
    ):
        return np.random.SeedSequence(int(random_state))
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(int(random_state.integers(2**63)))
    if isinstance(random_state, np.random.RandomState):
        return np.random.SeedSequence(int(random_state.randint(np.iinfo(np.int32).max)))
    raise ParameterTypeError(
        f"random_state must be None, a non-negative integer or a numpy generator, got {random_state!r}."
    )


def child(sequence: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """Name a child stream by position; unlike ``spawn`` it does not depend on earlier calls."""
    return np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, *key))


def integer_seed(sequence: np.random.SeedSequence) -> int:
    """One 63-bit seed, for engines that take an integer."""
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
