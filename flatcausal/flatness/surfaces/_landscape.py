"""The loss as a function of places along directions."""

from __future__ import annotations

import torch
from torch import Tensor

from flatcausal.flatness._normalization import CALIBRATION_ROWS
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._rows import cut
from flatcausal.nn import TabNet


class Landscape:
    """Losses (K,) of a problem wherever its weights are put, with statistics renewed there if they are to be.

    They may be inf or NaN.

    Parameters
    ----------
    problem : Problem
        Its copy is moved.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self._inputs = _inputs(problem) if problem.bn == "recalibrated" else []

    def __call__(self, weights: Tensor) -> Tensor:
        """At weights (K, P)."""
        problem = self.problem
        problem.move_to(problem.unflat(weights))
        if problem.bn == "recalibrated":
            if isinstance(problem.module, TabNet):
                # problem.recalibrate() would send all rows through the network once more to see its inputs.
                problem.module.reestimate_statistics(self._inputs)
            else:
                problem.recalibrate()
        return problem.losses(overflow=True)

    def line(self, direction: Tensor, alphas: Tensor) -> Tensor:
        """Losses (K, R) at ``alphas`` (K, R) along a direction (K, P) from the first weights."""
        start = self.problem.flat(self.problem.start)
        return self.along(start + alpha[:, None] * direction for alpha in alphas.unbind(1))

    def plane(self, directions: Tensor, alphas: Tensor, betas: Tensor) -> Tensor:
        """Losses (K, R, R) on the plane of two directions (K, 2, P) through the first weights."""
        start = self.problem.flat(self.problem.start)
        rows = (start + alpha[:, None] * directions[:, 0] for alpha in alphas.unbind(1))
        columns = betas.unbind(1)
        found = self.along(row + beta[:, None] * directions[:, 1] for row in rows for beta in columns)
        return found.unflatten(1, (alphas.shape[1], betas.shape[1]))

    def along(self, places) -> Tensor:
        """Losses (K, n) at each of ``places``, an iterable of n weights (K, P)."""
        return torch.stack([self(weights) for weights in places], dim=1)


def _inputs(problem: Problem) -> list[Tensor]:
    """What a TabNet sees of the rows, which its weights do not change, in batches of a recalibration."""
    if not isinstance(problem.module, TabNet):
        return []
    found: list[Tensor] = []
    handle = problem.module.register_forward_pre_hook(lambda _, args: found.append(args[0]))
    try:
        with torch.no_grad():
            problem.losses()
    finally:
        handle.remove()
    rows = torch.cat(found, dim=-2)
    return [rows[..., batch, :] for batch in cut(0, problem.n_rows, CALIBRATION_ROWS)]
