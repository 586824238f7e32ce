"""Draw a graph that holds a target, as a boolean matrix (row -> column) in causal order."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._graph_laws import GRAPHS, Adjacency
from flatcausal.exceptions import GraphError

_MAX_GRAPHS = 1000


@dataclass(frozen=True)
class TargetRule:
    """What a node must have to be drawn as the target."""

    min_parents: int
    min_children: int
    min_spouses: int

    def candidates(self, adjacency: Adjacency) -> NDArray[np.intp]:
        """Nodes that satisfy the rule."""
        fits = (adjacency.sum(axis=0) >= self.min_parents) & (adjacency.sum(axis=1) >= self.min_children)
        if self.min_spouses:
            weights = adjacency.astype(np.float32)
            shares_child = weights @ weights.T > 0
            spouse = shares_child & ~adjacency & ~adjacency.T & ~np.eye(len(adjacency), dtype=bool)
            fits &= spouse.sum(axis=1) >= self.min_spouses
        return np.flatnonzero(fits)

    def __str__(self) -> str:
        minima = (self.min_parents, self.min_children, self.min_spouses)
        return "min_parents={}, min_children={}, min_spouses={}".format(*minima)


def draw_graph(
    law: str, n_nodes: int, expected_degree: float, rule: TargetRule, rng: np.random.Generator
) -> tuple[Adjacency, int]:
    """Draw graphs until one holds a node that may be the target; return both."""
    for _ in range(_MAX_GRAPHS):
        adjacency = GRAPHS[law].draw(n_nodes, expected_degree, rng)
        candidates = rule.candidates(adjacency)
        if candidates.size:
            return adjacency, int(rng.choice(candidates))
    raise GraphError(
        f"none of {_MAX_GRAPHS} graphs with n_nodes={n_nodes} and expected_degree={expected_degree:g} "
        f"holds a target with {rule}; lower these minima or allow more nodes or edges."
    )


def check_acyclic(graph: nx.DiGraph) -> None:
    """Raise a :class:`GraphError` that names a self-loop or one cycle."""
    loop = next(iter(nx.selfloop_edges(graph)), None)
    if loop is not None:
        raise GraphError(f"the graph has a self-loop on {loop[0]!r}; remove the edge from it to itself.")
    if nx.is_directed_acyclic_graph(graph):
        return
    cycle = [edge[0] for edge in nx.find_cycle(graph)]
    path = " -> ".join(str(node) for node in [*cycle, cycle[0]])
    raise GraphError(f"the graph has a cycle: {path}; remove or turn one of its edges.")
