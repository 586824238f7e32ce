"""The law of a blueprint: checked parameters, and what is drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatcausal._random import child
from flatcausal.datasets._blueprint import CATEGORIES, DISTRACTORS, GRAPH, HIDDEN, MODEL, Blueprint
from flatcausal.datasets._categories import CategoryLaw, LabelLaw, draw_categorised
from flatcausal.datasets._distractors import draw_distractors
from flatcausal.datasets._draw import Cut, ModelLaw, draw_model
from flatcausal.datasets._graph_laws import Adjacency
from flatcausal.datasets._graphs import TargetRule, draw_graph
from flatcausal.datasets._hidden import HiddenLaw, hidden_names
from flatcausal.datasets._user_graphs import choose_target


@dataclass(frozen=True)
class BlueprintLaw:
    """Checked parameters from which a blueprint is drawn."""

    n_nodes: int
    n_distractors: int
    expected_degree: float
    graph: str
    adjacency: tuple[Adjacency, list[Any], bool] | None
    model: ModelLaw
    target: Any
    rule: TargetRule
    distractors: str
    hidden: HiddenLaw
    categories: CategoryLaw
    label: LabelLaw | None

    def draw(self, root: np.random.SeedSequence) -> Blueprint:
        """Draw graph, target, hidden nodes, mechanisms and distractors, each from its own stream."""
        rng = np.random.default_rng(child(root, GRAPH))
        names = None
        if self.adjacency is None:
            adjacency, target = draw_graph(self.graph, self.n_nodes, self.expected_degree, self.rule, rng)
        else:
            adjacency, labels, named = self.adjacency
            target = choose_target(self.target, adjacency, labels, self.rule, rng)
            names = (*hidden_names(self.hidden.n_hidden, labels), *labels) if named else None
        adjacency = self.hidden.add(adjacency, target, np.random.default_rng(child(root, HIDDEN)))
        target += self.hidden.n_hidden
        features = np.delete(np.arange(self.hidden.n_hidden, len(adjacency)), target - self.hidden.n_hidden)
        model = draw_model(adjacency, self.model, child(root, MODEL), self._cuts(features, target, root))
        stream = np.random.default_rng(child(root, DISTRACTORS))
        distractors = draw_distractors(self.distractors, self.n_distractors, features, stream)
        return Blueprint(model, target, distractors, names, self.hidden.n_hidden)

    def _cuts(self, features: NDArray[np.intp], target: int, root: np.random.SeedSequence) -> dict[int, Cut]:
        """How each categorical node is to be cut."""
        types = self.categories.draw(features, np.random.default_rng(child(root, CATEGORIES)))
        cuts: dict[int, Cut] = {node: partial(draw_categorised, kind) for node, kind in types.items()}
        if self.label is not None:
            cuts[target] = partial(self.label.draw, self.model.noise)
        return cuts
