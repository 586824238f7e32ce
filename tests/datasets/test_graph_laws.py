"""Laws of random graphs: no cycle, the expected degree, and each its own shape."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._graph_laws import GRAPHS

LAWS = list(GRAPHS)


@given(
    law=st.sampled_from(LAWS),
    n_nodes=st.integers(2, 30),
    share=st.floats(0.01, 1.0),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_the_index_is_a_causal_order(law, n_nodes, share, seed):
    degree = share * GRAPHS[law].max_degree(n_nodes)
    adjacency = GRAPHS[law].draw(n_nodes, degree, np.random.default_rng(seed))
    assert adjacency.shape == (n_nodes, n_nodes)
    assert adjacency.dtype == bool
    assert not np.tril(adjacency).any()
    again = GRAPHS[law].draw(n_nodes, degree, np.random.default_rng(seed))
    np.testing.assert_array_equal(adjacency, again)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n_nodes", [2, 3, 10, 25])
def test_the_densest_graph_is_the_full_one_of_its_kind(law, n_nodes):
    highest = GRAPHS[law].max_degree(n_nodes)
    for seed in range(3):
        adjacency = GRAPHS[law].draw(n_nodes, highest, np.random.default_rng(seed))
        assert 2 * adjacency.sum() / n_nodes == pytest.approx(highest)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("n_nodes", "degree"), [(12, 0.7), (12, 2.0), (13, 3.0), (20, 5.3), (40, 3.4)])
def test_expected_degree(law, n_nodes, degree):
    rng = np.random.default_rng(0)
    degrees = [2 * GRAPHS[law].draw(n_nodes, degree, rng).sum() / n_nodes for _ in range(400)]
    # sd of a mean degree is below that of independent edges, sqrt(2 degree / n)
    assert np.mean(degrees) == pytest.approx(degree, abs=4 * np.sqrt(2 * degree / n_nodes / 400))


def test_preferential_attachment_grows_hubs_of_one_kind():
    rng = np.random.default_rng(1)
    most = {law: ([], []) for law in LAWS}
    for law, (parents, children) in most.items():
        for _ in range(40):
            adjacency = GRAPHS[law].draw(200, 4.0, rng)
            parents.append(adjacency.sum(axis=0).max())
            children.append(adjacency.sum(axis=1).max())
    parents, children = ({law: np.mean(pair[k]) for law, pair in most.items()} for k in (0, 1))
    assert parents["scale_free_in"] > 2 * parents["er"]
    assert children["scale_free_in"] <= 3
    assert children["scale_free_out"] > 2 * children["er"]
    assert parents["scale_free_out"] <= 3


def test_attachment_is_in_proportion_to_degree_plus_one():
    # Of nodes 0 -> 1 and a third that joins one of them, each has weight 2; of 0 -> 1, 0 -> 2: 3, 2 and 2.
    rng = np.random.default_rng(0)
    chosen = np.zeros((2, 3))
    for _ in range(6000):
        adjacency = GRAPHS["scale_free_out"].draw(4, 1.5, rng)  # three edges: one for each later node
        assert adjacency.sum() == 3
        first = int(np.flatnonzero(adjacency[:, 2])[0])
        chosen[first] += adjacency[:3, 3]
    share = chosen / chosen.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chosen.sum(axis=1) / 6000, 0.5, atol=0.03)
    np.testing.assert_allclose(share, [[3 / 7, 2 / 7, 2 / 7], [2 / 7, 3 / 7, 2 / 7]], atol=0.03)


def test_small_worlds_are_clustered_and_short():
    rng = np.random.default_rng(2)

    def skeletons(law):
        return [nx.Graph(GRAPHS[law].draw(100, 6.0, rng)) for _ in range(10)]

    small, random = skeletons("small_world"), skeletons("er")
    clustering = {
        name: np.mean([nx.transitivity(g) for g in group]) for name, group in [("ws", small), ("er", random)]
    }
    assert clustering["ws"] > 4 * clustering["er"]
    # A plain lattice of degree 6 has paths of about n / 12 on average; some rewiring cuts that.
    lengths = [nx.average_shortest_path_length(g) for g in small if nx.is_connected(g)]
    assert np.mean(lengths) < 6


def test_a_tenth_of_a_small_worlds_edges_leave_the_lattice():
    rng = np.random.default_rng(3)
    reference = nx.watts_strogatz_graph(60, 4, 0.0)
    assert nx.transitivity(reference) == pytest.approx(0.5)
    kept = []
    for _ in range(60):
        # The order hides the ring, so compare what it cannot hide: triangles, against networkx's own law.
        kept.append(nx.transitivity(nx.Graph(GRAPHS["small_world"].draw(60, 4.0, rng))))
    theirs = [nx.transitivity(nx.watts_strogatz_graph(60, 4, 0.1, seed=seed)) for seed in range(60)]
    assert np.mean(kept) == pytest.approx(np.mean(theirs), abs=0.03)


def test_the_order_of_a_small_world_is_random():
    rng = np.random.default_rng(4)
    mean = np.mean([GRAPHS["small_world"].draw(9, 4.0, rng) for _ in range(3000)], axis=0)
    pairs = mean[np.triu_indices(9, 1)]
    assert np.abs(pairs - 0.5).max() < 4.5 * 0.5 / np.sqrt(3000)


@pytest.mark.parametrize("n_nodes", [9, 16, 30])
def test_layers_are_not_joined_within(n_nodes):
    rng = np.random.default_rng(5)
    n_layers = round(np.sqrt(n_nodes))
    sizes = np.bincount(np.arange(n_nodes) * n_layers // n_nodes)
    assert sizes.max() - sizes.min() <= 1
    ever = np.any([GRAPHS["layered"].draw(n_nodes, 3.0, rng) for _ in range(400)], axis=0)
    layer = np.repeat(np.arange(n_layers), sizes)
    np.testing.assert_array_equal(ever, np.less.outer(layer, layer))


@given(seed=st.integers(0, 10**6), n_nodes=st.integers(4, 20))
@settings(max_examples=50, deadline=None)
def test_no_node_of_a_bipartite_graph_has_parents_and_children(seed, n_nodes):
    adjacency = GRAPHS["bipartite"].draw(n_nodes, 2.0, np.random.default_rng(seed))
    assert not (adjacency.any(axis=0) & adjacency.any(axis=1)).any()


@pytest.mark.parametrize("law", LAWS)
def test_every_law_makes_a_dataset(law):
    free = {"min_children": 0} if law == "bipartite" else {}
    for seed in range(3):
        ds = SyntheticDAGDataset(14, 2, graph=law, n_calibration=1000, random_state=seed, **free)
        assert nx.is_directed_acyclic_graph(ds.graph_)
        assert len(ds.roles_.parents) >= 1
        assert np.isfinite(ds.sample(20).X).all()


def test_hubs_with_many_parents_can_be_drawn():
    ds = SyntheticDAGDataset(
        300, 0, graph="scale_free_in", expected_degree=4, n_calibration=4000, random_state=0
    )
    assert max(degree for _, degree in ds.graph_.in_degree()) > 20
