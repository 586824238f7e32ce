from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, mean_squared_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.metrics import robustness_curve, worst_case_risk
from flatcausal.metrics._robustness import _cvar
from tests.reference import robustness as twin

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = X @ [1.0, -2.0, 0.0] + RNG.normal(size=40)
LABELS = np.where(Y > 0, "up", "down")


class Returns(RegressorMixin, BaseEstimator):
    """Predicts what it is told to."""

    def __init__(self, predictions=0.0):
        self.predictions = predictions

    def fit(self, X, y):
        self.n_features_in_ = 1
        return self

    def predict(self, X):
        return (
            np.broadcast_to(self.predictions, len(X)) if np.ndim(self.predictions) == 0 else self.predictions
        )


@pytest.fixture(scope="module")
def model():
    return LinearRegression().fit(X, Y)


def test_risks_of_a_regressor(model):
    environments = {"a": (X[:9], Y[:9] + 1), "b": (X[9:], Y[9:])}
    report = worst_case_risk(model, environments, iid=(X, Y))
    by_hand = {name: mean_squared_error(y, model.predict(rows)) for name, (rows, y) in environments.items()}
    assert report.risks == pytest.approx(by_hand)
    assert report.worst == report.risks[report.worst_environment] == max(report.risks.values())
    assert report.mean == pytest.approx(np.mean(list(by_hand.values())))
    assert report.cvar == report.worst
    assert report.risk == "mse"
    assert report.iid == pytest.approx(mean_squared_error(Y, model.predict(X)))
    assert report.iid_normalised == pytest.approx(1 - r2_score(Y, model.predict(X)))


def test_risks_of_a_classifier():
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, LABELS)
    one_class = LABELS == "up"
    environments = [(X, LABELS), (X[one_class], LABELS[one_class])]
    report = worst_case_risk(fitted, environments, iid=environments[0])
    probabilities = fitted.predict_proba(X)
    assert report.risk == "log_loss"
    assert report.risks["0"] == pytest.approx(log_loss(LABELS, probabilities))
    assert report.risks["1"] == pytest.approx(-np.log(probabilities[one_class, 1]).mean())
    frequencies = np.tile(np.unique(LABELS, return_counts=True)[1] / 40, (40, 1))
    assert report.iid_normalised == pytest.approx(report.iid / log_loss(LABELS, frequencies))
    wrong = worst_case_risk(fitted, environments, risk="error", iid=environments[0])
    assert wrong.risks["0"] == pytest.approx(1 - accuracy_score(LABELS, fitted.predict(X)))
    assert wrong.iid_normalised == pytest.approx(wrong.iid / (1 - frequencies.max()))


class Single(LogisticRegression):
    """Probabilities of single precision, whose rows do not sum to one in double precision."""

    def predict_proba(self, X):
        return super().predict_proba(X).astype(np.float32)


def test_probabilities_of_single_precision():
    double, single = LogisticRegression().fit(X, LABELS), Single().fit(X, LABELS)
    expected = worst_case_risk(double, [(X, LABELS)]).worst
    assert worst_case_risk(single, [(X, LABELS)]).worst == pytest.approx(expected, rel=1e-5)


def test_a_classifier_without_probabilities():
    fitted = RidgeClassifier().fit(X, LABELS)
    with pytest.raises(ParameterError, match="predict_proba, which RidgeClassifier lacks; pass risk='error'"):
        worst_case_risk(fitted, [(X, LABELS)])
    assert 0 <= worst_case_risk(fitted, [(X, LABELS)], risk="error").worst < 0.5


def test_a_risk_of_the_users_own(model):
    def mean_error(estimator, rows, y):
        return mean_absolute_error(y, estimator.predict(rows))

    report = worst_case_risk(model, [(X, Y)], risk=mean_error, iid=(X, Y))
    assert report.risk == "mean_error"
    assert report.worst == report.iid == mean_absolute_error(Y, model.predict(X))
    assert math.isnan(report.iid_normalised)


def test_without_rows_of_the_training_distribution(model):
    report = worst_case_risk(model, [(X, Y)])
    assert math.isnan(report.iid)
    assert math.isnan(report.iid_normalised)
    assert math.isnan(worst_case_risk(model, [(X, Y)], iid=(X, np.ones(40))).iid_normalised)


@dataclass
class Rows:
    X: object
    y: object


@pytest.mark.filterwarnings("ignore:X has feature names")
def test_frames_lists_records_and_generators(model):
    frame, series = pd.DataFrame(X), pd.Series(Y, index=range(100, 140))
    expected = worst_case_risk(model, {"0": (X, Y)})
    for rows in ((frame, series), [X.tolist(), Y.tolist()], Rows(X, series)):
        for environments in ({"0": rows}, [rows], (one for one in [rows])):
            assert worst_case_risk(model, environments).risks == pytest.approx(expected.risks)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]), min_size=1, max_size=25), st.floats(0.01, 1.0))
def test_cvar_is_the_least_of_its_bound(risks, tail):
    found = _cvar(np.array(risks), tail)
    assert found == pytest.approx(twin.cvar(risks, tail))
    assert np.mean(risks) - 1e-9 <= found <= max(risks) + 1e-9


def test_cvar_in_the_report():
    environments = [(np.zeros((1, 1)), [math.sqrt(risk)]) for risk in range(20)]
    report = worst_case_risk(Returns().fit(None, None), environments)
    assert report.cvar == pytest.approx(18.5)  # the worst 2 of 20
    assert worst_case_risk(Returns().fit(None, None), environments, tail=1.0).cvar == pytest.approx(
        report.mean
    )
    part = worst_case_risk(Returns().fit(None, None), environments, tail=0.125).cvar
    assert part == pytest.approx((19 + 18 + 17 / 2) / 2.5)


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_predictions_that_are_not_finite_are_no_risk(lost):
    for risk in ("auto", lambda estimator, rows, y: float(estimator.predict(rows).mean())):
        with pytest.raises(DataError, match="in environment 'far'; a model that diverged"):
            worst_case_risk(Returns(lost).fit(None, None), {"far": (X, Y)}, risk=risk)


@pytest.mark.parametrize(
    ("environments", "error", "fragment"),
    [
        ([], DataError, "environments are empty"),
        ({}, DataError, "environments are empty"),
        (None, ParameterTypeError, "a mapping or a list of pairs"),
        ("abc", ParameterTypeError, "a mapping or a list of pairs"),
        (X, ParameterTypeError, "a mapping or a list of pairs"),
        ((X, Y), ParameterTypeError, "environment '0' must be a pair"),
        ([(X, Y, Y)], ParameterTypeError, "environment '0' must be a pair"),
        ({"far": (X, Y[:9])}, DataError, r"y of environment 'far' must have shape \(40,\)"),
        ({"far": (X, Y[:, None])}, DataError, r"must have shape \(40,\) .* got \(40, 1\)"),
        ({"far": (X[:0], Y[:0])}, DataError, "at least one row"),
        ({"far": (X, np.where(Y > 0, Y, np.nan))}, DataError, "y of environment 'far' holds nan"),
    ],
)
def test_bad_environments(model, environments, error, fragment):
    with pytest.raises(error, match=fragment):
        worst_case_risk(model, environments)


def test_bad_options(model):
    with pytest.raises(ParameterError, match="risk must be one of 'auto', 'mse'"):
        worst_case_risk(model, [(X, Y)], risk="mae")
    with pytest.raises(ParameterTypeError, match="risk must be a name or a callable"):
        worst_case_risk(model, [(X, Y)], risk=3)
    for tail in (0.0, 1.5):
        with pytest.raises(ParameterError, match="tail must be"):
            worst_case_risk(model, [(X, Y)], tail=tail)
    with pytest.raises(NotFittedError):
        worst_case_risk(LinearRegression(), [(X, Y)])
    with pytest.raises(DataError, match="predicts shape"):
        worst_case_risk(Returns(np.zeros((40, 2))).fit(None, None), [(X, Y)])
    with pytest.raises(DataError, match="the class 'sideways'"):
        worst_case_risk(LogisticRegression().fit(X, LABELS), [(X, np.where(Y > 1, "sideways", LABELS))])


def test_curve(model):
    curve = robustness_curve(model, {2: (X, Y + 2), 0.0: (X, Y), 0.5: (X, Y + 0.5)})
    np.testing.assert_array_equal(curve.strengths, [0.0, 0.5, 2.0])
    by_hand = [mean_squared_error(Y + shift, model.predict(X)) for shift in (0.0, 0.5, 2.0)]
    np.testing.assert_allclose(curve.risks, by_hand)
    area = 0.5 * (by_hand[0] + by_hand[1]) / 2 + 1.5 * (by_hand[1] + by_hand[2]) / 2
    assert curve.area == pytest.approx(area)
    assert curve.risk == "mse"


@pytest.mark.parametrize(
    ("rows", "error", "fragment"),
    [
        ({0: (X, Y)}, DataError, "at least 2 strengths, got 1"),
        ([(X, Y), (X, Y)], ParameterTypeError, "must map strengths to pairs"),
        ({"weak": (X, Y), "strong": (X, Y)}, ParameterTypeError, "strength must be a number"),
        ({0: (X, Y), 1: (X, Y[:3])}, DataError, "y of strength 1.0 must have shape"),
    ],
)
def test_bad_curves(model, rows, error, fragment):
    with pytest.raises(error, match=fragment):
        robustness_curve(model, rows)
