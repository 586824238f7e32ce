"""Laws of random directed acyclic graphs: upper-triangular matrices whose index is a causal order.

No law draws cycles and rejects them: skeletons are oriented along an order that was fixed before.
The expected degree counts incoming and outgoing edges, and all of them meet it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Adjacency = NDArray[np.bool_]

_REWIRING = 0.1


def erdos_renyi(n_nodes: int, expected_degree: float, rng: np.random.Generator) -> Adjacency:
    """Each pair of nodes is joined with probability degree / (n - 1), along the order of the index.

    The order comes first, so no graph is ever rejected for a cycle and the law stays Erdős–Rényi.
    """
    probability = expected_degree / (n_nodes - 1)
    return np.triu(rng.random((n_nodes, n_nodes)) < probability, k=1)


def scale_free_out(n_nodes: int, expected_degree: float, rng: np.random.Generator) -> Adjacency:
    """Preferential attachment (Barabási and Albert 1999), old -> new: a few nodes have many children.

    Each new node joins m older ones, drawn in proportion to degree + 1, so that isolated nodes may
    be found; m is rounded up or down at random, and is such that the expected degree is met.
    """
    wanted = _attachments(n_nodes, expected_degree)
    adjacency = np.zeros((n_nodes, n_nodes), dtype=bool)
    ends: list[int] = []  # every node once, and once more for each of its edges
    for new in range(n_nodes):
        count = min(new, math.floor(wanted) + int(rng.random() < wanted % 1))
        chosen: set[int] = set(range(new)) if count == new else set()
        while len(chosen) < count:
            chosen.add(ends[rng.integers(len(ends))])
        old = sorted(chosen)
        adjacency[old, new] = True
        ends += [*old, *[new] * (count + 1)]
    return adjacency


def scale_free_in(n_nodes: int, expected_degree: float, rng: np.random.Generator) -> Adjacency:
    """Preferential attachment, new -> old: a few nodes have many parents."""
    return np.ascontiguousarray(np.flip(scale_free_out(n_nodes, expected_degree, rng).T))


def small_world(n_nodes: int, expected_degree: float, rng: np.random.Generator) -> Adjacency:
    """Watts and Strogatz (1998): a ring lattice, a tenth of its edges rewired, along a random order.

    Neighbours at ring distance 1, 2, ... are joined until the degree is met, the last ring at random.
    """
    steps = np.abs(np.subtract.outer(np.arange(n_nodes), np.arange(n_nodes)))
    distance = np.minimum(steps, n_nodes - steps)
    # A ring has two neighbours a node, but one where it is the antipode.
    neighbours = np.where(2 * distance == n_nodes, 1, 2)
    joined = np.triu(rng.random(distance.shape) < (expected_degree - 2 * (distance - 1)) / neighbours, k=1)
    edges = np.argwhere(joined)
    skeleton = joined | joined.T
    for i, j in edges[rng.random(len(edges)) < _REWIRING]:
        free = np.flatnonzero(~skeleton[i])
        free = free[free != i]
        if free.size:
            k = rng.choice(free)
            skeleton[i, j] = skeleton[j, i] = False
            skeleton[i, k] = skeleton[k, i] = True
    order = rng.permutation(n_nodes)
    return np.triu(skeleton[np.ix_(order, order)], k=1)


def layered(n_nodes: int, expected_degree: float, rng: np.random.Generator) -> Adjacency:
    """About sqrt(n) layers of equal size; pairs of different layers are joined, earlier -> later."""
    return _between(_sqrt_layers(n_nodes), expected_degree, rng)


def bipartite(n_nodes: int, expected_degree: float, rng: np.random.Generator) -> Adjacency:
    """Two layers: the first half are causes, the second half effects."""
    return _between(_halves(n_nodes), expected_degree, rng)


@dataclass(frozen=True)
class GraphLaw:
    """How graphs of one kind are drawn, and the largest expected degree that they can have."""

    draw: Callable[[int, float, np.random.Generator], Adjacency]
    max_degree: Callable[[int], float]


def _attachments(n_nodes: int, expected_degree: float) -> float:
    """The m with sum_t min(t, m) = n * degree / 2 over the nodes t = 0, 1, ...; linear between integers."""
    wanted = n_nodes * expected_degree / 2
    totals = np.cumsum(np.arange(n_nodes - 1, 0, -1))  # n - m nodes come late enough to have an m-th edge
    return float(np.interp(wanted, [0, *totals], np.arange(n_nodes)))


def _sqrt_layers(n_nodes: int) -> NDArray[np.intp]:
    return np.arange(n_nodes) * max(2, round(math.sqrt(n_nodes))) // n_nodes


def _halves(n_nodes: int) -> NDArray[np.intp]:
    return np.arange(n_nodes) * 2 // n_nodes


def _between(layers: NDArray[np.intp], expected_degree: float, rng: np.random.Generator) -> Adjacency:
    crossing = np.less.outer(layers, layers)
    probability = expected_degree * len(layers) / 2 / crossing.sum()
    return (rng.random(crossing.shape) < probability) & crossing


def _densest(layers: NDArray[np.intp]) -> float:
    return float(2 * np.less.outer(layers, layers).sum() / len(layers))


def _all_pairs(n_nodes: int) -> float:
    return n_nodes - 1


GRAPHS = {
    "er": GraphLaw(erdos_renyi, _all_pairs),
    "scale_free_in": GraphLaw(scale_free_in, _all_pairs),
    "scale_free_out": GraphLaw(scale_free_out, _all_pairs),
    "small_world": GraphLaw(small_world, _all_pairs),
    "layered": GraphLaw(layered, lambda n_nodes: _densest(_sqrt_layers(n_nodes))),
    "bipartite": GraphLaw(bipartite, lambda n_nodes: _densest(_halves(n_nodes))),
}
