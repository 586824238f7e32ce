"""Local energy: how classification errors grow around a model's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch

from flatcausal._validation import check_integer
from flatcausal.exceptions import ParameterError
from flatcausal.flatness._average import draw
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import FlatnessResult, Found, record
from flatcausal.flatness._risk import Risk, risk_of

_GRID = tuple(i / 20 for i in range(1, 11))


def local_energy(
    model: Any,
    X: Any,
    y: Any,
    *,
    sigmas: Sequence[float] = _GRID,
    n_draws: int = 10,
    of: str | None = None,
    **protocol: Unpack[Protocol],
) -> FlatnessResult:
    r"""Measure how many more rows a model gets wrong as noise in proportion to its weights grows.

    .. math:: \delta E(\sigma) = \mathbb E_{z \sim \mathcal N(0, I)} E(w + \sigma |w| z) - E(w)

    with E the share of wrong classes (Pittorino et al., 2021). The value is the mean height of the curve: its
    area from 0 to the largest sigma, divided by that. Biases and normalisation stay, so a rescaling of the
    weights before a normalisation changes nothing. Cost: 2 ``n_draws`` losses for each sigma.

    What it cannot tell: anything about how sure the model is, as only the sign of a mistake counts; on few
    rows it moves in steps of one row. Far sigmas, where every model is at chance, dilute the area: read the
    curve.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    sigmas : sequence of float, default=(0.05, 0.1, ..., 0.5)
        Sizes of the noise, rising.
    n_draws : int, default=10
        Antithetic pairs of directions, the same for all sigmas.
    of : {"error", "loss"}, optional
        What E is; the loss where the target is no class, if None.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    FlatnessResult
        ``details["sigma"]`` and ``details["curve"]``, shape (K, len(sigmas)), hold the curve.

    References
    ----------
    F. Pittorino et al., "Entropic gradient descent algorithms and wide flat minima", ICLR 2021.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import local_energy
    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.eye(2))
    >>> X, y = torch.eye(2), torch.tensor([0, 1])
    >>> result = local_energy(model, X, y, loss=torch.nn.CrossEntropyLoss(), random_state=0)
    >>> float(result.value[0])  # weights of size 1 do not change their sign at sigma <= 0.5
    0.0
    """
    grid = _checked(sigmas)
    n_draws = check_integer("n_draws", n_draws, low=2)
    with measuring(model, X, y, **protocol) as problem:
        of, risk = risk_of(problem, of)
        return record(problem, "local_energy", _curve(problem, risk, grid, n_draws), n_draws=n_draws, of=of)


def _curve(problem: Problem, risk: Risk, grid: torch.Tensor, n_draws: int) -> Found:
    base, generators = risk(problem.start), problem.generators()
    rises = []
    for _ in range(n_draws):
        step = draw(problem.sizes(1.0), generators)
        pairs = [
            (risk(problem.moved(step, sigma)) + risk(problem.moved(step, -sigma))) / 2
            for sigma in grid.tolist()
        ]
        rises.append(torch.stack(pairs) - base)
    found = torch.stack(rises)  # (n_draws, len(grid), K)
    # The curve starts at 0, where nothing moves.
    whole = torch.cat([torch.zeros_like(found[:, :1]), found], dim=1)
    edges = torch.cat([torch.zeros(1), grid]).to(whole)
    heights = torch.trapezoid(whole, edges, dim=1) / edges[-1]
    return Found(
        heights.mean(0),
        standard_error=heights.std(0) / n_draws**0.5,
        details={
            "sigma": grid,
            "curve": found.mean(0).T,
            "curve_standard_error": (found.std(0) / n_draws**0.5).T,
        },
    )


def _checked(sigmas: Sequence[float]) -> torch.Tensor:
    grid = np.asarray(sigmas, dtype=np.float64)
    if grid.ndim != 1 or not len(grid) or not (np.diff(grid, prepend=0.0) > 0).all() or grid[-1] > 1:
        raise ParameterError(
            f"sigmas must rise from above 0 to at most 1, where noise is as large as the weights, "
            f"got {sigmas!r}."
        )
    return torch.from_numpy(grid)
