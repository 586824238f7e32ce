"""The gradient's length, and what generalisation bounds make of the weights'."""

from __future__ import annotations

import math
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from flatcausal._validation import check_real
from flatcausal.exceptions import ParameterError
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import FlatnessResult, Found, record

_CONFIDENCE = 0.05


def gradient_norm(
    model: Any,
    X: Any,
    y: Any,
    *,
    rho: float = 0.05,
    initial: Any = None,
    **protocol: Unpack[Protocol],
) -> FlatnessResult:
    r"""Measure the length of the gradient, and the terms of the bound behind SAM.

    The value is :math:`\lVert g \rVert_2`; :math:`\rho \lVert g \rVert_2` is the first-order rise within rho.
    ``details["bound_term"]`` is what Foret et al. (2021, theorem 2) add to the worst case within rho for a
    loss between 0 and 1 that noise on the weights does not lower,

    .. math:: \sqrt{\frac{P \log\left(1 + \frac{\lVert w \rVert_2^2}{\rho^2}
              \left(1 + \sqrt{\log(n) / P}\right)^2\right) + 4 \log(n / \delta) + 8 \log(6 n + 3 P)}{n - 1}},
              \qquad \delta = 0.05,

    for the n rows measured; the theorem writes its last term as :math:`\tilde O(1)`, the proof in full. Cost:
    1 gradient.

    What it cannot tell: at a minimum the gradient vanishes, however curved the loss; with more weights than
    rows the bound exceeds any loss, and only its order between models of one size means something. None of it
    survives a rescaling of the weights.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    rho : float, default=0.05
        Radius of the bound.
    initial : estimator, skorch net or nn.Module, optional
        The model before training, for ``details["distance"]``, the length of :math:`w - w_0`.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    FlatnessResult

    References
    ----------
    P. Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import gradient_norm
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.fill_(2.0)
    >>> X = torch.ones(4, 1)
    >>> float(gradient_norm(model, X, X, loss=torch.nn.MSELoss()).value[0])  # 2 (w - 1)
    2.0
    """
    rho = check_real("rho", rho, low=0.0, open_low=True)
    with measuring(model, X, y, **protocol) as problem:
        _, gradients = problem.base
        weights = problem.norms(problem.restrict(problem.start))
        value = problem.norms(gradients)
        details = {"first_order_rise": rho * value, "bound_term": _bound_term(problem, weights, rho)}
        if initial is not None:
            steps = torch._foreach_sub(problem.start, _weights_of(initial, problem))
            details["distance"] = problem.norms(problem.restrict(steps))
        return record(problem, "gradient_norm", Found(value, details=details), rho=rho)


def _bound_term(problem: Problem, weights: Tensor, rho: float) -> Tensor:
    n, p = problem.n_rows, problem.n_parameters
    ratio = (weights / rho).square() * (1 + math.sqrt(math.log(n) / p)) ** 2
    chance = 4 * math.log(n / _CONFIDENCE) + 8 * math.log(6 * n + 3 * p)
    return ((p * torch.log1p(ratio) + chance) / max(n - 1, 1)).sqrt()


def _weights_of(initial: Any, problem: Problem) -> list[Tensor]:
    """Weights of the model before training that correspond to those that move."""
    net = getattr(initial, "net_", initial)
    module = getattr(net, "module_", net)
    theirs = dict(module.named_parameters()) if isinstance(module, nn.Module) else {}
    names = {id(p): name for name, p in problem.module.named_parameters()}
    found = []
    for p in problem.params:
        other = theirs.get(names[id(p)])
        if other is None or other.shape != p.shape:
            raise ParameterError(
                f"initial must be the same model before training: it has no {names[id(p)]} of shape "
                f"{tuple(p.shape)}."
            )
        found.append(other.detach().to(p))
    return found
