"""Stochastic weight averaging: the mean of late epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from flatcausal._validation import check_integer, check_real
from flatcausal.exceptions import ParameterError
from flatcausal.optim.averaging._average import Average
from flatcausal.optim.averaging._recipe import AveragingRecipe


class SWA(AveragingRecipe):
    r"""Stochastic weight averaging: the mean of the weights at the ends of late epochs.

    .. math:: \bar w \leftarrow \bar w + \frac{w - \bar w}{n + 1}

    over :math:`n = 0, 1, \dots` (Izmailov et al., 2018). The paper's constant learning rate is not part of
    it, for an average never alters the trajectory: use ``lr_schedule=None`` for one.

    Parameters
    ----------
    start : float, default=0.75
        Share of the epochs before the first that counts.
    freq : int, default=1
        From then on every ``freq``-th epoch counts.

    References
    ----------
    P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.optim.averaging import SWA
    >>> weights = torch.zeros(1)
    >>> average = SWA(start=0.5).build([weights], n_epochs=4)
    >>> for epoch in range(4):
    ...     _ = weights.add_(1)
    ...     average.after_epoch()
    >>> average.matrix()
    tensor([[3.5000]])
    """

    def __init__(self, start: float = 0.75, freq: int = 1):
        self.start = start
        self.freq = freq

    def _build(self, tensors: list[Tensor], n_members: int, n_epochs: int | None) -> Average:
        start = check_real("start", self.start, low=0.0, high=1.0, open_high=True)
        freq = check_integer("freq", self.freq, low=1)
        if n_epochs is None:
            raise ParameterError("SWA starts after a share of the epochs: give build n_epochs.")
        # The product is rounded, for 0.29 of 100 epochs is 28.999... of them.
        return SWAAverage(tensors, n_members, math.floor(round(start * n_epochs, 6)) + 1, freq)


class SWAAverage(Average):
    """The average that :class:`SWA` builds.

    Parameters
    ----------
    params, n_members
        As of :class:`Average`.
    first : int
        The first epoch that counts, from 1.
    freq : int
        Epochs from one that counts to the next.
    """

    _state = (*Average._state, "epoch")

    def __init__(self, params: Sequence[Tensor], n_members: int, first: int, freq: int):
        super().__init__(params, n_members)
        self.first, self.freq = first, freq
        self.epoch = 0

    def after_epoch(self) -> None:
        """Include the epoch's last weights if it counts."""
        self.epoch += 1
        late = self.epoch - self.first
        if late >= 0 and late % self.freq == 0:
            self._include()
