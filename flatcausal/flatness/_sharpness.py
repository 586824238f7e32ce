"""Sharpness that survives a rescaling of the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flatcausal._members import member_generators, member_normal, member_norms, per_member
from flatcausal._random import RandomState, seed_sequence
from flatcausal._threads import pinned_threads
from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.flatness._problem import Problem

ETA = 0.01  # keeps weights at zero movable (Kwon et al., 2021)


@dataclass(frozen=True)
class SharpnessResult:
    """A sharpness of each member, and what it must be read with.

    Attributes
    ----------
    kind : str
        Which measure.
    rho : float
        Its radius.
    value : ndarray of shape (K,)
        Rise of the loss; NaN for a member whose loss is not finite.
    standard_error : ndarray of shape (K,)
        Of the Monte Carlo mean; 0 for a measure without chance.
    loss, gradient_norm, weight_norm : ndarray of shape (K,)
        At the weights themselves. Far from a minimum, or at unequal losses, values do not compare.
    n_rows : int
        Rows measured on.
    mode, dtype : str
        How BatchNorm normalised, and the precision.
    """

    kind: str
    rho: float
    value: np.ndarray
    standard_error: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    weight_norm: np.ndarray
    n_rows: int
    mode: str = "eval"
    dtype: str = "float64"


def sharpness(
    model: Any,
    X: Any,
    y: Any,
    kind: str = "adaptive",
    *,
    rho: float | None = None,
    n_draws: int = 50,
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    n_threads: int = 1,
    random_state: RandomState = None,
) -> SharpnessResult:
    r"""Measure how fast the loss rises around a model's weights.

    * ``"adaptive"``: one adaptive step uphill (Kwon et al., ASAM, 2021),

      .. math:: L\!\left(w + \rho\, \frac{T^2 g}{\lVert T g \rVert_2}\right) - L(w), \qquad
                T = \operatorname{diag}(|w| + \eta)

      with :math:`T = 1` for biases and normalisation and :math:`\eta = 0.01`.
    * ``"adaptive_average"``: the mean over random directions in proportion to the weights,

      .. math:: \mathbb E_{\delta \sim \mathcal N(0, \rho^2 \operatorname{diag}(|w|^2))} L(w + \delta) - L(w)

      with antithetic pairs; biases and normalisation stay.

    A network with BatchNorm computes the same when the weights before it are rescaled. Measures of a
    fixed radius (Hessian eigenvalues, trace, plain SAM) then change at will; these do not, the first up
    to :math:`\eta`.

    Parameters
    ----------
    model : estimator, skorch net or nn.Module
        A fitted estimator of this package is measured by its data loss for each member, the sparsity
        penalty left out. The model is copied and never changed.
    X : array-like or Tensor
        Rows to measure on, as the model takes them; a part of the training rows as a rule.
    y : array-like or Tensor
        Their targets.
    kind : {"adaptive", "adaptive_average"}, default="adaptive"
        Which measure.
    rho : float, optional
        Radius; 0.5 for ``"adaptive"`` and 0.1 for ``"adaptive_average"`` if None.
    n_draws : int, default=50
        Antithetic pairs of the average.
    loss : callable, optional
        ``loss(output, y)``, a mean over rows; needed for an ``nn.Module``. It may return one value for
        each member if every parameter's first axis is the members.
    n_threads : int, default=1
        Threads of torch while measuring; the same number gives the same bits.
    random_state : int, Generator or None
        Directions of the average. Member k's depend on the seed and k alone.

    Returns
    -------
    SharpnessResult
        One value for each member.

    Raises
    ------
    ParameterError
        If kind, rho or n_draws cannot be, or the loss is missing.
    FloatingPointError
        If no member has a finite loss.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import sharpness
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.fill_(2.0)
    >>> X = torch.ones(4, 1)
    >>> result = sharpness(model, X, X, rho=0.5, loss=torch.nn.MSELoss())  # (w - 1)^2 at w = 2 + 0.5 * 2.01
    >>> round(float(result.value[0]), 4)
    3.02
    """
    kind = check_choice("kind", kind, _MEASURES)
    measure, default_rho = _MEASURES[kind]
    rho = check_real("rho", default_rho if rho is None else rho, low=0.0, open_low=True)
    n_draws = check_integer("n_draws", n_draws, low=2)
    problem = Problem(model, X, y, loss)
    with pinned_threads(check_integer("n_threads", n_threads, low=1)):
        base, gradients = problem.gradients()
        weights = problem.weights()
        finite = base.isfinite()
        if not finite.any():
            raise FloatingPointError(
                "The loss of every member is not finite: look for extreme values in X or y."
            )
        value, error = measure(problem, base, gradients, weights, rho, n_draws, seed_sequence(random_state))
    return SharpnessResult(
        kind=kind,
        rho=rho,
        value=torch.where(finite, value, torch.nan).cpu().numpy(),
        standard_error=error.cpu().numpy(),
        loss=base.cpu().numpy(),
        gradient_norm=member_norms(gradients, problem.n_members).cpu().numpy(),
        weight_norm=member_norms(weights, problem.n_members).cpu().numpy(),
        n_rows=len(X),
    )


def _adaptive(problem, base, gradients, weights, rho, n_draws, seeds) -> tuple[Tensor, Tensor]:
    masks = problem.scaled()
    scales = [torch.where(mask, w.abs() + ETA, 1.0) for mask, w in zip(masks, weights, strict=True)]
    scaled = [t * g for t, g in zip(scales, gradients, strict=True)]
    lengths = rho / (member_norms(scaled, problem.n_members) + 1e-12)
    moved = [
        w + per_member(lengths, w, problem.n_members) * t * tg
        for w, t, tg in zip(weights, scales, scaled, strict=True)
    ]
    return problem.losses_at(moved) - base, torch.zeros_like(base)


def _adaptive_average(problem, base, gradients, weights, rho, n_draws, seeds) -> tuple[Tensor, Tensor]:
    masks = problem.scaled()
    reach = [torch.where(mask, rho * w.abs(), 0.0) for mask, w in zip(masks, weights, strict=True)]
    generators = member_generators(seeds, problem.n_members)
    rises = []
    for _ in range(n_draws):
        steps = [r * member_normal(r, generators) for r in reach]
        ahead = problem.losses_at([w + s for w, s in zip(weights, steps, strict=True)])
        behind = problem.losses_at([w - s for w, s in zip(weights, steps, strict=True)])
        rises.append((ahead + behind) / 2 - base)
    found = torch.stack(rises)
    return found.mean(0), found.std(0) / n_draws**0.5


_MEASURES = {"adaptive": (_adaptive, 0.5), "adaptive_average": (_adaptive_average, 0.1)}
