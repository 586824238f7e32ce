"""Flatness along a training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Unpack

import numpy as np
import torch
from skorch.callbacks import Callback

from flatcausal._random import seed_sequence
from flatcausal._validation import check_integer
from flatcausal.callbacks._measures import Measures
from flatcausal.callbacks._present_model import present_model
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.flatness import Protocol, flatness_report

Measure = str | Callable[..., Any]


class SharpnessMonitor(Callback):
    """Measure flatness in the course of a training, and write it into the history.

    Measured are the weights after the first epoch and after every ``every`` epochs; a history has NaN in the
    others. For each measure there are two columns: its own, and the loss that it was taken at, by which
    :func:`flatcausal.flatness.compare_at_matched_loss` compares runs. ``history_`` of an estimator has them
    for each member as well (``member_adaptive``, ``member_adaptive_loss``), and a history's value is the mean
    over members that have one. A training is bitwise the same with and without this callback.

    What it cannot tell: weights are measured where a training passes, not at a minimum; and not those that
    ``averaging`` or ``early_stopping`` choose at the end, which ``flatness_report`` measures.

    Parameters
    ----------
    measures : str, callable, sequence or dict, default="adaptive"
        A name or a group of :func:`flatcausal.flatness.flatness_report`; a function ``measure(model, X, y,
        **protocol)`` that returns a ``FlatnessResult`` or a number for each member, such as
        ``functools.partial(hessian_top_eigenvalues, k=1)``; or several of them, in a dict if their columns
        shall have names of their own. A function that returns k values a member fills columns ``name_1`` to
        ``name_k``.
    every : int, default=5
        Epochs from one measurement to the next. One with ``"adaptive"`` costs a gradient and two losses over
        the measured rows, in an estimator also a pass over its training rows for their statistics.
    X, y : array-like, optional
        Rows to measure on, as the model takes them. The training rows if None, without those held out or of
        weight zero; else ``sample_weight`` and ``class_weight`` play no part.
    **protocol
        See :class:`flatcausal.flatness.Protocol`; what a partial binds wins. Directions are the same at each
        measurement. The default of ``bn`` is statistics that belong to the weights: those of an estimator are
        re-estimated on its training rows before it is measured, and any other net's are taken from the
        measured rows (``"recalibrated"``), because running ones lag behind.

    Warns
    -----
    RuntimeWarning
        If a measure is not finite for any member although the training is; the history then has NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from flatcausal import FlatMinimaTabNetRegressor
    >>> from flatcausal.callbacks import SharpnessMonitor
    >>> from flatcausal.flatness import compare_at_matched_loss
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> y = X[:, 0] + X[:, 1] ** 2
    >>> def trained(optimizer):
    ...     monitor = SharpnessMonitor("adaptive", every=5, random_state=0)
    ...     est = FlatMinimaTabNetRegressor(
    ...         optimizer=optimizer, max_epochs=20, n_members=2, random_state=0, callbacks=[monitor]
    ...     ).fit(X, y)
    ...     return pd.DataFrame({name: est.history_[name] for name in ("adaptive", "adaptive_loss")}).dropna()
    >>> runs = {name: trained(name) for name in ("adam", "sam")}
    >>> (runs["sam"].index + 1).tolist()  # epochs
    [1, 5, 10, 15, 20]
    >>> compare_at_matched_loss(runs, "adaptive", loss="adaptive_loss")["run"].tolist()
    ['adam', 'sam']

    A member's own record is a column of ``est.history_["member_adaptive"]``, shape (n_epochs, n_members).
    A skorch net's is read from ``net.history[:, ("adaptive", "adaptive_loss")]``. skorch's ``EarlyStopping``
    and ``Checkpoint``, later in the list, see the columns; an epoch without a measurement counts as one
    without improvement, so patience is to be longer than ``every``.
    """

    def __init__(
        self,
        measures: Measure | Sequence[Measure] | Mapping[str, Measure] = "adaptive",
        every: int = 5,
        *,
        X: Any = None,
        y: Any = None,
        **protocol: Unpack[Protocol],
    ):
        unknown = protocol.keys() - Protocol.__annotations__.keys()
        if unknown:
            raise ParameterTypeError(
                f"{min(unknown)!r} is no argument that all measures take: bind it to a function, such as "
                f"functools.partial(sharpness, rho=0.1)."
            )
        self.measures = measures
        self.every = every
        self.X = X
        self.y = y
        vars(self).update(protocol)  # each a parameter, for clone and set_params

    def initialize(self) -> SharpnessMonitor:
        """Check the parameters and begin anew."""
        check_integer("every", self.every, low=1)
        if (self.X is None) != (self.y is None):
            given, missing = ("y", "X") if self.X is None else ("X", "y")
            raise ParameterError(
                f"{missing} is missing beside {given}: pass both, or neither for the training rows."
            )
        self.measures_ = Measures(self.measures)
        self.seed_ = seed_sequence(getattr(self, "random_state", None))
        self.columns_: list[str] = []
        self.warned_ = False
        return self

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Before the first epoch, let rows and protocol show that they can be used."""
        if len(net.history) > 1:
            return
        with self._model(net, dataset_train) as (model, X, y, bn):
            if self.measures_.named:
                with suppress(FloatingPointError):  # recorded if it lasts
                    flatness_report(model, X, y, ["gradient_norm"], **self._protocol(bn))

    def on_epoch_end(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Measure, if it is time."""
        epoch = len(net.history)
        if epoch > 1 and epoch % self.every:
            self._record(net, {column: np.array([np.nan]) for column in self.columns_})
            return
        with self._model(net, dataset_train) as (model, X, y, bn):
            found, complaints = self.measures_(model, X, y, self._protocol(bn))
        self.columns_ = list(found)
        self._record(net, found)
        if complaints and not self.warned_ and np.isfinite(net.history[-1].get("train_loss", np.nan)):
            self.warned_ = True
            warnings.warn(
                f"NaN is recorded for a measure of epoch {epoch}: {complaints[0]}",
                RuntimeWarning,
                stacklevel=2,
            )

    def _model(self, net: Any, dataset: Any) -> Any:
        return present_model(net, dataset, None if self.X is None else (self.X, self.y))

    def _protocol(self, bn: str) -> dict[str, Any]:
        given = {name: value for name, value in vars(self).items() if name in Protocol.__annotations__}
        return {"bn": bn, **given, "random_state": self.seed_}

    def _record(self, net: Any, found: dict[str, np.ndarray]) -> None:
        history = net.history
        for column, values in found.items():
            if column in history[-1]:
                raise ParameterError(
                    f"The history has a column {column!r} already: pass measures as a dict, which names "
                    f"columns."
                )
            if hasattr(history, "record_members"):
                history.record_members(column, _of_members(net.module_.n_members, column, values))
                continue
            finite = values[np.isfinite(values)]
            history.record(column, float(finite.mean()) if len(finite) else float("nan"))
            if len(values) > 1:
                history.record(f"member_{column}", values.tolist())


def _of_members(n_members: int, column: str, values: np.ndarray) -> torch.Tensor:
    if len(values) not in (1, n_members):
        raise ParameterTypeError(
            f"measures[{column!r}] must return one value for each of {n_members} members, got {len(values)}."
        )
    return torch.from_numpy(np.broadcast_to(values, n_members).copy())
