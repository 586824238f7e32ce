from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._graph_laws import erdos_renyi
from flatcausal.datasets._graphs import TargetRule, draw_graph


def _small(**parameters):
    return SyntheticDAGDataset(n_calibration=1000, mechanisms="linear", **parameters)


@given(seed=st.integers(0, 10**6), n_nodes=st.integers(4, 15), n_distractors=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_graph_matrix_and_names_agree(seed, n_nodes, n_distractors):
    ds = _small(n_nodes=n_nodes, n_distractors=n_distractors, random_state=seed)
    p = n_nodes - 1 + n_distractors
    assert ds.n_features_ == p == len(ds.feature_names_)
    assert ds.feature_names_ == [f"x{column}" for column in range(p)]
    assert nx.is_directed_acyclic_graph(ds.graph_)
    assert set(ds.graph_) == {*ds.feature_names_, "y"} - ds.roles_.distractors
    assert len(ds.roles_.distractors) == n_distractors
    columns = [*ds.feature_names_, "y"]
    assert ds.adjacency_.shape == (p + 1, p + 1)
    assert {(columns[i], columns[j]) for i, j in np.argwhere(ds.adjacency_)} == set(ds.graph_.edges)
    idle = ds.roles_.mask("distractors").nonzero()[0]
    assert not ds.adjacency_[idle].any()
    assert not ds.adjacency_[:, idle].any()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_shuffling_only_permutes_columns(seed):
    plain = _small(n_nodes=7, n_distractors=3, shuffle_columns=False, random_state=seed)
    shuffled = _small(n_nodes=7, n_distractors=3, random_state=seed)
    X, y = plain.sample(20, return_X_y=True, random_state=1)
    Z, z = shuffled.sample(20, return_X_y=True, random_state=1)
    np.testing.assert_array_equal(y, z)
    order = shuffled._columns.order
    np.testing.assert_array_equal(Z[:, order], X)
    rows = [*order, 9]
    np.testing.assert_array_equal(shuffled.adjacency_[np.ix_(rows, rows)], plain.adjacency_)
    assert not np.tril(plain.adjacency_[:6, :6]).any()  # unshuffled columns stand in causal order


def test_column_order_tells_nothing():
    forward = total = 0
    positions = []
    for seed in range(120):
        ds = _small(n_nodes=10, n_distractors=5, random_state=seed)
        edges = np.argwhere(ds.adjacency_[:-1, :-1])
        forward += (edges[:, 0] < edges[:, 1]).sum()
        total += len(edges)
        positions.extend(np.flatnonzero(ds.roles_.mask("distractors")))
    assert abs(forward / total - 0.5) < 3.5 * 0.5 / np.sqrt(total)
    assert abs(np.mean(positions) - 6.5) < 0.6


def test_erdos_renyi_has_its_degree_and_no_favoured_pair():
    rng = np.random.default_rng(0)
    mean = np.mean([erdos_renyi(12, 3.0, rng) for _ in range(3000)], axis=0)
    assert np.tril(mean).sum() == 0
    assert 2 * mean.sum() / 12 == pytest.approx(3.0, abs=0.05)
    pairs = mean[np.triu_indices(12, 1)]
    assert np.abs(pairs - 3 / 11).max() < 4.5 * np.sqrt(3 / 11 * 8 / 11 / 3000)


@given(
    seed=st.integers(0, 10**6),
    parents=st.integers(0, 2),
    children=st.integers(0, 2),
    spouses=st.integers(0, 2),
)
@settings(max_examples=40, deadline=None)
def test_the_target_has_what_was_asked(seed, parents, children, spouses):
    ds = _small(
        n_nodes=12, min_parents=parents, min_children=children, min_spouses=spouses, random_state=seed
    )
    assert len(ds.roles_.parents) >= parents
    assert len(ds.roles_.children) >= children
    assert len(ds.roles_.spouses) >= spouses


def test_candidates_are_exactly_the_nodes_that_fit():
    rng = np.random.default_rng(1)
    for _ in range(30):
        adjacency = erdos_renyi(9, 3.0, rng)
        graph = nx.from_numpy_array(adjacency, create_using=nx.DiGraph)
        fits = []
        for node in graph:
            pa, ch = set(graph.predecessors(node)), set(graph.successors(node))
            spouses = {q for c in ch for q in graph.predecessors(c)} - {node} - pa - ch
            if len(pa) >= 1 and len(ch) >= 2 and len(spouses) >= 1:
                fits.append(node)
        assert TargetRule(1, 2, 1).candidates(adjacency).tolist() == fits


def test_every_candidate_may_become_the_target():
    rng = np.random.default_rng(0)
    targets = [draw_graph("er", 6, 3.0, TargetRule(0, 0, 0), rng)[1] for _ in range(300)]
    assert set(targets) == set(range(6))


def test_a_users_digraph_keeps_its_names():
    graph = nx.DiGraph([("bmi", "sugar"), ("age", "bmi"), ("sugar", "x0"), ("x1", "sugar")])
    ds = SyntheticDAGDataset(adjacency=graph, target="sugar", n_distractors=3, random_state=0)
    assert set(ds.graph_.edges) == set(graph.edges)
    assert ds.target_name_ == "sugar"
    assert len(set(ds.feature_names_)) == 7
    assert set(graph) - {"sugar"} < set(ds.feature_names_)
    frame = ds.sample(5, as_frame=True)
    assert frame.y.name == "sugar"
    assert list(frame.X.columns) == ds.feature_names_


def test_a_users_matrix_points_from_row_to_column():
    matrix = np.zeros((4, 4))
    matrix[2, 0] = matrix[0, 1] = matrix[1, 3] = -0.5
    ds = SyntheticDAGDataset(adjacency=matrix, target=1, n_distractors=0, random_state=0)
    assert nx.is_isomorphic(ds.graph_, nx.DiGraph([(2, 0), (0, 1), (1, 3)]))
    assert sorted(ds.roles_.role.values()) == ["ancestor", "child", "parent"]
    auto = SyntheticDAGDataset(adjacency=matrix, random_state=0, min_parents=1, min_children=1)
    assert len(auto.roles_.parents) == len(auto.roles_.children) == 1


def test_a_users_edges_are_a_graph_of_names():
    edges = [("bmi", "sugar"), ["age", "bmi"], ("bmi", "sugar"), ("sugar", "eye")]
    ds = SyntheticDAGDataset(adjacency=edges, target="sugar", n_distractors=1, random_state=0)
    graph = SyntheticDAGDataset(
        adjacency=nx.DiGraph(map(tuple, edges)), target="sugar", n_distractors=1, random_state=0
    )
    assert set(ds.graph_.edges) == {("bmi", "sugar"), ("age", "bmi"), ("sugar", "eye")}
    assert ds.roles_ == graph.roles_
    np.testing.assert_array_equal(ds.sample(9).X, graph.sample(9).X)


def test_a_two_by_two_list_of_numbers_is_a_matrix():
    ds = SyntheticDAGDataset(adjacency=[[0, 1], [0, 0]], target=1, n_distractors=0, random_state=0)
    assert ds.roles_.role == {"x0": "parent"}
