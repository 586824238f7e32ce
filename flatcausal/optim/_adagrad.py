"""Adagrad: every weight slows down as its squared gradients add up."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from flatcausal._validation import check_real
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target


class Adagrad(Recipe):
    r"""Adagrad with a diagonal matrix, one gradient per step.

    .. math:: s \leftarrow s + g^2, \qquad w \leftarrow w - \eta\, g / (\sqrt s + \epsilon)

    Parameters
    ----------
    eps : float, default=1e-10
        Added to the root of the sum, greater than 0.

    References
    ----------
    J. Duchi, E. Hazan and Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 2011, Figure 1.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.optim import Adagrad
    >>> w = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> optimizer = Adagrad().build([w], lr=0.1)
    >>> w.grad = torch.tensor([100.0, -0.01])
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 1.1000], requires_grad=True)
    """

    def __init__(self, eps: float = 1e-10):
        self.eps = eps

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given."""
        return 0.1

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        eps = check_real("eps", self.eps, low=0.0, open_low=True)
        return torch.optim.Adagrad(target.params, lr=lr, eps=eps, weight_decay=weight_decay)
