"""Where the weights were in the course of a training."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback
from torch import Tensor

from flatcausal._validation import check_integer


class WeightsRecorder(Callback):
    """Keep copies of the weights: at the start of a training, and after every ``every`` epochs.

    They are the trajectory that a loss surface shows. The copies lie in the memory of the CPU and cost what
    the model costs each time: 4 bytes for each float32 number of each member, times ``max_epochs / every
    + 1``. They are in a pickle of the estimator, too. A training is bitwise the same with and without.

    Parameters
    ----------
    every : int, default=1
        Epochs from one copy to the next.

    Attributes
    ----------
    checkpoints_ : list of dict of str to Tensor
        Copies of ``module_.named_parameters()`` on the CPU. An estimator's module has one parameter,
        ``"population"`` of shape (n_members, n_numbers).
    epochs_ : list of int
        After how many epochs each was taken; 0 is the start.

    Notes
    -----
    skorch calls the instance that it is given, so ``checkpoints_`` is read from that; of an estimator that
    was cloned, as ``GridSearchCV`` does, from ``callbacks`` of the clone. Recorded are the weights that the
    training passes, not those that ``averaging`` or ``early_stopping`` choose at the end. ``partial_fit`` and
    a resumed fit append; a fit that begins a history begins a list.

    Examples
    --------
    >>> import numpy as np
    >>> from flatcausal import FlatMinimaTabNetRegressor
    >>> from flatcausal.callbacks import WeightsRecorder
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> recorder = WeightsRecorder(every=2)
    >>> est = FlatMinimaTabNetRegressor(max_epochs=6, n_members=3, callbacks=[recorder]).fit(X, X[:, 0])
    >>> recorder.epochs_
    [0, 2, 4, 6]
    >>> bool((recorder.checkpoints_[-1]["population"] == est.net_.module_.population).all())
    True
    """

    def __init__(self, every: int = 1):
        self.every = every

    def initialize(self) -> WeightsRecorder:
        """Check the parameters; what was recorded stays until a history begins."""
        check_integer("every", self.every, low=1)
        if not hasattr(self, "epochs_"):
            self.checkpoints_: list[dict[str, Tensor]] = []
            self.epochs_: list[int] = []
        return self

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Keep the weights that a training starts from."""
        epoch = len(net.history) - 1
        if epoch == 0 or not self.epochs_:
            self._record(net, epoch)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Keep the weights, if it is time."""
        epoch = len(net.history)
        if epoch % self.every == 0:
            self._record(net, epoch)

    def _record(self, net: Any, epoch: int) -> None:
        while self.epochs_ and self.epochs_[-1] >= epoch:  # of an earlier training, or before an interruption
            self.epochs_.pop()
            self.checkpoints_.pop()
        self.epochs_.append(epoch)
        self.checkpoints_.append(
            {name: p.detach().to("cpu", copy=True) for name, p in net.module_.named_parameters()}
        )
