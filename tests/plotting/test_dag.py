from __future__ import annotations

import io
from itertools import combinations

import matplotlib
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from flatcausal.datasets import FeatureRoles, SyntheticDAGDataset
from flatcausal.exceptions import (
    DataError,
    FeatureAlignmentError,
    GraphError,
    ParameterError,
    ParameterTypeError,
)
from flatcausal.plotting import DAGDisplay, _layers
from flatcausal.plotting._style import INK, PALETTE

GRAPH = nx.DiGraph([("a", "b"), ("b", "y"), ("y", "c"), ("d", "c"), ("u", "b"), ("u", "y")])
ROLES = {"a": "ancestor", "b": "parent", "c": "child", "d": "spouse", "e": "distractor"}


@st.composite
def graphs(draw):
    """Any directed acyclic graph of up to 12 nodes, whose order is not that of its names."""
    n = draw(st.integers(1, 12))
    order = draw(st.permutations(range(n)))
    pairs = list(combinations(order, 2))
    graph = nx.DiGraph(draw(st.lists(st.sampled_from(pairs), max_size=30)) if pairs else [])
    graph.add_nodes_from(range(n))
    return graph


@given(graphs(), st.integers(0, 20))
def test_causes_stand_left_of_effects_distractors_beneath_and_no_two_together(graph, n_distractors):
    roles = {node: "irrelevant" for node in graph if node != 0}
    roles |= {f"noise {index}": "distractor" for index in range(n_distractors)}
    nodes = DAGDisplay.from_graph(graph, 0, roles).nodes
    assert set(nodes.index) == {0, *roles}
    assert all(nodes.x[cause] < nodes.x[effect] for cause, effect in graph.edges)
    beneath = nodes.role == "distractor"
    if n_distractors:
        assert nodes.y[beneath].max() < nodes.y[~beneath].min() - 0.5
    for one, other in combinations(nodes[["x", "y"]].to_numpy(), 2):
        assert np.hypot(*(one - other)) > 0.5


def crossings(display):
    """Pairs of edges between the same two layers that cross."""
    x, y = display.nodes["x"], display.nodes["y"]
    return sum(
        (y[a] - y[c]) * (y[b] - y[d]) < 0
        for (a, b), (c, d) in combinations(display.edges, 2)
        if x[a] == x[c] and x[b] == x[d]
    )


@given(st.permutations(range(12)))
def test_a_zigzag_is_drawn_without_crossings(names):
    """Six causes and six effects, whatever the order in which they come."""
    causes, effects = names[:6], names[6:]
    graph = nx.DiGraph()
    graph.add_nodes_from(range(12))
    graph.add_edges_from([*zip(causes, effects, strict=True), *zip(causes[1:], effects, strict=False)])
    assert crossings(DAGDisplay.from_graph(graph, 0)) == 0


def test_barycentres_save_crossings(monkeypatch):
    rng = np.random.default_rng(0)
    graphs = [nx.DiGraph(np.triu(rng.random((20, 20)) < 0.2, 1)) for _ in range(10)]
    swept = sum(crossings(DAGDisplay.from_graph(graph, 0)) for graph in graphs)
    monkeypatch.setattr(_layers, "_SWEEPS", 0)
    assert swept < 0.9 * sum(crossings(DAGDisplay.from_graph(graph, 0)) for graph in graphs)


def test_every_role_has_its_colour_and_its_place_in_the_legend():
    graph = nx.DiGraph([("a", "b"), ("b", "y"), ("y", "c"), ("d", "c"), ("c", "f"), ("b", "s")])
    graph.add_nodes_from(["i"])
    roles = FeatureRoles.from_graph(graph, "y", ["i", "s", "f", "e", "d", "c", "b", "a"])
    graph.add_edge("u", "y")
    display = DAGDisplay.from_graph(graph, "y", roles).plot()
    found = dict(zip(display.nodes.index, display.ax_.collections, strict=False))
    colours = {
        name: to_hex(points.get_facecolor()[0])
        for name, points in found.items()
        if len(points.get_facecolor())
    }
    blue, red, green, pink, orange, sky = PALETTE
    expected = {"y": INK, "a": sky, "b": blue, "c": red, "f": orange, "d": green, "s": pink}
    assert {name: colours[name] for name in expected} == expected
    assert {"u", "e"}.isdisjoint(colours)  # hollow
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [
        "target", "parent", "ancestor", "child", "descendant", "spouse", "sibling", "irrelevant",
        "distractor", "hidden",
    ]  # fmt: skip
    plain = DAGDisplay.from_graph(graph, "y").plot()
    assert [text.get_text() for text in plain.ax_.get_legend().get_texts()] == ["target"]
    assert len({to_hex(points.get_facecolor()[0]) for points in plain.ax_.collections[:9]}) == 2


def areas(display):
    return dict(
        zip(display.nodes.index, [p.get_sizes()[0] for p in display.plot().ax_.collections], strict=False)
    )


def test_areas_are_proportional_to_importances():
    values = {"a": 0.5, "b": 0.25, "c": 0.0, "d": 0.125, "e": 1e-6}
    found = areas(DAGDisplay.from_graph(GRAPH, "y", ROLES, values))
    assert found["a"] == 2 * found["b"] == 4 * found["d"]
    assert found["c"] == found["e"] > 0  # still to be seen
    ways = [
        {name: 3 * value for name, value in values.items()},
        pd.Series(values)[::-1],
        list(values.values()),
    ]
    for same in ways:
        assert areas(DAGDisplay.from_graph(GRAPH, "y", ROLES, same)) == pytest.approx(found)
    nothing = areas(DAGDisplay.from_graph(GRAPH, "y", ROLES, np.zeros(5)))
    assert {nothing[name] for name in ROLES} == {found["c"]}
    assert len(set(areas(DAGDisplay.from_graph(GRAPH, "y", ROLES)).values())) == 1
    without_roles = DAGDisplay.from_graph(GRAPH, "y", importances=[1, 2, 3, 4, 5])
    assert without_roles.nodes["importance"].dropna().to_dict() == {"a": 1, "b": 2, "c": 3, "d": 4, "u": 5}


@pytest.mark.parametrize("n_nodes", [8, 20, 60])
def test_no_label_hides_another(n_nodes):
    ds = SyntheticDAGDataset(n_nodes=n_nodes, n_distractors=n_nodes // 2, random_state=1)
    display = DAGDisplay.from_graph(ds.graph_, ds.target_name_, ds.roles_).plot()
    display.figure_.draw_without_rendering()
    texts = [text for text in display.ax_.texts if text.get_text()]
    assert sorted(text.get_text() for text in texts) == sorted([*ds.feature_names_, "y"])
    boxes = [text.get_window_extent() for text in texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    page = display.figure_.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 for box in boxes)


def test_arrows_are_dark_at_the_target_and_dashed_from_hidden_nodes():
    ax = DAGDisplay.from_graph(GRAPH, "y", ROLES).plot().ax_
    arrows = [text.arrow_patch for text in ax.texts if text.arrow_patch is not None]
    assert len(arrows) == GRAPH.number_of_edges()
    dark = [to_hex(arrow.get_edgecolor()) == INK for arrow in arrows]
    assert dark == ["y" in edge for edge in GRAPH.edges]
    assert [arrow.get_linestyle() == "--" for arrow in arrows] == [edge[0] == "u" for edge in GRAPH.edges]


@pytest.mark.parametrize("name", ["$x^{$", "_hidden", "a & <b>", "100 %", r"\frac{", ("x", 1)])
def test_any_name_can_be_drawn_as_it_is(name):
    graph = nx.DiGraph([(name, "y")])
    figure = DAGDisplay.from_graph(graph, "y", {name: "parent"}, {name: 1.0}).plot().figure_
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(page := io.StringIO(), format="svg")
    escaped = str(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert escaped in page.getvalue()


def test_drawing_touches_no_global_state_and_uses_given_axes():
    before = dict(matplotlib.rcParams)
    display = DAGDisplay.from_graph(GRAPH, "y", ROLES)
    assert display.plot() is display
    assert isinstance(display.figure_, Figure)
    ax = Figure().add_subplot()
    assert display.plot(ax=ax).ax_ is ax
    assert display.figure_ is ax.figure
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_a_graph_may_be_a_target_alone():
    graph = nx.DiGraph()
    graph.add_node("y")
    display = DAGDisplay.from_graph(graph, "y", {"e": "distractor"}, {"e": 0.0}).plot()
    assert display.nodes["role"].to_dict() == {"y": "target", "e": "distractor"}


def test_mistakes_are_named():
    def refused(error, match, graph=GRAPH, target="y", roles=ROLES, importances=None):
        with pytest.raises(error, match=match):
            DAGDisplay.from_graph(graph, target, roles, importances)

    refused(ParameterTypeError, "graph must be a networkx DiGraph, got Graph", graph=nx.Graph())
    refused(GraphError, "target 'z' is no node", target="z")
    refused(GraphError, "cycle 'a' -> 'y'; remove", graph=nx.DiGraph([("a", "y"), ("y", "a")]))
    refused(ParameterTypeError, "roles must be FeatureRoles or map.*got list", roles=["parent"])
    refused(ParameterError, "the role of 'a' must be one of 'parent'.*got 'father'", roles={"a": "father"})
    refused(ParameterError, "the role of 'a' must be.*got 'hidden'", roles={"a": "hidden"})
    refused(ParameterError, "target 'y' the role 'parent'; leave it out", roles={"y": "parent"})
    refused(
        FeatureAlignmentError, r"shape \(5,\), one for each feature, got \(4,\)", importances=[1, 2, 3, 4]
    )
    refused(FeatureAlignmentError, "do not share 'e'", importances=dict.fromkeys("abcd", 1.0))
    for bad in (np.nan, -0.1, np.inf):
        refused(DataError, f"at least 0, got {bad} for 'c'", importances=[1, 1, bad, 1, 1])
