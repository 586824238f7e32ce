"""Checkpoints of a training as a path on a plane through the weights that it led to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.flatness._problem import Problem
from flatcausal.flatness.surfaces._directions import Directions
from flatcausal.flatness.surfaces._named import read

_FEWEST = 2
_MARGIN = 0.1  # of the path's extent, at both ends of an axis
_LINE = 1e-7  # second singular value over the first, below which a path is a line


class Projection(NamedTuple):
    """A path (K, T, 2), what each direction explains (K, 2), and relative distances from the plane (K, T)."""

    path: Tensor
    explained: Tensor
    off_plane: Tensor


def check_trajectory(trajectory: Any, directions: Any) -> list[Any] | None:
    """The checkpoints, if there are any and there need to be."""
    if trajectory is None:
        if directions == "trajectory":
            raise ParameterError("directions='trajectory' needs trajectory: pass at least 2 checkpoints.")
        return None
    if isinstance(trajectory, (str, bytes)) or not isinstance(trajectory, Sequence):
        raise ParameterTypeError(
            f"trajectory must be a list of checkpoints, got {type(trajectory).__name__}."
        )
    if len(trajectory) < _FEWEST:
        raise ParameterError(
            f"trajectory must hold at least {_FEWEST} checkpoints besides the model, got {len(trajectory)}."
        )
    return list(trajectory)


def steps_from(problem: Problem, trajectory: Sequence[Any]) -> Tensor:
    """Differences (K, T, P) of the checkpoints to the weights."""
    start = problem.flat(problem.restrict(problem.start))
    alive = start.isfinite().all(1)
    found = []
    for i, checkpoint in enumerate(trajectory):
        weights = read(problem, checkpoint, f"trajectory[{i}]")
        if not weights[alive].isfinite().all():
            raise DataError(f"trajectory[{i}] holds numbers that are not finite: leave it out.")
        found.append(weights - start)
    steps = torch.stack(found, dim=1)
    still = alive & (steps == 0).all(2).all(1)
    if still.any():
        raise DataError(
            f"trajectory never leaves the model's weights (member {_first(still)}): clone each checkpoint's "
            f"tensors, which training changes in place."
        )
    return steps


def principal_directions(steps: Tensor) -> Directions:
    """Unit vectors of the plane through the weights that is nearest to the checkpoints.

    The right singular vectors of [w_0 - w; ...; w_{T-1} - w], not centred: the picture's plane goes through
    the weights, and that of a centred analysis need not be the nearest of those that do.
    """
    alive = steps.isfinite().all(2).all(1)
    _, values, rows = torch.linalg.svd(torch.where(alive[:, None, None], steps, 0.0), full_matrices=False)
    flat = alive & (values[:, 1] <= _LINE * values[:, 0]) if values.shape[1] > 1 else alive
    if flat.any():
        raise DataError(
            f"trajectory lies on a line through the weights (member {_first(flat)}), and spans no plane: "
            f"pass more checkpoints, or directions='filter'."
        )
    vectors = rows[:, :2]
    # The sign by which most of the path has positive coordinates; a singular vector has none of its own.
    sums = (steps @ vectors.mT).sum(1)
    return Directions("trajectory", torch.where(sums[..., None] < 0, -vectors, vectors))


def projected(steps: Tensor, directions: Tensor) -> Projection:
    """The nearest points on the plane of two directions (K, 2, P), in units of these."""
    basis, sides = torch.linalg.qr(directions.mT)
    places = steps @ basis
    squares = steps.square().sum((1, 2))
    distances = torch.linalg.vector_norm(steps, dim=2)
    off = torch.linalg.vector_norm(steps - places @ basis.mT, dim=2)
    return Projection(
        path=torch.linalg.solve_triangular(sides, places.mT, upper=True).mT,
        explained=places.square().sum(1) / squares[:, None],
        off_plane=torch.where(distances > 0, off / distances, 0.0),
    )


def covering(places: Tensor, line: Tensor) -> Tensor:
    """An axis (K, R) that covers places (K, T) and 0 with a margin; ``line`` (R,) runs over -span..span."""
    low, high = places.amin(1).clamp_max(0), places.amax(1).clamp_min(0)
    half = (high - low) * (0.5 + _MARGIN)
    return ((low + high) / 2)[:, None] + half[:, None] * line


def _first(members: Tensor) -> int:
    return int(members.nonzero()[0, 0])
