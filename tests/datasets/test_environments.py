from __future__ import annotations

import pickle

import networkx as nx
import numpy as np
import pytest

from flatcausal.datasets import Environment, SyntheticDAGDataset


@pytest.fixture(scope="module")
def ds():
    return SyntheticDAGDataset(n_nodes=13, n_distractors=4, random_state=6)


@pytest.mark.parametrize("kind", ["do", "shift", "scale"])
def test_never_the_target_nor_a_distractor(ds, kind):
    environments = ds.environments(40, kind=kind, random_state=0)
    touched = {name for env in environments for name in env.features}
    assert touched == set(ds.graph_) - {"y"}  # each may be drawn, and no other
    for env in environments:
        assert env.kind == kind
        assert len(set(env.features)) == len(env.features) == 3  # a quarter of 12
        assert set(map(abs, env.values)) == {2.0}


def _target_noise(ds, sample):
    """What is left of y when its own frozen equation is taken off."""
    assignment = ds._blueprint.model.assignments[ds._blueprint.target]
    name_of = {node: name for name, node in ds._columns.node_of.items()}
    parents = np.array([sample.X[:, ds.feature_names_.index(name_of[p])] for p in assignment.parents])
    return sample.y - assignment.signal_scale * (assignment.mechanism(parents) - assignment.center)


@pytest.mark.parametrize("kind", ["do", "shift", "scale"])
def test_the_targets_own_equation_holds_in_every_environment(ds, kind):
    expected = _target_noise(ds, ds.sample(500, random_state=1))
    for env in ds.environments(6, kind=kind, strength=4.0, fraction=0.5):
        sample = ds.sample(500, env=env, random_state=1)
        np.testing.assert_allclose(_target_noise(ds, sample), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["do", "shift", "scale"])
def test_only_what_is_downstream_moves(ds, kind):
    usual = ds.sample(60, random_state=1)
    for env in ds.environments(5, kind=kind):
        moved = set(env.features).union(*(nx.descendants(ds.graph_, name) for name in env.features))
        sample = ds.sample(60, env=env, random_state=1)
        for column, name in enumerate(ds.feature_names_):
            assert np.array_equal(sample.X[:, column], usual.X[:, column]) == (name not in moved)
        assert np.array_equal(sample.y, usual.y) == ("y" not in moved)


def test_what_each_kind_does_to_a_root():
    ds = SyntheticDAGDataset(n_nodes=8, n_distractors=0, random_state=0)
    root = next(f for f in ds.feature_names_ if ds.graph_.in_degree(f) == 0)
    column = ds.feature_names_.index(root)
    u = ds.sample(20_000, random_state=2).X[:, column]

    def moved(*args, **kwargs):
        return ds.sample(20_000, env=Environment(*args, **kwargs), random_state=2).X[:, column]

    np.testing.assert_array_equal(moved("shift", (root,), (-2.0,)), u - 2.0)
    np.testing.assert_array_equal(moved("scale", (root,), (3.0,)), 3.0 * u)
    forced = moved("do", (root,), (2.0,))
    assert forced.mean() == pytest.approx(2.0, abs=0.05)
    assert forced.std() == pytest.approx(1.5, abs=0.05)
    assert abs(np.corrcoef(forced, u)[0, 1]) < 0.04


def test_shift_keeps_a_features_causes_and_do_cuts_them():
    ds = SyntheticDAGDataset(n_nodes=10, n_distractors=0, r2_range=(0.8, 0.9), random_state=1)
    child = next(f for f in ds.feature_names_ if ds.graph_.in_degree(f) > 0)
    column = ds.feature_names_.index(child)
    usual = ds.sample(3000, random_state=2).X[:, column]
    shifted = ds.sample(3000, env=Environment("shift", (child,), (2.0,)), random_state=2).X[:, column]
    scale = ds._blueprint.model.assignments[ds._columns.node_of[child]].noise_scale
    np.testing.assert_allclose(shifted - usual, 2.0 * scale, atol=1e-12)
    forced = ds.sample(3000, env=Environment("do", (child,), (2.0,)), random_state=2).X[:, column]
    assert abs(np.corrcoef(forced, usual)[0, 1]) < 0.1


def test_do_wins_over_an_environment(ds):
    env = ds.environments(1, random_state=0)[0]
    name = env.features[0]
    X = ds.sample(50, env=env, do={name: 7.0}).X
    assert (X[:, ds.feature_names_.index(name)] == 7.0).all()


def test_frozen_picklable_and_seeded(ds):
    environments = ds.environments(4, random_state=3)
    assert pickle.loads(pickle.dumps(environments)) == environments == ds.environments(4, random_state=3)
    assert ds.environments(2, random_state=3) == environments[:2]
    assert ds.environments(4) != ds.environments(4)
    with pytest.raises(AttributeError):
        environments[0].kind = "shift"


def test_a_sample_of_an_environment_is_a_stream_too(ds):
    env = ds.environments(1, random_state=0)[0]
    long = ds.sample(1500, env=env, random_state=4)
    np.testing.assert_array_equal(ds.sample(700, env=env, random_state=4).X, long.X[:700])
