"""Everything that is drawn before the first row: model, target, distractors, names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatcausal.datasets._categories import CATEGORICAL, Categorical
from flatcausal.datasets._distractors import Distractors
from flatcausal.datasets._scm import StructuralModel

# Named child streams of a dataset's random_state: what one draws does not move another.
GRAPH, MODEL, DISTRACTORS, COLUMNS, SAMPLES, ENVIRONMENTS, SORTABILITY = range(7)
HIDDEN, CATEGORIES, BAYES = range(16, 19)


@dataclass(frozen=True, eq=False)
class Blueprint:
    """A frozen model with its target and distractors; ``names`` of all nodes, if the user gave any.

    Hidden nodes come first in the causal order.
    """

    model: StructuralModel
    target: int
    distractors: Distractors
    names: tuple[str, ...] | None = None
    n_hidden: int = 0

    @property
    def observed(self) -> np.ndarray:
        """The nodes that are no hidden ones, the target included, in causal order."""
        return np.arange(self.n_hidden, self.model.n_nodes)

    @property
    def features(self) -> np.ndarray:
        """The nodes that are shown as features, in causal order."""
        return np.delete(self.observed, self.target - self.n_hidden)

    @property
    def task(self) -> str:
        """What there is to predict: a number, or one of two classes."""
        return "classification" if self.categorical(self.target) else "regression"

    def categorical(self, node: int) -> Categorical | None:
        """Return the equation of a node that is a category."""
        assignment = self.model.assignments[node]
        return assignment if isinstance(assignment, CATEGORICAL) else None
