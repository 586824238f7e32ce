"""Hidden confounders: causes of two nodes each, that are drawn and never shown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from flatcausal.datasets._graph_laws import Adjacency
from flatcausal.exceptions import ParameterError


@dataclass(frozen=True)
class HiddenLaw:
    """How many hidden nodes a graph is given.

    Each is a root with two children, no two with the same: one confounded edge of the latent projection. The
    first has the target as one child, so that hidden nodes always matter to the prediction.
    """

    n_hidden: int

    def check(self, n_nodes: int) -> None:
        """Refuse more hidden nodes than there are pairs to confound."""
        n_pairs = n_nodes * (n_nodes - 1) // 2
        if self.n_hidden > n_pairs:
            raise ParameterError(
                f"n_hidden must be at most {n_pairs}, the pairs among {n_nodes} nodes, got {self.n_hidden}."
            )

    def add(self, adjacency: Adjacency, target: int, rng: np.random.Generator) -> Adjacency:
        """Put hidden nodes in front of a graph in causal order."""
        if not self.n_hidden:
            return adjacency
        n_nodes = len(adjacency)
        pairs = rng.permutation(np.column_stack(np.triu_indices(n_nodes, k=1)))
        first = int(np.argmax((pairs == target).any(axis=1)))
        pairs[[0, first]] = pairs[[first, 0]]
        wider = np.zeros((self.n_hidden + n_nodes,) * 2, dtype=bool)
        wider[self.n_hidden :, self.n_hidden :] = adjacency
        for hidden, pair in enumerate(pairs[: self.n_hidden]):
            wider[hidden, self.n_hidden + pair] = True
        return wider


def hidden_names(n_hidden: int, taken: Collection[str] = ()) -> list[str]:
    """Names h0, h1, ... that give way to the user's own."""
    return [free_name(f"h{index}", taken) for index in range(n_hidden)]


def free_name(name: str, taken: Collection[str]) -> str:
    """A neutral name gives way to the user's own."""
    while name in taken:
        name += "_"
    return name
