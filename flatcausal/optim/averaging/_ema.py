"""The exponential moving average of all steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flatcausal._validation import check_real
from flatcausal.optim.averaging._average import Average
from flatcausal.optim.averaging._recipe import AveragingRecipe


class EMA(AveragingRecipe):
    r"""Exponential moving average of the weights after every step (Polyak & Juditsky, 1992).

    .. math:: \bar w_t = \frac{\sum_{i \le t} d^{\,t - i}\, w_i}{\sum_{i \le t} d^{\,t - i}}

    which is the usual :math:`\bar w \leftarrow d\, \bar w + (1 - d)\, w` but for its beginning: that
    recurrence starts at the first weights and lets them count as much as the :math:`1 / (1 - d)` weights
    after them, which in a fit of few steps is nearly all. Here all weights count by their age alone.

    Parameters
    ----------
    decay : float, default=0.999
        The factor :math:`d` by which weights count less with every step; 0 keeps the last.

    References
    ----------
    B. T. Polyak and A. B. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control
    Optim. 1992.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.optim.averaging import EMA
    >>> weights = torch.zeros(1)
    >>> average = EMA(decay=0.5).build([weights])
    >>> for step in range(2):
    ...     _ = weights.add_(3)
    ...     average.after_step()
    >>> average.matrix()  # (0.5 * 3 + 6) / 1.5
    tensor([[5.]])
    """

    def __init__(self, decay: float = 0.999):
        self.decay = decay

    def _build(self, tensors: list[Tensor], n_members: int, n_epochs: int | None) -> Average:
        return EMAAverage(
            tensors, n_members, check_real("decay", self.decay, low=0.0, high=1.0, open_high=True)
        )


class EMAAverage(Average):
    """The average that :class:`EMA` builds.

    Parameters
    ----------
    params, n_members
        As of :class:`Average`.
    decay : float
        Factor by which weights count less with every step.
    """

    def __init__(self, params: Sequence[Tensor], n_members: int, decay: float):
        super().__init__(params, n_members)
        self.log_decay = math.log(decay) if decay > 0 else -math.inf

    def after_step(self, validation_loss: Callable[[], Any] | None = None) -> None:
        """Include the weights."""
        self._include(self._rate)

    def _rate(self, count: Tensor) -> Tensor:
        """(1 - d) / (1 - d**count), exactly 1 for the first weights and accurate for d next to 1."""
        first, now = torch.expm1(self.log_decay * torch.stack([torch.ones_like(count), count]))
        return first / now
