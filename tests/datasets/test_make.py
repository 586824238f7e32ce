from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flatcausal.datasets import SyntheticDAGDataset, make_dag_classification, make_dag_regression

SMALL = {"n_nodes": 8, "n_distractors": 3, "n_calibration": 1000, "random_state": 0}


@pytest.mark.parametrize("make", [make_dag_regression, make_dag_classification])
def test_the_twin_of_the_class(make):
    problem = make(300, **SMALL)
    task = "regression" if make is make_dag_regression else "classification"
    ds = SyntheticDAGDataset(**SMALL, task=task)
    X, y = ds.sample(300, return_X_y=True)
    np.testing.assert_array_equal(problem.data, X)
    np.testing.assert_array_equal(problem.target, y)
    assert problem.target.dtype == y.dtype
    assert problem.dataset.roles_ == ds.roles_
    assert problem.feature_names == ds.feature_names_
    assert problem.frame is None
    for array, again in zip((X, y), make(300, return_X_y=True, **SMALL), strict=True):
        np.testing.assert_array_equal(array, again)


def test_feature_info():
    problem = make_dag_regression(10, categorical_fraction=0.5, n_hidden=1, **SMALL)
    info, ds = problem.feature_info, problem.dataset
    assert list(info.index) == ds.feature_names_
    assert info["role"].to_dict() == ds.roles_.role
    for column, truth in (("parent", "parents"), ("ancestor", "ancestors"), ("markov_blanket",) * 2):
        np.testing.assert_array_equal(info[column], ds.roles_.mask(truth))
    np.testing.assert_array_equal(info["type"] != "numeric", ds.categorical_features_)
    np.testing.assert_array_equal(info["n_categories"] > 0, ds.categorical_features_)
    X = ds.sample(4000).X
    for name, count in info["n_categories"].items():
        if count:
            assert set(X[:, ds.feature_names_.index(name)]) == set(range(count))


def test_frames():
    problem = make_dag_classification(20, as_frame=True, categorical_fraction=0.5, prevalence=0.4, **SMALL)
    assert isinstance(problem.data, pd.DataFrame)
    assert isinstance(problem.target, pd.Series)
    pd.testing.assert_frame_equal(problem.frame.drop(columns="y"), problem.data)
    pd.testing.assert_series_equal(problem.frame["y"], problem.target)
    X, y = make_dag_regression(20, as_frame=True, return_X_y=True, **SMALL)
    assert list(X.columns) == problem.feature_names
    assert y.name == "y"


def test_the_description_is_about_this_problem():
    problem = make_dag_regression(20, **SMALL)
    assert "20 rows of 10 features and the number 'y'" in problem.DESCR
    assert f"8 nodes and {problem.dataset.graph_.number_of_edges()} edges; 3 features" in problem.DESCR


def test_a_generator_is_advanced_once():
    rng, twin = np.random.default_rng(0), np.random.default_rng(0)
    make_dag_regression(5, 5, 0, n_calibration=1000, random_state=rng)
    twin.integers(2**63)
    assert rng.bit_generator.state == twin.bit_generator.state


def test_the_label_is_passed_on():
    label = {"prevalence": 0.3, "label_noise": 0.1}
    _, y = make_dag_classification(300, return_X_y=True, **label, **SMALL)
    np.testing.assert_array_equal(
        y, SyntheticDAGDataset(**SMALL, **label, task="classification").sample(300).y
    )
