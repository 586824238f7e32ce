"""Gradient descent: on mini-batches or on all rows, plain or with momentum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.optim import Optimizer

from flatcausal._validation import check_boolean, check_real
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target


class SGD(Recipe):
    r"""Stochastic gradient descent, one gradient per step.

    .. math:: b \leftarrow \mu b + g, \qquad w \leftarrow w - \eta\, b

    with :math:`g + \mu b` in place of :math:`b` under Nesterov's rule.

    Parameters
    ----------
    momentum : float, default=0.0
        Factor :math:`\mu` in [0, 1).
    nesterov : bool, default=False
        Look ahead along the momentum; needs ``momentum > 0``, and is ignored without.

    References
    ----------
    H. Robbins and S. Monro, "A Stochastic Approximation Method", Annals of Mathematical Statistics 1951.

    Examples
    --------
    >>> import torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = SGD().build([w], lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> loss = optimizer.step(closure)
    >>> w
    tensor([0.8000], requires_grad=True)
    """

    def __init__(self, momentum: float = 0.0, nesterov: bool = False):
        self.momentum = momentum
        self.nesterov = nesterov

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given."""
        return 0.1

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        inertia = check_inertia(self.momentum, self.nesterov)
        return torch.optim.SGD(target.params, lr=lr, weight_decay=weight_decay, **inertia)

    def limiting_cases(self) -> Iterator[tuple[Recipe, Recipe]]:
        """Without momentum it is plain gradient descent."""
        yield self._at(momentum=0.0), SGD()


def check_inertia(momentum: object, nesterov: object) -> dict[str, Any]:
    """Return ``momentum`` and ``nesterov`` as SGD takes them; there is no looking ahead without momentum."""
    momentum = check_real("momentum", momentum, low=0.0, high=1.0, open_high=True)
    return {"momentum": momentum, "nesterov": check_boolean("nesterov", nesterov) and momentum > 0}


class GD(SGD):
    r"""Gradient descent on the whole training set (Cauchy, 1847), one gradient per step.

    .. math:: b \leftarrow \mu b + \nabla L(w), \qquad w \leftarrow w - \eta\, b

    which is :class:`SGD` without a choice of rows: the estimators see ``full_batch`` and feed all of them,
    one step per pass over the data. In plain PyTorch the closure must do so.
    """

    full_batch = True


class Momentum(SGD):
    r""":class:`SGD` with heavy-ball momentum 0.9 by default (Polyak, 1964), one gradient per step.

    .. math:: b \leftarrow \mu b + g, \qquad w \leftarrow w - \eta\, b

    The learning rate stands outside the buffer, as in torch: when it changes, so does the weight of past
    gradients.
    """

    def __init__(self, momentum: float = 0.9, nesterov: bool = False):
        super().__init__(momentum, nesterov)


class Nesterov(SGD):
    r"""Nesterov's accelerated gradient, one gradient per step.

    .. math:: b \leftarrow \mu b + g, \qquad w \leftarrow w - \eta\, (g + \mu b)

    the form of Sutskever et al. (2013) in terms of the point where the gradient is taken.

    Parameters
    ----------
    momentum : float, default=0.9
        Factor :math:`\mu` in [0, 1).

    References
    ----------
    Y. Nesterov, "A method of solving a convex programming problem with convergence rate O(1/k^2)", 1983.

    Examples
    --------
    >>> from flatcausal.optim import Nesterov, get
    >>> get("nesterov").set_params(momentum=0.8)
    Nesterov(momentum=0.8)
    """

    def __init__(self, momentum: float = 0.9):
        super().__init__(momentum, nesterov=True)
