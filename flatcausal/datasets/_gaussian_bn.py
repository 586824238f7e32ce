"""A linear Gaussian Bayesian network from a file, as a blueprint."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from flatcausal._random import child
from flatcausal.datasets._assignments import LocationScale
from flatcausal.datasets._blueprint import DISTRACTORS, Blueprint
from flatcausal.datasets._distractors import draw_distractors
from flatcausal.datasets._functions import Linear
from flatcausal.datasets._graphs import check_acyclic
from flatcausal.datasets._scm import StructuralModel
from flatcausal.exceptions import DataError, GraphError, ParameterError

_INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class _Node:
    """x = intercept + sum of weight times parent + noise of this variance."""

    intercept: float
    weights: dict[str, float]
    variance: float

    def assignment(self, position: Mapping[str, int]) -> LocationScale:
        """The equation, its parents in causal order."""
        parents = sorted(self.weights, key=position.__getitem__)
        return LocationScale(
            tuple(position[parent] for parent in parents),
            Linear(np.array([self.weights[parent] for parent in parents])),
            center=-self.intercept,
            noise_scale=math.sqrt(self.variance),
        )


def read_gaussian_bn(
    path: str | Path, target: str, distractors: str, n_distractors: int, root: np.random.SeedSequence
) -> Blueprint:
    """Read the network and add distractor columns."""
    nodes = _read_nodes(path)
    graph = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from((parent, name) for name, node in nodes.items() for parent in node.weights)
    check_acyclic(graph)
    if len(graph) < 2:
        raise GraphError(f"{path} must have at least 2 nodes, a target and a feature, got {len(graph)}.")
    if target not in nodes:
        raise ParameterError(f"target {target!r} is no node of {path}{_did_you_mean(target, nodes)}.")
    order = list(nx.lexicographical_topological_sort(graph, key=list(nodes).index))
    position = {name: index for index, name in enumerate(order)}
    model = StructuralModel(tuple(nodes[name].assignment(position) for name in order), "normal")
    features = np.delete(np.arange(len(order)), position[target])
    stream = np.random.default_rng(child(root, DISTRACTORS))
    columns = draw_distractors(distractors, n_distractors, features, stream)
    return Blueprint(model, position[target], columns, tuple(order))


def _did_you_mean(name: object, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}" if near else f"; name one of its {len(known)} nodes"


def _read_nodes(path: str | Path) -> dict[str, _Node]:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is no JSON file ({error}); pass a linear Gaussian network as JSON."
        ) from error
    for key, kind in (("nodes", list), ("arcs", list), ("cpds", dict)):
        if not isinstance(document, dict) or not isinstance(document.get(key), kind):
            raise DataError(
                f"{path} must hold a {kind.__name__} {key!r}; pass a linear Gaussian network as JSON."
            )
    names = document["nodes"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DataError(f"{path} must name each node once, by a string; see its 'nodes'.")
    nodes = {name: _read_node(path, name, document["cpds"].get(name), names) for name in names}
    _check_arcs(path, document["arcs"], nodes)
    return nodes


def _read_node(path: str | Path, name: str, cpd: Any, names: list[str]) -> _Node:
    if not isinstance(cpd, dict) or not isinstance(cpd.get("coefficients"), dict):
        raise DataError(f"{path} has no coefficients for the node {name!r}; add its entry to 'cpds'.")
    weights = {key: _number(path, name, key, value) for key, value in cpd["coefficients"].items()}
    intercept = weights.pop(_INTERCEPT, 0.0)
    for parent in weights:
        if parent not in names:
            raise GraphError(
                f"{path} gives {name!r} the parent {parent!r}, which is no node; add it to 'nodes'."
            )
    listed = cpd.get("parents", list(weights))
    if not isinstance(listed, list) or set(map(str, listed)) != set(weights):
        raise DataError(
            f"{path} lists other parents for {name!r} than it has coefficients for; mend its 'parents'."
        )
    variance = _number(path, name, "variance", cpd.get("variance"))
    if variance <= 0.0:
        raise DataError(f"{path} gives {name!r} the variance {variance:g}; it must be greater than 0.")
    return _Node(intercept, weights, variance)


def _number(path: str | Path, name: str, key: str, value: Any) -> float:
    """One number, which the format wraps in a list."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(f"{path} must give {name!r} one finite number as {key!r}, got {value!r}.")
    return float(value)


def _check_arcs(path: str | Path, arcs: list[Any], nodes: Mapping[str, _Node]) -> None:
    """Refuse arcs without a coefficient, and coefficients without an arc."""
    edges = {(parent, name) for name, node in nodes.items() for parent in node.weights}
    for arc in arcs:
        if not isinstance(arc, list) or len(arc) != 2 or not all(isinstance(end, str) for end in arc):
            raise DataError(f"{path} must hold arcs as pairs [from, to] of names, got {arc!r}.")
        if tuple(arc) not in edges:
            raise GraphError(
                f"{path} has the arc {arc[0]} -> {arc[1]} without a coefficient; mend its 'cpds'."
            )
    bare = edges - {tuple(arc) for arc in arcs}
    if bare:
        cause, effect = min(bare)
        raise GraphError(f"{path} has a coefficient for {cause} -> {effect} and no arc; mend its 'arcs'.")
