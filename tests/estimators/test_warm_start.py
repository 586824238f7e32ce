"""Going on from a fit: warm starts, single epochs, and the length of a step."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch.callbacks import Callback

from flatcausal.exceptions import DataError, ParameterError
from flatcausal.optim import get, names
from tests.estimators.fits import (
    AtEpochEnd,
    assert_same,
    bits,
    classes,
    classifier,
    interrupt,
    poison,
    regressor,
    table,
)

every_optimizer = pytest.mark.parametrize("optimizer", names())


def unpickled(est):
    return pickle.loads(pickle.dumps(est))


def training_bits(est):
    """Fit and optimizer state, as plain values."""
    state = est.net_.training_state() if hasattr(est.net_, "optimizer_") else None
    return bits(est), plain(state), est.net_.module_.training


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "dur"}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


# Warm starts


def test_a_warm_start_continues_from_the_weights():
    X, y = table()
    starts = []

    class Start(Callback):
        def on_train_begin(self, net, **kwargs):
            starts.append(net.module_.population.detach().clone())

    est = regressor(warm_start=True, callbacks=[Start()]).fit(X, y)
    trained = est.net_.module_.population.detach().clone()
    est.fit(X, y)
    assert torch.equal(starts[1], trained)
    assert not torch.equal(starts[0], trained)
    assert est.n_iter_ == 3
    est.set_params(warm_start=False).fit(X, y)
    assert torch.equal(starts[2], starts[0])


def test_a_warm_start_of_a_model_from_a_file_is_that_of_the_model_itself():
    est = regressor(warm_start=True).fit(*table())
    twin = unpickled(est)
    assert_same(bits(twin.fit(*table())), bits(est.fit(*table())))


def test_a_warm_start_keeps_scale_and_classes():
    X, y = table()
    est = regressor(warm_start=True).fit(X, y)
    scale = est.target_mean_, est.target_scale_
    assert (est.fit(X, 10 * y).target_mean_, est.target_scale_) == scale
    labels = classifier(warm_start=True).fit(*classes())
    X, y = classes()
    assert labels.fit(X[y != "mid"], y[y != "mid"]).classes_.tolist() == ["low", "mid", "top"]
    y[0] = "new"
    with pytest.raises(DataError, match="'new'"):
        labels.fit(X, y)


@pytest.mark.parametrize(
    "changed",
    [{"n_members": 3}, {"n_d": 3}, {"n_a": 3}, {"n_steps": 1}, {"n_shared": 2}, {"n_independent": 2}],
    ids=str,
)
@pytest.mark.parametrize("through", [lambda est: est, unpickled], ids=["itself", "from a file"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_network_of_another_size_is_refused_by_name(changed, through, method):
    est = through(regressor(warm_start=True).fit(*table()))
    before = bits(est)
    ((name, value),) = changed.items()
    with pytest.raises(ParameterError, match=f"{name}.*{value}"):
        getattr(est.set_params(**changed), method)(*table())
    assert_same(bits(est.set_params(n_members=2)), before)


def test_sizes_that_have_as_many_weights_are_told_apart():
    # 3 * 2 * (n_d + n_a) weights of a gated layer depend on the sum alone.
    X, y = table()
    est = regressor(warm_start=True, n_d=2, n_a=3, max_epochs=1).fit(X, y)
    with pytest.raises(ParameterError, match="n_d"):
        est.set_params(n_d=3, n_a=2).fit(X, y)


def test_another_embedding_is_refused_by_name():
    X, y = table()
    X[:, 2] = X[:, 2] > 0
    est = regressor(warm_start=True, categorical_features=[2], cat_emb_dim=2, max_epochs=1).fit(X, y)
    with pytest.raises(ParameterError, match="cat_emb_dim"):
        est.set_params(cat_emb_dim=3).fit(X, y)


# Single epochs


@every_optimizer
@pytest.mark.parametrize("make", [regressor, classifier])
def test_the_first_partial_fit_is_a_fit_of_one_epoch(optimizer, make):
    X, y = table() if make is regressor else classes()
    one = make(optimizer=optimizer).partial_fit(X, y)
    whole = make(optimizer=optimizer, max_epochs=1, lr_schedule=None).fit(X, y)
    assert_same(bits(one), bits(whole))


@every_optimizer
def test_partial_fits_are_the_epochs_of_a_fit(optimizer):
    est = regressor(optimizer=optimizer)
    for _ in range(3):
        est.partial_fit(*table())
    whole = regressor(optimizer=optimizer, max_epochs=3, lr_schedule=None).fit(*table())
    assert_same(bits(est), bits(whole))


@every_optimizer
def test_partial_fit_goes_on_with_the_optimizer_of_a_fit(optimizer):
    params = {"optimizer": optimizer, "lr_schedule": None}
    est = regressor(**params, max_epochs=2).fit(*table()).partial_fit(*table())
    assert_same(bits(est), bits(regressor(**params, max_epochs=3).fit(*table())))


def test_after_a_schedule_partial_fit_takes_the_full_learning_rate():
    seen = []

    class Rate(Callback):
        def on_batch_end(self, net, **kwargs):
            seen.append(net.optimizer_.param_groups[0]["lr"])

    est = regressor(optimizer="momentum", lr=0.3, lr_schedule="cosine", callbacks=[Rate()])
    est.fit(*table())
    assert seen[0] == 0.3
    assert seen[-1] < 0.01
    before = len(seen)
    est.partial_fit(*table())
    assert set(seen[before:]) == {0.3}


def test_partial_fit_heeds_parameters_set_since():
    seen = []

    class Rate(Callback):
        def on_batch_end(self, net, **kwargs):
            seen.append(net.optimizer_.param_groups[0]["lr"])

    est = regressor(optimizer="momentum", lr=0.3).partial_fit(*table())
    est.set_params(lr=0.1, callbacks=[Rate()]).partial_fit(*table())
    assert set(seen) == {0.1}
    with pytest.raises(ParameterError, match="lr must be"):
        est.set_params(lr=-1.0).partial_fit(*table())


def test_an_optimizer_that_was_changed_begins_anew():
    est = regressor(optimizer="momentum").partial_fit(*table())
    twin = unpickled(est)
    est.set_params(optimizer="adam").partial_fit(*table())
    twin.set_params(optimizer="adam").partial_fit(*table())
    assert_same(bits(est), bits(twin))
    assert est.n_iter_ == 2


def test_partial_fit_after_early_stopping_keeps_the_record():
    est = regressor(early_stopping=True).fit(*table())
    est.set_params(early_stopping=False).partial_fit(*table())
    assert est.n_iter_ == 4
    assert np.isfinite(est.history_["valid_loss"][:3]).all()
    assert np.isnan(est.history_["valid_loss"][3])
    assert_same(bits(unpickled(est)), bits(est))


@every_optimizer
def test_partial_fit_works_without_the_optimizer_s_state(optimizer):
    est = unpickled(regressor(optimizer=optimizer).fit(*table()))
    before = bits(est)
    est.partial_fit(*table())
    after = bits(est)
    assert after["n_iter"] == before["n_iter"] + 1
    assert (after["n_gradients"] > before["n_gradients"]) == (optimizer != "random_search")
    assert not np.array_equal(after["weights"], before["weights"])
    np.testing.assert_array_equal(after["history train_loss"][:3], before["history train_loss"])
    est.partial_fit(*table())
    assert est.n_iter_ == 5


def test_partial_fit_learns_the_classes_of_the_first_call():
    X, y = classes()
    est = classifier().partial_fit(X[y != "mid"], y[y != "mid"], classes=["top", "mid", "low"])
    assert est.classes_.tolist() == ["low", "mid", "top"]
    est.partial_fit(X[y == "mid"], y[y == "mid"])
    assert est.predict_proba(X).shape == (70, 3)


X_NAN = table()[0].copy()
X_NAN[3, 1] = np.nan

FAILURES = {
    "NaN in X": (lambda est, X, y: est.partial_fit(X_NAN, y), DataError),
    "rows missing in y": (lambda est, X, y: est.partial_fit(X, y[1:]), ValueError),
    "another width": (lambda est, X, y: est.partial_fit(X[:, :2], y), ValueError),
    "targets of another shape": (lambda est, X, y: est.partial_fit(X, np.c_[y, y]), DataError),
    "bad threads": (lambda est, X, y: est.set_params(n_threads=0).partial_fit(X, y), ParameterError),
    "bad weights": (lambda est, X, y: est.partial_fit(X, y, np.full(70, -1.0)), DataError),
    "Ctrl-C": (
        lambda est, X, y: est.set_params(callbacks=[interrupt(4)]).partial_fit(X, y),
        KeyboardInterrupt,
    ),
    "divergence": (
        lambda est, X, y: est.set_params(callbacks=[poison(slice(None), 4)]).partial_fit(X, y),
        FloatingPointError,
    ),
}


@pytest.mark.parametrize("through", [lambda est: est, unpickled], ids=["itself", "from a file"])
@pytest.mark.parametrize(("fail", "error"), FAILURES.values(), ids=FAILURES)
def test_a_failing_partial_fit_leaves_everything_as_it_was(fail, error, through):
    X, y = table()
    params = {"optimizer": "momentum", "lr_schedule": None}
    est = through(regressor(**params).fit(X, y))
    twin = through(regressor(**params).fit(X, y))
    before = training_bits(est)
    with pytest.raises(error):
        fail(est, X, y)
    est.set_params(callbacks=None, n_threads=1)
    after = training_bits(est)
    assert_same(after[0], before[0])
    assert after[1:] == before[1:]
    est.partial_fit(X, y)
    assert_same(bits(est), bits(twin.partial_fit(X, y)))


def test_a_failing_first_partial_fit_leaves_the_estimator_unfitted():
    est = regressor(callbacks=[interrupt(1)])
    with pytest.raises(KeyboardInterrupt):
        est.partial_fit(*table())
    with pytest.raises(NotFittedError):
        est.predict(table()[0])


def test_a_member_that_diverges_in_partial_fit_goes_back_to_its_weights_before():
    class Poison(Callback):
        def on_epoch_begin(self, net, **kwargs):
            with torch.no_grad():
                net.module_.population[2] = float("nan")

    est = regressor(optimizer="sgd", n_members=3).fit(*table())
    before = bits(est)
    with pytest.warns(ConvergenceWarning, match="member 2 in epoch 4"):
        est.set_params(callbacks=[Poison()]).partial_fit(*table())
    after = bits(est)
    np.testing.assert_array_equal(after["weights"][2], before["weights"][2])
    assert not np.array_equal(after["weights"][0], before["weights"][0])
    assert after["best_epoch"].tolist() == [4, 4, 3]


# The length of a gradient


class Longest(Callback):
    """Remember the longest gradient that an optimizer was given."""

    def __init__(self):
        self.length = 0.0

    def on_grad_computed(self, net, named_parameters, **kwargs):
        ((_, population),) = named_parameters
        self.length = max(self.length, population.grad.norm(dim=1).max().item())


@pytest.mark.parametrize("optimizer", [name for name in names() if get(name).gradients_per_step])
def test_no_member_s_gradient_is_longer_than_clip_norm(optimizer):
    free, clipped = Longest(), Longest()
    regressor(optimizer=optimizer, callbacks=[free]).fit(*table())
    regressor(optimizer=optimizer, callbacks=[clipped], clip_norm=0.05).fit(*table())
    assert free.length > 0.1
    assert clipped.length <= 0.05 * (1 + 1e-6)


@every_optimizer
def test_a_clip_norm_that_is_never_reached_changes_no_bit(optimizer):
    free, clipped = (regressor(optimizer=optimizer, clip_norm=c).fit(*table()) for c in (None, 1e9))
    assert_same(bits(free), bits(clipped))


def test_clipping_one_member_leaves_the_others_alone():
    class Lengthen(Callback):
        def on_batch_begin(self, net, **kwargs):
            with torch.no_grad():
                net.module_.population[0, net.module_.layout.columns()["output"]] *= 1.5

    params = {"optimizer": "sgd", "n_members": 3, "max_epochs": 1}
    free = bits(regressor(**params, clip_norm=40.0).fit(*table()))
    one_long = bits(regressor(**params, clip_norm=40.0, callbacks=[Lengthen()]).fit(*table()))
    np.testing.assert_array_equal(one_long["weights"][1:], free["weights"][1:])


def test_a_step_of_sgd_is_no_longer_than_lr_times_clip_norm():
    steps, last = [], []

    class Steps(Callback):
        def on_batch_begin(self, net, **kwargs):
            last.append(net.module_.population.detach().double())

        def on_batch_end(self, net, **kwargs):
            steps.append((net.module_.population.detach().double() - last[-1]).norm(dim=1))

    params = {"optimizer": "sgd", "lr": 0.2, "lr_schedule": None, "clip_norm": 0.01}
    regressor(**params, callbacks=[Steps()]).fit(*table())
    lengths = torch.stack(steps)
    assert lengths.max() <= 0.2 * 0.01 * (1 + 1e-4)
    assert lengths.min() > 0.2 * 0.01 * (1 - 1e-2)  # all were longer


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clip_norm_out_of_range_is_named(clip_norm):
    with pytest.raises(ParameterError, match="clip_norm"):
        regressor(clip_norm=clip_norm).fit(*table())


def test_an_epoch_end_callback_sees_training_go_on_from_the_last_epoch():
    states = []
    callback = AtEpochEnd(lambda net, epoch: states.append((epoch, len(net.history))))
    est = regressor(callbacks=[callback], max_epochs=2).fit(*table())
    est.partial_fit(*table())
    assert states == [(1, 1), (2, 2), (3, 3)]
