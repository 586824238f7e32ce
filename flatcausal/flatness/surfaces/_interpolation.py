"""The loss on the straight way from one model to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor

from flatcausal._validation import check_integer
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import circumstances
from flatcausal.flatness.surfaces._ends import other_end
from flatcausal.flatness.surfaces._landscape import Landscape
from flatcausal.flatness.surfaces._named import named
from flatcausal.flatness.surfaces._records import LossPath


def linear_interpolation(
    model: Any, other: Any, X: Any, y: Any, n_points: int = 21, **protocol: Unpack[Protocol]
) -> LossPath:
    r"""Measure the loss on the straight way from one model to another, and the barrier between them.

    .. math:: L((1 - a) w_1 + a w_2), \qquad
              B = \max_a \, L((1 - a) w_1 + a w_2) - (1 - a) L(w_1) - a L(w_2)

    Two runs without a barrier are linearly mode connected [1]_ (there against the mean of the two losses;
    this barrier is that of [2]_). Of populations, member k of one is joined with member k of the other.
    Cost: ``n_points`` losses, and as many recalibrations.

    What it cannot tell: a barrier is one of the straight line. Networks that compute the same with their
    units in another order have one between them, and a curve may go round it (:func:`bezier_curve`). No
    barrier means neither that the models predict alike nor that either is flat.

    Parameters
    ----------
    model, other
        Two models of the same architecture, as :func:`flatcausal.flatness.sharpness` takes them; estimators
        that were fitted on the same rows, with the same number of members.
    X, y
        Rows to measure on.
    n_points : int, default=21
        Places on the way, both ends among them.
    **protocol
        See :class:`flatcausal.flatness.Protocol`. Here ``bn`` is "recalibrated" unless it is given: each
        place gets statistics of its own. With "frozen" all have those of ``model``, with which not even
        ``other`` computes what it did. With ``params`` not "all", the numbers that it leaves out stay
        ``model``'s.

    Returns
    -------
    LossPath

    Raises
    ------
    ParameterError
        If an argument cannot be, or ``other`` has another architecture or number of members.
    DataError
        If the two measure different losses.
    FloatingPointError
        If no member has a finite loss at an end; between them such a loss is inf or NaN.

    References
    ----------
    .. [1] J. Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML 2020.
    .. [2] R. Entezari et al., "The Role of Permutation Invariance in Linear Mode Connectivity of Neural
       Networks", ICLR 2022.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import linear_interpolation
    >>> class Wave(torch.nn.Module):
    ...     def __init__(self, w):
    ...         super().__init__()
    ...         self.w = torch.nn.Parameter(torch.tensor([w]))
    ...     def forward(self, X):
    ...         return torch.cos(torch.pi * self.w) * X
    >>> X = torch.ones(4, 1)
    >>> path = linear_interpolation(Wave(0.0), Wave(2.0), X, X, 5, loss=torch.nn.MSELoss())
    >>> path.losses.round(6).tolist(), path.barrier.round(6).tolist()
    ([[0.0, 1.0, 4.0, 1.0, 0.0]], [4.0])
    """
    n_points = check_integer("n_points", n_points, low=2)
    with measuring(model, X, y, **with_recalibration(protocol)) as problem:
        landscape = Landscape(problem)
        start, end = both_ends(landscape, other, X, y, protocol)
        return path_record(landscape, "linear", start, end, n_points, lambda t: (1 - t) * start + t * end)


def with_recalibration(protocol: Protocol) -> Protocol:
    """The protocol of a path, whose places have statistics of their own unless the caller says otherwise."""
    return Protocol(**{"bn": "recalibrated", **protocol})


def both_ends(landscape: Landscape, other: Any, X: Any, y: Any, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Weights (K, P) of both models, at which losses are finite for some member."""
    problem = landscape.problem
    ends = problem.flat(problem.start), other_end(problem, other, X, y, protocol)
    for name, weights in zip(("model", "other"), ends, strict=True):
        if not landscape(weights).isfinite().any():
            raise FloatingPointError(
                f"The loss of every member of {name} is not finite: look for extreme values in X, y or its "
                f"weights."
            )
    return ends


def path_record(
    landscape: Landscape,
    kind: str,
    start: Tensor,
    end: Tensor,
    n_points: int,
    place: Callable[[Tensor], Tensor],
    theta: Tensor | None = None,
    **settings: Any,
) -> LossPath:
    """Losses at ``place(t)``, and all that they must be read with."""
    problem = landscape.problem
    t = torch.linspace(0, 1, n_points, dtype=torch.float64).to(start)
    losses = landscape.along(place(x) for x in t).double()
    share = t.double()
    chord = (1 - share) * losses[:, :1] + share * losses[:, -1:]
    rises = losses - chord
    rises[:, [0, -1]] -= rises[:, [0, -1]]  # an end is on the line; NaN stays NaN
    return LossPath(
        kind=kind,
        t=t.cpu().numpy(),
        losses=losses.cpu().numpy(),
        barrier=rises.amax(1).cpu().numpy(),
        distance=torch.linalg.vector_norm(end - start, dim=1).cpu().numpy(),
        theta=None if theta is None else named(problem, theta),
        settings={"n_points": n_points, **settings},
        **circumstances(problem),
    )
