"""Draw a structural model on a graph, with a given share of each node's variance due to its parents."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatcausal._random import child
from flatcausal.datasets._graphs import Adjacency
from flatcausal.datasets._mechanisms import MECHANISMS, Mechanism
from flatcausal.datasets._noise import NOISE
from flatcausal.datasets._scm import Assignment, StructuralModel
from flatcausal.exceptions import GraphError

Array = NDArray[np.float64]

# A parent must move 2 % of the variance; the rest is room for the error of the estimate.
_MIN_SHARE = 0.025
_SCREENING_ROWS = 4000
_MAX_DRAWS = 500


@dataclass(frozen=True)
class ModelLaw:
    """What a model's assignments are drawn from."""

    mechanisms: tuple[str, ...]
    noise: str
    r2_range: tuple[float, float]
    n_calibration: int


def draw_model(adjacency: Adjacency, law: ModelLaw, sequence: np.random.SeedSequence) -> StructuralModel:
    """Draw and calibrate one assignment after the other, in causal order.

    Each node has its own streams, so that its function does not depend on the size of the calibration.
    """
    n_nodes = len(adjacency)
    values = np.empty((n_nodes, law.n_calibration))
    assignments = []
    for node in range(n_nodes):
        parents = tuple(int(parent) for parent in np.flatnonzero(adjacency[:, node]))
        rng = np.random.default_rng(child(sequence, node, 0))
        assignment = _draw_assignment(node, parents, values, law, rng) if parents else Assignment((), None)
        noise = NOISE[law.noise](np.random.default_rng(child(sequence, node, 1)), (law.n_calibration,))
        values[node] = assignment(values, noise)
        assignments.append(assignment)
    return StructuralModel(tuple(assignments), law.noise)


def _draw_assignment(
    node: int, parents: tuple[int, ...], values: Array, law: ModelLaw, rng: np.random.Generator
) -> Assignment:
    """Draw rho and a mechanism; freeze the mean and sd that give the signal variance rho."""
    rho = rng.uniform(*law.r2_range)
    seen = values[list(parents)]
    required = min(_MIN_SHARE, 0.2 / len(parents))
    for _ in range(_MAX_DRAWS):
        mechanism = MECHANISMS[str(rng.choice(law.mechanisms))](len(parents), rng)
        if smallest_share(mechanism, seen[:, :_SCREENING_ROWS]) >= required:
            break
    else:
        raise GraphError(
            f"none of {_MAX_DRAWS} mechanisms lets each of a node's {len(parents)} parents move "
            f"{required:.1%} of its variance (node {node} in causal order); "
            "draw a sparser graph, for example with a smaller expected_degree."
        )
    signal = mechanism(seen)
    return Assignment(
        parents=parents,
        mechanism=mechanism,
        center=float(signal.mean()),
        signal_scale=math.sqrt(rho) / float(signal.std()),
        noise_scale=math.sqrt(1.0 - rho),
    )


def smallest_share(mechanism: Mechanism, parents: Array) -> float:
    r"""Smallest share of the variance that any one parent moves.

    .. math:: \min_k E[(f(x) - f(x^{(k)}))^2] / (2 \operatorname{Var} f(x))

    where :math:`x^{(k)}` has parent k replaced by an independent copy: the total Sobol index
    by Jansen's estimator (1999), under the parents' own joint law. Rows are i.i.d., so the
    row above serves as the copy.
    """
    base = mechanism(parents)
    shares = []
    for parent in range(len(parents)):
        copied = parents.copy()
        copied[parent] = np.roll(parents[parent], 1)
        shares.append(np.mean((base - mechanism(copied)) ** 2) / 2.0)
    return float(min(shares) / base.var())
