"""Every mistake ends in one sentence of the right class: (call, class, part of the message)."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest

from flatcausal.datasets import (
    Environment,
    FeatureRoles,
    SyntheticDAGDataset,
    make_dag_classification,
    make_dag_regression,
)
from flatcausal.exceptions import DataError, FlatCausalError, GraphError, ParameterError, ParameterTypeError
from flatcausal.exceptions import FeatureAlignmentError as AlignmentError

Data = SyntheticDAGDataset
CHAIN = nx.DiGraph([("a", "y"), ("y", "b")])
LOOP = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a"), ("a", "y")])


@pytest.fixture(scope="module")
def ds():
    return Data(n_nodes=5, n_distractors=2, n_calibration=1000, shuffle_columns=False, random_state=0)


CONSTRUCTION = [
    (lambda: Data(1), ParameterError, "n_nodes must be at least 2, got 1"),
    (lambda: Data(2.5), ParameterTypeError, "n_nodes must be an integer, got 2.5"),
    (lambda: Data(True), ParameterTypeError, "n_nodes must be an integer"),
    (lambda: Data(5, -1), ParameterError, "n_distractors must be at least 0, got -1"),
    (lambda: Data(5, "2"), ParameterTypeError, "n_distractors must be an integer, got '2'"),
    (lambda: Data(expected_degree=0), ParameterError, "expected_degree must be finite and greater than 0"),
    (lambda: Data(expected_degree=math.nan), ParameterError, "expected_degree must be finite"),
    (lambda: Data(3, expected_degree=3), ParameterError, "expected_degree must be at most n_nodes - 1 = 2"),
    (lambda: Data(graph="ba"), ParameterError, "graph must be one of 'er', 'scale_free_in'"),
    (lambda: Data(graph=CHAIN), ParameterError, "graph must be one of 'er', 'scale_free_in'"),
    (
        lambda: Data(10, graph="layered", expected_degree=8),
        ParameterError,
        "at most what graph='layered' allows = 6.6, got 8",
    ),
    (
        lambda: Data(10, graph="bipartite", min_children=0, expected_degree=5.1),
        ParameterError,
        "at most what graph='bipartite' allows = 5, got 5.1",
    ),
    (lambda: Data(graph="bipartite"), ParameterError, "pass min_parents=0, or min_children=0"),
    (
        lambda: Data(graph="bipartite", min_children=0, min_spouses=1),
        ParameterError,
        "no node of a bipartite graph has parents and children, but min_parents=1, min_children=0",
    ),
    (
        lambda: Data(mechanisms=("linear", "forest")),
        ParameterError,
        "mechanisms must be one of 'linear', 'mlp', 'rff', 'polynomial', 'tree', 'mixture', 'post_nonlinear'",
    ),
    (
        lambda: Data(noise_mode="mixed"),
        ParameterError,
        "noise_mode must be one of 'additive', 'multiplicative'",
    ),
    (lambda: Data(noise_mode=None), ParameterError, "noise_mode must be one of"),
    (
        lambda: Data(standardize="R2"),
        ParameterError,
        "standardize must be one of 'r2', 'internal', 'uumc', 'posthoc', None, got 'R2'",
    ),
    (lambda: Data(standardize=np.ones(2)), ParameterError, "standardize must be one of"),
    (
        lambda: Data(standardize="uumc"),
        ParameterError,
        "standardize='uumc' is for linear mechanisms with additive noise, got mechanisms=('linear', 'mlp')",
    ),
    (
        lambda: Data(standardize="uumc", mechanisms="linear", noise_mode="functional"),
        ParameterError,
        "and noise_mode='functional'; pass",
    ),
    (
        lambda: Data(adjacency=[("a", "y"), ("y",)]),
        ParameterTypeError,
        "must hold pairs of names (cause, effect), got ('y',)",
    ),
    (lambda: Data(adjacency=[("a", "y"), ("y", 3)]), ParameterTypeError, "got ('y', 3)"),
    (lambda: Data(adjacency=[("a", "y"), ("y", "a")]), GraphError, "a -> y -> a"),
    (lambda: Data(n_calibration="many"), ParameterTypeError, "n_calibration must be an integer"),
    (lambda: Data(mechanisms=()), ParameterError, "mechanisms must hold at least one"),
    (lambda: Data(mechanisms=3), ParameterTypeError, "mechanisms must be a sequence of names, got 3"),
    (lambda: Data(noise="cauchy"), ParameterError, "noise must be one of 'normal', 'laplace', 'uniform'"),
    (lambda: Data(r2_range=0.5), ParameterTypeError, "r2_range must be a pair (low, high), got 0.5"),
    (lambda: Data(r2_range=(0.9, 0.3)), ParameterError, "r2_range must rise from low to high"),
    (lambda: Data(r2_range=(0.3, 1.0)), ParameterError, "r2_range must be finite and greater than 0"),
    (lambda: Data(r2_range=("a", 0.5)), ParameterTypeError, "r2_range must be a number, got 'a'"),
    (lambda: Data(min_parents=-1), ParameterError, "min_parents must be at least 0, got -1"),
    (lambda: Data(min_children=1.0), ParameterTypeError, "min_children must be an integer"),
    (lambda: Data(4, min_parents=4), GraphError, "none of 1000 graphs with n_nodes=4"),
    (lambda: Data(6, min_spouses=5), GraphError, "min_spouses=5; lower these minima"),
    (lambda: Data(distractors="noise"), ParameterError, "distractors must be one of 'shadow', 'published'"),
    (lambda: Data(shuffle_columns="no"), ParameterTypeError, "shuffle_columns must be True or False"),
    (lambda: Data(n_calibration=10), ParameterError, "n_calibration must be at least 1000, got 10"),
    (lambda: Data(random_state="seed"), ParameterTypeError, "random_state must be None"),
    (lambda: Data(random_state=-1), ParameterTypeError, "random_state must be None"),
    (lambda: Data(target="x3"), ParameterError, "target must be 'auto' for a random graph, got 'x3'"),
    (lambda: Data(adjacency=CHAIN, target="z"), ParameterError, "a node of adjacency, got 'z'"),
    (lambda: Data(adjacency=CHAIN, target=["a"]), ParameterError, "a node of adjacency, got ['a']"),
    (lambda: Data(target=np.arange(2)), ParameterError, "target must be 'auto' for a random graph"),
    (lambda: Data(adjacency=CHAIN, target=np.arange(2)), ParameterError, "a node of adjacency, got array"),
    (lambda: Data(adjacency=np.eye(3, k=1), target=3), ParameterError, "a node of adjacency, got 3"),
    (lambda: Data(adjacency=np.eye(3, k=1), target=True), ParameterError, "a node of adjacency, got True"),
    (
        lambda: Data(adjacency=CHAIN, min_parents=2),
        GraphError,
        "the 1 graph tried, adjacency, holds no target",
    ),
    (lambda: Data(adjacency=LOOP), GraphError, "a -> b -> c -> a"),
    (lambda: Data(adjacency=np.ones((2, 2))), GraphError, "self-loop on 0"),
    (lambda: Data(adjacency=[[0, 1], [1, 0]]), GraphError, "0 -> 1 -> 0"),
    (lambda: Data(adjacency=np.zeros((2, 3))), GraphError, "adjacency must be square (row -> column)"),
    (lambda: Data(adjacency=[[0, math.nan], [0, 0]]), GraphError, "got nan at row 0, column 1"),
    (lambda: Data(adjacency=[[0]]), GraphError, "adjacency must have at least 2 nodes"),
    (
        lambda: Data(adjacency="edges.csv"),
        ParameterTypeError,
        "adjacency must be a networkx DiGraph, a square matrix",
    ),
    (lambda: Data(adjacency=nx.DiGraph([(0, 1)])), ParameterTypeError, "got the node 0"),
    (lambda: Data(n_hidden=-1), ParameterError, "n_hidden must be at least 0, got -1"),
    (lambda: Data(n_hidden=1.0), ParameterTypeError, "n_hidden must be an integer, got 1.0"),
    (
        lambda: Data(4, n_hidden=7),
        ParameterError,
        "n_hidden must be at most 6, the pairs among 4 nodes, got 7",
    ),
    (lambda: Data(adjacency=CHAIN, n_hidden=4), ParameterError, "the pairs among 3 nodes, got 4"),
    (lambda: Data(categorical_fraction=1.1), ParameterError, "categorical_fraction must be finite"),
    (lambda: Data(categorical_fraction=-0.1), ParameterError, "categorical_fraction must be finite"),
    (lambda: Data(categorical_fraction="half"), ParameterTypeError, "must be a number, got 'half'"),
    (
        lambda: Data(categorical_types=("binary", "text")),
        ParameterError,
        "categorical_types must be one of 'binary', 'ordinal', 'nominal', got 'text'",
    ),
    (lambda: Data(categorical_types=()), ParameterError, "categorical_types must hold at least one of"),
    (lambda: Data(categorical_types=2), ParameterTypeError, "categorical_types must be a sequence of names"),
    (lambda: Data(task="multiclass"), ParameterError, "task must be one of 'regression', 'classification'"),
    (lambda: Data(task=None), ParameterError, "task must be one of"),
    (lambda: Data(task="classification", prevalence=0), ParameterError, "prevalence must be finite and"),
    (lambda: Data(task="classification", prevalence=1.0), ParameterError, "less than 1.0, got 1.0"),
    (lambda: Data(task="classification", prevalence=math.nan), ParameterError, "prevalence must be finite"),
    (lambda: Data(task="classification", label_noise=0.5), ParameterError, "label_noise must be finite"),
    (lambda: Data(task="classification", label_noise="1%"), ParameterTypeError, "label_noise must be a num"),
    (
        lambda: Data(task="classification", prevalence=0.1, label_noise=0.1),
        ParameterError,
        "label_noise must be less than prevalence and 1 - prevalence, got 0.1 with prevalence=0.1",
    ),
    (lambda: Data(prevalence=0.3), ParameterError, "prevalence is for task='classification', got 0.3"),
    (lambda: Data(label_noise=0.1), ParameterError, "label_noise is for task='classification', got 0.1"),
    (
        lambda: Data(standardize="uumc", mechanisms="linear", task="classification"),
        ParameterError,
        "standardize='uumc' is for linear models of numbers",
    ),
    (
        lambda: Data(standardize="uumc", mechanisms="linear", categorical_fraction=0.5),
        ParameterError,
        "got categorical_fraction=0.5 and task='regression'",
    ),
    (lambda: make_dag_regression(0), ParameterError, "n_samples must be at least 1, got 0"),
    (lambda: make_dag_regression(return_X_y=1), ParameterTypeError, "return_X_y must be True or False"),
    (lambda: make_dag_regression(as_frame="yes"), ParameterTypeError, "as_frame must be True or False"),
    (lambda: make_dag_regression(n_informative=3), ParameterError, "'n_informative' is no parameter of"),
    (lambda: make_dag_regression(task="classification"), ParameterError, "task is 'regression' here"),
    (lambda: make_dag_classification(task="regression"), ParameterError, "task is 'classification' here"),
    (lambda: make_dag_regression(prevalence=0.3), ParameterError, "prevalence is for task='classification'"),
    (lambda: make_dag_classification(prevalence=2), ParameterError, "prevalence must be finite"),
    (lambda: Data.preset("published"), ParameterError, "name must be one of 'dlcausal', 'dlcausal-fixed'"),
    (lambda: Data.preset("dlcausal", noise="normal"), ParameterError, "has no parameter 'noise'"),
    (lambda: Data.preset("dlcausal", n_nodes=3), ParameterError, "n_nodes must be at least 4, got 3"),
    (lambda: Data.preset("dlcausal", n_distractors=-1), ParameterError, "n_distractors must be at least 0"),
]

USE = [
    (lambda ds: ds.sample(0), ParameterError, "n must be at least 1, got 0"),
    (lambda ds: ds.sample(1.5), ParameterTypeError, "n must be an integer, got 1.5"),
    (lambda ds: ds.sample(5, random_state="a"), ParameterTypeError, "random_state must be None"),
    (lambda ds: ds.sample(5, do={"y": 1.0}), ParameterError, "do names the target 'y'"),
    (lambda ds: ds.sample(5, do={"z": 1.0}), ParameterError, "do names 'z', which is none of the 6 features"),
    (lambda ds: ds.sample(5, do=[1.0]), ParameterTypeError, "do must be a dict from feature names to values"),
    (lambda ds: ds.sample(5, do={"x0": "high"}), ParameterTypeError, "do['x0'] must be a number"),
    (
        lambda ds: ds.sample(5, do={"x0": [1.0, 2.0]}),
        DataError,
        "do['x0'] must be a number or have shape (5,)",
    ),
    (lambda ds: ds.sample(5, do={"x0": math.inf}), DataError, "do['x0'] must be finite, got inf"),
    (lambda ds: ds.sample(5, env="do"), ParameterTypeError, "env must be an Environment"),
    (
        lambda ds: ds.sample(5, env=Environment("do", ("y",), (1.0,))),
        ParameterError,
        "env names the target 'y'",
    ),
    (lambda ds: ds.sample(5, env=Environment("do", ("z",), (1.0,))), ParameterError, "env names 'z'"),
    (
        lambda ds: ds.sample(5, env=Environment("shift", ("x5",), (1.0,))),
        ParameterError,
        "env cannot shift 'x5', which lacks a place in the graph",
    ),
    (lambda ds: Environment("hard", ("x0",), (1.0,)), ParameterError, "kind must be one of 'do'"),
    (lambda ds: Environment("mechanism", ("x0",), (1.5,)), ParameterTypeError, "values must be an integer"),
    (
        lambda ds: Environment("do", ("y",), (1.0,), allow_target=1),
        ParameterTypeError,
        "allow_target must be",
    ),
    (lambda ds: ds.sample(5, shift=[1.0]), ParameterTypeError, "shift must be a dict from feature names"),
    (lambda ds: ds.sample(5, scale={"y": 1.0}), ParameterError, "scale names the target 'y'"),
    (lambda ds: ds.sample(5, soft={"z": 1.0}), ParameterError, "soft names 'z', which is none"),
    (
        lambda ds: ds.sample(5, scale={"x0": -1.0}),
        ParameterError,
        "scale['x0'] must be finite and at least 0",
    ),
    (lambda ds: ds.sample(5, shift={"x0": "far"}), ParameterTypeError, "shift['x0'] must be a number"),
    (lambda ds: ds.sample(5, shift={"x5": 1.0}), ParameterError, "which lacks a place in the graph"),
    (
        lambda ds: ds.sample(5, soft={"x0": 1.0}),
        ParameterError,
        "soft cannot soften 'x0', which lacks causes",
    ),
    (
        lambda ds: ds.sample(5, do={"x0": 1.0}, shift={"x0": 1.0}),
        ParameterError,
        "shift names 'x0', which do holds at a value",
    ),
    (lambda ds: ds.iter_batches(5, 0), ParameterError, "batch_size must be at least 1, got 0"),
    (lambda ds: ds.iter_batches(0, 5), ParameterError, "n must be at least 1, got 0"),
    (lambda ds: ds.iter_batches(5, 5, do={"z": 1.0}), ParameterError, "do names 'z'"),
    (lambda ds: ds.environments(2, nodes="causes"), ParameterError, "nodes must be one of 'any', 'parents'"),
    (
        lambda ds: ds.environments(2, kind="mechanism", strength=1.0),
        ParameterError,
        "strength must be None for kind='mechanism'",
    ),
    (
        lambda ds: ds.environments(2, nodes="irrelevant"),
        ParameterError,
        "none of the features that nodes='irrelevant' names can be moved by kind='do'",
    ),
    (lambda ds: ds.environments(2, allow_target="yes"), ParameterTypeError, "allow_target must be True"),
    (lambda ds: Environment("do", ["x0"], (1.0,)), ParameterTypeError, "features must be a tuple"),
    (lambda ds: Environment("do", (1,), (1.0,)), ParameterTypeError, "features must be names, got 1"),
    (lambda ds: Environment("do", ("x0",) * 2, (1.0, 2.0)), ParameterError, "features name 'x0' twice"),
    (lambda ds: ds.environments(1, nodes=""), ParameterError, "nodes must be one of 'any'"),
    (lambda ds: Environment("do", ("x0",), ()), ParameterError, "one number for each of 1 features, got 0"),
    (lambda ds: Environment("do", ("x0",), (math.nan,)), ParameterError, "values must be finite"),
    (lambda ds: Environment("scale", ("x0",), (-1.0,)), ParameterError, "at least 0"),
    (lambda ds: Environment("do", ("x0",), (1.0,), spread=-1.0), ParameterError, "spread must be finite"),
    (lambda ds: ds.environments(0), ParameterError, "k must be at least 1, got 0"),
    (
        lambda ds: ds.environments(2, kind="hard"),
        ParameterError,
        "kind must be one of 'do', 'shift', 'scale'",
    ),
    (lambda ds: ds.environments(2, fraction=0), ParameterError, "fraction must be finite and greater than 0"),
    (lambda ds: ds.environments(2, fraction=1.5), ParameterError, "at most 1"),
    (lambda ds: ds.environments(2, strength=-1), ParameterError, "strength must be finite and at least 0"),
    (lambda ds: ds.report([1.0, 2.0]), AlignmentError, "2 entries but roles name 6 features"),
    (lambda ds: ds.report([math.nan] * 6), DataError, "importances must be finite"),
    (lambda ds: ds.bayes_score("roc_auc"), ParameterError, "metric must be one of 'r2', got 'roc_auc'"),
    (lambda ds: ds.bayes_score(n=1), ParameterError, "n must be at least 2, got 1"),
    (lambda ds: ds.bayes_score(env="do"), ParameterTypeError, "env must be an Environment"),
    (lambda ds: ds.bayes_score(env=Environment("do", ("y",), (1.0,))), ParameterError, "names the target"),
    (
        lambda ds: ds.bayes_score(env=Environment("shift", ("y",), (1.0,), allow_target=True)),
        ParameterError,
        "env names the target 'y', whose equation scores",
    ),
    (lambda ds: ds.bayes_score(random_state="a"), ParameterTypeError, "random_state must be None"),
    (lambda ds: ds.sortability(4), ParameterError, "n must be at least 6, got 4"),
    (lambda ds: ds.sortability(1e4), ParameterTypeError, "n must be an integer"),
    (lambda ds: ds.roles_.mask("causes"), ParameterError, "truth must be one of 'parents'"),
    (lambda ds: ds.roles_.mask(0), ParameterError, "truth must be one of"),
]

ROLES = [
    (lambda: FeatureRoles.from_graph(LOOP, "y", ["a", "b", "c"]), GraphError, "a -> b -> c -> a"),
    (lambda: FeatureRoles.from_graph(CHAIN, "t", ["a", "b", "y"]), GraphError, "target 't' is no node"),
    (lambda: FeatureRoles.from_graph(CHAIN, "y", ["a"]), GraphError, "node 'b' is neither a feature nor"),
    (lambda: FeatureRoles.from_graph(CHAIN, "y", ["a", "b", "a"]), DataError, "holds 'a' twice"),
    (
        lambda: FeatureRoles.from_graph(CHAIN, "y", ["a", "b", "y"]),
        DataError,
        "the target 'y' is also a feature",
    ),
    (
        lambda: FeatureRoles.from_graph(CHAIN, "y", ["a", "b", 3]),
        ParameterTypeError,
        "must be strings, got 3",
    ),
    (lambda: FeatureRoles.from_graph(CHAIN, "y", "ab"), ParameterTypeError, "must be a list of names"),
    (
        lambda: FeatureRoles.from_graph([("a", "y")], "y", ["a"]),
        ParameterTypeError,
        "must be a networkx DiGraph",
    ),
    (
        lambda: FeatureRoles.from_graph(nx.Graph(CHAIN), "y", ["a", "b"]),
        ParameterTypeError,
        "DiGraph, got Graph",
    ),
    (
        lambda: FeatureRoles.from_graph(nx.DiGraph([("a", "a"), ("a", "y")]), "y", ["a"]),
        GraphError,
        "self-loop on 'a'",
    ),
    (
        lambda: FeatureRoles.from_graph(CHAIN, "y", ["a", "b"], hidden=["b"]),
        DataError,
        "the feature 'b' is also hidden",
    ),
    (
        lambda: FeatureRoles.from_graph(CHAIN, "y", ["a", "b"], hidden=["h"]),
        GraphError,
        "the hidden node 'h' is no node of the graph",
    ),
    (
        lambda: FeatureRoles.from_graph(CHAIN, "y", ["a", "b"], hidden=["y"]),
        DataError,
        "the target 'y' is also hidden",
    ),
    (
        lambda: FeatureRoles.from_graph(CHAIN, "y", ["a"], hidden=["b", "b"]),
        DataError,
        "hidden holds 'b' twice",
    ),
    (
        lambda: FeatureRoles.from_graph(CHAIN, "y", ["a"], hidden="b"),
        ParameterTypeError,
        "hidden must be a list of names, got the string 'b'",
    ),
    (
        lambda: FeatureRoles.from_graph(CHAIN, "y", ["a"], hidden=3),
        ParameterTypeError,
        "hidden must be a list of names, got 3",
    ),
]

CATEGORIES = [
    (lambda ds, name: ds.sample(5, do={name: 9}), DataError, "must be a category, one of 0 to"),
    (lambda ds, name: ds.sample(5, do={name: -1}), DataError, "got -1"),
    (lambda ds, name: ds.sample(5, do={name: 0.5}), DataError, "got 0.5"),
    (lambda ds, name: ds.sample(2, do={name: [0, 9]}), DataError, "got 9"),
    (lambda ds, name: ds.sample(5, do={"y": 2}, allow_target=True), DataError, "do['y'] must be a category"),
    (lambda ds, name: ds.sample(5, do={"h0": 1.0}), ParameterError, "do names 'h0', which is none of the"),
    (lambda ds, name: ds.bayes_score("mse"), ParameterError, "metric must be one of 'roc_auc', 'accuracy'"),
]


def _readable(value):
    return value if isinstance(value, str) else getattr(value, "__name__", "").strip("<>")


@pytest.mark.parametrize(("call", "error", "fragment"), CONSTRUCTION + ROLES, ids=_readable)
def test_construction(call, error, fragment):
    with pytest.raises(error) as caught:
        call()
    _check_sentence(caught.value, fragment)


@pytest.mark.parametrize(("call", "error", "fragment"), USE, ids=_readable)
def test_use(ds, call, error, fragment):
    drawn = ds._n_samples_drawn, ds._n_environments_drawn
    with pytest.raises(error) as caught:
        call(ds)
    _check_sentence(caught.value, fragment)
    assert drawn == (ds._n_samples_drawn, ds._n_environments_drawn)  # a refused call draws nothing


@pytest.mark.parametrize(("call", "error", "fragment"), CATEGORIES, ids=_readable)
def test_use_of_categories(call, error, fragment):
    ds = Data(6, 4, task="classification", n_hidden=1, categorical_fraction=0.9, n_calibration=1000)
    for name in np.array(ds.feature_names_)[ds.categorical_features_]:
        with pytest.raises(error) as caught:
            call(ds, str(name))
        _check_sentence(caught.value, fragment)
    assert ds._n_samples_drawn == 0


def _check_sentence(error, fragment):
    message = str(error)
    assert fragment in message
    assert isinstance(error, FlatCausalError)
    assert isinstance(error, (ValueError, TypeError))
    assert message.endswith(".")
    assert "\n" not in message
