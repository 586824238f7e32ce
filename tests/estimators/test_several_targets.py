"""The regressor with several targets at once."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score

from flatcausal.exceptions import DataError
from flatcausal.flatness import sharpness
from tests.estimators.fits import assert_same, bits, regressor, table

X, FIRST = table()
Y = np.column_stack([FIRST, 100 * X[:, 1] - 7])


@pytest.fixture(scope="module")
def fitted():
    return regressor(n_members=3).fit(X, Y)


def test_shapes_and_dtypes(fitted):
    assert fitted.predict(X).shape == (70, 2)
    assert fitted.predict(X).dtype == np.float64  # as scikit-learn wants it
    members = fitted.predict_members(X)
    assert members.shape == (3, 70, 2)
    assert members.dtype == np.float64
    np.testing.assert_allclose(fitted.predict(X), members.mean(0), rtol=1e-5, atol=1e-4)
    assert fitted.explain(X).shape == X.shape


def test_each_target_is_scaled_by_its_own_mean_and_deviation(fitted):
    np.testing.assert_allclose(fitted.target_mean_, Y.mean(0))
    np.testing.assert_allclose(fitted.target_scale_, Y.std(0))
    far = regressor(n_members=3).fit(X, Y * [1000, 0.001] + [7, 1e3])
    ours, theirs = (est.predict(X) - est.target_mean_ for est in (fitted, far))
    np.testing.assert_allclose(theirs / far.target_scale_, ours / fitted.target_scale_, atol=1e-3)
    plain = regressor(scale_target=False, clip_norm=0.1).fit(X, Y)
    np.testing.assert_array_equal(plain.target_mean_, [0, 0])
    np.testing.assert_array_equal(plain.target_scale_, [1, 1])


def test_learns_every_target():
    X, y = table(300)
    Y = np.column_stack([y, X[:, 1], -2 * X[:, 2]])
    est = regressor(optimizer="adam", n_d=8, n_a=8, batch_size=64, max_epochs=40).fit(X[:200], Y[:200])
    scores = r2_score(Y[200:], est.predict(X[200:]), multioutput="raw_values")
    assert (scores > 0.5).all()
    assert est.score(X[200:], Y[200:]) == pytest.approx(scores.mean())


def test_the_measured_loss_is_the_mean_over_targets(fitted):
    with torch.no_grad():
        outputs = fitted.net_.module_(torch.tensor(X, dtype=torch.float32))[0].double().numpy()
    by_hand = ((outputs - (Y - Y.mean(0)) / Y.std(0)) ** 2).mean((1, 2))
    np.testing.assert_allclose(fitted.data_loss(X, Y)(fitted.net_.module_).detach(), by_hand, rtol=1e-5)
    np.testing.assert_allclose(sharpness(fitted, X, Y, rho=0.1).loss, by_hand, rtol=1e-5)


def test_a_constant_target_is_no_division_by_zero():
    est = regressor().fit(X, np.column_stack([FIRST, np.full(70, 3.0)]))
    assert est.target_scale_[1] == 1
    assert np.isfinite(est.predict(X)).all()


def test_a_column_is_one_target_with_a_warning():
    with pytest.warns(DataConversionWarning):
        est = regressor().fit(X, FIRST[:, None])
    assert est.predict(X).shape == (70,)
    assert est.predict(X).dtype == np.float32
    assert_same(bits(est), bits(regressor().fit(X, FIRST)))


@pytest.mark.parametrize("as_table", [pd.DataFrame, np.ndarray.tolist, np.asfortranarray])
def test_targets_come_in_any_container(as_table):
    assert_same(bits(regressor().fit(X, as_table(Y))), bits(regressor().fit(X, Y)))


def test_another_number_of_targets_is_refused(fitted):
    est = pickle.loads(pickle.dumps(fitted))
    for call in (est.partial_fit, est.data_loss, est.set_params(warm_start=True).fit):
        with pytest.raises(DataError, match=r"y must have the shape .* of the fit, got \(70,\)"):
            call(X, FIRST)
    with pytest.raises(DataError, match=r"y must have the shape .* of the fit, got \(70, 2\)"):
        regressor().fit(X, FIRST).partial_fit(X, Y)


def test_continues_copies_and_cross_validates(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    assert_same(bits(copy), bits(fitted))
    assert copy.partial_fit(X, Y).n_iter_ == fitted.n_iter_ + 1
    assert np.isfinite(cross_val_score(regressor(early_stopping=True), X, Y, cv=3)).all()
