"""Hidden confounders: drawn, never shown, and felt in the law of what is shown."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from flatcausal.datasets import SyntheticDAGDataset
from tests.reference import roles as twin
from tests.reference.structural import linear_covariance

FAST = {"mechanisms": "linear", "n_calibration": 1000}


def _many(count, **parameters):
    for seed in range(count):
        yield SyntheticDAGDataset(9, 2, n_hidden=seed % 4 + 1, random_state=seed, **FAST, **parameters)


def test_each_confounds_a_pair_of_its_own_and_the_first_the_target():
    for ds in _many(40):
        pairs = [frozenset(ds.graph_.successors(name)) for name in ds.hidden_names_]
        assert len(set(pairs)) == len(pairs)
        assert "y" in pairs[0]
        for name, pair in zip(ds.hidden_names_, pairs, strict=True):
            assert len(pair) == 2
            assert ds.graph_.in_degree(name) == 0
            assert pair <= {*ds.feature_names_, "y"}
        assert len(ds.graph_) == 9 + len(pairs)
        assert ds.roles_.confounded >= pairs[0] - {"y"}


def test_never_shown():
    for ds in _many(4):
        assert ds.sample(5).X.shape == (5, 10)
        assert ds.hidden_names_ == [f"h{k}" for k in range(len(ds.hidden_names_))]
        assert not set(ds.hidden_names_) & {*ds.feature_names_, ds.target_name_}
        assert [n for n, hidden in ds.graph_.nodes(data="hidden") if hidden] == ds.hidden_names_
        shown = ds.graph_.subgraph([*ds.feature_names_, "y"])
        for (i, cause), (j, effect) in itertools.product(enumerate([*ds.feature_names_, "y"]), repeat=2):
            assert ds.adjacency_[i, j] == shown.has_edge(cause, effect)
        for env in ds.environments(20):
            assert not set(env.features) & set(ds.hidden_names_)
        assert set(ds._blueprint.distractors.sources) <= set(ds._columns.node_of.values())


def test_roles_are_those_of_the_latent_projection():
    for ds in _many(150):
        for name, members in twin.sets_with_hidden(ds.graph_, "y", ds.hidden_names_).items():
            assert getattr(ds.roles_, name) == members, name


def test_the_observed_law_needs_exactly_the_markov_blanket():
    # In a linear Gaussian model the regression of y on all features has the blanket as its support.
    for ds in _many(40):
        observed = ds._blueprint.observed
        covariance = linear_covariance(ds._blueprint.model)[np.ix_(observed, observed)]
        precision = np.linalg.inv(covariance)
        row = precision[list(observed).index(ds._blueprint.target)]
        for name, node in ds._columns.node_of.items():
            needed = abs(row[list(observed).index(node)]) > 1e-9
            assert needed == (name in ds.roles_.markov_blanket), name


def test_rows_have_the_law_of_the_whole_model():
    ds = SyntheticDAGDataset(6, 0, n_hidden=3, random_state=3, **FAST)
    nodes = [*(ds._columns.node_of[name] for name in ds.feature_names_), ds._blueprint.target]
    sample = ds.sample(60_000)
    expected = linear_covariance(ds._blueprint.model)[np.ix_(nodes, nodes)]
    np.testing.assert_allclose(np.cov(np.column_stack([sample.X, sample.y]).T), expected, atol=0.03)


def test_minima_count_what_is_observed():
    for ds in _many(20, min_parents=2, min_children=2, min_spouses=1):
        shown = ds.graph_.subgraph([*ds.feature_names_, "y"])
        roles = twin.sets(shown, "y")
        assert len(roles["parents"]) >= 2
        assert len(roles["children"]) >= 2
        assert roles["spouses"]


def test_a_users_names_are_kept():
    edges = [("h0", "y"), ("y", "b"), ("c", "b")]
    ds = SyntheticDAGDataset(adjacency=edges, n_distractors=1, target="y", n_hidden=2, random_state=0)
    assert ds.hidden_names_ == ["h0_", "h1"]
    assert {"h0", "b", "c"} < set(ds.feature_names_)
    assert ds.graph_.has_edge("h0", "y")
    assert set(nx.ancestors(ds.graph_, "y")) >= {"h0", "h0_"}


def test_every_pair_can_be_confounded():
    ds = SyntheticDAGDataset(4, 0, n_hidden=6, random_state=0, **FAST)
    assert ds.roles_.markov_blanket == set(ds.feature_names_)


@pytest.mark.parametrize("standardize", ["internal", "uumc", "posthoc", None])
def test_in_every_scaling(standardize):
    ds = SyntheticDAGDataset(6, 2, n_hidden=2, standardize=standardize, random_state=1, **FAST)
    assert np.isfinite(ds.sample(50).X).all()
    assert set(ds.sortability(500)) == {"var", "r2"}
