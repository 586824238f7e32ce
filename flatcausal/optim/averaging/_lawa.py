"""Latest weight averaging: the mean of the last epochs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flatcausal._validation import check_integer
from flatcausal.optim.averaging._average import Average, moved
from flatcausal.optim.averaging._recipe import AveragingRecipe


class LAWA(AveragingRecipe):
    r"""Latest weight averaging: the mean of the weights at the ends of the last ``k`` epochs.

    .. math:: \bar w = \frac{1}{k} \sum_{e = E - k + 1}^{E} w_e

    after epoch :math:`E`; of all epochs while there are fewer (Kaddour, 2022). It holds ``k`` copies of the
    weights.

    Parameters
    ----------
    k : int, default=6
        Epochs in the mean.

    References
    ----------
    J. Kaddour, "Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight
    Averaging", 2022, arXiv:2209.14981.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.optim.averaging import LAWA
    >>> weights = torch.zeros(1)
    >>> average = LAWA(k=2).build([weights])
    >>> for epoch in range(4):
    ...     _ = weights.add_(1)
    ...     average.after_epoch()
    >>> average.matrix()
    tensor([[3.5000]])
    """

    def __init__(self, k: int = 6):
        self.k = k

    def _build(self, tensors: list[Tensor], n_members: int, n_epochs: int | None) -> Average:
        k = check_integer("k", self.k, low=1)
        return LAWAAverage(tensors, n_members, k if n_epochs is None else min(k, n_epochs))


class LAWAAverage(Average):
    """The average that :class:`LAWA` builds.

    Parameters
    ----------
    params, n_members
        As of :class:`Average`.
    k : int
        Epochs in the mean.
    """

    _state = ("active", "count", "latest")

    def __init__(self, params: Sequence[Tensor], n_members: int, k: int):
        super().__init__(params, n_members)
        self.latest = self.mean.new_zeros(n_members, k, self.mean.shape[1])

    def after_epoch(self) -> None:
        """Put the epoch's last weights in place of the oldest, by member: some may have stopped."""
        weights = self._finite_weights()
        members = self.active.nonzero()[:, 0]
        self.latest[members, self.count[members] % self.latest.shape[1]] = weights[members]
        self.count = self.count + self.active

    def _mean(self) -> Tensor:
        mean = torch.zeros_like(self.mean)
        for i, weights in enumerate(self.latest.unbind(1)):
            mean = moved(mean, weights, mean.new_full((self.n_members,), 1 / (i + 1)), i < self.count)
        return mean
