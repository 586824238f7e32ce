"""Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch

from flatcausal.optim._adam import Adam, FusedByMember
from flatcausal.optim._recipe import Recipe


class MemberAdamW(FusedByMember, torch.optim.AdamW):
    """torch's AdamW, its fused kernel applied to each member apart."""

    kernel = staticmethod(torch._fused_adamw_)


class AdamW(Adam):
    r"""Adam with decoupled weight decay, one gradient per step.

    .. math:: w \leftarrow (1 - \eta\lambda)\, w - \eta\, \hat m / (\sqrt{\hat v} + \epsilon)

    with the moments of :class:`Adam`, of the loss alone. :math:`\lambda` is the ``weight_decay`` that all
    optimizers share: with the others it is an L2 penalty and enters the gradient; here it shrinks the
    weights beside it, by the same share whatever the size of their gradients. No penalty is added besides.
    At the default of the estimators and of ``build``, ``weight_decay=0``, AdamW is Adam bitwise; torch's own
    default is 0.01.

    Parameters
    ----------
    betas : tuple of float, default=(0.9, 0.999)
        Decay rates of the first and second moment.
    eps : float, default=1e-8
        Added to the root of the second moment, greater than 0.

    References
    ----------
    I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019. Their decay is
    :math:`\eta_t \lambda` with the schedule's factor :math:`\eta_t` alone; here, as in torch, it is
    proportional to the learning rate.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.optim import AdamW
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW().build([w], lr=0.1, weight_decay=0.5)
    >>> w.grad = torch.zeros(1)
    >>> optimizer.step()
    >>> w
    tensor([0.9500], requires_grad=True)
    """

    _whole: ClassVar[Any] = torch.optim.AdamW
    _by_member: ClassVar[Any] = MemberAdamW

    def limiting_cases(self) -> Iterator[tuple[Recipe, Recipe]]:
        """Without weight decay it is Adam."""
        yield self._at(), Adam(self.betas, self.eps)
