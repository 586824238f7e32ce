"""The loop over epochs, and who may look in or stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skorch.callbacks import Callback, EarlyStopping

from flatcausal.estimators._batches import Table
from flatcausal.estimators._checkpoint import Checkpoint
from flatcausal.estimators._net import PopulationNet
from flatcausal.exceptions import ParameterTypeError


def check_callbacks(callbacks: Any) -> list[Any] | None:
    """Return the skorch callbacks as a list; each may come with its name, or as a class."""
    if callbacks is None:
        return None
    if not isinstance(callbacks, (list, tuple)):
        raise ParameterTypeError(f"callbacks must be a list of skorch callbacks or None, got {callbacks!r}.")
    for entry in callbacks:
        callback = entry[1] if isinstance(entry, tuple) and len(entry) == 2 else entry
        if not issubclass(callback if isinstance(callback, type) else type(callback), Callback):
            raise ParameterTypeError(
                f"callbacks must be skorch callbacks, got {callback!r}; those of scikit-learn are given by "
                f"set_callbacks."
            )
    return list(callbacks)


class EpochTasks:
    """Tell scikit-learn's callbacks of every epoch.

    Parameters
    ----------
    task : CallbackContext
        The fit.
    data : dict
        What hooks may ask for: estimator, X, y, metadata.
    snapshot : callable
        Gives the fitted attributes as if the fit ended now.
    """

    def __init__(self, task: Any, data: dict[str, Any], snapshot: Callable[[], Any]):
        self.task, self.data, self.snapshot = task, data, snapshot

    def begin(self) -> None:
        """An epoch begins."""
        self.epoch = self.task.subcontext(task_name="epoch").call_on_fit_task_begin(**self.data)

    def end(self) -> bool:
        """An epoch is over; returns whether a callback asks to stop."""
        return self.epoch.call_on_fit_task_end(**self.data, reconstruction_attributes=self.snapshot)


def train(
    net: PopulationNet,
    table: Table,
    valid: Table | None,
    checkpoint: Checkpoint | None = None,
    tasks: EpochTasks | None = None,
) -> None:
    """Train until the last epoch is done, all members stopped, or a callback asks to stop."""
    batches = net.batches(table)
    if checkpoint is not None:
        checkpoint.resume(net)
    # Not net.fit: skorch would swallow a keyboard interrupt and keep a half-trained net.
    net.notify("on_train_begin", X=table, y=None)
    try:
        while not net.finished:
            if tasks is not None:
                tasks.begin()
            net.train_epoch(batches, valid)
            if checkpoint is not None:
                checkpoint.save(net)
            if tasks is not None and tasks.end():
                break
    except KeyboardInterrupt:
        if not _stopped_early(net):
            raise
    net.notify("on_train_end", X=table, y=None)


def _stopped_early(net: PopulationNet) -> bool:
    """Whether a skorch callback ended the training: they, too, raise KeyboardInterrupt."""
    stops = [callback for _, callback in net.callbacks_ if isinstance(callback, EarlyStopping)]
    return any(callback.misses_ >= callback.patience for callback in stops)
