from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest

from flatcausal.datasets import Environment, SyntheticDAGDataset
from flatcausal.datasets._published import FUNCTIONS, Elementwise, Positive, UntrainedNet, published_graph

SIZES = [(6, 4), (60, 40)]


@pytest.mark.parametrize("name", ["dlcausal", "dlcausal-fixed"])
@pytest.mark.parametrize(("n_nodes", "n_distractors"), SIZES)
def test_sizes(name, n_nodes, n_distractors):
    ds = SyntheticDAGDataset.preset(name, n_nodes=n_nodes, n_distractors=n_distractors, random_state=0)
    assert ds.n_features_ == n_nodes - 1 + n_distractors
    assert len(ds.graph_) == n_nodes
    assert len(ds.roles_.distractors) == n_distractors
    assert ds.sample(10).X.shape == (10, ds.n_features_)


def test_default_size_and_seed():
    first, second = (SyntheticDAGDataset.preset("dlcausal", random_state=1) for _ in range(2))
    assert first.n_features_ == 99
    np.testing.assert_array_equal(first.sample(5).X, second.sample(5).X)


@pytest.mark.parametrize("n_nodes", [4, 6, 25])
def test_the_published_model_is_as_published(n_nodes):
    for seed in range(12):
        ds = SyntheticDAGDataset.preset("dlcausal", n_nodes=n_nodes, n_distractors=4, random_state=seed)
        assert nx.is_directed_acyclic_graph(ds.graph_)
        assert not ds.roles_.descendants
        assert "y" not in ds.roles_.role
        y = ds.sample(4000, random_state=0).y
        assert set(y) <= {0.0, 1.0}
        assert 0.17 <= y.mean() <= 0.73
        for node in ds.graph_:
            if ds.graph_.in_degree(node) == 0 and ds.graph_.out_degree(node) > 0:
                assert node in ds.roles_.parents
        for assignment in ds._blueprint.model.assignments:
            expected = 0.0 if assignment.parents else math.sqrt(1 + 0.005**2)
            assert assignment.noise_scale == expected


def test_the_published_target_is_a_function_of_its_roots():
    ds = SyntheticDAGDataset.preset("dlcausal", n_nodes=12, n_distractors=0, random_state=0)
    X = ds.sample(200, random_state=0).X
    roots = {f: X[:, k] for k, f in enumerate(ds.feature_names_) if ds.graph_.in_degree(f) == 0}
    again = ds.sample(200, do=roots, random_state=99)
    np.testing.assert_array_equal(again.y, ds.sample(200, random_state=0).y)


def test_published_graphs_have_two_roots_equal_parents_and_a_free_sink():
    rng = np.random.default_rng(0)
    parents = ancestors = acyclic = 0
    for _ in range(150):
        adjacency, sink = published_graph(30, rng)
        graph = nx.from_numpy_array(adjacency, create_using=nx.DiGraph)
        assert not adjacency[sink].any()
        if nx.is_directed_acyclic_graph(graph):
            acyclic += 1
            parents += graph.in_degree(sink)
            ancestors += len(nx.ancestors(graph, sink))
    assert acyclic > 75
    assert parents / ancestors > 0.97  # nearly all ancestors are parents


@pytest.mark.parametrize("name", FUNCTIONS)
def test_published_functions_number_by_number(name):
    scalar = {
        "identity": lambda z: z,
        "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
        "cube": lambda z: z**3,
        "tanh": math.tanh,
    }
    x = np.random.default_rng(0).normal(size=(3, 6))
    if name.startswith("mlp_"):
        g = scalar[name.removeprefix("mlp_")]
        net = UntrainedNet.draw(name.removeprefix("mlp_"), 3, np.random.default_rng(1))
        assert np.abs(net.hidden).max() <= 3**-0.5
        assert np.abs(net.output).max() <= 10**-0.5
        expected = [
            net.offset
            + sum(
                v * g(sum(w * z for w, z in zip(row, column, strict=True)) + b)
                for v, row, b in zip(net.output, net.hidden, net.bias[:, 0], strict=True)
            )
            for column in x.T
        ]
        function = net
    else:
        expected = [sum(scalar[name](z) for z in column) for column in x.T]
        function = Elementwise(name)
    np.testing.assert_allclose(function(x), expected, atol=1e-12)
    np.testing.assert_array_equal(Positive(function)(x), np.array(expected) > 0)


def test_every_published_function_is_drawn():
    seen = set()
    for seed in range(15):
        ds = SyntheticDAGDataset.preset("dlcausal", n_nodes=20, n_distractors=0, random_state=seed)
        for assignment in ds._blueprint.model.assignments:
            mechanism = getattr(assignment.mechanism, "inner", assignment.mechanism)
            if mechanism is not None:
                seen.add(getattr(mechanism, "name", None) or f"mlp_{mechanism.activation}")
    assert seen == set(FUNCTIONS)


def test_the_mended_preset_has_what_the_published_one_lacks():
    for seed in range(6):
        ds = SyntheticDAGDataset.preset("dlcausal-fixed", n_nodes=20, random_state=seed)
        assert ds.roles_.parents
        assert ds.roles_.children
        assert ds.roles_.spouses
        assert all(a.noise_scale > 0.3 for a in ds._blueprint.model.assignments)


def test_noise_environments_of_the_published_model_move_its_roots():
    ds = SyntheticDAGDataset.preset("dlcausal", n_nodes=12, n_distractors=2, random_state=0)
    for env in ds.environments(10, kind="shift"):
        assert all(ds.graph_.in_degree(name) == 0 for name in env.features)
    follower = next(f for f in ds.graph_ if f != "y" and ds.graph_.in_degree(f) > 0)
    with pytest.raises(ValueError, match=f"env cannot shift '{follower}', which lacks noise of its own"):
        ds.sample(5, env=Environment("shift", (follower,), (1.0,)))


def test_the_largest_published_size_is_quick():
    import time

    start = time.perf_counter()
    ds = SyntheticDAGDataset.preset("dlcausal", n_nodes=600, n_distractors=400, random_state=0)
    assert ds.sample(50).X.shape == (50, 999)
    assert np.isfinite(ds.sample(50).X).all()
    assert time.perf_counter() - start < 20  # about 2 s alone; the bound allows for a busy machine
