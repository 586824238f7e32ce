"""RMSprop: every weight's step is measured by the running size of its gradient."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from flatcausal._validation import check_real
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target


class RMSprop(Recipe):
    r"""RMSprop, one gradient per step.

    .. math:: v \leftarrow \alpha v + (1 - \alpha) g^2, \qquad
              w \leftarrow w - \eta\, g / (\sqrt v + \epsilon)

    The average starts at zero and is not corrected for it: the first step is
    :math:`\eta / \sqrt{1 - \alpha}` long, ten times the learning rate by default.

    Parameters
    ----------
    alpha : float, default=0.99
        Decay rate of the second moment, in [0, 1).
    eps : float, default=1e-8
        Added to the root of the second moment, greater than 0.

    References
    ----------
    T. Tieleman and G. Hinton, "Lecture 6.5: rmsprop", Neural Networks for Machine Learning, 2012.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.optim import RMSprop
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = RMSprop(alpha=0.75).build([w], lr=0.1)
    >>> w.grad = torch.tensor([3.0])
    >>> optimizer.step()
    >>> w
    tensor([0.8000], requires_grad=True)
    """

    def __init__(self, alpha: float = 0.99, eps: float = 1e-8):
        self.alpha = alpha
        self.eps = eps

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given."""
        return 0.01

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        alpha = check_real("alpha", self.alpha, low=0.0, high=1.0, open_high=True)
        eps = check_real("eps", self.eps, low=0.0, open_low=True)
        return torch.optim.RMSprop(target.params, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay)
