"""A structural causal model: one frozen assignment for each node, in causal order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._assignments import Assignment
from flatcausal.datasets._categories import CATEGORICAL
from flatcausal.datasets._noise import NOISE

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Intervention:
    """Nodes held at a (latent) value, changes of the noise u -> scale * u + shift, and other equations."""

    do: Mapping[int, float | Array] = field(default_factory=dict)
    shift: Mapping[int, float] = field(default_factory=dict)
    scale: Mapping[int, float] = field(default_factory=dict)
    equations: Mapping[int, Assignment] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.do or self.shift or self.scale or self.equations)


NOTHING = Intervention()


@dataclass(frozen=True, eq=False)
class StructuralModel:
    """All assignments; a node's parents come before it."""

    assignments: tuple[Assignment, ...]
    noise: str

    @property
    def n_nodes(self) -> int:
        """Number of nodes, the target included."""
        return len(self.assignments)

    @property
    def adjacency(self) -> NDArray[np.bool_]:
        """Matrix of the graph, row -> column, in causal order."""
        matrix = np.zeros((self.n_nodes, self.n_nodes), dtype=bool)
        for node, assignment in enumerate(self.assignments):
            matrix[list(assignment.parents), node] = True
        return matrix

    def draw_noise(self, n: int, rng: np.random.Generator) -> Array:
        """Noise of all nodes, shape (n_nodes, n)."""
        return NOISE[self.noise](rng, (self.n_nodes, n))

    def evaluate(self, noise: Array, intervention: Intervention = NOTHING) -> Array:
        """Values of all nodes, shape (n_nodes, n).

        A node that is no descendant of an intervened one is computed by the same operations
        on the same numbers, so its values stay bitwise equal.
        """
        values = np.empty_like(noise)
        for node, assignment in enumerate(self.assignments):
            if node in intervention.do:
                held = intervention.do[node]
                values[node] = assignment.cut(held) if isinstance(assignment, CATEGORICAL) else held
                continue
            u = noise[node]
            if node in intervention.scale:
                u = intervention.scale[node] * u
            if node in intervention.shift:
                u = u + intervention.shift[node]
            equation = intervention.equations.get(node, assignment)
            values[node] = equation(values[list(equation.parents)], u)
        return values
