"""Random vectors that iterations on a Hessian start from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flatcausal._members import member_generators
from flatcausal._random import child, seed_sequence
from flatcausal.flatness._problem import Problem

_SEED = 0
_STREAM = 3
FIRST, FURTHER = 0, 1


def fixed_generators(problem: Problem, stream: int = FIRST) -> list[torch.Generator]:
    """The same at each call, whatever the seed of a measure: so linear algebra repeats itself."""
    return member_generators(child(seed_sequence(_SEED), _STREAM, stream), problem.n_members)


def seeded_generators(problem: Problem) -> list[torch.Generator]:
    """Of the measure's seed; the same at each call."""
    return problem.generators(_STREAM)


def normal(problem: Problem, generators: Sequence[torch.Generator], members: Tensor | None = None) -> Tensor:
    """Normal numbers of shape (K, P), 0 where nothing moves; only ``members`` draw, if not all do."""
    size = sum(p.numel() for p in problem.params) // problem.n_members
    rows = torch.zeros(problem.n_members, size, dtype=torch.float64)
    for k, generator in enumerate(generators):
        if members is None or members[k]:
            # In double and on the processor: the same for any precision and device of the model.
            rows[k].normal_(generator=generator)
    return rows.to(problem.params[0]) * problem.flat(problem.ones(1.0))


def signs(problem: Problem, generators: Sequence[torch.Generator]) -> Tensor:
    """Random signs of shape (K, P), 0 where nothing moves."""
    return normal(problem, generators).sign()
