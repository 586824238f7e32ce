"""Each member stops at its own best epoch, judged on rows that nobody trains on."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch.callbacks import Callback

from flatcausal.exceptions import DataError, ParameterError
from tests.estimators.fits import (
    AtEpochEnd,
    assert_same,
    bits,
    classes,
    classifier,
    member_bits,
    poison,
    regressor,
    table,
)

STOPPING = {
    **{"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 2, "max_epochs": 12},
    **{"optimizer": "adam", "lr": 0.1, "lr_schedule": None, "random_state": 2},
}


class Rows(Callback):
    """Collect the rows that gradients are taken of, and those that losses are judged on."""

    def __init__(self):
        self.trained, self.judged = set(), set()

    def on_grad_computed(self, net, named_parameters, batch, **kwargs):
        self.trained |= {tuple(row) for row in batch.X.flatten(0, -2).tolist()}

    def on_epoch_end(self, net, dataset_valid, **kwargs):
        self.judged |= {tuple(row) for row in dataset_valid.X.tolist()}


@pytest.fixture(scope="module")
def stopped():
    return regressor(**STOPPING, n_members=5).fit(*table())


def test_members_stop_at_epochs_of_their_own(stopped):
    losses = stopped.history_["member_valid_loss"]
    first_best = np.array(
        [np.argmin(losses[: epoch + 2, k]) + 1 for k, epoch in enumerate(stopped.best_epoch_)]
    )
    np.testing.assert_array_equal(stopped.best_epoch_, first_best)
    assert len(set(stopped.best_epoch_)) > 1
    assert stopped.n_iter_ == min(stopped.best_epoch_.max() + 2, 12)


def test_a_member_does_not_depend_on_how_long_others_run():
    def spur_on(net, epoch):
        net.monitor_.misses[2] = 0
        net.monitor_.active[2] = True

    pair = regressor(**STOPPING, n_members=2).fit(*table())
    three = regressor(**STOPPING, n_members=3, callbacks=[AtEpochEnd(spur_on)]).fit(*table())
    assert pair.n_iter_ < three.n_iter_ == 12
    expected = member_bits(three, [0, 1])
    for name, value in member_bits(pair, [0, 1]).items():
        of_both = expected[name][:, : pair.n_iter_] if name.startswith("history") else expected[name]
        np.testing.assert_array_equal(value, of_both, err_msg=name)


def test_kept_weights_are_those_of_the_best_epoch(stopped):
    for k, epoch in enumerate(stopped.best_epoch_):
        params = {**STOPPING, "n_iter_no_change": 99, "max_epochs": int(epoch)}
        until_then = regressor(**params, n_members=5).fit(*table())
        assert until_then.best_epoch_[k] == epoch
        kept, expected = member_bits(stopped, [k]), member_bits(until_then, [k])
        for name in ("weights", "statistics", "predictions", "importances"):
            np.testing.assert_array_equal(kept[name], expected[name], err_msg=name)


def test_validation_rows_are_not_trained_on():
    X, y = table()
    rows = Rows()
    regressor(**STOPPING, callbacks=[rows]).fit(X, y)
    everything = {tuple(row) for row in X.astype(np.float32).tolist()}
    assert rows.trained | rows.judged == everything
    assert not rows.trained & rows.judged
    assert len(rows.judged) == 21


def test_targets_of_validation_rows_teach_nothing():
    X, y = table()
    rows = Rows()
    params = {**STOPPING, "max_epochs": 3, "n_iter_no_change": 9, "scale_target": False}
    regressor(**params, callbacks=[rows]).fit(X, y)
    is_judged = np.array([tuple(row) in rows.judged for row in X.astype(np.float32).tolist()])
    states = []
    for target in (y, np.where(is_judged, 100 - y, y)):
        callback = AtEpochEnd(lambda net, epoch: states.append(net.module_.population.detach().clone()))
        regressor(**params, callbacks=[callback]).fit(X, target)
    assert all(torch.equal(*pair) for pair in zip(states[:3], states[3:], strict=True))


def test_validation_loss_is_the_mean_loss_of_the_kept_weights_on_the_held_out_rows(stopped):
    X, y = table()
    rows = Rows()
    regressor(**{**STOPPING, "max_epochs": 1}, callbacks=[rows]).fit(X, y)
    judged = np.array([tuple(row) in rows.judged for row in X.astype(np.float32).tolist()])
    losses = stopped.data_loss(X[judged], y[judged])(stopped.net_.module_).detach().numpy()
    kept = stopped.history_["member_valid_loss"][stopped.best_epoch_ - 1, np.arange(5)]
    np.testing.assert_allclose(losses, kept, rtol=1e-5)


@pytest.mark.parametrize("patience", [1, 3])
def test_without_improvement_the_fit_ends_after_n_iter_no_change_more_epochs(patience):
    params = {**STOPPING, "lr": 0.0, "n_iter_no_change": patience}
    est = regressor(**params).fit(*table())
    assert est.n_iter_ == 1 + patience
    assert est.best_epoch_.tolist() == [1, 1]


def test_a_classifier_holds_out_rows_of_each_class_alike():
    X, y = classes()
    rows = Rows()
    classifier(**STOPPING, callbacks=[rows]).fit(X, y)
    judged = np.array([tuple(row) in rows.judged for row in X.astype(np.float32).tolist()])
    for name in np.unique(y):
        assert abs(judged[y == name].mean() - 0.3) < 0.5 / (y == name).sum() + 1e-9


def test_zero_weight_rows_are_as_if_removed():
    X, y = table()
    weight = np.ones(70)
    weight[::7] = 0
    weighted = regressor(**STOPPING).fit(X, y, weight)
    removed = regressor(**STOPPING).fit(X[weight > 0], y[weight > 0], weight[weight > 0])
    assert_same(bits(weighted), bits(removed))


@pytest.mark.parametrize("after", [1, 2])
def test_a_member_that_diverges_keeps_its_best_weights_and_lets_the_others_go_on(after):
    params = {**STOPPING, "n_iter_no_change": 9, "max_epochs": 5, "n_members": 3}
    healthy = regressor(**params).fit(*table())
    with pytest.warns(ConvergenceWarning, match=f"member 0 in epoch {after + 1}"):
        sick = regressor(**params, callbacks=[poison(0, after)]).fit(*table())
    assert_same(member_bits(sick, [1, 2]), member_bits(healthy, [1, 2]))
    assert sick.diverged_.tolist() == [True, False, False]
    best = np.argmin(healthy.history_["member_valid_loss"][:after, 0]) + 1
    assert sick.best_epoch_[0] == best
    assert np.isfinite(sick.predict_members(table()[0])).all()
    assert np.isfinite(sick.history_["valid_loss"]).all()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_divergence_in_the_first_epoch_keeps_the_initial_weights(early_stopping):
    class PoisonAtOnce(Callback):
        def on_train_begin(self, net, **kwargs):
            initial.append(net.module_.population[1].detach().clone())
            with torch.no_grad():
                net.module_.population[1] = float("nan")

    initial = []
    params = {**STOPPING, "early_stopping": early_stopping, "max_epochs": 3}
    with pytest.warns(ConvergenceWarning, match="member 1 in epoch 1"):
        est = regressor(**params, callbacks=[PoisonAtOnce()]).fit(*table())
    assert est.best_epoch_[1] == 0
    assert torch.equal(est.net_.module_.population[1], initial[0])


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("earlier", [False, True])
def test_if_all_diverge_the_estimator_stays_as_it_was(early_stopping, earlier):
    params = {**STOPPING, "early_stopping": early_stopping}
    est = regressor(**params)
    if earlier:
        before = bits(est.fit(*table()))
    est.set_params(callbacks=[poison(slice(None))])
    with pytest.raises(FloatingPointError, match=r"Every member diverged with 'adam'.*epoch 2.*lower lr"):
        est.fit(*table(seed=1))
    if earlier:
        assert_same(bits(est), before)
    else:
        with pytest.raises(NotFittedError):
            est.predict(table()[0])


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"validation_fraction": 0.0}, ParameterError, "validation_fraction"),
        ({"validation_fraction": 1.0}, ParameterError, "validation_fraction"),
        ({"validation_fraction": 0.99}, DataError, "early_stopping cannot hold out 0.99 of 70 rows"),
        ({"n_iter_no_change": 0}, ParameterError, "n_iter_no_change"),
        ({"early_stopping": "yes"}, TypeError, "early_stopping"),
    ],
)
def test_bad_parameters_are_named(params, error, match):
    with pytest.raises(error, match=match):
        regressor(**{**STOPPING, **params}).fit(*table())


def test_two_rows_cannot_be_split():
    X, y = table(2)
    with pytest.raises(DataError, match="early_stopping"):
        regressor(**STOPPING).fit(X, y)


def test_classes_that_cannot_be_split_are_named_as_early_stopping_s_need():
    X, y = classes()
    y[0] = "one of its kind"
    with pytest.raises(DataError, match="early_stopping"):
        classifier(**STOPPING).fit(X, y)
    with pytest.raises(DataError, match="early_stopping"):
        classifier(**{**STOPPING, "validation_fraction": 0.02}).fit(*classes())


def test_partial_fit_refuses_early_stopping():
    with pytest.raises(ParameterError, match="early_stopping"):
        regressor(**STOPPING).partial_fit(*table())
