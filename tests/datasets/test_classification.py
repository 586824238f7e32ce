"""Binary targets, and the score of the best predictor that knows their causes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._conditional import conditional_moments, probability_of_one
from flatcausal.datasets._noise_laws import NoiseLaw
from tests.reference import bayes
from tests.reference.structural import evaluate_row

LINEAR = {"mechanisms": "linear", "n_calibration": 100_000}
MODES = {
    "additive": {},
    "noisy": {"label_noise": 0.15, "prevalence": 0.3},
    "noisy t": {"label_noise": 0.1, "noise": "t"},
    "noisy functional": {"label_noise": 0.1, "noise_mode": "functional"},
    "noisy mixture": {"label_noise": 0.1, "noise": "mixture"},
    "functional": {"noise_mode": "functional", "noise": "uniform"},
    "multiplicative": {"noise_mode": "multiplicative", "noise": "gumbel"},
    "noisy multiplicative": {"noise_mode": "multiplicative", "label_noise": 0.2},
    "heteroscedastic": {"noise_mode": "heteroscedastic", "noise": "mixture"},
    "post-nonlinear": {"mechanisms": "post_nonlinear", "noise": "laplace"},
    "among categories": {"categorical_fraction": 0.7, "n_hidden": 2},
}


def _classes(seed=0, **parameters):
    return SyntheticDAGDataset(
        8, 2, task="classification", **{"n_calibration": 20_000, **parameters}, random_state=seed
    )


def _rows(ds, n=20_000, seed=0):
    """Parents of the target and what is shown of it, straight from the model."""
    model, target = ds._blueprint.model, ds._blueprint.target
    values = model.evaluate(model.draw_noise(n, np.random.default_rng(seed)))
    equation = model.assignments[target]
    return equation, values[list(equation.parents)], ds._columns.shown_target(values[target])


@pytest.mark.parametrize("mode", MODES)
def test_prevalence(mode):
    for seed in range(3):
        y = _classes(seed, **MODES[mode]).sample(20_000).y
        assert y.dtype == np.int64
        # four standard errors of this sample and of the calibration
        assert y.mean() == pytest.approx(MODES[mode].get("prevalence", 0.5), abs=4 * np.sqrt(0.5 / 20_000))


@pytest.mark.parametrize("mode", MODES)
def test_eta_is_calibrated(mode):
    ds = _classes(1, **MODES[mode])
    equation, parents, y = _rows(ds)
    eta = probability_of_one(equation, parents, NoiseLaw(ds._blueprint.model.noise))
    assert 0.0 <= eta.min() <= eta.max() <= 1.0
    order = np.argsort(eta)
    for rows in np.array_split(order, 10):
        error = np.sqrt((eta[rows] * (1 - eta[rows])).sum()) / len(rows)
        assert abs(y[rows].mean() - eta[rows].mean()) < 4 * error + 0.005


@pytest.mark.parametrize("mode", MODES)
def test_scores_are_those_of_drawn_classes(mode):
    ds = _classes(2, **MODES[mode])
    equation, parents, y = _rows(ds, n=30_000)
    eta = probability_of_one(equation, parents, NoiseLaw(ds._blueprint.model.noise))
    assert ds.bayes_score("roc_auc", n=20_000) == pytest.approx(roc_auc_score(y, eta), abs=0.012)
    assert ds.bayes_score("accuracy", n=20_000) == pytest.approx(accuracy_score(y, eta > 0.5), abs=0.012)
    assert ds.bayes_score("r2", n=20_000) == pytest.approx(r2_score(y, eta), abs=0.02)
    assert ds.bayes_score("log_loss", n=20_000) == pytest.approx(
        log_loss(y, np.clip(eta, 1e-3, 1 - 1e-3)), abs=0.02
    )


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.8])
def test_closed_forms_of_the_balanced_linear_model(rho):
    ds = _classes(3, r2_range=(rho, rho), **LINEAR)
    for metric, expected in bayes.balanced(rho).items():
        assert ds.bayes_score(metric, n=100_000) == pytest.approx(expected, abs=0.006), metric


@pytest.mark.parametrize(("prevalence", "label_noise"), [(0.2, 0.0), (0.5, 0.2), (0.3, 0.1)])
def test_quadrature_of_the_linear_model(prevalence, label_noise):
    ds = _classes(4, r2_range=(0.6, 0.6), prevalence=prevalence, label_noise=label_noise, **LINEAR)
    for metric, expected in bayes.by_quadrature(0.6, prevalence, label_noise).items():
        assert ds.bayes_score(metric, n=100_000) == pytest.approx(expected, abs=0.008), metric


def test_quadrature_agrees_with_the_orthants():
    for rho in (0.3, 0.7):
        for metric, expected in bayes.balanced(rho).items():
            assert bayes.by_quadrature(rho, 0.5, 0.0)[metric] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mode", ["noisy", "noisy mixture", "noisy functional", "among categories"])
def test_equal_to_one_row_at_a_time(mode):
    model = _classes(5, **MODES[mode])._blueprint.model
    noise = model.draw_noise(60, np.random.default_rng(1))
    expected = np.array([evaluate_row(model, row) for row in noise.T]).T
    np.testing.assert_allclose(model.evaluate(noise), expected, atol=1e-6)


def test_a_turned_label_is_independent_of_its_causes():
    ds = _classes(6, label_noise=0.2, **LINEAR)
    equation, parents, y = _rows(ds, n=60_000)
    kept = probability_of_one(equation.inner, parents, NoiseLaw("normal"))
    certain = y[kept > 0.999], 1 - y[kept < 0.001]
    for right in certain:
        assert right.mean() == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / len(right)))


def test_children_see_the_class_as_shown():
    ds = _classes(7, label_noise=0.2, min_children=2)
    usual = ds.sample(2000, random_state=1)
    held = ds.sample(2000, do={"y": usual.y}, allow_target=True, random_state=1)
    np.testing.assert_array_equal(held.X, usual.X)
    np.testing.assert_array_equal(held.y, usual.y)
    assert (ds.sample(50, do={"y": 1}, allow_target=True).y == 1).all()


def test_what_parents_cannot_tell_their_child_can():
    ds = _classes(8, r2_range=(0.3, 0.3), min_children=2, **LINEAR)
    X, y = ds.sample(20_000, return_X_y=True)
    model = LogisticRegression().fit(X[:10_000], y[:10_000])
    assert roc_auc_score(y[10_000:], model.predict_proba(X[10_000:])[:, 1]) > ds.bayes_score() + 0.02
    parents = X[:, ds.roles_.mask("parents")]
    model = LogisticRegression().fit(parents[:10_000], y[:10_000])
    achieved = roc_auc_score(y[10_000:], model.predict_proba(parents[10_000:])[:, 1])
    assert achieved == pytest.approx(ds.bayes_score(), abs=0.02)


@pytest.mark.parametrize(
    "parameters",
    [
        {"mechanisms": "linear"},
        {"noise_mode": "multiplicative", "noise": "gumbel"},
        {"noise_mode": "heteroscedastic"},
        {"noise_mode": "functional", "noise": "laplace"},
        {"mechanisms": "post_nonlinear"},
        {"standardize": None},
        {"standardize": "uumc", "mechanisms": "linear"},
        {"n_hidden": 2, "categorical_fraction": 0.5},
    ],
)
def test_r2_of_a_number(parameters):
    ds = SyntheticDAGDataset(8, 0, **parameters, random_state=3)
    equation, parents, y = _rows(ds, n=20_000)
    mean, variance = conditional_moments(equation, parents, NoiseLaw(ds._blueprint.model.noise))
    assert ds.bayes_score() == pytest.approx(r2_score(y, mean), abs=0.015)
    assert np.mean((y - mean) ** 2) == pytest.approx(variance.mean(), rel=0.05)


def test_r2_is_the_share_that_was_asked_for():
    for rho in (0.4, 0.8):
        ds = SyntheticDAGDataset(8, 0, r2_range=(rho, rho), random_state=1)
        assert ds.bayes_score() == pytest.approx(rho, abs=0.01)


def test_without_causes_only_a_constant_is_left():
    ds = SyntheticDAGDataset(adjacency=[("y", "a")], target="y", task="classification", prevalence=0.2)
    assert ds.bayes_score("roc_auc") == pytest.approx(0.5)
    assert ds.bayes_score("accuracy") == pytest.approx(0.8, abs=0.01)
    assert ds.bayes_score("r2") == pytest.approx(0.0, abs=1e-9)


def test_the_published_target_is_certain():
    ds = SyntheticDAGDataset.preset("dlcausal", n_nodes=8, n_distractors=0, random_state=0)
    assert (ds.task_, ds.bayes_score()) == ("regression", 1.0)


def test_scores_in_an_environment_and_by_seed():
    ds = _classes(9, **LINEAR)
    parent = next(iter(ds.roles_.parents))
    wide = ds.environments(1, nodes="parents", fraction=1.0, strength=4.0, random_state=0)[0]
    assert parent in wide.features
    assert ds.bayes_score(env=wide) > ds.bayes_score() + 0.01  # classes far from the threshold are plain
    assert ds.bayes_score() == ds.bayes_score(random_state=None)
    assert ds.bayes_score(random_state=1) == ds.bayes_score(random_state=1) != ds.bayes_score()
    drawn = ds._n_samples_drawn
    ds.bayes_score()
    assert ds._n_samples_drawn == drawn


def test_scorers_rank_classes():
    ds = _classes(10)
    scoring = ds.scorers()
    assert next(iter(scoring)) == "roc_auc"
    assert next(iter(SyntheticDAGDataset(5, random_state=0).scorers())) == "r2"
    X, y = ds.sample(200, return_X_y=True)
    from sklearn.ensemble import RandomForestClassifier

    grid = {"max_depth": [2, 3]}
    search = GridSearchCV(RandomForestClassifier(10), grid, scoring=scoring, refit="roc_auc", cv=2).fit(X, y)
    assert 0.5 < search.best_score_ <= 1.0
    assert ds.report(search.best_estimator_)["auroc_parents"] >= 0.0


def test_the_graph_does_not_depend_on_the_task():
    assert _classes(11).roles_ == SyntheticDAGDataset(8, 2, random_state=11).roles_


@pytest.mark.parametrize("label_noise", [0.0, 0.1])
def test_a_class_counts_as_a_standardised_number(label_noise):
    ds = _classes(12, prevalence=0.2, label_noise=label_noise)
    model, target = ds._blueprint.model, ds._blueprint.target
    values = model.evaluate(model.draw_noise(50_000, np.random.default_rng(0)))[target]
    assert values.mean() == pytest.approx(0.0, abs=0.03)
    assert values.std() == pytest.approx(1.0, abs=0.03)
