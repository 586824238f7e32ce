"""Columns and targets far from zero keep their digits; weights that overflow are found out."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from flatcausal.estimators import fit_together
from flatcausal.exceptions import ParameterError, ParameterTypeError
from tests.estimators.fits import regressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
Y = X[:, 0] + 0.1 * RNG.normal(size=120)


@pytest.mark.parametrize("constant", [1e4, 20240101.0, -1e6])
def test_a_constant_column_far_from_zero_is_a_constant_column(constant):
    far, near = np.c_[X, np.full(120, constant)], np.c_[X, np.zeros(120)]
    est, plain = (regressor(optimizer="adam").fit(rows, Y) for rows in (far, near))
    np.testing.assert_allclose(est.predict(far), plain.predict(near), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(est.explain(far).mean(0), est.causal_importances_, atol=1e-5)
    network = est.net_.module_
    single = est.data_loss(far, Y)(network).detach()
    np.testing.assert_allclose(single, est.data_loss(far, Y)(network.double()).detach(), rtol=1e-3)


@pytest.mark.parametrize("offset", [1e8, -1e10])
def test_a_target_far_from_zero_is_predicted_in_float64(offset):
    est, plain = regressor().fit(X, Y + offset), regressor().fit(X, Y)
    assert plain.predict(X).dtype == plain.predict_members(X).dtype == np.float32
    assert est.predict(X).dtype == est.predict_members(X).dtype == np.float64
    np.testing.assert_allclose(est.predict(X) - offset, plain.predict(X), atol=1e-3)


def test_a_constant_target_has_no_scale():
    assert regressor(max_epochs=1).fit(X[:30], np.full(30, 0.1)).target_scale_ == 1


def test_weights_that_overflow_count_as_diverged_and_go_back():
    params = {"optimizer": "sgd", "lr": 6.0, "lr_schedule": None, "max_epochs": 1, "n_members": 8}
    params |= {"n_d": 8, "n_a": 8, "n_steps": 1, "batch_size": 32, "virtual_batch_size": 32}
    with pytest.warns(ConvergenceWarning, match="of 8 members diverged") as caught:
        est = regressor(**params).fit(X, Y)
    assert caught[0].filename == __file__
    assert 0 < est.diverged_.sum() < 8
    assert np.isfinite(est.predict_members(X)).all()
    assert np.isfinite(est.causal_importances_).all()


def test_fits_together_record_what_each_would_alone():
    params = {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 30, "n_members": 2}
    datasets = [(X, Y), (X[::-1], Y[::-1] ** 2)]
    together = fit_together([regressor(**params), regressor(**params)], datasets)
    alone = [regressor(**params).fit(*data) for data in datasets]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.n_iter_ == theirs.n_iter_
        assert ours.n_gradient_evaluations_ == theirs.n_gradient_evaluations_
        for key in set(ours.history_) - {"dur"}:
            np.testing.assert_array_equal(ours.history_[key], theirs.history_[key])
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert together[0].n_iter_ != together[1].n_iter_


@pytest.mark.parametrize(
    ("estimators", "error", "match"),
    [
        ([regressor(warm_start=True)], ParameterError, "warm_start"),
        ([regressor(checkpoint_dir="x")], ParameterError, "checkpoint_dir"),
        ([regressor(), regressor(n_d=3)], ParameterError, "n_d must be the same"),
        (["sgd"], ParameterTypeError, r"estimators\[0\]"),
        ([regressor()] * 2, ParameterError, "twice"),
        ([], ParameterError, "one data set for each"),
    ],
    ids=["warm", "checkpoint", "other", "none", "twice", "empty"],
)
def test_what_cannot_be_fitted_together_is_named(estimators, error, match):
    with pytest.raises(error, match=match):
        fit_together(estimators, [(X, Y)] * len(estimators))


def test_a_name_and_its_parameters_can_be_set_at_once():
    est = regressor().set_params(optimizer="sam", optimizer__rho=0.2)
    assert est.optimizer.rho == 0.2
    grid = {"optimizer": ["sam"], "optimizer__rho": [0.01, 0.1]}
    search = GridSearchCV(regressor(max_epochs=1), grid, cv=2).fit(X, Y)
    assert len(search.cv_results_["params"]) == 2
