"""The largest noise that a model's weights bear."""

from __future__ import annotations

import math
from typing import Any, Unpack

import torch
from torch import Tensor

from flatcausal._members import member_normal
from flatcausal._validation import check_boolean, check_integer, check_real
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import FlatnessResult, Found, record
from flatcausal.flatness._risk import Risk, risk_of

_RANGE = (1e-4, 10.0)
_N_HALVINGS = 18  # of its logarithm: to 5e-5
_FLOOR = 1e-6  # variance that a weight of size 0 gets, as Jiang et al. give it
_WIDER = 1.1  # and narrower, to see how steeply the risk grows


def pac_bayes_sigma(
    model: Any,
    X: Any,
    y: Any,
    *,
    magnitude_aware: bool = True,
    deviation: float = 0.1,
    n_draws: int = 20,
    of: str | None = None,
    **protocol: Unpack[Protocol],
) -> FlatnessResult:
    r"""Measure the largest Gaussian noise on the weights that costs no more than ``deviation``.

    .. math:: \sigma = \max \{ s : \mathbb E_{u} E(w + u) \le E(w) + 0.1 \}, \qquad
              u_i \sim \mathcal N(0, s^2) \text{ or } \mathcal N(0, s^2 w_i^2 + 10^{-6})

    with E the share of wrong classes (Jiang et al., 2020); the second is the magnitude-aware form. The value
    is :math:`1/\sigma^2`, which is larger for sharper minima. The search halves :math:`\log s` between 1e-4
    and 10 with the same draws at each step; ``converged`` is False at an end. Cost: 21 ``n_draws`` losses.

    What it cannot tell: fixed noise moves with any rescaling of the weights (3.4 times, where those before a
    batch normalisation grew fivefold), so only the magnitude-aware form compares models, and that up to its
    floor of 1e-6. Where errors do not grow with the noise alone, several sigmas solve the equation.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    magnitude_aware : bool, default=True
        Noise in proportion to each number, biases and normalisation too; else the same for all.
    deviation : float, default=0.1
        What the noise may cost.
    n_draws : int, default=20
        Random directions.
    of : {"error", "loss"}, optional
        What E is; the loss where the target is no class, if None.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    FlatnessResult
        ``details["sigma"]`` has the noise itself. The standard error is that of the mean over draws, by the
        slope of the risk at sigma.

    References
    ----------
    Y. Jiang et al., "Fantastic Generalization Measures and Where to Find Them", ICLR 2020.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import pac_bayes_sigma
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.fill_(2.0)
    >>> X = torch.ones(4, 1)
    >>> result = pac_bayes_sigma(
    ...     model, X, 2 * X, loss=torch.nn.MSELoss(), n_draws=500, random_state=0)  # 0.1 = sigma^2 w^2
    >>> bool(abs(result.value[0] - 40) < 3 * result.standard_error[0])
    True
    """
    aware = check_boolean("magnitude_aware", magnitude_aware)
    deviation = check_real("deviation", deviation, low=0.0, open_low=True)
    n_draws = check_integer("n_draws", n_draws, low=2)
    with measuring(model, X, y, **protocol) as problem:
        of, risk = risk_of(problem, of)
        noise = _Noise(problem, risk, n_draws, aware)
        settings = {"deviation": deviation, "n_draws": n_draws, "of": of}
        name = "pac_bayes_magnitude_sigma" if aware else "pac_bayes_sigma"
        return record(problem, name, _largest(noise, risk(problem.start) + deviation), **settings)


class _Noise:
    """Risks under noise of each member's own size; the same draws whatever it is."""

    def __init__(self, problem: Problem, risk: Risk, n_draws: int, aware: bool):
        self.problem, self.risk, self.n_draws, self.aware = problem, risk, n_draws, aware

    def risks(self, sigmas: Tensor) -> Tensor:
        """Of each draw and member, shape (n_draws, K)."""
        problem, generators = self.problem, self.problem.generators()
        reach = problem.times(sigmas, problem.ones(1.0))
        if self.aware:
            sized = [r * w for r, w in zip(reach, problem.start, strict=True)]
            reach = problem.restrict([(s.square() + _FLOOR).sqrt() for s in sized])
        found = []
        for _ in range(self.n_draws):
            steps = [r * member_normal(r, generators) for r in reach]
            found.append(self.risk(problem.moved(steps)))
        return torch.stack(found)


def _largest(noise: _Noise, most: Tensor) -> Found:
    low = torch.full_like(most, math.log(_RANGE[0]))
    high = torch.full_like(most, math.log(_RANGE[1]))
    bottom, top = low, high
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        borne = noise.risks(middle.exp()).mean(0) <= most  # NaN is not
        low, high = torch.where(borne, middle, low), torch.where(borne, high, middle)
    sigma = low.exp()
    below, above = (noise.risks(sigma * factor).mean(0) for factor in (1 / _WIDER, _WIDER))
    slope = (above - below) / (2 * math.log(_WIDER))
    relative = (
        noise.risks(sigma).std(0) / noise.n_draws**0.5 / slope.clamp_min(0.0)
    )  # inf where the risk is level
    return Found(
        sigma**-2,
        standard_error=2 * relative * sigma**-2,
        converged=(low > bottom) & (high < top),
        details={"sigma": sigma},
    )
