"""The call itself: streams, jobs, the oracle, and what it refuses."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from threading import Barrier

import joblib
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from flatcausal.baselines import METHODS, _methods, baseline_importances
from flatcausal.datasets import FeatureRoles, SyntheticDAGDataset
from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterError, ParameterTypeError
from flatcausal.metrics import causal_recovery_report

NAMES = ["effect", "cause", "noise", "other_cause"]
GRAPH = nx.DiGraph([("cause", "y"), ("other_cause", "y"), ("y", "effect")])
ROLES = FeatureRoles.from_graph(GRAPH, "y", NAMES)
FAST = ["correlation", "lasso", "random"]


def threads():
    return [pool["num_threads"] for pool in threadpool_info()]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    return X, X[:, 1] - X[:, 3] + 0.1 * rng.normal(size=60)


def test_each_method_has_a_stream_of_its_own(rows):
    names = ["random", "lasso", "forest_permutation", "mlp_permutation"]
    table = baseline_importances(*rows, names, random_state=3)
    assert table.index.tolist() == names
    pd.testing.assert_frame_equal(baseline_importances(*rows, names[::-1], random_state=3), table[::-1])
    pd.testing.assert_frame_equal(baseline_importances(*rows, names[1:2], random_state=3), table[1:2])
    other = baseline_importances(*rows, names, random_state=4)
    assert (other.loc["random"] != table.loc["random"]).all()


def test_nothing_global_is_read_or_left(rows):
    names = ["forest_impurity", "lasso", "mlp_permutation"]
    before, pools = random.getstate(), threads()
    first = baseline_importances(*rows, names, random_state=0)
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.random_sample()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    pd.testing.assert_frame_equal(baseline_importances(*rows, names, random_state=0), first)
    baseline_importances(*rows, FAST)
    assert np.random.random_sample() == expected  # noqa: NPY002
    assert random.getstate() == before
    assert threads() == pools


def test_jobs_change_no_bit(rows):
    names = ["lasso", "boosting_permutation", "random"]
    alone = baseline_importances(*rows, names, random_state=0)
    jobs = baseline_importances(*rows, names, random_state=0, n_jobs=2)
    pd.testing.assert_frame_equal(jobs, alone, check_exact=True)
    with joblib.parallel_config("threading"):
        threaded = baseline_importances(*rows, names, random_state=0, n_jobs=3)
    pd.testing.assert_frame_equal(threaded, alone, check_exact=True)


@pytest.mark.parametrize("order", [["short", "long"], ["long", "short"]])
def test_methods_that_overlap_in_threads_keep_to_one_thread_each_and_restore_the_callers(
    rows, monkeypatch, order
):
    both, seen = Barrier(2), []

    def waits(seconds):
        def score(table, seeds):
            both.wait(10)
            time.sleep(seconds)
            seen.extend(threads())
            return np.ones(4)

        return _methods.Method(score)

    monkeypatch.setitem(METHODS, "short", waits(0.0))
    monkeypatch.setitem(METHODS, "long", waits(0.3))
    with threadpool_limits(2), joblib.parallel_config("threading"):
        before = threads()
        baseline_importances(*rows, order, n_jobs=2)
        assert threads() == before
    assert set(seen) == {1}


def test_none_is_every_method_that_the_arguments_allow_and_scikit_learn_has(rows):
    alone = [name for name, method in METHODS.items() if not method.needs and not method.package]
    assert baseline_importances(*rows, random_state=0).index.tolist() == alone
    with_roles = baseline_importances(*rows, roles=ROLES, random_state=0)
    assert with_roles.index.tolist() == [*alone, "oracle_parents", "oracle_markov_blanket"]


def test_the_oracle_is_aligned_by_name_in_a_frame_and_by_position_in_an_array(rows):
    X, y = rows
    names = ["oracle_parents", "oracle_markov_blanket"]
    table = baseline_importances(X, y, names, roles=ROLES)
    assert table.columns.tolist() == NAMES
    assert table.loc["oracle_parents"].tolist() == [0, 0.5, 0, 0.5]
    assert table.loc["oracle_markov_blanket"].tolist() == [1 / 3, 1 / 3, 0, 1 / 3]
    reverse = pd.DataFrame(X[:, ::-1], columns=NAMES[::-1])
    pd.testing.assert_frame_equal(baseline_importances(reverse, y, names, roles=ROLES), table[NAMES[::-1]])
    numbered = baseline_importances(pd.DataFrame(X), y, names, roles=ROLES)
    pd.testing.assert_frame_equal(numbered, table)
    assert causal_recovery_report(table.loc["oracle_parents"], ROLES)["ap_lift_parents"] == 1


def test_an_oracle_without_parents_has_zeros(rows):
    roles = FeatureRoles.from_graph(nx.DiGraph([("y", "effect")]), "y", NAMES)
    table = baseline_importances(*rows, ["oracle_parents", "oracle_markov_blanket"], roles=roles)
    assert table.to_numpy().tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]


def test_data_sets_go_in_and_reports_come_out():
    ds = SyntheticDAGDataset(n_nodes=6, n_distractors=2, random_state=0)
    X, y = ds.sample(200, return_X_y=True)
    table = baseline_importances(X, y, ["oracle_parents", *FAST], roles=ds.roles_, random_state=0)
    assert table.columns.tolist() == ds.feature_names_
    reports = {name: ds.report(shares) for name, shares in table.iterrows()}
    assert reports["oracle_parents"]["causal_mass_parents"] == 1
    assert reports["correlation"]["causal_mass_parents"] < 1


def test_frames_keep_their_names_and_take_booleans(rows):
    X = pd.DataFrame(rows[0], columns=NAMES).assign(flag=rows[1] > 0)
    table = baseline_importances(X, rows[1], ["correlation"])
    assert table.columns.tolist() == [*NAMES, "flag"]
    lists = baseline_importances(X.to_numpy(dtype=float).tolist(), list(rows[1]), ["correlation"])
    np.testing.assert_allclose(table, lists, rtol=1e-12)


@pytest.mark.parametrize(
    "target", [["a", "b"] * 30, [True, False] * 30, [0.0, 1.0] * 30, pd.Categorical([3, 1] * 30)]
)
def test_two_values_or_words_are_classes(target):
    X, label = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    with pytest.raises(ParameterError, match="'icp' takes a target of numbers, got 2 classes; leave"):
        baseline_importances(X, target, ["icp"], environments=label)


def test_more_numbers_are_classes_only_if_the_task_says_so():
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 3
    with pytest.raises(ParameterError, match="'pc_parents' takes a target of numbers or two classes, got 3"):
        baseline_importances(X, y, ["pc_parents"], task="classification")
    numbers = [baseline_importances(X, y, ["correlation"], task=task) for task in ("auto", "regression")]
    pd.testing.assert_frame_equal(*numbers)
    assert (baseline_importances(X, y, ["correlation"], task="classification") != numbers[0]).all(axis=None)


def test_a_missing_package_is_named_before_anything_is_fitted(rows, monkeypatch):
    monkeypatch.setattr(_methods, "find_spec", lambda module: None)
    for name, package in (("pc_parents", "causal-learn"), ("icp", "causalicp")):
        with pytest.raises(ImportError, match=f"'{name}' needs {package}: pip install {package}$"):
            baseline_importances(*rows, ["mlp_permutation", name], environments=np.arange(60) % 2)


def test_no_torch_is_loaded():
    code = "import sys, flatcausal.baselines; print('torch' in sys.modules, 'causallearn' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "False"]


def test_methods_are_checked(rows):
    def refused(error, match, methods, **options):
        with pytest.raises(error, match=match):
            baseline_importances(*rows, methods, **options)

    refused(
        ParameterError,
        "methods has no 'forest_permutaton'; did you mean 'forest_permutation'",
        ["forest_permutaton"],
    )
    refused(ParameterError, "methods has no 'zzz'; known: 'random', 'correlation'", ["zzz"])
    refused(ParameterError, "methods has no 3; ", [3])
    refused(ParameterError, "methods names 'lasso' twice", ["lasso", "lasso"])
    refused(ParameterError, "at least one method, got none", [])
    refused(ParameterTypeError, "a list of names, got the string 'lasso'", "lasso")
    refused(ParameterError, "'oracle_parents' needs roles, got None", ["oracle_parents"])
    refused(ParameterError, "'icp' needs environments, got None", ["icp"])
    refused(
        ParameterError,
        "task must be one of 'auto', 'regression', 'classification', got 'rank'",
        FAST,
        task="rank",
    )
    refused(ParameterError, "n_jobs must not be 0", FAST, n_jobs=0)
    refused(ParameterTypeError, "n_jobs must be an integer, got '2'", FAST, n_jobs="2")
    refused(ParameterTypeError, "random_state must be", FAST, random_state="x")
    refused(ParameterTypeError, "roles must be an object.*got ndarray", FAST, roles=np.ones(4))
    two = FeatureRoles.from_graph(GRAPH, "y", [*NAMES, "more"])
    refused(FeatureAlignmentError, "X has 4 columns but the roles name 5", FAST, roles=two)
    with pytest.raises(FeatureAlignmentError, match="do not share the feature 'other_cause'"):
        baseline_importances(
            pd.DataFrame(rows[0], columns=["effect", "cause", "noise", "zzz"]), rows[1], FAST, roles=ROLES
        )


def test_rows_are_checked(rows):
    X, y = rows
    frame = pd.DataFrame(X, columns=NAMES)

    def refused(match, X=X, y=y, **options):
        with pytest.raises(DataError, match=match):
            baseline_importances(X, y, ["correlation"], **options)

    refused(r"at least 20 rows, got \(19, 4\)", X[:19], y[:19])
    refused(r"X must have shape.*got \(60,\)", X[:, 0])
    refused("X holds nan in column 2, row 5", np.where(np.arange(240).reshape(60, 4) == 22, np.nan, X))
    refused("X holds inf in column 'noise', row 5", frame.mask(np.arange(240).reshape(60, 4) == 22, np.inf))
    refused("column 'noise' of X holds", frame.assign(noise="a"))
    refused("X must hold numbers", X.astype(str).astype(object) + "a")
    refused("X has two columns named 'a'", pd.DataFrame(X, columns=["a", "a", "b", "c"]))
    refused(r"y must have shape \(60,\).*got \(59,\)", y=y[1:])
    refused(r"y must have shape \(60,\).*got \(60, 1\)", y=y[:, None])
    refused("y misses a value in row 7", y=np.where(np.arange(60) == 7, np.nan, y))
    refused("y holds -inf", y=np.where(np.arange(60) == 7, -np.inf, y))
    refused("y is 2.0 in every row", y=np.full(60, 2.0))
    refused("y mixes types", y=np.array(["a", 1] * 30, dtype=object))
    refused("y must hold numbers for regression", y=["a", "b", "c"] * 20, task="regression")
    refused("y holds the class 'b' in 4 rows, fewer than 5", y=["a"] * 56 + ["b"] * 4)
    label = np.arange(60) % 2
    refused(r"environments must have shape \(60,\).*got \(59,\)", environments=label[1:])
    refused("with gaps", environments=np.where(label == 1, np.nan, 0.0))
    refused("at least 2 with at least 10 rows each, got 0: 60", environments=0 * label)
    refused("got 'a': 5, 'b': 55", environments=np.repeat(["a", "b"], [5, 55]))


def test_the_docstring_names_every_method():
    assert all(f'``"{name}"``' in baseline_importances.__doc__ for name in METHODS)
