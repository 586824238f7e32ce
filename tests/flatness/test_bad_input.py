"""One sentence that names the argument and the cure."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from flatcausal import FlatMinimaTabNetRegressor
from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.flatness import (
    flatness_report,
    gradient_norm,
    local_energy,
    pac_bayes_sigma,
    relative_flatness,
    sharpness,
)
from tests.flatness.models import data, labels, mlp, normalized_net, regressor

MSE = nn.MSELoss()
X, Y = data()
COLUMN = Y[:, None]


@pytest.fixture(scope="module")
def fitted():
    return regressor(max_epochs=1)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"kind": "sharp"}, ParameterError, "kind.*'adaptive'"),
        ({"rho": 0.0}, ParameterError, "rho"),
        ({"rho": -1.0}, ParameterError, "rho"),
        ({"n_draws": 1}, ParameterError, "n_draws"),
        ({"n_steps": 0}, ParameterError, "n_steps"),
        ({"m": 1}, ParameterError, "m must be at least 2"),
        ({"bn": "eval"}, ParameterError, "bn must be one of 'frozen'"),
        ({"bn": "train", "batch_size": 8}, ParameterError, "batch_size must be None"),
        ({"params": "biases"}, ParameterError, "params must be one of 'all', 'weights'"),
        ({"params": lambda name: False}, ParameterError, "params chooses nothing"),
        ({"n_rows": 1}, ParameterError, "n_rows"),
        ({"dtype": "float64"}, ParameterTypeError, "dtype"),
        ({"dtype": torch.int64}, ParameterTypeError, "dtype"),
        ({"randomstate": 0}, ParameterTypeError, "'randomstate' is no argument.*random_state"),
        ({"loss": MSE}, ParameterError, "loss must be None"),
        ({"normalize_logits": True}, ParameterError, "normalize_logits=True needs a classifier"),
        ({"model": "net_"}, ParameterTypeError, "pass the estimator itself"),
        ({"model": "no model"}, ParameterTypeError, "nn.Module"),
        ({"model": nn.Linear(3, 1)}, ParameterError, "loss is needed"),
        ({"model": nn.Linear(3, 1), "loss": 3}, ParameterTypeError, "loss must be a function"),
        ({"model": FlatMinimaTabNetRegressor()}, NotFittedError, "not fitted"),
        ({"model": NeuralNetRegressor(nn.Linear)}, NotFittedError, "not fitted"),
        ({"y": np.zeros(3)}, DataError, "y has 3 rows, but X has 60"),
        ({"X": np.zeros((60, 2))}, ValueError, "2 features"),
        ({"X": np.zeros((0, 3)), "y": np.zeros(0)}, DataError, "X has no rows"),
        ({"X": 3.0}, DataError, "X must be a table"),
        ({"rho": 1e3}, ParameterError, "rho=1000.0 moves the weights by more than their own sizes"),
        ({"kind": "adaptive_linf", "rho": 1.5}, ParameterError, "pass at most 1 "),
        ({"kind": "adaptive_average", "rho": 1.5}, ParameterError, "pass at most 1 "),
        ({"kind": "adaptive", "params": lambda name: "norm" in name}, ParameterError, "chooses no weights"),
    ],
)
def test_arguments(fitted, arguments, error, match):
    if arguments.get("model") == "net_":
        arguments = {"model": fitted.net_}
    with pytest.raises(error, match=match):
        sharpness(**{"model": fitted, "X": X, "y": Y, **arguments})


def frozen():
    return mlp().requires_grad_(False)


@pytest.mark.parametrize(
    ("model", "arguments", "error", "match"),
    [
        (frozen(), {}, ParameterError, "no trainable parameters"),
        (nn.Flatten(), {}, ParameterError, "no trainable parameters"),
        (mlp(), {"X": np.zeros((60, 2))}, DataError, "do not go through the model"),
        (mlp(), {"X": [["a", "b", "c"]] * 60}, DataError, "X must be an array of numbers"),
        (mlp(), {"loss": nn.MSELoss(reduction="sum")}, ParameterError, "reduction='sum'"),
        (mlp(), {"loss": nn.MSELoss(reduction="none")}, ParameterError, "reduction='none'"),
        (mlp(), {"loss": lambda z, y: (z - y).square().sum()}, ParameterError, "mean over rows.*rows twice"),
        (
            mlp(),
            {"loss": lambda z, y: (z - y).square()},
            ParameterError,
            "loss must be a mean over rows: it gave",
        ),
        (mlp(), {"include_regularizer": True}, ParameterError, "write the penalty into loss"),
        (normalized_net(), {"bn": "train", "batch_size": 9}, ParameterError, "batch_size must be None"),
    ],
)
def test_modules(model, arguments, error, match):
    with pytest.raises(error, match=match):
        sharpness(**{"model": model, "X": X, "y": COLUMN, "loss": MSE, **arguments})


def test_rows_that_normalise_each_other_are_not_cut():
    net = mlp()
    net.append(nn.BatchNorm1d(1, track_running_stats=False).double())
    with pytest.raises(ParameterError, match=r"batch_size=9.*normalise each other"):
        sharpness(net, X, COLUMN, loss=MSE, batch_size=9)


def test_class_weights_are_no_mean_over_batches():
    net, (rows, y) = mlp(3, 3), labels()
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]))
    assert np.isfinite(sharpness(net, rows, y, loss=loss).value).all()
    with pytest.raises(ParameterError, match="batch_size=60"):
        sharpness(net, rows, y, loss=loss, batch_size=20)


def test_a_net_with_a_sum_for_a_criterion():
    net = NeuralNetRegressor(
        nn.Linear(3, 1), criterion=nn.MSELoss(reduction="sum"), max_epochs=1, train_split=None, verbose=0
    ).fit(X, COLUMN)
    with pytest.raises(ParameterError, match=r"reduction='sum': pass loss"):
        sharpness(net, X, COLUMN)
    assert sharpness(net, X, COLUMN, loss=MSE).n_rows == 60


def test_probabilities_are_no_logits():
    rows, y = labels()
    net = NeuralNetClassifier(
        nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)), max_epochs=1, train_split=None, verbose=0
    ).fit(rows, y)
    with pytest.raises(ParameterError, match="probabilities"):
        sharpness(net, rows, y, normalize_logits=True)


def test_a_model_that_cannot_be_copied():
    net = mlp()
    net.computed = net[0].weight * 2
    with pytest.raises(ParameterTypeError, match="cannot be copied"):
        sharpness(net, X, COLUMN, loss=MSE)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda est: local_energy(est, X, Y, of="error"), "needs classes"),
        (lambda est: local_energy(est, X, Y, of="accuracy"), "of must be one of"),
        (lambda est: local_energy(est, X, Y, sigmas=[0.2, 0.1]), "sigmas must rise"),
        (lambda est: local_energy(est, X, Y, sigmas=[2.0]), "at most 1"),
        (lambda est: pac_bayes_sigma(est, X, Y, deviation=0.0), "deviation"),
        (lambda est: relative_flatness(est, X, Y, layer="output"), "must be None"),
        (lambda est: relative_flatness(est, X, Y, include_regularizer=True), "include_regularizer=False"),
        (lambda est: relative_flatness(mlp(), X, COLUMN, layer="head", loss=MSE), "layer must name.*0, 2, 4"),
        (lambda est: gradient_norm(est, X, Y, initial=mlp()), "initial must be the same model"),
        (lambda est: flatness_report(est, X, Y, "everything"), "measures must be one of 'headline', 'all'"),
        (lambda est: flatness_report(est, X, Y, []), "measures is empty"),
    ],
)
def test_other_measures(fitted, call, match):
    with pytest.raises(ParameterError, match=match):
        call(fitted)
