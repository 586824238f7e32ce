"""Gradient descent from noisy weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._noisy_sgd import NoisyRecipe, NoisySGD
from flatcausal.optim._target import Target


class NiMSGD(NoisyRecipe):
    r"""SGD with noise in the model (NiM; Inan, Liu & Shehu, 2024), one gradient per step.

    .. math:: w \leftarrow w + \sigma \zeta, \qquad w \leftarrow w - \eta\, \nabla L(w)

    The noise stays in the weights: a wide minimum holds them, a narrow one loses them. On
    :math:`\tfrac12 h w^2` the variance after many steps is
    :math:`(1 - \eta h)^2 \sigma^2 / (1 - (1 - \eta h)^2)`. With ``sigma=0`` it is :class:`SGD`.

    Parameters
    ----------
    sigma : float, default=1e-3
        Size of the noise; a parameter group may have a ``"sigma"`` of its own. Schedules act on ``lr`` alone.
    noise : {"gaussian", "sphere", "ball"}, default="gaussian"
        Law of :math:`\zeta`: standard normal, or uniform on the unit sphere or in the unit ball of all of a
        member's weights.
    momentum, nesterov
        As in :class:`SGD`.

    Notes
    -----
    A step returns the loss where the gradient is taken: at the noisy weights.

    References
    ----------
    T. T. Inan, M. Liu and A. Shehu, 2024, arXiv:2403.00574. Written from its abstract and its public reviews:
    the laws and sizes of the noise are this package's.

    Examples
    --------
    >>> from flatcausal.optim import NiMSGD, get
    >>> get("nim_sgd").set_params(sigma=0.01, noise="sphere")
    NiMSGD(noise='sphere', sigma=0.01)
    """

    needs_closure = True

    def __init__(
        self, sigma: float = 1e-3, noise: str = "gaussian", momentum: float = 0.0, nesterov: bool = False
    ):
        super().__init__(sigma, noise, momentum, nesterov)

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        return NiMOptimizer(target, seeds, **self._hyper(lr, weight_decay))


class NiMGD(NiMSGD):
    r""":class:`NiMSGD` on the whole training set (Inan, Liu & Shehu, 2024), one gradient per step.

    .. math:: w \leftarrow w + \sigma \zeta, \qquad w \leftarrow w - \eta\, \nabla L(w)
    """

    full_batch = True


class NiMOptimizer(NoisySGD):
    """The torch optimizer that :class:`NiMSGD` builds."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the loss at the noisy weights.

        The weights of the last completed step come back when the closure raises.
        """
        if closure is None:
            raise ParameterTypeError(
                "noise in the model needs step(closure): the noise precedes the gradient."
            )
        weights = [p.clone() for p in self._params]
        try:
            self._shake_weights()
            loss = torch.enable_grad()(closure)()
        except BaseException:
            torch._foreach_copy_(self._params, weights)
            raise
        self._return_unused(weights)
        self._descend()
        return loss
