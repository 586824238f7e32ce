"""Columns that are independent of everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Distractors(Protocol):
    """Draws the distractor columns of one block of rows."""

    def __len__(self) -> int:
        """Return the number of columns."""
        ...

    def draw(self, values: Array, rng: np.random.Generator) -> Array:
        """Columns of shape (n_distractors, n), given the nodes' undisturbed values (n_nodes, n)."""
        ...


@dataclass(frozen=True)
class Shadow:
    """Row-permuted copies of nodes: the marginals of real features, related to nothing.

    Rows are permuted within a block of the stream, so that a row never depends on how many rows are
    asked for. Each value is copied from another row, never from its own: as rows are independent, the
    column is exactly independent of its row's features and target (and of the other distractors, up
    to a block's number of them). Interventions do not reach it: undisturbed values are copied.
    """

    sources: tuple[int, ...]

    @classmethod
    def of(cls, nodes: NDArray[np.intp], n_distractors: int, rng: np.random.Generator) -> Shadow:
        """Draw sources; none is used again before each was used once."""
        rounds = -(-n_distractors // len(nodes))
        sources = np.concatenate([rng.permutation(nodes) for _ in range(rounds)] or [nodes])
        return cls(tuple(int(source) for source in sources[:n_distractors]))

    def __len__(self) -> int:
        return len(self.sources)

    def draw(self, values: Array, rng: np.random.Generator) -> Array:
        """Copy column k from the row that comes k + 1 later in a random circle of the rows."""
        n = values.shape[1]
        circle = rng.permutation(n)
        columns = np.empty((len(self), n))
        for k, source in enumerate(self.sources):
            columns[k, circle] = values[source, np.roll(circle, -(1 + k % (n - 1)))]
        return columns


FAMILIES: dict[str, Callable[[np.random.Generator, int], NDArray]] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "uniform": lambda rng, n: rng.random(n),
    "poisson": lambda rng, n: rng.poisson(1.0, n),
    "bernoulli": lambda rng, n: rng.binomial(1, 0.5, n),
}


@dataclass(frozen=True)
class Published:
    """Columns from N(0, 1), U(0, 1), Poisson(1) or Bernoulli(0.5), as in the published generator.

    Their marginals tell them from the Gaussian nodes: a model may rule them out without any causal reasoning.
    """

    families: tuple[str, ...]

    @classmethod
    def of(cls, n_distractors: int, rng: np.random.Generator) -> Published:
        """Draw each column's family."""
        return cls(tuple(str(family) for family in rng.choice(list(FAMILIES), n_distractors)))

    def __len__(self) -> int:
        return len(self.families)

    def draw(self, values: Array, rng: np.random.Generator) -> Array:
        """Draw each column from its family."""
        n = values.shape[1]
        columns = np.empty((len(self), n))
        for k, family in enumerate(self.families):
            columns[k] = FAMILIES[family](rng, n)
        return columns


def draw_distractors(
    kind: str, n_distractors: int, nodes: NDArray[np.intp], rng: np.random.Generator
) -> Distractors:
    """Draw what the distractor columns are; ``nodes`` are those that shadows may copy."""
    return Shadow.of(nodes, n_distractors, rng) if kind == "shadow" else Published.of(n_distractors, rng)
