"""True effects, against path sums, regressions on interventions and exact laws."""

from __future__ import annotations

import math
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets import _effects as effects_module
from flatcausal.datasets._mechanisms import MECHANISMS
from tests.reference import structural as twin

_TWIN_ROWS = 120
NOISE_MODES = ["additive", "multiplicative", "heteroscedastic", "functional"]


def _linear(seed, **parameters):
    return SyntheticDAGDataset(
        10, 2, mechanisms="linear", n_calibration=1000, random_state=seed, **parameters
    )


def _of_columns(ds, of_nodes):
    return np.array([of_nodes[ds._columns.node_of[n]] if n in ds.graph_ else 0.0 for n in ds.feature_names_])


@pytest.mark.parametrize("standardize", ["r2", "internal", "uumc", "posthoc", None])
def test_linear_effects_are_sums_over_paths(standardize):
    for seed in range(5):
        ds = _linear(seed, standardize=standardize)
        weights, target = twin.linear_weights(ds._blueprint.model), ds._blueprint.target
        graph = nx.from_numpy_array(weights != 0, create_using=nx.DiGraph)
        total = np.zeros(10)
        for node in set(range(10)) - {target}:
            for path in nx.all_simple_paths(graph, node, target):
                total[node] += math.prod(weights[i, j] for i, j in pairwise(path))
        sds = np.sqrt(np.diag(twin.linear_covariance(ds._blueprint.model)))
        for kind, expected in (("total", total), ("direct", weights[:, target])):
            raw, scaled = (ds.effects(kind, scale=scale, signed=True) for scale in ("raw", "standardized"))
            np.testing.assert_allclose(raw, _of_columns(ds, expected), atol=1e-12)
            np.testing.assert_allclose(scaled, _of_columns(ds, expected * sds / sds[target]), atol=1e-12)
            np.testing.assert_array_equal(ds.effects(kind, scale="raw"), np.abs(raw))


def test_finite_interventions_agree_with_the_closed_form(monkeypatch):
    for seed in range(4):
        ds, again = _linear(seed), _linear(seed)
        monkeypatch.setattr(effects_module, "_coefficients", lambda assignment: None)
        for kind in ("total", "direct"):
            for signed in (False, True):
                np.testing.assert_allclose(
                    ds.effects(kind, scale="raw", signed=signed),
                    _closed(again, kind, signed=signed),
                    atol=1e-10,
                )
                # sds are estimated from 10000 rows
                np.testing.assert_allclose(
                    ds.effects(kind, signed=signed),
                    _closed(again, kind, signed=signed, scaled=True),
                    atol=0.02,
                )


def _closed(ds, kind, *, signed, scaled=False):
    model, target = ds._blueprint.model, ds._blueprint.target
    column = (twin.total_effects(model) if kind == "total" else twin.linear_weights(model))[:, target]
    sds = np.sqrt(np.diag(twin.linear_covariance(model)))
    effects = _of_columns(ds, column * sds / sds[target] if scaled else column)
    return effects if signed else np.abs(effects)


@pytest.mark.parametrize("noise_mode", NOISE_MODES)
@pytest.mark.parametrize("family", MECHANISMS)
def test_any_model_row_by_row(family, noise_mode):
    """Each row is evaluated with one node moved, number by number."""
    ds = SyntheticDAGDataset(
        7, 1, mechanisms=family, noise_mode=noise_mode, n_calibration=1000, random_state=1
    )
    model, target = ds._blueprint.model, ds._blueprint.target
    noise = model.draw_noise(_TWIN_ROWS, np.random.default_rng(0))
    base = np.array([twin.evaluate_row(model, row) for row in noise.T])
    steps = 0.5 * base.std(axis=0)
    expected = np.zeros(model.n_nodes)
    for node in range(target):
        rows = [
            twin.evaluate_row(model, noise[:, k], held={node: base[k, node] + steps[node]})
            for k in range(_TWIN_ROWS)
        ]
        changes = np.array(rows)[:, target] - base[:, target]
        expected[node] = np.abs(changes).mean() / (0.5 * base[:, target].std())
        error = np.abs(changes).std() / np.sqrt(_TWIN_ROWS) / (0.5 * base[:, target].std())
        found = ds.effects("total")
        name = next((n for n, k in ds._columns.node_of.items() if k == node), None)
        mine = found[ds.feature_names_.index(name)]
        # few rows against 10000: five standard errors, and the error of both sds
        assert mine == pytest.approx(expected[node], abs=5 * error + 0.2 * expected[node] + 1e-12)
        assert (mine > 0.0) == (name in ds.roles_.ancestors)
    direct = ds.effects("direct")
    np.testing.assert_array_equal(direct > 0.0, ds.roles_.mask("parents"))


def test_direct_equals_total_where_there_is_one_way():
    graph = nx.DiGraph([("a", "y"), ("b", "y"), ("y", "c")])
    ds = SyntheticDAGDataset(adjacency=graph, target="y", mechanisms="rff", random_state=0)
    np.testing.assert_array_equal(ds.effects("direct"), ds.effects("total"))


def test_a_mediated_cause_has_no_direct_effect():
    graph = nx.DiGraph([("a", "b"), ("b", "y")])
    ds = SyntheticDAGDataset(adjacency=graph, target="y", mechanisms="mlp", n_distractors=2, random_state=0)
    total, direct = (dict(zip(ds.feature_names_, ds.effects(k), strict=True)) for k in ("total", "direct"))
    assert direct["a"] == 0.0 < total["a"]
    assert total["b"] == direct["b"] > 0.0
    assert {name for name, effect in total.items() if effect} == {"a", "b"}


@pytest.mark.parametrize("label_noise", [0.0, 0.1])
def test_effects_on_a_class_are_effects_on_its_probability(label_noise):
    ds = SyntheticDAGDataset(
        8, 1, task="classification", mechanisms="mlp", label_noise=label_noise, random_state=2
    )
    found = dict(zip(ds.feature_names_, ds.effects(scale="raw", signed=True), strict=True))
    name = max(found, key=lambda key: abs(found[key]))
    X, y = ds.sample(40_000, return_X_y=True, random_state=0)
    column = X[:, ds.feature_names_.index(name)]
    step = 0.5 * column.std()
    moved = ds.sample(40_000, do={name: column + step}, random_state=0).y
    assert found[name] == pytest.approx((moved.mean() - y.mean()) / step, abs=0.03)


@pytest.mark.parametrize("kind", ["binary", "ordinal", "nominal"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_category_is_moved_to_a_category(kind, signed):
    """By hand: to the next higher level in which its effects see it, from the highest to the one below."""
    graph = nx.DiGraph([("a", "y"), ("b", "y"), ("y", "c")])
    ds = SyntheticDAGDataset(
        adjacency=graph,
        target="y",
        mechanisms="tree",
        categorical_fraction=1.0,
        categorical_types=kind,
        n_distractors=0,
        random_state=0,
    )
    found = dict(zip(ds.feature_names_, ds.effects(scale="raw", signed=signed), strict=True))
    sample = ds.sample(40_000, random_state=0, as_frame=True)
    for name in ("a", "b"):
        equation = ds._columns.categories[name]
        level_of = dict(zip(equation.codes, equation.levels, strict=True))
        ascending = sorted(level_of, key=lambda code: level_of[code])
        next_to = dict(pairwise(ascending)) | {ascending[-1]: ascending[-2]}
        codes = sample.X[name].to_numpy(dtype=float)
        moved = np.array([next_to[code] for code in codes])
        step = np.array([level_of[to] - level_of[at] for at, to in zip(codes, moved, strict=True)])
        change = ds.sample(40_000, do={name: moved}, random_state=0).y - sample.y.to_numpy()
        expected = np.mean(change * np.sign(step) if signed else abs(change)) / np.mean(abs(step))
        assert found[name] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("seed", [12, 21])  # half an sd crosses no threshold of a tree there
def test_every_category_that_causes_has_an_effect(seed):
    ds = SyntheticDAGDataset(
        8,
        0,
        mechanisms="tree",
        task="classification",
        categorical_fraction=0.5,
        n_calibration=1000,
        random_state=seed,
    )
    np.testing.assert_array_equal(ds.effects("direct") > 0.0, ds.roles_.mask("parents"))


@pytest.mark.parametrize("preset", ["dlcausal", "dlcausal-fixed"])
def test_presets_have_finite_effects(preset):
    ds = SyntheticDAGDataset.preset(preset, n_nodes=20, n_distractors=5, random_state=0)
    for kind in ("total", "direct"):
        effects = ds.effects(kind)
        assert np.isfinite(effects).all()
        assert not effects[~ds.roles_.mask("ancestors")].any()


def test_effects_are_the_same_at_every_call_and_draw_nothing():
    used, fresh = (SyntheticDAGDataset(8, 2, n_calibration=1000, random_state=3) for _ in range(2))
    first = used.effects()
    first[:] = 9.0  # a caller's array is his own
    used.sample(5)
    np.testing.assert_array_equal(used.effects(), fresh.effects())
    np.testing.assert_array_equal(used.sample(5).X, (fresh.sample(5), fresh.sample(5))[1].X)


def test_the_report_ranks_against_total_effects():
    ds = SyntheticDAGDataset(12, 4, min_parents=3, random_state=3)
    report = ds.report(ds.effects("total"))
    assert report["ndcg"] == pytest.approx(1.0)
    assert report["effect_spearman"] == report["effect_spearman_ancestors"] == pytest.approx(1.0)
    holed = ds.effects("total")
    holed[0] = np.nan
    assert ds.report(holed, nan_policy="omit")["n_omitted"] == 1.0


def test_the_report_reads_the_attribute_that_is_asked_for():
    from sklearn.linear_model import LinearRegression

    ds = SyntheticDAGDataset(8, 2, mechanisms="linear", random_state=3)
    X, y = ds.sample(500, return_X_y=True, as_frame=True, random_state=0)
    fitted = LinearRegression().fit(X, y)
    assert ds.report(fitted, importance="coef_") == ds.report(np.abs(fitted.coef_))
