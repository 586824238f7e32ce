"""A curve of low loss from one model to another."""

from __future__ import annotations

import dataclasses
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from flatcausal._random import child
from flatcausal._validation import check_integer, check_real
from flatcausal.flatness._normalization import CALIBRATION_ROWS, set_mode
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._rows import cut
from flatcausal.flatness._source import Losses
from flatcausal.flatness.surfaces._interpolation import both_ends, path_record, with_recalibration
from flatcausal.flatness.surfaces._landscape import Landscape
from flatcausal.flatness.surfaces._records import LossPath

_STREAM = 6  # of places on the curve
_ROWS = 7  # of the rows' order


def bezier_curve(
    model: Any,
    other: Any,
    X: Any,
    y: Any,
    n_points: int = 21,
    *,
    n_steps: int = 500,
    lr: float = 0.01,
    **protocol: Unpack[Protocol],
) -> LossPath:
    r"""Look for a curve of low loss from one model to another, and measure the barrier that is left on it.

    .. math:: \varphi(t) = (1 - t)^2 w_1 + 2 t (1 - t) \theta + t^2 w_2, \qquad
              \min_\theta \; \mathbb E_{t \sim U(0, 1)} L(\varphi(t))

    [1]_. From the midpoint, :math:`\theta` takes ``n_steps`` steps of ``torch.optim.Adam`` at a rate that
    falls from ``lr`` to 0 along half a cosine. Each step draws a t for each member and takes the next 256
    rows, whose order is random and the same for all members. While :math:`\theta` trains, batch normalisation
    looks at these rows, as in [1]_, so that its gradient counts how statistics move with the weights; the
    curve is measured as ``bn`` says. Cost: ``n_steps`` gradients of 256 rows, ``n_points`` losses, and as
    many recalibrations.

    What it cannot tell: the barrier is an upper bound. A longer search or a curve with more bends may find
    a lower one, so a barrier that is left does not show that the models lie apart; and low loss at
    ``n_points`` places says nothing of those between. The whole line to :math:`\theta` was trained, so its
    low loss on these rows need not hold on others.

    Parameters
    ----------
    model, other, X, y
        As in :func:`linear_interpolation`.
    n_points : int, default=21
        Places on the curve to measure at, both ends among them.
    n_steps : int, default=500
        Of the search.
    lr : float, default=0.01
        Its first learning rate.
    **protocol
        See :class:`flatcausal.flatness.Protocol`. Here ``bn`` is "recalibrated" unless it is given.

    Returns
    -------
    LossPath
        With ``theta``. ``barrier`` is against the straight line between the two losses, as in
        :func:`linear_interpolation`.

    Raises
    ------
    ParameterError
        If an argument cannot be, or ``other`` has another architecture or number of members.
    DataError
        If the two measure different losses.
    FloatingPointError
        If no member has a finite loss at an end, or a finite :math:`\theta` at the end of the search.

    References
    ----------
    .. [1] T. Garipov et al., "Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs", NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import bezier_curve, linear_interpolation
    >>> class Ring(torch.nn.Module):
    ...     def __init__(self, *w):
    ...         super().__init__()
    ...         self.w = torch.nn.Parameter(torch.tensor(w))
    ...     def forward(self, X):
    ...         return self.w.norm() * X
    >>> X, loss = torch.ones(4, 1), torch.nn.MSELoss()  # (|w| - 1)^2
    >>> east, north = Ring(1.0, 0.0), Ring(0.0, 1.0)
    >>> linear_interpolation(east, north, X, X, loss=loss).barrier.round(3).tolist()
    [0.086]
    >>> curve = bezier_curve(east, north, X, X, n_steps=200, loss=loss, random_state=0)
    >>> bool(curve.barrier[0] < 0.001), bool(curve.theta["w"].min() > 0.8)
    (True, True)
    """
    n_points = check_integer("n_points", n_points, low=2)
    n_steps = check_integer("n_steps", n_steps, low=1)
    lr = check_real("lr", lr, low=0.0, open_low=True)
    with measuring(model, X, y, **with_recalibration(protocol)) as problem:
        landscape = Landscape(problem)
        start, end = both_ends(landscape, other, X, y, protocol)
        batches = _batches(problem)
        theta = _trained(problem, start, end, [run for _, run in batches], n_steps, lr)

        def place(t: Tensor) -> Tensor:
            return (1 - t) ** 2 * start + 2 * t * (1 - t) * theta + t**2 * end

        found = path_record(landscape, "bezier", start, end, n_points, place, theta, n_steps=n_steps, lr=lr)
        rows = sum(batches[step % len(batches)][0] for step in range(n_steps))
        return dataclasses.replace(found, n_gradients=round(rows / problem.n_rows))


def _trained(
    problem: Problem, start: Tensor, end: Tensor, batches: list[Losses], n_steps: int, lr: float
) -> Tensor:
    """The point (K, P) by which the curve bends."""
    theta = ((start + end) / 2).requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=lr)  # number by number, so members do not meet
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    draws = [torch.rand(n_steps, dtype=torch.float64, generator=g) for g in problem.generators(_STREAM)]
    places = torch.stack(draws, dim=1).to(start)[:, :, None]
    buffers = [(b, b.clone()) for b in problem.module.buffers()]
    set_mode(problem.module, "train")
    try:
        for step, t in enumerate(places):
            with torch.no_grad():
                at = (1 - t) ** 2 * start + 2 * t * (1 - t) * theta + t**2 * end
            slope = _gradient(problem, at, batches[step % len(batches)])
            theta.grad = 2 * t * (1 - t) * slope
            optimizer.step()
            schedule.step()
    finally:
        problem.output.forget()
        set_mode(problem.module, problem.bn)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
    theta = theta.detach()
    if not theta.isfinite().all(1).any():
        raise FloatingPointError(f"The search for a curve diverged at lr={lr}: pass a smaller one.")
    return theta


def _batches(problem: Problem) -> list[tuple[int, Losses]]:
    """Of random rows, and how many; the order depends on the seed alone."""
    order = np.random.default_rng(child(problem.seeds, _ROWS, 0)).permutation(problem.n_rows)
    on = problem.source.bind(problem.module)
    parts = [order[rows] for rows in cut(0, problem.n_rows, CALIBRATION_ROWS)]
    return [(len(part), on(part)) for part in parts]


def _gradient(problem: Problem, weights: Tensor, batch: Losses) -> Tensor:
    """Of the losses on a batch with respect to weights (K, P)."""
    problem.move_to(problem.unflat(weights))
    losses = problem.output.penalised(batch().reshape(-1))
    found = torch.autograd.grad(losses.sum(), problem.params, allow_unused=True)
    pairs = zip(problem.params, found, strict=True)
    return problem.flat(problem.restrict([torch.zeros_like(p) if g is None else g for p, g in pairs]))
