"""Streams, seeds, frames, pickles and distractors."""

from __future__ import annotations

import copy
import pickle

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from flatcausal.datasets import Sample, SyntheticDAGDataset
from flatcausal.datasets._distractors import FAMILIES
from flatcausal.datasets._graph_laws import GRAPHS
from flatcausal.datasets._mechanisms import MECHANISMS
from flatcausal.datasets._noise import NOISE

BLOCK = 1024


@pytest.fixture(scope="module")
def ds():
    return SyntheticDAGDataset(n_nodes=8, n_distractors=4, random_state=11)


def test_shapes_and_types(ds):
    sample = ds.sample(7, random_state=0)
    assert isinstance(sample, Sample)
    X, y = ds.sample(7, return_X_y=True, random_state=0)
    np.testing.assert_array_equal(sample.X, X)
    np.testing.assert_array_equal(sample.y, y)
    assert (X.shape, y.shape, X.dtype, y.dtype) == ((7, 11), (7,), np.float64, np.float64)
    frame, series = ds.sample(7, return_X_y=True, as_frame=True, random_state=0)
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(series, pd.Series)
    assert list(frame.columns) == ds.feature_names_
    assert series.name == "y"
    np.testing.assert_array_equal(frame.to_numpy(), X)
    with pytest.raises(AttributeError):
        sample.X = None


@pytest.mark.parametrize("n", [1, 300, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_a_short_sample_is_the_beginning_of_a_long_one(ds, n):
    long = ds.sample(3 * BLOCK, random_state=3)
    short = ds.sample(n, random_state=3)
    np.testing.assert_array_equal(short.X, long.X[:n])
    np.testing.assert_array_equal(short.y, long.y[:n])


def test_held_values_reach_their_own_rows(ds):
    name = ds.feature_names_[0]
    values = np.arange(2 * BLOCK + 5, dtype=float)
    np.testing.assert_array_equal(ds.sample(len(values), do={name: values}).X[:, 0], values)


def test_one_seed_gives_one_dataset_and_one_script():
    def script():
        ds = SyntheticDAGDataset(n_nodes=8, random_state=5)
        return ds, [ds.sample(20), ds.sample(30), ds.sample(20, env=ds.environments(1)[0])]

    (first, a), (second, b) = script(), script()
    np.testing.assert_array_equal(first.adjacency_, second.adjacency_)
    assert first.roles_ == second.roles_
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left.X, right.X)
        np.testing.assert_array_equal(left.y, right.y)
    assert not np.isin(a[0].y, a[1].y).any()  # two calls, different rows


OPTIONS = [
    *({"graph": law, "min_children": 0} for law in GRAPHS if law != "er"),
    *({"mechanisms": family} for family in MECHANISMS),
    *({"noise": kind} for kind in NOISE),
    *({"noise_mode": mode} for mode in ("multiplicative", "heteroscedastic", "functional")),
    *({"standardize": how} for how in ("internal", "posthoc", None)),
    {"standardize": "uumc", "mechanisms": "linear"},
]


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_is_a_seeded_stream(option):
    def build(n_distractors=2, **more):
        return SyntheticDAGDataset(9, n_distractors, n_calibration=1000, random_state=7, **option, **more)

    ds, again = build(), build()
    long = ds.sample(BLOCK + 9, random_state=3)
    np.testing.assert_array_equal(again.sample(BLOCK + 9, random_state=3).X, long.X)
    np.testing.assert_array_equal(again.sample(40, random_state=3).X, long.X[:40])
    np.testing.assert_array_equal(
        build(0, shuffle_columns=False).sample(9, random_state=3).X,
        build(5, shuffle_columns=False).sample(9, random_state=3).X[:, :8],
    )
    name = next(f for f in ds.feature_names_ if f in ds.graph_)
    forced = ds.sample(40, do={name: 1.5}, random_state=3)
    downstream = nx.descendants(ds.graph_, name) | {name}
    for column, feature in enumerate(ds.feature_names_):
        assert np.array_equal(forced.X[:, column], long.X[:40, column]) == (feature not in downstream)
    copied = pickle.loads(pickle.dumps(ds))
    np.testing.assert_array_equal(copied.sample(9).X, ds.sample(9).X)


@pytest.mark.parametrize("option", [o for o in OPTIONS if "graph" not in o], ids=str)
def test_how_nodes_are_computed_does_not_move_the_graph(option):
    usual = SyntheticDAGDataset(9, 2, n_calibration=1000, random_state=7)
    other = SyntheticDAGDataset(9, 2, n_calibration=1000, random_state=7, **option)
    np.testing.assert_array_equal(usual.adjacency_, other.adjacency_)
    roots = [
        name for name in usual.feature_names_ if name in usual.graph_ and not usual.graph_.in_degree(name)
    ]
    columns = [usual.feature_names_.index(name) for name in roots]
    if "noise" not in option:
        a, b = (ds.sample(9, random_state=3).X[:, columns] for ds in (usual, other))
        np.testing.assert_array_equal(a, b)


def test_the_model_does_not_depend_on_what_was_sampled():
    used, fresh = (SyntheticDAGDataset(n_nodes=8, random_state=5) for _ in range(2))
    used.sample(100)
    used.environments(3)
    np.testing.assert_array_equal(used.sample(9, random_state=1).X, fresh.sample(9, random_state=1).X)


def test_distractors_do_not_move_the_model():
    few, many = (SyntheticDAGDataset(8, d, shuffle_columns=False, random_state=5) for d in (0, 6))
    np.testing.assert_array_equal(few.sample(9, random_state=1).X, many.sample(9, random_state=1).X[:, :7])


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState, np.random.SeedSequence])
def test_generators_are_accepted(make):
    first, second = (SyntheticDAGDataset(n_nodes=6, random_state=make(3)) for _ in range(2))
    np.testing.assert_array_equal(
        first.sample(5, random_state=make(1)).X, second.sample(5, random_state=make(1)).X
    )


def test_no_global_random_state():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    ds = SyntheticDAGDataset(n_nodes=6)
    ds.sample(10)
    ds.environments(2)
    SyntheticDAGDataset.preset("dlcausal", n_nodes=6, n_distractors=2).sample(5)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda ds: pickle.loads(pickle.dumps(ds))])
@pytest.mark.parametrize("preset", [None, "dlcausal"])
def test_copies_continue_where_the_original_is(duplicate, preset):
    ds = (
        SyntheticDAGDataset.preset(preset, n_nodes=8, random_state=0)
        if preset
        else SyntheticDAGDataset(n_nodes=8, random_state=0)
    )
    ds.sample(3)
    twin = duplicate(ds)
    np.testing.assert_array_equal(ds.sample(40).X, twin.sample(40).X)
    assert twin.roles_ == ds.roles_
    assert ds.environments(2) == twin.environments(2)


def test_shadows_have_the_marginals_of_nodes_and_come_from_other_rows():
    ds = SyntheticDAGDataset(8, 9, shuffle_columns=False, random_state=1)
    X = ds.sample(2 * BLOCK, random_state=0).X
    nodes, shadows = X[:, :7], X[:, 7:]
    sources = []
    for block in (slice(0, BLOCK), slice(BLOCK, 2 * BLOCK)):
        for column in shadows[block].T:
            same = [
                k for k, node in enumerate(nodes[block].T) if np.array_equal(np.sort(node), np.sort(column))
            ]
            assert len(same) == 1
            assert not (nodes[block, same[0]] == column).any()
            sources.append(same[0])
    assert sources[:9] == sources[9:]
    assert set(sources[:7]) == set(range(7))  # none is copied twice before each was copied once


@pytest.mark.parametrize("kind", ["shadow", "published"])
def test_distractors_are_independent_of_everything(kind):
    ds = SyntheticDAGDataset(n_nodes=8, n_distractors=6, distractors=kind, random_state=3)
    X, y = ds.sample(30_000, return_X_y=True, random_state=0)
    columns = np.column_stack([X, y])
    idle = np.append(ds.roles_.mask("distractors"), False)
    for transform in (lambda z: z, np.abs):
        related = np.corrcoef(transform(columns - columns.mean(axis=0)).T)
        np.fill_diagonal(related, 0)
        assert np.abs(related[idle]).max() < 5 / np.sqrt(30_000)


def test_published_families():
    rng = np.random.default_rng(0)
    moments = {name: (draw(rng, 50_000).mean(), draw(rng, 50_000).var()) for name, draw in FAMILIES.items()}
    expected = {"normal": (0, 1), "uniform": (0.5, 1 / 12), "poisson": (1, 1), "bernoulli": (0.5, 0.25)}
    for name, (mean, variance) in expected.items():
        assert moments[name] == (pytest.approx(mean, abs=0.02), pytest.approx(variance, abs=0.03))


def test_scorers_and_report_agree(ds):
    truth = ds.roles_.mask("ancestors").astype(float)
    report = ds.report(truth)
    assert report["ap_lift_ancestors"] == report["causal_mass_ancestors"] == 1.0
    names = [
        f"{m}_{t}"
        for t in ("parents", "ancestors", "markov_blanket")
        for m in ("ap_lift", "auroc", "causal_mass", "precision_at_k")
    ]
    assert list(ds.scorers()) == ["r2", *names]

    class Fitted:
        feature_names_in_ = np.array(ds.feature_names_[::-1], dtype=object)
        causal_importances_ = truth[::-1]

        def fit(self):
            return self

    np.testing.assert_equal(ds.report(Fitted()), report)
    for name, scorer in ds.scorers().items():
        assert name == "r2" or scorer(Fitted(), None, None) == report[name]


def test_repr_names_the_sizes(ds):
    assert repr(ds).startswith("<SyntheticDAGDataset: 8 nodes, ")
