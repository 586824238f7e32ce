"""Mistakes are told in one sentence, before the first epoch where that can be."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from flatcausal.callbacks import SharpnessMonitor
from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.flatness import sharpness
from tests.callbacks.nets import rows, stock_regressor
from tests.estimators.fits import regressor, table


class Batches(Callback):
    """Count what was trained."""

    n_ = 0

    def on_batch_begin(self, net, **kwargs):
        self.n_ += 1


X, y = table()
EARLY = [
    ({"every": 0}, ParameterError, "every must be at least 1, got 0"),
    ({"every": 2.0}, ParameterTypeError, "every must be an integer, got 2.0"),
    ({"measures": "flat"}, ParameterError, "measures must be one of 'adaptive', .* got 'flat'"),
    ({"measures": ["adaptive", "flat"]}, ParameterError, "measures must be one of 'adaptive', .* got 'flat'"),
    ({"measures": []}, ParameterError, "measures is empty"),
    ({"measures": {}}, ParameterError, "measures is empty"),
    ({"measures": 3}, ParameterTypeError, "measures must be a name, a function, or several"),
    (
        {"measures": {"a": 3}},
        ParameterTypeError,
        r"measures\['a'\] must be the name of a measure or a function",
    ),
    ({"measures": {1: "adaptive"}}, ParameterTypeError, "the names of columns as keys, got 1"),
    ({"measures": ["adaptive", "adaptive"]}, ParameterError, "two of the name 'adaptive'"),
    ({"measures": {"a": "headline"}}, ParameterError, "measures must be one of .* got 'headline'"),
    ({"X": X}, ParameterError, "y is missing beside X"),
    ({"y": y}, ParameterError, "X is missing beside y"),
    ({"X": X, "y": y[:5]}, DataError, "y has 5 rows, but X has 70"),
    ({"X": X[:, :2], "y": y}, DataError, "X .* features|X and y do not go through the model"),
    ({"bn": "eval"}, ParameterError, "bn must be one of"),
    ({"n_rows": 1}, ParameterError, "n_rows must be at least 2, got 1"),
    ({"random_state": "0"}, ParameterTypeError, "random_state must be"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), EARLY)
@pytest.mark.parametrize(("make", "data"), [(regressor, table), (stock_regressor, rows)])
def test_before_anything_is_trained(make, data, arguments, error, words):
    count = Batches()
    if "X" in arguments:
        arguments = {**arguments, "X": np.float32(arguments["X"])}
    with pytest.raises(error, match=words) as caught:
        make(callbacks=[count, SharpnessMonitor(**arguments)]).fit(*data())
    assert count.n_ == 0
    assert "\n" not in str(caught.value)


def test_argument_that_not_all_measures_take():
    with pytest.raises(ParameterTypeError, match=r"'rho' is no argument that all measures take: bind it"):
        SharpnessMonitor("adaptive", rho=0.1)
    with pytest.raises(ValueError, match="Invalid parameter"):
        stock_regressor([("m", SharpnessMonitor())]).set_params(callbacks__m__rho=1)


def test_rows_that_cannot_be_read():
    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, i):
            return rows()[0][i], rows()[1][i]

    with pytest.raises(ParameterError, match="cannot be read from a Rows: pass SharpnessMonitor the rows"):
        stock_regressor([SharpnessMonitor()]).fit(Rows(), y=None)
    small = rows(8)
    net = stock_regressor([SharpnessMonitor(X=small[0], y=small[1])]).fit(Rows(), y=None)
    assert net.history[-1, "adaptive"] != net.history[-1, "adaptive"]  # epoch 4 of every 5
    assert net.history[0, "adaptive"] >= 0


@pytest.mark.parametrize(("make", "data"), [(regressor, table), (stock_regressor, rows)])
def test_column_that_is_taken(make, data):
    for callbacks in (
        [SharpnessMonitor(), SharpnessMonitor(every=2)],
        [SharpnessMonitor({"train_loss": "adaptive"})],
        [SharpnessMonitor({"train": sharpness})],
    ):
        with pytest.raises(ParameterError, match=r"The history has a column '.*' already: pass measures as"):
            make(callbacks=callbacks).fit(*data())


@pytest.mark.parametrize("value", ["flat", None, np.zeros((2, 2, 2)), []])
def test_function_that_returns_something_else(value):
    monitor = SharpnessMonitor({"mine": lambda model, X, y, **protocol: value})
    with pytest.raises(
        ParameterTypeError, match=r"measures\['mine'\] must return a FlatnessResult or a number"
    ):
        regressor(callbacks=[monitor]).fit(*table())


def test_function_that_returns_too_few_members():
    monitor = SharpnessMonitor({"mine": lambda model, X, y, **protocol: np.zeros(3)})
    with pytest.raises(ParameterTypeError, match=r"measures\['mine'\] must return .* each of 2 members"):
        regressor(callbacks=[monitor]).fit(*table())
