"""Linear Gaussian networks from JSON, against means and covariances worked out by hand."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.exceptions import DataError, GraphError, ParameterError

# rain -> river <- melt, river -> flood <- rain; the nodes are listed out of order.
NETWORK = {
    "nodes": ["flood", "river", "rain", "melt"],
    "arcs": [["rain", "river"], ["melt", "river"], ["river", "flood"], ["rain", "flood"]],
    "cpds": {
        "rain": {"parents": [], "coefficients": {"(Intercept)": [10.0]}, "variance": [4.0]},
        "melt": {"parents": [], "coefficients": {"(Intercept)": [-1.0]}, "variance": [1.0]},
        "river": {
            "parents": ["melt", "rain"],
            "coefficients": {"(Intercept)": [2.0], "rain": [0.5], "melt": [-2.0]},
            "variance": [0.25],
        },
        "flood": {
            "parents": ["river", "rain"],
            "coefficients": {"(Intercept)": [0.0], "river": [3.0], "rain": [0.25]},
            "variance": [9.0],
        },
    },
}
MEANS = {"rain": 10.0, "melt": -1.0, "river": 9.0, "flood": 29.5}
# river = .5 rain - 2 melt + e: 1 + 4 + .25; flood = 1.75 rain - 6 melt + 3 e + f: 12.25 + 36 + 2.25 + 9
VARIANCES = {"rain": 4.0, "melt": 1.0, "river": 5.25, "flood": 59.5}
COVARIANCES = {
    ("rain", "melt"): 0.0,
    ("rain", "river"): 2.0,
    ("rain", "flood"): 7.0,
    ("melt", "river"): -2.0,
    ("melt", "flood"): -6.0,
    ("river", "flood"): 0.5 * 1.75 * 4 + 12.0 + 3 * 0.25,
}


@pytest.fixture
def write(tmp_path):
    def to_file(network):
        path = tmp_path / "network.json"
        path.write_text(network if isinstance(network, str) else json.dumps(network))
        return path

    return to_file


@pytest.fixture
def ds(write):
    return SyntheticDAGDataset.from_gaussian_bn(write(NETWORK), "river", n_distractors=3, random_state=0)


def test_moments_are_those_of_the_file(ds):
    n = 200_000
    frame, target = ds.sample(n, return_X_y=True, as_frame=True, random_state=1)
    frame["river"] = target
    for name, variance in VARIANCES.items():
        assert frame[name].mean() == pytest.approx(MEANS[name], abs=5 * np.sqrt(variance / n))
        assert frame[name].var() == pytest.approx(variance, rel=5 * np.sqrt(2 / n))
    for (a, b), covariance in COVARIANCES.items():
        error = np.sqrt((VARIANCES[a] * VARIANCES[b] + covariance**2) / n)
        assert frame[[a, b]].cov().iloc[0, 1] == pytest.approx(covariance, abs=5 * error)


def test_names_and_roles_are_those_of_the_file(ds):
    assert ds.target_name_ == "river"
    assert {name for name in ds.feature_names_ if name in ds.graph_} == {"rain", "melt", "flood"}
    assert set(ds.graph_.edges) == {tuple(arc) for arc in NETWORK["arcs"]}
    assert ds.roles_.parents == {"rain", "melt"}
    assert ds.roles_.children == {"flood"}
    assert len(ds.roles_.distractors) == 3


def test_effects_are_those_of_the_file(write):
    ds = SyntheticDAGDataset.from_gaussian_bn(write(NETWORK), "flood", n_distractors=1, random_state=0)
    for kind, expected in (
        ("total", {"rain": 1.75, "melt": -6.0, "river": 3.0}),
        ("direct", {"rain": 0.25, "melt": 0.0, "river": 3.0}),
    ):
        found = dict(zip(ds.feature_names_, ds.effects(kind, scale="raw", signed=True), strict=True))
        assert {name: found[name] for name in expected} == pytest.approx(expected)
    scaled = dict(zip(ds.feature_names_, ds.effects(), strict=True))
    assert scaled["melt"] == pytest.approx(6.0 / np.sqrt(59.5))


def test_interventions_keep_the_intercepts(ds):
    frame, river = ds.sample(50_000, do={"rain": 0.0}, return_X_y=True, as_frame=True, random_state=1)
    assert river.mean() == pytest.approx(4.0, abs=0.06)
    assert frame["melt"].mean() == pytest.approx(-1.0, abs=0.03)
    sample = ds.sample(50_000, soft={"flood": 1.0}, as_frame=True, random_state=1)
    assert sample.X["flood"].mean() == pytest.approx(2 * 29.5, abs=0.3)


def test_it_is_a_data_set_like_any_other(ds):
    again = SyntheticDAGDataset.from_dict(json.loads(json.dumps(ds.to_dict())))
    np.testing.assert_array_equal(again.sample(20).X, ds.sample(20).X)
    assert set(ds.sortability(500)) == {"var", "r2"}
    assert len(ds.environments(3, kind="mechanism")) == 3
    with pytest.raises(ParameterError, match="lacks causes"):
        ds.sample(5, soft={"rain": 1.0})


def test_plain_numbers_and_missing_intercepts_are_read(write):
    network = copy.deepcopy(NETWORK)
    network["cpds"]["rain"] = {"coefficients": {}, "variance": 4}
    network["cpds"]["river"]["coefficients"]["rain"] = 0.5
    ds = SyntheticDAGDataset.from_gaussian_bn(write(network), "river", random_state=0)
    rain = ds.sample(20_000, as_frame=True, random_state=0).X["rain"]
    assert rain.mean() == pytest.approx(0.0, abs=0.08)
    assert rain.var() == pytest.approx(4.0, rel=0.06)


def _changed(*path, to):
    network = copy.deepcopy(NETWORK)
    inner = network
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return network


BAD = [
    ("{", DataError, "is no JSON file"),
    ([1], DataError, "must hold a list 'nodes'"),
    ({"nodes": [], "arcs": []}, DataError, "must hold a dict 'cpds'"),
    (_changed("nodes", to=["rain", "rain"]), DataError, "must name each node once"),
    (_changed("nodes", to=["flood", "river", "rain"]), GraphError, "the parent 'melt', which is no node"),
    (_changed("nodes", to=[*NETWORK["nodes"], "dam"]), DataError, "no coefficients for the node 'dam'"),
    (_changed("cpds", "rain", "variance", to=[0.0]), DataError, "gives 'rain' the variance 0"),
    (_changed("cpds", "rain", "variance", to=[-1.0]), DataError, "gives 'rain' the variance -1"),
    (_changed("cpds", "rain", "variance", to=[float("nan")]), DataError, "one finite number as 'variance'"),
    (_changed("cpds", "rain", "variance", to=[]), DataError, "one finite number as 'variance', got []"),
    (
        _changed("cpds", "river", "coefficients", "rain", to=[float("inf")]),
        DataError,
        "must give 'river' one finite number as 'rain', got inf",
    ),
    (_changed("cpds", "river", "coefficients", "rain", to="high"), DataError, "got 'high'"),
    (_changed("cpds", "river", "parents", to=["rain"]), DataError, "lists other parents for 'river'"),
    (_changed("arcs", to=NETWORK["arcs"][1:]), GraphError, "a coefficient for rain -> river and no arc"),
    (
        _changed("arcs", to=[*NETWORK["arcs"], ["melt", "flood"]]),
        GraphError,
        "the arc melt -> flood without a coefficient",
    ),
    (_changed("arcs", to=["rain"]), DataError, "arcs as pairs [from, to] of names, got 'rain'"),
    (
        {
            "nodes": ["a", "b"],
            "arcs": [["a", "b"], ["b", "a"]],
            "cpds": {
                "a": {"parents": ["b"], "coefficients": {"b": [1.0]}, "variance": [1.0]},
                "b": {"parents": ["a"], "coefficients": {"a": [1.0]}, "variance": [1.0]},
            },
        },
        GraphError,
        "the graph has a cycle: a -> b -> a",
    ),
    (
        {"nodes": ["a"], "arcs": [], "cpds": {"a": {"coefficients": {}, "variance": [1.0]}}},
        GraphError,
        "must have at least 2 nodes",
    ),
]


@pytest.mark.parametrize(("network", "error", "fragment"), BAD)
def test_bad_networks(write, network, error, fragment):
    with pytest.raises(error) as caught:
        SyntheticDAGDataset.from_gaussian_bn(write(network), "river", random_state=0)
    message = str(caught.value)
    assert fragment in message
    assert message.endswith(".")


def test_bad_arguments(write, tmp_path):
    path = write(NETWORK)
    read = SyntheticDAGDataset.from_gaussian_bn
    with pytest.raises(ParameterError, match=r"target 'rivre' is no node of .*; did you mean 'river'\."):
        read(path, "rivre")
    with pytest.raises(ParameterError, match="name one of its 4 nodes"):
        read(path, "Q")
    with pytest.raises(ParameterError, match="n_distractors must be at least 0"):
        read(path, "river", n_distractors=-1)
    with pytest.raises(ParameterError, match="distractors must be one of"):
        read(path, "river", distractors="noise")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere.json", "river")
