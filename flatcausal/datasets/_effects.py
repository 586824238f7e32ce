"""How far each node moves the target: in closed form where all is linear, else by finite interventions."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._assignments import Assignment, LocationScale, Unscaled
from flatcausal.datasets._categories import CATEGORICAL, Categorised
from flatcausal.datasets._functions import Linear
from flatcausal.datasets._scm import StructuralModel

Array = NDArray[np.float64]

#: Size of a finite intervention, in standard deviations of its node.
STEP = 0.5

_ROWS = 10_000
_MIN_ROWS = 1_000
_VALUES = 4_000_000


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects on one target per unit of each node, and the nodes' standard deviations; zero for no cause."""

    raw: Array
    sds: Array
    target: int

    @property
    def standardized(self) -> Array:
        """The same in sds of the target per sd of the node."""
        sd = self.sds[self.target]
        return self.raw * self.sds / sd if sd > 0.0 else np.zeros_like(self.raw)


def true_effects(
    model: StructuralModel, target: int, kind: str, sequence: np.random.SeedSequence, *, signed: bool
) -> Effects:
    """Total or direct effects of all nodes."""
    above = _ancestors(model, target)
    weights = _linear_weights(model, above)
    if weights is not None:
        raw, sds = _linear_effects(model, target, kind, above, weights)
        return Effects(raw if signed else np.abs(raw), sds, target)
    return _finite_effects(model, target, kind, above, np.random.default_rng(sequence), signed=signed)


def _ancestors(model: StructuralModel, target: int) -> list[int]:
    """The target's ancestors and itself, in causal order."""
    wanted = {target}
    for node in range(target, -1, -1):
        if node in wanted:
            wanted.update(model.assignments[node].parents)
    return sorted(wanted)


# ---- linear


def _linear_weights(model: StructuralModel, nodes: list[int]) -> dict[int, Array] | None:
    """Weights of each node's parents, or None where a node is no linear function plus noise."""
    weights = {}
    for node in nodes:
        coefficients = _coefficients(model.assignments[node])
        if coefficients is None:
            return None
        weights[node] = coefficients
    return weights


def _coefficients(assignment: Assignment) -> Array | None:
    if not isinstance(assignment, LocationScale) or assignment.spread is not None:
        return None
    function = assignment.mechanism
    if function is None:
        return np.empty(0)
    if isinstance(function, Linear):
        return assignment.signal_scale * function.weights
    if isinstance(function, Unscaled) and isinstance(function.inner, Linear):
        return assignment.signal_scale * function.inner.weights * function.sds[:, 0]
    return None


def _linear_effects(
    model: StructuralModel, target: int, kind: str, above: list[int], weights: dict[int, Array]
) -> tuple[Array, Array]:
    r"""Effects and sds from :math:`(I - B)^{-1}`, where every noise has variance 1 times its scale²."""
    position = {node: index for index, node in enumerate(above)}
    matrix = np.zeros((len(above), len(above)))
    for node, coefficients in weights.items():
        rows = [position[parent] for parent in model.assignments[node].parents]
        matrix[rows, position[node]] = coefficients
    total = np.linalg.inv(np.eye(len(above)) - matrix)
    scales = np.array([model.assignments[node].noise_scale for node in above])  # pyright: ignore[reportAttributeAccessIssue]
    chosen = (total if kind == "total" else matrix)[:, position[target]]
    raw, sds = np.zeros(model.n_nodes), np.zeros(model.n_nodes)
    raw[above], sds[above] = chosen, np.sqrt(scales**2 @ total**2)
    raw[target] = 0.0
    return raw, sds


# ---- any other


def _finite_effects(
    model: StructuralModel,
    target: int,
    kind: str,
    above: list[int],
    rng: np.random.Generator,
    *,
    signed: bool,
) -> Effects:
    n_rows = min(_ROWS, max(_MIN_ROWS, _VALUES // len(above)))
    noise = dict(zip(above, model.draw_noise(n_rows, rng)[above], strict=True))
    values: dict[int, Array] = {}
    for node in above:
        values[node] = _evaluate(model, node, values, noise)
    raw, sds = np.zeros(model.n_nodes), np.zeros(model.n_nodes)
    for node in above:
        sds[node] = values[node].std()
    usual = _shown(model.assignments[target], values[target])
    sds[target] = usual.std()
    causes = above[:-1] if kind == "total" else model.assignments[target].parents
    for cause in causes:
        moved = {cause: _moved(model.assignments[cause], values[cause], sds[cause])}
        step = moved[cause] - values[cause]
        if step.any():
            between = [target] if kind == "direct" else [node for node in above if node > cause]
            _move(model, between, moved, values, noise)
            change = _shown(model.assignments[target], moved.get(target, values[target])) - usual
            change = change * np.sign(step) if signed else np.abs(change)
            raw[cause] = change.mean() / np.abs(step).mean()
    return Effects(raw, sds, target)


def _moved(assignment: Assignment, values: Array, sd: float) -> Array:
    """Half an sd more; of a category the next higher level, of the highest the one below: no other exists."""
    if not isinstance(assignment, Categorised):
        return values + STEP * sd
    levels = assignment.levels
    at = np.searchsorted(levels, values)
    return levels[np.where(at + 1 < len(levels), at + 1, at - 1)]


def _move(
    model: StructuralModel,
    between: list[int],
    moved: dict[int, Array],
    values: dict[int, Array],
    noise: dict[int, Array],
) -> None:
    """Move those that read a moved node, each by its own equation and noise."""
    for node in between:
        if not moved.keys().isdisjoint(model.assignments[node].parents):
            moved[node] = _evaluate(model, node, ChainMap(moved, values), noise)


def _shown(assignment: Assignment, values: Array) -> Array:
    return assignment.shown(values) if isinstance(assignment, CATEGORICAL) else values


def _evaluate(
    model: StructuralModel, node: int, values: Mapping[int, Array], noise: Mapping[int, Array]
) -> Array:
    assignment = model.assignments[node]
    inputs = np.array([values[parent] for parent in assignment.parents]).reshape(-1, len(noise[node]))
    return assignment(inputs, noise[node])
