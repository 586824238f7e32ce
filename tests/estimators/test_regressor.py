"""The regressor as a scikit-learn user meets it."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, EarlyStopping

from flatcausal import FlatMinimaTabNetRegressor
from flatcausal.estimators import n_batches
from flatcausal.optim import GD, SAM, SGD, Adam, EntropySGD

TINY = {"n_d": 4, "n_a": 4, "n_steps": 2, "max_epochs": 3, "batch_size": 32, "random_state": 0}


def data(n=90, p=4):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    return X, 3 * X[:, 0] - X[:, 1] ** 2 + 5


def tiny(**params):
    return FlatMinimaTabNetRegressor(**{**TINY, **params})


@pytest.fixture(scope="module")
def fitted():
    return tiny(n_members=3).fit(*data())


def test_learns_and_attends_to_what_matters():
    X, y = data(400)
    est = tiny(optimizer="adam", n_members=4, max_epochs=60).fit(X, y)
    assert est.score(*data(400)) > 0.9
    assert est.causal_importances_[:2].sum() > 0.7
    assert est.history_["train_loss"][-1] < 0.2 * est.history_["train_loss"][0]


def test_shapes_and_sums(fitted):
    X, y = data()
    assert fitted.predict(X).shape == y.shape
    assert fitted.predict(X).dtype == np.float32
    assert fitted.predict_members(X).shape == (3, 90)
    np.testing.assert_allclose(fitted.predict(X), fitted.predict_members(X).mean(0), rtol=1e-6)
    assert fitted.member_importances_.shape == (3, 4)
    np.testing.assert_allclose(fitted.member_importances_.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(fitted.causal_importances_, fitted.member_importances_.mean(0))
    np.testing.assert_allclose(fitted.causal_importances_std_, fitted.member_importances_.std(0))
    assert list(fitted.history_) == ["epoch", "train_loss", "member_train_loss", "dur"]
    assert fitted.history_["member_train_loss"].shape == (3, 3)
    assert fitted.n_iter_ == 3


def test_importances_are_the_mean_of_what_explain_tells(fitted):
    X, _ = data()
    masks = fitted.explain(X)
    np.testing.assert_allclose(masks.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(masks.mean(0), fitted.causal_importances_, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["gd", "sgd", "momentum", "adam", "sam", "entropy_sgd"])
def test_same_seed_same_bits_and_no_global_state_touched(optimizer):
    X, y = data()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    ambient = torch.get_num_threads()
    first = tiny(optimizer=optimizer, n_members=2).fit(X, y)
    torch.set_num_threads(2)
    try:
        second = tiny(optimizer=optimizer, n_members=2).fit(X, y)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(ambient)
    assert np.array_equal(first.predict(X), second.predict(X))
    assert np.array_equal(first.causal_importances_, second.causal_importances_)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.get_num_threads() == ambient


@pytest.mark.parametrize("optimizer", ["gd", "sgd", "adam", "sam", "entropy_sgd"])
def test_a_member_does_not_depend_on_its_neighbours(optimizer):
    X, y = data()
    two, three = (tiny(optimizer=optimizer, n_members=k).fit(X, y) for k in (2, 3))
    assert np.array_equal(two.predict_members(X), three.predict_members(X)[:2])


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [("gd", 3 * 3), ("sgd", 3 * 3), ("adam", 3 * 3), ("sam", 2 * 3 * 3), ("entropy_sgd", 5 * 3)],
)
def test_gradient_evaluations_are_counted(optimizer, expected):
    # 90 rows in batches of 32 are 3 mini-batches; Entropy-SGD takes one step of 5 gradients an epoch.
    assert tiny(optimizer=optimizer).fit(*data()).n_gradient_evaluations_ == expected


def test_a_last_batch_of_one_row_joins_its_neighbour():
    assert n_batches(65, 32) == 2
    assert tiny(optimizer="sgd").fit(*data(65)).n_gradient_evaluations_ == 2 * 3


@pytest.mark.parametrize(("optimizer", "fresh"), [("sam", [1, 1]), ("entropy_sgd", [1, 2, 3, 4, 5])])
def test_a_step_repeats_or_renews_its_mini_batch(optimizer, fresh):
    class Batches(Callback):
        def __init__(self):
            self.seen = []

        def on_grad_computed(self, net, named_parameters, batch=None, **kwargs):
            self.seen.append(batch[0])

    record = Batches()
    tiny(optimizer=optimizer, callbacks=[record], max_epochs=1, batch_size=18).fit(*data())
    step = record.seen[: len(fresh)]
    distinct = [next(i for i, other in enumerate(step) if other is rows) for rows in step]
    assert len(set(distinct)) == len(set(fresh))


def test_lambda_sparse_concentrates_the_attention():
    def entropy(lambda_sparse):
        est = tiny(lambda_sparse=lambda_sparse, max_epochs=40, optimizer="adam").fit(*data())
        return -est.net_.module_(torch.tensor(data()[0], dtype=torch.float32))[1].item()

    assert entropy(1.0) < 0.5 * entropy(0.0)


def test_works_in_pipeline_cross_validation_and_grid_search():
    X, y = data()
    model = make_pipeline(StandardScaler(), tiny())
    assert np.isfinite(cross_val_score(model, X, y, cv=2)).all()
    grid = [
        {"optimizer": ["adam", "sgd", SAM(rho=0.2, base=Adam())]},
        {"optimizer": [SAM(base=SGD())], "optimizer__rho": [0.01, 0.1], "optimizer__base__momentum": [0.9]},
    ]
    search = GridSearchCV(tiny(), grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 5
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_selects_features(fitted):
    X, _ = data()
    assert SelectFromModel(fitted, prefit=True, threshold=-np.inf, max_features=2).transform(X).shape == (
        90,
        2,
    )


def test_clone_keeps_parameters_and_drops_the_fit(fitted):
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        twin.predict(data()[0])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda est: pickle.loads(pickle.dumps(est))])
def test_copies_predict_the_same_bits(fitted, duplicate):
    X, _ = data()
    twin = duplicate(fitted)
    assert np.array_equal(twin.predict_members(X), fitted.predict_members(X))
    assert np.array_equal(twin.explain(X), fitted.explain(X))
    assert np.array_equal(twin.causal_importances_, fitted.causal_importances_)


def test_the_pickled_state_holds_no_torch_object(fitted):
    assert not any(
        isinstance(value, torch.Tensor) for value in fitted.__getstate__()["_fitted"]["weights"].values()
    )
    assert "net_" not in fitted.__getstate__()


def test_keeps_the_names_of_a_frame_and_gives_the_same_as_an_array(fitted):
    X, y = data()
    frame = pd.DataFrame(X, columns=list("abcd"))
    est = tiny(n_members=3).fit(frame, pd.Series(y))
    assert list(est.feature_names_in_) == list("abcd")
    assert np.array_equal(est.predict(frame), fitted.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        est.predict(frame[["b", "a", "c", "d"]])


def test_target_scale_does_not_matter():
    X, y = data()
    plain, scaled = tiny().fit(X, y), tiny().fit(X, 1000 * y + 7)
    np.testing.assert_allclose(scaled.predict(X), 1000 * plain.predict(X) + 7, rtol=1e-3)


def test_running_statistics_belong_to_the_final_weights(fitted):
    # Re-estimated over whole passes, they do not depend on how fast bn_momentum would have followed.
    X, y = data()
    slow = tiny(n_members=3, bn_momentum=0.001).fit(X, y)
    np.testing.assert_array_equal(slow.predict(X), fitted.predict(X))


def test_learning_rate_follows_the_schedule():
    X, y = data()
    est = tiny(optimizer="sgd", lr=0.3, lr_schedule="linear").fit(X, y)
    steps = 3 * 3
    assert est.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0.3 * (1 - (steps - 1) / steps))
    constant = tiny(optimizer="sgd", lr=0.3, lr_schedule=None).fit(X, y)
    assert constant.net_.optimizer_.param_groups[0]["lr"] == 0.3


def test_a_copy_is_that_of_the_fit_though_parameters_were_set_since():
    X, y = data()
    est = tiny().fit(X, y)
    before = est.predict(X)
    est.set_params(n_d=8, gamma=2.0, optimizer="typo")
    assert np.array_equal(pickle.loads(pickle.dumps(est)).predict(X), before)


def test_parameters_of_a_named_optimizer_can_be_searched():
    est = tiny(optimizer="sam").set_params(optimizer__rho=0.2, optimizer__base__momentum=0.5)
    assert est.optimizer.rho == 0.2
    assert est.optimizer.base.momentum == 0.5


def test_early_stopping_of_skorch_stops_and_keeps_the_fit():
    est = tiny(callbacks=[EarlyStopping(monitor="train_loss", patience=2)], max_epochs=50, lr=0.0)
    est.fit(*data())
    assert est.n_iter_ < 10
    assert np.isfinite(est.predict(data()[0])).all()


def test_a_large_offset_of_the_target_is_not_rounded_away():
    X, y = data()
    plain = tiny().fit(X, y)
    far = tiny().fit(X, y + 1e6)
    np.testing.assert_allclose(
        far.data_loss(X, y + 1e6)(far.net_.module_).detach(),
        plain.data_loss(X, y)(plain.net_.module_).detach(),
        rtol=1e-3,
    )


@pytest.mark.parametrize("optimizer", ["gd", SAM(rho=1.0, base=GD())])
def test_history_tells_the_penalised_loss_at_the_weights_as_a_mean_over_members(optimizer):
    X, y = data()
    params = {"lr": 0.0, "max_epochs": 1, "virtual_batch_size": 90, "n_members": 3, "lambda_sparse": 0.1}
    est = tiny(optimizer=optimizer, **params).fit(X, y)
    network = est.net_.module_.train()
    output, sparsity = network(torch.tensor(X, dtype=torch.float32))
    target = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
    losses = (output[..., 0] - target).square().mean(1) - 0.1 * sparsity
    assert est.history_["train_loss"][0] == pytest.approx(losses.mean().item(), rel=1e-4)


def test_weight_decay_shrinks_the_weights():
    norms = [
        tiny(weight_decay=decay, optimizer="sgd", max_epochs=20)
        .fit(*data())
        .net_.module_.population.norm()
        .item()
        for decay in (0.0, 0.3)
    ]
    assert norms[1] < 0.8 * norms[0]


def test_noise_depends_on_the_seed():
    noisy = EntropySGD(L=3, noise=0.5)
    fits = [tiny(optimizer=noisy, random_state=seed).fit(*data()) for seed in (0, 1)]
    draws = [torch.randn(3, generator=est.net_.optimizer_.generators[0]) for est in fits]
    assert not torch.equal(*draws)


def test_many_rows_are_predicted_as_few_are(fitted):
    X = np.random.default_rng(1).normal(size=(5000, 4))
    whole = fitted.predict(X)
    np.testing.assert_allclose(
        whole, np.concatenate([fitted.predict(part) for part in np.split(X, 5)]), rtol=1e-4
    )
    assert fitted.explain(X).shape == (5000, 4)


def test_an_interrupt_leaves_the_estimator_as_it_was(fitted):
    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    est = tiny(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        est.fit(*data())
    with pytest.raises(NotFittedError):
        est.predict(data()[0])


def test_a_failing_refit_keeps_the_earlier_fit():
    X, y = data()
    est = tiny().fit(X, y)
    before = est.predict(X)
    with pytest.raises(FloatingPointError):
        est.set_params(optimizer="sgd", lr=1e30).fit(X[:, :3], y)
    assert est.n_features_in_ == 4
    assert np.array_equal(est.predict(X), before)


def test_divergence_of_all_members_raises_and_leaves_unfitted():
    est = tiny(optimizer="sgd", lr=1e30, n_members=2)
    with pytest.raises(FloatingPointError, match="lower lr"):
        est.fit(*data())
    with pytest.raises(NotFittedError):
        est.predict(data()[0])


def test_a_diverged_member_is_reported_and_left_out():
    class Poison(Callback):
        def on_train_end(self, net, **kwargs):
            with torch.no_grad():
                net.module_.population[1] = float("nan")

    X, y = data()
    with pytest.warns(ConvergenceWarning, match="1 of 3 members"):
        est = tiny(n_members=3, callbacks=[Poison()]).fit(X, y)
    assert est.diverged_.tolist() == [False, True, False]
    assert np.isnan(est.member_importances_[1]).all()
    healthy = tiny(n_members=3).fit(X, y)
    np.testing.assert_allclose(est.predict(X), healthy.predict_members(X)[[0, 2]].mean(0), rtol=1e-6)
    assert est.causal_importances_.sum() == pytest.approx(1)


def test_verbose_prints_and_quiet_does_not(capsys):
    tiny().fit(*data())
    assert capsys.readouterr().out == ""
    tiny(verbose=1).fit(*data())
    assert "train_loss" in capsys.readouterr().out
