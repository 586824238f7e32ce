"""Gradient descent along noisy gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from flatcausal.optim._noisy_sgd import NoisyRecipe, NoisySGD
from flatcausal.optim._target import Target


class NiGSGD(NoisyRecipe):
    r"""SGD with noise in the gradient (NiG; Inan, Liu & Shehu, 2024), one gradient per step.

    .. math:: w \leftarrow w - \eta\, (\nabla L(w) + \sigma \zeta)

    On :math:`\tfrac12 h w^2` the variance after many steps is
    :math:`\eta^2 \sigma^2 / (1 - (1 - \eta h)^2)`. With ``sigma=0`` it is :class:`SGD`.

    Parameters
    ----------
    sigma : float, default=1e-2
        Size of the noise; a parameter group may have a ``"sigma"`` of its own.
    noise : {"gaussian", "sphere", "ball"}, default="gaussian"
        Law of :math:`\zeta`: standard normal, or uniform on the unit sphere or in the unit ball of all of a
        member's weights.
    momentum, nesterov
        As in :class:`SGD`; the noise goes through the momentum.

    References
    ----------
    As of :class:`NiMSGD`.

    Examples
    --------
    >>> from flatcausal.optim import NiGGD, get
    >>> get("nig_gd")
    NiGGD()
    >>> NiGGD(momentum=0.9).full_batch
    True
    """

    def __init__(
        self, sigma: float = 1e-2, noise: str = "gaussian", momentum: float = 0.0, nesterov: bool = False
    ):
        super().__init__(sigma, noise, momentum, nesterov)

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        return NiGOptimizer(target, seeds, **self._hyper(lr, weight_decay))


class NiGGD(NiGSGD):
    r""":class:`NiGSGD` on the whole training set (Inan, Liu & Shehu, 2024), one gradient per step.

    .. math:: w \leftarrow w - \eta\, (\nabla L(w) + \sigma \zeta)
    """

    full_batch = True


class NiGOptimizer(NoisySGD):
    """The torch optimizer that :class:`NiGSGD` builds."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the closure's loss."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        self._shake_gradients()
        self._descend()
        return loss
