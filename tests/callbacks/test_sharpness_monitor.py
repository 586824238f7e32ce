"""What a monitor writes, and where."""

import copy
import json
import pickle
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNet
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, PrintLog
from torch import nn

from flatcausal.callbacks import SharpnessMonitor
from flatcausal.flatness import (
    compare_at_matched_loss,
    flatness_report,
    gradient_norm,
    hessian_top_eigenvalues,
    sharpness,
)
from tests.callbacks.nets import MLP, labels, rows, stock_classifier, stock_regressor
from tests.estimators.fits import assert_same, bits, classes, classifier, poison, regressor, table

SEEDED = {"random_state": 0}


def watched(monitor, *others, **params):
    return regressor(**{"max_epochs": 4, **params}, callbacks=[("sharpness", monitor), *others])


@pytest.mark.parametrize(("make", "data"), [(regressor, table), (classifier, classes)])
def test_last_value_is_that_of_the_fitted_estimator(make, data):
    est = make(max_epochs=4, callbacks=[SharpnessMonitor(every=2)]).fit(*data())
    result = sharpness(est, *data())
    np.testing.assert_array_equal(est.history_["member_adaptive"][-1], result.value)
    np.testing.assert_array_equal(est.history_["member_adaptive_loss"][-1], result.loss)
    assert est.history_["adaptive"][-1] == pytest.approx(result.value.mean(), rel=1e-12)
    assert est.net_.history[-1, "adaptive"] == est.history_["adaptive"][-1]


def test_each_value_is_that_of_a_fit_that_ends_there():
    est = watched(SharpnessMonitor(every=1), lr_schedule=None).fit(*table())
    for n_epochs in (1, 2, 3):
        shorter = regressor(max_epochs=n_epochs, lr_schedule=None).fit(*table())
        result = sharpness(shorter, *table())
        np.testing.assert_array_equal(est.history_["member_adaptive"][n_epochs - 1], result.value)


def test_rows_are_those_trained_on():
    X, y = table()
    weight = np.ones(len(X))
    weight[:20] = 0
    est = watched(SharpnessMonitor(every=2)).fit(X, y, weight)
    np.testing.assert_array_equal(est.history_["member_adaptive"][-1], sharpness(est, X[20:], y[20:]).value)
    seen = []

    def measure(model, X, y, **protocol):
        seen.append((X, y))
        return np.zeros(2)

    stopping = watched(SharpnessMonitor({"none": measure}), early_stopping=True).fit(X, y)
    assert stopping.history_["valid_loss"].shape == (4,)
    found, targets = seen[0]
    assert len(found) == len(targets) == 63
    where = [int(np.flatnonzero((row == X).all(1))[0]) for row in found]
    assert len(set(where)) == 63
    np.testing.assert_array_equal(y[where], targets)


def test_rows_that_the_user_fixes():
    X, y = table(40, seed=1)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    train = pd.DataFrame(table()[0], columns=["a", "b", "c"])
    est = watched(SharpnessMonitor(every=2, X=frame, y=y)).fit(train, table()[1])
    np.testing.assert_array_equal(est.history_["member_adaptive"][-1], sharpness(est, frame, y).value)


def test_a_column_as_target_warns_once():
    X, y = table()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watched(SharpnessMonitor(every=1)).fit(X, y[:, None])
    assert len(caught) == 1


@given(every=st.integers(1, 6), n_epochs=st.integers(1, 6))
@settings(max_examples=6)
def test_epochs_that_are_measured(every, n_epochs):
    def measure(model, X, y, **protocol):
        return [1.0, 3.0]

    est = watched(SharpnessMonitor({"mine": measure}, every=every), max_epochs=n_epochs).fit(*table())
    expected = {1, *range(every, n_epochs + 1, every)}
    assert set(np.flatnonzero(np.isfinite(est.history_["mine"])) + 1) == expected
    assert est.history_["member_mine"].shape == (n_epochs, 2)
    assert len(est.net_.history[:, "mine"]) == n_epochs
    assert "mine_loss" not in est.history_


def test_several_measures():
    measures = {
        "one": "adaptive",
        "again": "adaptive",
        "lambda": partial(hessian_top_eigenvalues, k=2),
        "slope": partial(gradient_norm, params="weights"),
    }
    monitor = SharpnessMonitor(measures, every=2, n_rows=32, **SEEDED)
    est = watched(monitor, max_epochs=2).fit(*table())
    found = {name: values[-1] for name, values in est.history_.items() if name.startswith("member_")}
    expected = {
        "one": sharpness(est, *table(), n_rows=32).value,
        "again": sharpness(est, *table(), n_rows=32).value,
        "slope": gradient_norm(est, *table(), n_rows=32, params="weights").value,
        "slope_loss": sharpness(est, *table(), n_rows=32).loss,
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(found[f"member_{name}"], values)
    top = hessian_top_eigenvalues(est, *table(), k=2, n_rows=32, **SEEDED).value
    np.testing.assert_array_equal(np.stack([found["member_lambda_1"], found["member_lambda_2"]], 1), top)


def test_a_group_and_a_sequence():
    est = watched(SharpnessMonitor("headline", n_rows=16, **SEEDED), max_epochs=1).fit(*table())
    report = flatness_report(est, *table(), n_rows=16, **SEEDED)
    for name, part in report.groupby("measure"):
        np.testing.assert_array_equal(est.history_[f"member_{name}"][0], part["value"])
    net = stock_regressor([SharpnessMonitor(["gradient_norm", sharpness])]).fit(*rows())
    assert {"gradient_norm", "gradient_norm_loss", "sharpness", "sharpness_loss"} < net.history[0].keys()


def test_directions_are_the_same_at_each_measurement():
    seeds = []

    def measure(model, X, y, random_state, **protocol):
        seeds.append(random_state)
        return [0.0, 0.0]

    monitor = SharpnessMonitor({"mine": measure}, every=1)
    watched(monitor).fit(*table())
    assert len(seeds) == 4
    assert len({str(seed.state) for seed in seeds}) == 1
    watched(monitor).fit(*table())
    assert len({str(seed.state) for seed in seeds}) == 2
    watched(SharpnessMonitor({"mine": partial(measure, random_state=7)})).fit(*table())
    assert seeds[-1] == 7


@pytest.mark.parametrize(("make", "data"), [(stock_regressor, rows), (stock_classifier, labels)])
def test_stock_net(make, data):
    net = make([("sharpness", SharpnessMonitor(every=2))]).fit(*data())
    values = np.array(net.history[:, "adaptive"])
    np.testing.assert_array_equal(np.isfinite(values), [True, True, False, True])
    train = data()
    if make is stock_classifier:  # skorch holds out a fifth
        part, _ = net.get_split_datasets(*data())
        train = tuple(values[part.indices] for values in data())
    result = sharpness(net, *train, bn="recalibrated")
    assert values[-1] == result.value[0]
    assert net.history[-1, "adaptive_loss"] == result.loss[0]
    json.dumps(net.history.to_list())


def test_running_statistics_of_a_stock_net():
    frozen = SharpnessMonitor({"frozen": "adaptive"}, every=1, bn="frozen")
    net = stock_regressor([frozen, SharpnessMonitor()], max_epochs=1).fit(*rows())
    assert net.history[0, "frozen"] == sharpness(net, *rows()).value[0]
    assert net.history[0, "frozen"] != net.history[0, "adaptive"]


def test_net_that_holds_no_arrays():
    X, y = rows()
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    net = stock_regressor([SharpnessMonitor()]).fit(data, y=None)
    like = stock_regressor([SharpnessMonitor()]).fit(X, y)
    np.testing.assert_array_equal(net.history[:, "adaptive"], like.history[:, "adaptive"])


def test_stacked_module_of_a_stock_net():
    class Bowls(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([[1.0], [2.0]]))

        def forward(self, X):
            return X @ self.w.T

    def losses(output, y):
        return ((output - y) ** 2).mean(0)

    class Sum(nn.Module):
        def forward(self, output, y):
            return losses(output, y).sum()

    net = NeuralNet(
        Bowls,
        criterion=Sum,
        callbacks=[SharpnessMonitor("gradient_norm", loss=losses)],
        train_split=None,
        max_epochs=1,
        verbose=0,
    ).fit(rows()[0][:, :1], rows()[1])
    result = gradient_norm(net, rows()[0][:, :1], rows()[1], loss=losses)
    assert net.history[0, "member_gradient_norm"] == result.value.tolist()
    assert net.history[0, "gradient_norm"] == result.value.mean()


def test_history_columns_keep_their_length_where_nobody_measures():
    est = regressor(callbacks=None).partial_fit(*table())
    est.set_params(callbacks=[SharpnessMonitor(every=2)]).partial_fit(*table()).partial_fit(*table())
    est.set_params(callbacks=None).partial_fit(*table())
    finite = np.isfinite(est.history_["member_adaptive"])
    np.testing.assert_array_equal(finite, np.repeat([[False], [True], [False], [False]], 2, axis=1))
    assert all(len(values) == 4 for values in est.history_.values())


def test_warm_start_begins_a_history():
    est = watched(SharpnessMonitor(every=4), warm_start=True).fit(*table()).fit(*table())
    np.testing.assert_array_equal(np.isfinite(est.history_["adaptive"]), [True, False, False, True])
    net = stock_regressor([SharpnessMonitor(every=3)], warm_start=True).fit(*rows()).fit(*rows())
    finite = np.isfinite(net.history[:, "adaptive"])
    np.testing.assert_array_equal(np.flatnonzero(finite) + 1, [1, 3, 6])


def test_files_keep_the_records(tmp_path):
    est = watched(SharpnessMonitor(every=2)).fit(*table())
    loaded = regressor().load_weights((est.save_weights(tmp_path / "w"), tmp_path / "w")[1])
    for other in (pickle.loads(pickle.dumps(est)), loaded):
        assert_same(bits(est), bits(other))
        assert other.net_.history[-1, "adaptive"] == est.history_["adaptive"][-1]
        other.partial_fit(*table())  # goes on from what was read
        np.testing.assert_array_equal(other.history_["member_adaptive"][:4], est.history_["member_adaptive"])
    net = stock_regressor([SharpnessMonitor()]).fit(*rows())
    read = pickle.loads(pickle.dumps(net)).history
    np.testing.assert_array_equal(read[:, "adaptive"], net.history[:, "adaptive"])
    net.save_params(f_history=tmp_path / "history.json")
    again = stock_regressor().initialize()
    again.load_params(f_history=tmp_path / "history.json")
    np.testing.assert_array_equal(again.history[:, "adaptive"], net.history[:, "adaptive"])


def test_clones_share_nothing():
    X, y = table(40, seed=1)
    measure = partial(sharpness, rho=0.1)
    monitor = SharpnessMonitor({"mine": measure}, every=3, X=X, y=y, n_rows=16, random_state=1)
    monitor.initialize()
    twin = clone(monitor)
    assert twin.get_params().keys() == monitor.get_params().keys()
    assert "measures_" not in vars(twin)
    assert twin.every == 3
    assert twin.n_rows == 16
    assert twin.measures["mine"] is not measure
    assert twin.X is not X
    search = GridSearchCV(
        watched(SharpnessMonitor(every=1), max_epochs=2), {"lr": [0.01, 0.02]}, cv=2, error_score="raise"
    ).fit(*table())
    callbacks = dict(search.best_estimator_.callbacks)
    assert callbacks["sharpness"] is not dict(search.estimator.callbacks)["sharpness"]
    assert not hasattr(dict(search.estimator.callbacks)["sharpness"], "measures_")
    np.testing.assert_array_equal(
        search.best_estimator_.history_["member_adaptive"][-1],
        sharpness(search.best_estimator_, *table()).value,
    )


def test_parameters_are_set_by_name():
    net = stock_regressor([("sharpness", SharpnessMonitor(every=1, n_rows=8))])
    net.set_params(callbacks__sharpness__every=4, callbacks__sharpness__n_rows=16).fit(*rows())
    np.testing.assert_array_equal(np.isfinite(net.history[:, "adaptive"]), [True, False, False, True])
    assert net.history[-1, "adaptive"] == sharpness(net, *rows(), n_rows=16, bn="recalibrated").value[0]


def test_printed_lines_have_one_width(capsys):
    watched(SharpnessMonitor(every=2), verbose=1).fit(*table())
    lines = capsys.readouterr().out.splitlines()
    assert "adaptive" in lines[0]
    assert "adaptive_loss" in lines[0]
    assert len(lines) == 6
    assert "nan" in lines[4]


@pytest.mark.parametrize(("make", "data"), [(regressor, table), (stock_regressor, rows)])
def test_skorch_callbacks_on_the_column(make, data, tmp_path):
    grows = iter(range(1, 100))

    def measure(model, X, y, **protocol):
        return float(next(grows))

    stop = EarlyStopping("mine", patience=3)
    best = Checkpoint(monitor=lambda net: net.history[-1, "mine"] == 1.0, dirname=tmp_path)
    callbacks = [SharpnessMonitor({"mine": measure}, every=2), stop, best]
    fitted = make(max_epochs=9, callbacks=callbacks).fit(*data())
    net = getattr(fitted, "net_", fitted)
    assert len(net.history) == 4
    assert net.history[:, "event_cp"] == [True, False, False]  # the fourth was stopped before


def test_member_that_diverges_leaves_the_others():
    healthy = watched(SharpnessMonitor(every=1)).fit(*table())
    with pytest.warns(UserWarning, match="1 of 2 members diverged"):
        sick = watched(SharpnessMonitor(every=1), poison(1, after=2)).fit(*table())
    found = sick.history_["member_adaptive"]
    np.testing.assert_array_equal(found[:, 0], healthy.history_["member_adaptive"][:, 0])
    np.testing.assert_array_equal(np.isnan(found[:, 1]), [False, False, True, True])
    np.testing.assert_array_equal(sick.history_["adaptive"][2:], found[2:, 0])


class Spoil(Callback):
    """Make all weights NaN at the end of the first epoch."""

    def on_epoch_end(self, net, **kwargs):
        with torch.no_grad():
            for p in net.module_.parameters():
                p.fill_(torch.nan)


def test_net_that_diverges_is_trained_on_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = stock_regressor([SharpnessMonitor(["adaptive", sharpness], every=1), Spoil()]).fit(*rows())
    assert np.isfinite(net.history[0, "adaptive"])
    assert len(net.history) == 4
    for column in ("adaptive", "adaptive_loss", "sharpness", "sharpness_loss"):
        np.testing.assert_array_equal(np.isnan(net.history[:, column]), [False, True, True, True])
    est = watched(SharpnessMonitor(every=1), Spoil())
    with pytest.raises(FloatingPointError, match="Every member diverged"):
        est.fit(*table())


def test_measure_without_a_finite_value_warns_once():
    def measure(model, X, y, **protocol):
        raise FloatingPointError("The radius is too large: pass a smaller one.")

    with pytest.warns(RuntimeWarning, match="epoch 1: The radius is too large") as caught:
        est = watched(SharpnessMonitor({"mine": measure, "adaptive": "adaptive"}, every=1)).fit(*table())
    assert len(caught) == 1
    assert np.isnan(est.history_["member_mine"]).all()
    assert np.isfinite(est.history_["adaptive"]).all()


def test_columns_stay_where_a_function_fails_later():
    calls = []

    def measure(model, X, y, **protocol):
        calls.append(1)
        if len(calls) > 1:
            raise FloatingPointError("No number.")
        return [[1.0, 2.0]]

    with pytest.warns(RuntimeWarning, match="No number"):
        net = stock_regressor([SharpnessMonitor({"mine": measure}, every=1)]).fit(*rows())
    assert [{name for name in row if "mine" in name} for row in net.history] == [{"mine_1", "mine_2"}] * 4
    np.testing.assert_array_equal(net.history[:, "mine_2"], [2, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(("make", "data"), [(regressor, table), (classifier, classes)])
def test_a_function_may_predict(make, data):
    def score(model, X, y, **protocol):
        return model.score(X, y)

    est = make(max_epochs=2, callbacks=[SharpnessMonitor(score, every=1)]).fit(*data())
    assert est.history_["score"][-1] == est.score(*data())


class Copies(Callback):
    """Keep copies of the net in the middle of its training."""

    def on_epoch_end(self, net, **kwargs):
        self.found_ = []
        self.found_ = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net)]


def test_net_is_copied_in_the_middle_without_the_rows():
    copies = Copies()
    est = watched(SharpnessMonitor(every=1), copies).fit(*table())
    assert len(copies.found_) == 2
    for net in copies.found_:
        assert net.mid_fit_ is None
        assert torch.equal(net.module_.population, est.net_.module_.population)


def test_example_compares_at_matched_loss():
    def trained(optimizer, lr):
        monitor = SharpnessMonitor(["adaptive", "gradient_norm"], every=2)
        est = watched(monitor, optimizer=optimizer, lr=lr, max_epochs=10).fit(*table())
        return pd.DataFrame(
            {name: est.history_[name] for name in ("epoch", "adaptive", "adaptive_loss")}
        ).dropna()

    runs = {"adam": trained("adam", 0.01), "sam": trained("sam", 0.05)}
    assert runs["sam"]["epoch"].tolist() == [1, 2, 4, 6, 8, 10]
    compared = compare_at_matched_loss(runs, "adaptive", loss="adaptive_loss")
    level = max(run["adaptive_loss"].min() for run in runs.values())
    assert compared["loss"].tolist() == [level, level]
    for name, run in runs.items():
        assert compared.set_index("run")["final_adaptive"][name] == run["adaptive"].iloc[-1]


def test_net_with_print_log_and_monitor_class():
    net = stock_regressor([SharpnessMonitor, PrintLog(sink=lambda text: None)]).fit(*rows())
    assert np.isfinite(net.history[0, "adaptive"])
    assert isinstance(net.module_, MLP)


def test_fit_does_not_keep_the_rows():
    est = watched(SharpnessMonitor()).fit(*table())
    assert est.net_.mid_fit_ is None
    assert est.partial_fit(*table()).net_.mid_fit_ is None
