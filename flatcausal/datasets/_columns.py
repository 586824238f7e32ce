"""Where each node and distractor stands among the columns, what it is called, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._blueprint import Blueprint
from flatcausal.datasets._categories import Categorical
from flatcausal.datasets._distractors import Shadow
from flatcausal.datasets._hidden import free_name, hidden_names

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Columns:
    """Names of the columns, and the column of every shown node and then of every distractor.

    ``categories`` holds the equations of those columns, by name, that show the code of a category; the target
    may be one of them.
    """

    feature_names: tuple[str, ...]
    target_name: str
    order: NDArray[np.intp]
    node_of: dict[str, int]
    categories: dict[str, Categorical] = field(default_factory=dict)

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
            names = [free_name(name, blueprint.names) for name in names]
            for node, column in shown:
                names[column] = blueprint.names[node]
        node_of = {names[column]: node for node, column in shown}
        source_of = {**node_of, target_name: blueprint.target}
        if isinstance(blueprint.distractors, Shadow):
            columns = order[len(shown) :]
            source_of |= {names[c]: s for c, s in zip(columns, blueprint.distractors.sources, strict=True)}
        found = {name: blueprint.categorical(node) for name, node in source_of.items()}
        categories = {name: equation for name, equation in found.items() if equation is not None}
        return cls(tuple(names), target_name, order, node_of, categories)

    def place(self, features: Array, distractors: Array) -> Array:
        """Columns of shape (n_features, n) from shown nodes and distractors, each (..., n)."""
        columns = np.empty((len(self.order), features.shape[1]))
        columns[self.order[: len(features)]] = features
        columns[self.order[len(features) :]] = distractors
        if self.categories:
            for column, name in enumerate(self.feature_names):
                if name in self.categories:
                    columns[column] = self.categories[name].shown(columns[column])
        return columns

    def shown_target(self, values: Array) -> NDArray[Any]:
        """What the target's column shows of its node: numbers, or classes as integers."""
        if self.target_name not in self.categories:
            return values
        return self.categories[self.target_name].shown(values).astype(np.int64)

    def graph(self, blueprint: Blueprint) -> nx.DiGraph:
        """Return the true graph on names; distractors are no nodes of it, and hidden ones are marked."""
        hidden = dict(enumerate((blueprint.names or hidden_names(blueprint.n_hidden))[: blueprint.n_hidden]))
        name_of = {node: name for name, node in self.node_of.items()} | {blueprint.target: self.target_name}
        name_of |= hidden
        graph = nx.DiGraph()
        graph.add_nodes_from([name for name in self.feature_names if name in self.node_of])
        graph.add_node(self.target_name)
        graph.add_nodes_from(hidden.values(), hidden=True)
        for node, assignment in enumerate(blueprint.model.assignments):
            graph.add_edges_from((name_of[parent], name_of[node]) for parent in assignment.parents)
        return graph

    def adjacency(self, graph: nx.DiGraph) -> NDArray[np.int64]:
        """Matrix of the graph, row -> column, in column order with the target last; nothing hidden."""
        position = {name: index for index, name in enumerate([*self.feature_names, self.target_name])}
        matrix = np.zeros((len(position), len(position)), dtype=np.int64)
        for cause, effect in graph.edges:
            if cause in position:  # a hidden node has no cause, so it is never the effect
                matrix[position[cause], position[effect]] = 1
        return matrix
