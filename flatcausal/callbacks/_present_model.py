"""A net in the middle of its training, as measures of flatness take it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skorch.utils import data_from_dataset

from flatcausal.exceptions import ParameterError


@contextmanager
def present_model(
    net: Any, dataset: Any, rows: tuple[Any, Any] | None
) -> Iterator[tuple[Any, Any, Any, str]]:
    """The model, the rows X and y to measure on, and the mode of batch normalisation that suits them.

    Parameters
    ----------
    net : NeuralNet
        Under training.
    dataset : Dataset
        Its training rows.
    rows : (X, y), optional
        The user's rows; the training rows if None.
    """
    mid_fit = getattr(net, "mid_fit_", None)
    if mid_fit is None:
        yield net, *(_training_rows(dataset) if rows is None else rows), "recalibrated"
        return
    with mid_fit.present(dataset) as estimator:
        yield estimator, *(mid_fit.rows(dataset) if rows is None else rows), "frozen"


def _training_rows(dataset: Any) -> tuple[Any, Any]:
    try:
        X, y = data_from_dataset(dataset)
    except AttributeError:
        X, y = None, None
    if X is None or y is None:
        raise ParameterError(
            f"The training rows cannot be read from a {type(dataset).__name__}: pass SharpnessMonitor the "
            f"rows to measure on as X= and y=."
        )
    return X, y
