"""Where each node and distractor stands among the columns, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._blueprint import Blueprint


@dataclass(frozen=True, eq=False)
class Columns:
    """Names of the columns, and the column of every shown node and then of every distractor."""

    feature_names: tuple[str, ...]
    target_name: str
    order: NDArray[np.intp]
    node_of: dict[str, int]

    @classmethod
    def of(cls, blueprint: Blueprint, rng: np.random.Generator | None) -> Columns:
        """Lay the columns out, shuffled if there is a generator; unnamed ones are called x0, x1, ..."""
        n_features = len(blueprint.features) + len(blueprint.distractors)
        order = np.arange(n_features) if rng is None else rng.permutation(n_features)
        shown = list(zip(map(int, blueprint.features), map(int, order), strict=False))
        names = [f"x{column}" for column in range(n_features)]
        target_name = "y"
        if blueprint.names is not None:
            target_name = blueprint.names[blueprint.target]
            names = [_free_name(name, blueprint.names) for name in names]
            for node, column in shown:
                names[column] = blueprint.names[node]
        return cls(tuple(names), target_name, order, {names[column]: node for node, column in shown})

    def place(self, features: NDArray[np.float64], distractors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns of shape (n_features, n) from shown nodes and distractors, each (..., n)."""
        columns = np.empty((len(self.order), features.shape[1]))
        columns[self.order[: len(features)]] = features
        columns[self.order[len(features) :]] = distractors
        return columns

    def graph(self, blueprint: Blueprint) -> nx.DiGraph:
        """Return the true graph on names; distractors are no nodes of it."""
        name_of = {node: name for name, node in self.node_of.items()} | {blueprint.target: self.target_name}
        graph = nx.DiGraph()
        graph.add_nodes_from([name for name in self.feature_names if name in self.node_of])
        graph.add_node(self.target_name)
        for node, assignment in enumerate(blueprint.model.assignments):
            graph.add_edges_from((name_of[parent], name_of[node]) for parent in assignment.parents)
        return graph

    def adjacency(self, graph: nx.DiGraph) -> NDArray[np.int64]:
        """Matrix of the graph, row -> column, in column order with the target last."""
        position = {name: index for index, name in enumerate([*self.feature_names, self.target_name])}
        matrix = np.zeros((len(position), len(position)), dtype=np.int64)
        for cause, effect in graph.edges:
            matrix[position[cause], position[effect]] = 1
        return matrix


def _free_name(name: str, taken: tuple[str, ...]) -> str:
    """A distractor's neutral name gives way to the user's own."""
    while name in taken:
        name += "_"
    return name
