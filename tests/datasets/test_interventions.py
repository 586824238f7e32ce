"""What an intervention moves and what it leaves bitwise alone, on random models of every kind."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatcausal.datasets import Environment, SyntheticDAGDataset
from flatcausal.datasets._mechanisms import MECHANISMS
from flatcausal.datasets._redraw import redrawn_equations
from flatcausal.datasets._stream import block_intervention
from tests.reference import structural as twin

KINDS = ["do", "shift", "scale", "soft", "mechanism"]
NOISE_MODES = ["additive", "multiplicative", "heteroscedastic", "functional"]
N = 40


def _draw(family, noise_mode="additive", seed=0, **parameters):
    options = {"n_nodes": 8, "n_distractors": 3, "n_calibration": 1000, **parameters}
    return SyntheticDAGDataset(mechanisms=family, noise_mode=noise_mode, random_state=seed, **options)


def _columns(ds, sample):
    """Values by name, the target's included."""
    return {
        **{name: sample.X[:, k] for k, name in enumerate(ds.feature_names_)},
        ds.target_name_: sample.y,
    }


def _downstream(ds, names):
    return set(names).union(*(nx.descendants(ds.graph_, name) for name in names))


models = st.builds(
    _draw,
    st.sampled_from(MECHANISMS),
    st.sampled_from(NOISE_MODES),
    st.integers(0, 5),
    standardize=st.sampled_from(["r2", "internal", "posthoc", None]),
)


@given(ds=models, kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_what_is_not_downstream_stays_bitwise(ds, kind, seed):
    env = ds.environments(1, kind=kind, random_state=seed)[0]
    assert ds.target_name_ not in env.features
    usual, moved = (_columns(ds, ds.sample(N, env=e, random_state=seed)) for e in (None, env))
    below = _downstream(ds, env.features)
    for name in usual:
        if name not in below:
            np.testing.assert_array_equal(usual[name], moved[name])
    assert all(not np.array_equal(usual[name], moved[name]) for name in env.features)


mixed = st.builds(
    _draw,
    st.sampled_from(["linear", "tree", "mixture"]),
    st.sampled_from(NOISE_MODES),
    st.integers(0, 5),
    n_hidden=st.integers(0, 2),
    categorical_fraction=st.sampled_from([0.0, 0.5, 1.0]),
    task=st.sampled_from(["regression", "classification"]),
    label_noise=st.just(0.0),
)


@settings(max_examples=25)
@given(ds=mixed, kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_the_same_with_hidden_nodes_categories_and_classes(ds, kind, seed):
    env = ds.environments(1, kind=kind, random_state=seed)[0]
    usual, moved = (_columns(ds, ds.sample(N, env=e, random_state=seed)) for e in (None, env))
    for name in usual.keys() - _downstream(ds, env.features):
        np.testing.assert_array_equal(usual[name], moved[name])


@given(ds=models, kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_descendants_of_the_target_do_not_reach_it_or_its_parents(ds, kind, seed):
    env = ds.environments(1, kind=kind, nodes="descendants", random_state=seed)[0]
    assert set(env.features) <= ds.roles_.descendants
    causes = ds.roles_.mask("parents")
    usual, moved = (ds.sample(N, env=e, random_state=seed) for e in (None, env))
    np.testing.assert_array_equal(usual.X[:, causes], moved.X[:, causes])
    np.testing.assert_array_equal(usual.y, moved.y)


@given(ds=models, seed=st.integers(0, 99))
def test_do_cuts_a_node_off_from_its_parents(ds, seed):
    child = next(name for name in ds.feature_names_ if name in ds.graph_ and ds.graph_.in_degree(name))
    env = Environment("do", (child,), (1.0,))
    elsewhere = {parent: 9.0 for parent in ds.graph_.predecessors(child) if parent != ds.target_name_}
    alone, both = (
        _columns(ds, ds.sample(N, env=env, do=do, random_state=seed)) for do in (None, elsewhere or None)
    )
    np.testing.assert_array_equal(alone[child], both[child])


@given(ds=models, seed=st.integers(0, 99))
def test_shift_scale_and_soft_are_the_equations_of_one_row(ds, seed):
    """The twin evaluates each row with its noise shifted and scaled, and its signal multiplied, by hand."""
    model, node_of = ds._blueprint.model, ds._columns.node_of
    name = next(n for n in ds.feature_names_ if n in ds.graph_ and ds.graph_.in_degree(n))
    node = node_of[name]
    noise = model.draw_noise(3, np.random.default_rng(seed))
    border = ds._border
    request = border.request(
        3, do=None, shift={name: 0.5}, scale={name: 2.0}, soft={name: 0.25}, env=None, allow_target=False
    )
    intervention = block_intervention(model, request, border.node_of)(0, np.random.SeedSequence(0))
    fast = model.evaluate(noise, intervention)
    slow = np.array([twin.evaluate_row(model, row, {node: (0.5, 2.0, 1.25)}) for row in noise.T])
    np.testing.assert_allclose(fast.T, slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_and_environments_say_the_same(kind):
    ds = _draw("mlp", n_nodes=9)
    name = next(n for n in ds.feature_names_ if n in ds.graph_ and ds.graph_.in_degree(n))
    env = Environment(kind, (name,), (2,), spread=0.0)
    if kind == "mechanism":
        with pytest.raises(TypeError):
            ds.sample(5, mechanism={name: 2})
        return
    np.testing.assert_array_equal(
        ds.sample(50, env=env, random_state=0).X, ds.sample(50, **{kind: {name: 2.0}}, random_state=0).X
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_spares_what_an_argument_names(kind):
    ds = _draw("linear", n_nodes=9)
    names = [n for n in ds.feature_names_ if n in ds.graph_ and ds.graph_.in_degree(n)][:2]
    both = Environment(kind, tuple(names), (3, 4))
    one = Environment(kind, (names[1],), (4,))
    for argument in ({"do": {names[0]: 0.5}}, {"shift": {names[0]: 0.5}}, {"soft": {names[0]: 0.5}}):
        first, second = (ds.sample(50, env=env, **argument, random_state=0) for env in (both, one))
        if kind != "do":  # where two are drawn, the second has another stream
            np.testing.assert_array_equal(first.X, second.X)
        else:
            changed = ds.sample(50, **argument, random_state=0)
            column = ds.feature_names_.index(names[0])
            if names[1] not in nx.ancestors(ds.graph_, names[0]):
                np.testing.assert_array_equal(first.X[:, column], changed.X[:, column])


# ---- redrawn functions


@pytest.mark.parametrize("family", MECHANISMS)
@pytest.mark.parametrize("noise_mode", NOISE_MODES)
def test_a_redrawn_function_is_another_on_the_old_scale(family, noise_mode):
    ds = _draw(family, noise_mode, seed=3)
    env = ds.environments(1, kind="mechanism", random_state=0)[0]
    assert set(env.features) == ds.roles_.children
    usual, moved = (ds.sample(20_000, env=e, random_state=0) for e in (None, env))
    again = ds.sample(20_000, env=env, random_state=0)
    np.testing.assert_array_equal(moved.X, again.X)
    known = ds.roles_.children | ds.roles_.descendants
    for name in ds.roles_.children:
        if known & set(ds.graph_.predecessors(name)):
            continue  # what it reads has changed, too
        before, after = (sample.X[:, ds.feature_names_.index(name)] for sample in (usual, moved))
        assert before.mean() == pytest.approx(after.mean(), abs=0.1)
        assert before.std() == pytest.approx(after.std(), rel=0.1)
        assert np.corrcoef(before, after)[0, 1] < 0.99


@pytest.mark.parametrize("noise_mode", ["additive", "multiplicative", "heteroscedastic"])
def test_a_redrawn_function_keeps_the_width_of_the_noise(noise_mode):
    ds = _draw("mlp", noise_mode, seed=3)
    model = ds._blueprint.model
    node = next(k for k, assignment in enumerate(model.assignments) if assignment.parents)
    (drawn,) = redrawn_equations(model, {node: 5}).values()
    noise = model.draw_noise(20_000, np.random.default_rng(1))
    inputs = model.evaluate(noise)[list(drawn.parents)]
    silence, unit = np.zeros(20_000), np.ones(20_000)
    widths = [eq(inputs, unit) - eq(inputs, silence) for eq in (model.assignments[node], drawn)]
    before, after = (np.sqrt(np.mean(width**2)) for width in widths)
    assert after == pytest.approx(before, rel=0.1)
    assert (drawn.spread is drawn.mechanism) == (noise_mode == "multiplicative")


def test_the_effect_of_the_target_changes_and_its_causes_do_not():
    """A regression on the parents holds; one on everything, which leans on the child, breaks."""
    graph = nx.DiGraph([("a", "y"), ("y", "c")])
    ds = SyntheticDAGDataset(
        n_distractors=0, adjacency=graph, target="y", mechanisms="linear", r2_range=(0.7, 0.7), random_state=0
    )
    usual = ds.sample(5000, random_state=0)
    (env,) = ds.environments(1, kind="mechanism", random_state=1)
    assert env.features == ("c",)
    moved = ds.sample(5000, env=env, random_state=2)
    causes = ds.roles_.mask("parents")
    errors = {}
    for what, used in (("parents", causes), ("all", np.ones(2, dtype=bool))):
        weights = np.linalg.lstsq(usual.X[:, used], usual.y, rcond=None)[0]
        errors[what] = [np.mean((s.y - s.X[:, used] @ weights) ** 2) for s in (usual, moved)]
    assert errors["parents"][1] == pytest.approx(errors["parents"][0], rel=0.1)
    assert errors["all"][0] < 0.8 * errors["parents"][0]
    assert errors["all"][1] > 2 * errors["parents"][1]


def test_each_child_is_redrawn_on_its_own():
    ds = _draw("mlp", seed=1, n_nodes=12)
    names = [n for n in ds.feature_names_ if n in ds.graph_ and ds.graph_.in_degree(n)][:2]
    both = Environment("mechanism", tuple(names), (5, 6))
    one = Environment("mechanism", (names[1],), (6,))
    assert names[0] not in nx.ancestors(ds.graph_, names[1])
    column = ds.feature_names_.index(names[1])
    np.testing.assert_array_equal(
        ds.sample(50, env=both, random_state=0).X[:, column],
        ds.sample(50, env=one, random_state=0).X[:, column],
    )


# ---- which nodes


@pytest.mark.parametrize(
    "nodes", ["parents", "ancestors", "markov_blanket", "children", "descendants", "spouses", "siblings"]
)
def test_nodes_are_those_of_the_roles(nodes):
    ds = _draw("linear", n_nodes=20, seed=4)
    environments = ds.environments(60, nodes=nodes, fraction=0.3, random_state=0)
    touched = {name for env in environments for name in env.features}
    assert touched == {
        n for n, member in zip(ds.feature_names_, ds.roles_.mask(nodes), strict=True) if member
    }


def test_non_ancestors_leave_the_target_alone():
    ds = _draw("mlp", n_nodes=20, seed=4)
    usual = ds.sample(30, random_state=1)
    for env in ds.environments(10, nodes="non_ancestors", random_state=0):
        assert not set(env.features) & (ds.roles_.ancestors | ds.roles_.distractors)
        np.testing.assert_array_equal(ds.sample(30, env=env, random_state=1).y, usual.y)


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_moves_only_on_demand(kind):
    ds = _draw("mlp", n_nodes=6)
    environments = ds.environments(40, kind=kind, nodes="any", random_state=0)
    assert all("y" not in env.features for env in environments)
    asked = ds.environments(40, kind=kind, nodes="any", allow_target=True, random_state=0)
    with_target = [env for env in asked if "y" in env.features]
    assert with_target
    assert len(with_target) < 40 or kind == "mechanism"
    usual, moved = (ds.sample(30, env=env, random_state=1) for env in (None, with_target[0]))
    assert not np.array_equal(usual.y, moved.y)


def test_the_target_can_be_held():
    ds = _draw("linear", n_nodes=6)
    sample = ds.sample(30, do={"y": 2.0}, allow_target=True, random_state=1)
    usual = ds.sample(30, random_state=1)
    assert (sample.y == 2.0).all()
    for name, values in _columns(ds, sample).items():
        below = name in ds.roles_.descendants or name == "y"
        assert np.array_equal(values, _columns(ds, usual)[name]) != below


def test_usual_strength_and_fraction():
    ds = _draw("linear", n_nodes=13)
    for kind, size in (("do", 2.0), ("shift", 2.0), ("scale", 2.0), ("soft", 0.5)):
        env = ds.environments(1, kind=kind, random_state=0)[0]
        assert set(map(abs, env.values)) == {size}
        assert len(env.features) == round(
            0.25 * sum(ds._border.can(kind, name) for name in ds.feature_names_)
        )
    assert len(ds.environments(1, kind="do", fraction=1.0)[0].features) == 12
