"""Draw a structural model on a graph: one assignment after the other, in causal order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatcausal._random import child
from flatcausal.datasets._assignments import Assignment, LocationScale, Unscaled
from flatcausal.datasets._categories import Categorical
from flatcausal.datasets._fit import MAX_DRAWS, Fit, Fitted, no_mechanism
from flatcausal.datasets._graph_laws import Adjacency
from flatcausal.datasets._mechanisms import draw_mechanism
from flatcausal.datasets._noise import NOISE
from flatcausal.datasets._scm import StructuralModel
from flatcausal.datasets._uumc import draw_uumc

Array = NDArray[np.float64]

NOISE_MODES = ("additive", "multiplicative", "heteroscedastic", "functional")
STANDARDIZATIONS = ("r2", "internal", "uumc", "posthoc")

_CALIBRATION = 20_000
_MIN_CALIBRATION = 5_000
_CALIBRATED_VALUES = 4_000_000


@dataclass(frozen=True)
class ModelLaw:
    """What a model's assignments are drawn from."""

    mechanisms: tuple[str, ...]
    noise: str
    noise_mode: str
    standardize: str | None
    r2_range: tuple[float, float]
    n_calibration: int | None

    def calibration_rows(self, n_nodes: int) -> int:
        """Rows to calibrate on: as asked, or what keeps the memory and time of wide models bounded."""
        if self.n_calibration is not None:
            return self.n_calibration
        return min(_CALIBRATION, max(_MIN_CALIBRATION, _CALIBRATED_VALUES // n_nodes))


# Cuts a node into categories, given its equation and its calibrated values.
Cut = Callable[[Assignment, Array, np.random.Generator], Categorical]


def draw_model(
    adjacency: Adjacency,
    law: ModelLaw,
    sequence: np.random.SeedSequence,
    cuts: Mapping[int, Cut],
) -> StructuralModel:
    """Draw and calibrate one assignment after the other, in causal order.

    Each node has its own streams, so that its function does not depend on the size of the calibration. A node
    with a cut becomes categorical before its children see it.
    """
    if law.standardize == "uumc":
        return StructuralModel(draw_uumc(adjacency, sequence), law.noise)
    n_nodes, n_rows = len(adjacency), law.calibration_rows(len(adjacency))
    values = np.empty((n_nodes, n_rows))
    raw = np.tile([0.0, 1.0], (n_nodes, 1))  # mean and sd that each node had before it was standardised
    assignments: list[Assignment] = []
    for node in range(n_nodes):
        parents = tuple(int(parent) for parent in np.flatnonzero(adjacency[:, node]))
        noise = NOISE[law.noise](np.random.default_rng(child(sequence, node, 1)), (n_rows,))
        inputs = values[list(parents)]
        if parents:
            scales = raw[list(parents)] if law.standardize == "posthoc" else None
            rng = np.random.default_rng(child(sequence, node, 0))
            assignment, values[node] = _draw_fitted(node, parents, inputs, noise, law, scales, rng)
            if law.standardize in ("internal", "posthoc"):
                center, scale = raw[node] = values[node].mean(), values[node].std()
                assignment = assignment.standardised(float(center), float(scale))
                values[node] = (values[node] - center) / scale
        else:
            assignment, values[node] = LocationScale((), None), noise
        if node in cuts:
            assignment = cuts[node](assignment, values[node], np.random.default_rng(child(sequence, node, 2)))
            values[node] = assignment(inputs, noise)
        assignments.append(assignment)
    return StructuralModel(tuple(assignments), law.noise)


def _draw_fitted(
    node: int,
    parents: tuple[int, ...],
    inputs: Array,
    noise: Array,
    law: ModelLaw,
    scales: Array | None,
    rng: np.random.Generator,
) -> Fitted:
    """Draw mechanisms until one fits."""
    rho = rng.uniform(*law.r2_range)
    fit = Fit(
        parents,
        inputs,
        noise,
        law.noise_mode,
        rho=rho if law.standardize == "r2" else None,
        screened=law.standardize in ("r2", "internal"),
    )
    n_parents = len(fit.parents)
    n_inputs = n_parents + (law.noise_mode == "functional")
    for _ in range(MAX_DRAWS):
        mechanism, link = draw_mechanism(law.mechanisms, n_inputs, rng)
        if scales is not None:
            mechanism = Unscaled.of(mechanism, scales, n_inputs)
        fitted = fit.of(mechanism, link, rng)
        if fitted is not None:
            return fitted
    raise no_mechanism(node, n_parents)
