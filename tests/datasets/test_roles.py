from __future__ import annotations

import pickle

import networkx as nx
import numpy as np
import pytest

from flatcausal.datasets import FeatureRoles
from flatcausal.datasets._graph_laws import erdos_renyi
from tests.reference import roles as twin

PRIORITY = ["parents", "ancestors", "children", "descendants", "spouses", "siblings", "irrelevant"]


def _random_dags(count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n_nodes = int(rng.integers(2, 10))
        adjacency = erdos_renyi(n_nodes, min(2.5, n_nodes - 1), rng)
        names = [f"v{label}" for label in rng.permutation(n_nodes)]
        graph = nx.DiGraph()
        graph.add_nodes_from(sorted(names))
        graph.add_edges_from((names[i], names[j]) for i, j in np.argwhere(adjacency))
        target = str(rng.choice(names))
        features = sorted({*names, "noise0", "noise1"} - {target})
        yield graph, target, FeatureRoles.from_graph(graph, target, features)


def test_equal_to_reachability_and_d_separation():
    for graph, target, roles in _random_dags(200):
        expected = {**twin.sets(graph, target), "distractors": {"noise0", "noise1"}}
        for name, members in expected.items():
            assert getattr(roles, name) == members, name
            mask = roles.mask(name)
            assert mask.dtype == bool
            assert {f for f, m in zip(roles.feature_names, mask, strict=True) if m} == members


def test_roles_are_exclusive_and_by_priority():
    for graph, target, roles in _random_dags(200, seed=1):
        expected = twin.sets(graph, target)
        for feature, role in roles.role.items():
            first = next((name for name in PRIORITY if feature in expected[name]), "distractors")
            # "parents" -> "parent", "children" -> "child"
            assert role == {"children": "child", "irrelevant": "irrelevant"}.get(
                first, first.removesuffix("s")
            )
        assert list(roles.role) == list(roles.feature_names)


def test_the_markov_blanket_separates_and_is_minimal():
    for graph, target, roles in _random_dags(200, seed=2):
        blanket = set(roles.markov_blanket)
        rest = set(graph) - blanket - {target}
        if rest:
            assert nx.is_d_separator(graph, {target}, rest, blanket)
        for member in blanket:
            others = blanket - {member}
            assert not nx.is_d_separator(graph, {target}, rest | {member}, others)


def test_feature_order_is_the_callers():
    graph = nx.DiGraph([("a", "y"), ("y", "b")])
    assert FeatureRoles.from_graph(graph, "y", ["b", "a"]).mask("parents").tolist() == [False, True]


def test_frozen_equal_and_picklable():
    graph = nx.DiGraph([("a", "y"), ("y", "b")])
    roles = FeatureRoles.from_graph(graph, "y", ["a", "b", "c"])
    assert pickle.loads(pickle.dumps(roles)) == roles
    with pytest.raises(AttributeError):
        roles.parents = frozenset()


# ---- hidden nodes


def _with_hidden(count, seed):
    """DAGs some of whose nodes are hidden, wherever these stand."""
    rng = np.random.default_rng(seed)
    for graph, target, _ in _random_dags(count, seed=seed):
        others = sorted(set(graph) - {target})
        hidden = {str(node) for node in rng.choice(others, min(len(others), int(rng.integers(1, 5))), False)}
        features = sorted(set(graph) - hidden - {target})
        yield graph, target, hidden, FeatureRoles.from_graph(graph, target, features, hidden=hidden)


def test_hidden_roles_equal_d_separation_on_the_full_graph():
    for graph, target, hidden, roles in _with_hidden(300, seed=3):
        for name, members in twin.sets_with_hidden(graph, target, hidden).items():
            assert getattr(roles, name) == members, (name, graph.edges, target, hidden)


def test_the_observed_markov_blanket_separates_and_is_minimal():
    for graph, target, hidden, roles in _with_hidden(400, seed=4):
        blanket = set(roles.markov_blanket)
        rest = set(graph) - hidden - blanket - {target}
        if rest:
            assert nx.is_d_separator(graph, {target}, rest, blanket)
        for member in blanket:
            assert not nx.is_d_separator(graph, {target}, rest | {member}, blanket - {member})


def test_a_hidden_cause_makes_a_sibling_unless_there_is_more():
    graph = nx.DiGraph([("h", "y"), ("h", "s"), ("p", "s"), ("p", "q")])
    roles = FeatureRoles.from_graph(graph, "y", ["p", "q", "s"], hidden=["h"])
    assert roles.role == {"p": "spouse", "q": "irrelevant", "s": "sibling"}
    assert roles.markov_blanket == {"s", "p"}  # useless alone, p tells how much of s is the hidden cause
    graph.add_edge("s", "y")
    roles = FeatureRoles.from_graph(graph, "y", ["p", "q", "s"], hidden=["h"])
    assert roles.role == {"p": "ancestor", "q": "sibling", "s": "parent"}
    assert roles.confounded == {"s"}
    assert roles.markov_blanket == {"s", "p"}  # given s alone, p and y are dependent through h


def test_a_cause_through_hidden_nodes_alone_is_a_parent():
    graph = nx.DiGraph([("a", "m"), ("m", "y"), ("y", "k"), ("k", "c")])
    roles = FeatureRoles.from_graph(graph, "y", ["a", "c"], hidden=["m", "k"])
    assert roles.role == {"a": "parent", "c": "child"}
