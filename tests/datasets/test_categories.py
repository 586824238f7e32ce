"""Categorical features: what their children see is what is shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flatcausal.datasets import Environment, SyntheticDAGDataset
from flatcausal.datasets._categories import Categorised
from tests.reference.structural import evaluate_row


@pytest.fixture(scope="module")
def ds():
    return SyntheticDAGDataset(12, 6, categorical_fraction=0.6, n_calibration=5000, random_state=4)


def _equations(ds):
    return {name: e for name, e in ds._columns.categories.items() if name in ds._columns.node_of}


def test_as_many_as_asked(ds):
    assert len(_equations(ds)) == round(0.6 * 11)
    few = SyntheticDAGDataset(12, 0, categorical_fraction=0.01, n_calibration=1000, random_state=0)
    assert few.categorical_features_.sum() == 1
    assert not SyntheticDAGDataset(12, 0, n_calibration=1000, random_state=0).categorical_features_.any()


def test_types_and_shares():
    seen, shuffled = set(), False
    for seed in range(12):
        ds = SyntheticDAGDataset(12, 0, categorical_fraction=1.0, n_calibration=2000, random_state=seed)
        X = ds.sample(4000, as_frame=True).X
        for name, equation in _equations(ds).items():
            k = equation.n_categories
            seen.add((equation.kind, k))
            shares = X[name].value_counts(normalize=True)
            assert set(shares[shares > 0].index) == set(range(k))
            assert shares.min() > 0.5 / k - 0.05
            shuffled |= equation.kind == "nominal" and (np.diff(equation.codes) < 0).any()
    assert seen == {("binary", 2), *((kind, k) for kind in ("ordinal", "nominal") for k in range(3, 7))}
    assert shuffled


def test_only_the_types_asked_for():
    ds = SyntheticDAGDataset(
        12, 0, categorical_fraction=1.0, categorical_types="ordinal", n_calibration=1000, random_state=0
    )
    assert {equation.kind for equation in _equations(ds).values()} == {"ordinal"}


def test_codes_and_frames(ds):
    X, _ = ds.sample(300, return_X_y=True, random_state=0)
    frame, _ = ds.sample(300, return_X_y=True, as_frame=True, random_state=0)
    for column, name in enumerate(ds.feature_names_):
        is_category = isinstance(frame[name].dtype, pd.CategoricalDtype)
        assert is_category == ds.categorical_features_[column]
        if is_category:
            equation = ds._columns.categories[name]
            assert frame[name].cat.ordered == (equation.kind == "ordinal")
            assert list(frame[name].cat.categories) == list(range(equation.n_categories))
        np.testing.assert_array_equal(frame[name].to_numpy(dtype=float), X[:, column])


def test_equal_to_one_row_at_a_time(ds):
    model = ds._blueprint.model
    noise = model.draw_noise(40, np.random.default_rng(0))
    expected = np.array([evaluate_row(model, row) for row in noise.T]).T
    np.testing.assert_allclose(model.evaluate(noise), expected, atol=1e-9)


def test_an_ordinal_code_rises_with_the_latent_value(ds):
    model = ds._blueprint.model
    noise = model.draw_noise(2000, np.random.default_rng(0))
    values = model.evaluate(noise)
    for node, equation in enumerate(model.assignments):
        if isinstance(equation, Categorised) and equation.kind != "nominal":
            latent = equation.inner(values[list(equation.parents)], noise[node])
            codes = equation.shown(values[node])
            order = np.argsort(latent)
            assert (np.diff(codes[order]) >= 0).all()


@pytest.mark.parametrize("standardize", ["r2", "internal", "posthoc"])
def test_levels_keep_mean_and_variance(standardize):
    ds = SyntheticDAGDataset(10, 0, categorical_fraction=1.0, standardize=standardize, random_state=2)
    noise = ds._blueprint.model.draw_noise(50_000, np.random.default_rng(0))
    values = ds._blueprint.model.evaluate(noise)
    np.testing.assert_allclose(values.mean(axis=1), 0.0, atol=0.05)
    np.testing.assert_allclose(values.std(axis=1), 1.0, atol=0.04)


def test_holding_a_category_that_was_there_changes_nothing(ds):
    # Consistency: nothing but the category passes on to the children.
    usual = ds.sample(1500, random_state=1)
    for name in _equations(ds):
        codes = usual.X[:, ds.feature_names_.index(name)]
        held = ds.sample(1500, do={name: codes}, random_state=1)
        np.testing.assert_array_equal(held.X, usual.X)
        np.testing.assert_array_equal(held.y, usual.y)


def test_do_takes_a_category(ds):
    for name, equation in ds._columns.categories.items():
        for code in range(equation.n_categories):
            X = ds.sample(20, do={name: code}).X
            assert (X[:, ds.feature_names_.index(name)] == code).all()


def test_environments_move_what_is_cut(ds):
    names = list(_equations(ds))
    usual = ds.sample(4000, random_state=1)
    for name in names:
        equation, column = ds._columns.categories[name], ds.feature_names_.index(name)
        position = np.argsort(equation.codes)  # interval of each code
        intervals = {}
        for kind, value in (("shift", 3.0), ("do", 3.0), ("scale", 0.5)):
            codes = ds.sample(4000, env=Environment(kind, (name,), (value,)), random_state=1).X[:, column]
            assert set(codes) <= set(range(equation.n_categories))
            intervals[kind] = position[codes.astype(int)].mean()
        before = position[usual.X[:, column].astype(int)].mean()
        assert intervals["shift"] > before
        assert intervals["do"] > before


def test_environments_of_other_functions_cut_at_the_old_thresholds():
    ds = SyntheticDAGDataset(12, 0, categorical_fraction=1.0, task="classification", random_state=0)
    for kind in ("soft", "mechanism"):
        for env in ds.environments(2, kind=kind, nodes="any", fraction=1.0, allow_target=True):
            sample = ds.sample(3000, env=env)
            assert set(sample.y) == {0, 1}
            for name, equation in _equations(ds).items():
                codes = sample.X[:, ds.feature_names_.index(name)]
                assert set(codes) <= set(range(equation.n_categories))


def test_shadows_of_a_category_are_categories(ds):
    X = ds.sample(20_000).X
    shadows = [name for name in ds._columns.categories if name not in ds._columns.node_of]
    assert shadows
    for name in shadows:
        source = next(n for n, e in _equations(ds).items() if e is ds._columns.categories[name])
        copied, original = (X[:, ds.feature_names_.index(n)] for n in (name, source))
        np.testing.assert_allclose(
            np.bincount(copied.astype(int)), np.bincount(original.astype(int)), rtol=0.1
        )
        assert ds.roles_.role[name] == "distractor"


def test_roles_are_those_of_the_graph(ds):
    plain = SyntheticDAGDataset(12, 6, n_calibration=5000, random_state=4)
    assert ds.roles_ == plain.roles_


@pytest.mark.parametrize("noise_mode", ["functional", "multiplicative"])
def test_a_discrete_latent_value_leaves_no_category_empty(noise_mode):
    for seed in range(5):
        ds = SyntheticDAGDataset(
            8,
            0,
            categorical_fraction=1.0,
            mechanisms="tree",
            noise_mode=noise_mode,
            n_calibration=2000,
            random_state=seed,
        )
        X = ds.sample(6000).X
        for column, name in enumerate(ds.feature_names_):
            assert len(set(X[:, column])) == ds._columns.categories[name].n_categories


def test_an_estimator_takes_them(ds):
    from flatcausal import FlatMinimaTabNetRegressor

    small = {"max_epochs": 1, "n_steps": 1, "random_state": 0}
    X, y = ds.sample(120, return_X_y=True, random_state=0)
    by_codes = FlatMinimaTabNetRegressor(categorical_features=ds.categorical_features_, **small).fit(X, y)
    assert list(by_codes.categories_) == list(np.flatnonzero(ds.categorical_features_))
    frame, y = ds.sample(120, return_X_y=True, as_frame=True, random_state=0)
    by_dtype = FlatMinimaTabNetRegressor(**small).fit(frame, y)
    assert list(by_dtype.categories_) == list(by_codes.categories_)
