"""A graph on named nodes, some of them hidden, and the features that it is about."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from flatcausal.datasets._graphs import check_acyclic
from flatcausal.exceptions import DataError, GraphError, ParameterTypeError


def check_names(argument: str, given: Iterable[str], target: str) -> tuple[str, ...]:
    """Return names of which none occurs twice or is the target's."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        what = f"the string {given!r}" if isinstance(given, str) else repr(given)
        raise ParameterTypeError(f"{argument} must be a list of names, got {what}.")
    names = tuple(given)
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise ParameterTypeError(f"{argument} must be strings, got {name!r}; rename the column.")
        if name == target:
            kind = "a feature" if argument == "feature_names" else "hidden"
            raise DataError(f"the target {target!r} is also {kind}; drop it from {argument}.")
        if name in seen:
            raise DataError(f"{argument} holds {name!r} twice; rename one of the columns.")
        seen.add(name)
    return names


def check_graph(graph: nx.DiGraph, target: str, names: tuple[str, ...], hidden: frozenset[str]) -> None:
    """Refuse a graph that is not one of the target, features and hidden nodes."""
    if not isinstance(graph, nx.DiGraph):
        raise ParameterTypeError(f"graph must be a networkx DiGraph, got {type(graph).__name__}.")
    if target not in graph:
        raise GraphError(f"the target {target!r} is no node of the graph; add an edge to or from it.")
    features = set(names)
    for node in graph:
        if node != target and node not in features and node not in hidden:
            raise GraphError(
                f"the graph's node {node!r} is neither a feature nor the target; "
                "add the column, drop the node, or name it in hidden."
            )
    for node in sorted(hidden):
        if node in features:
            raise DataError(f"the feature {node!r} is also hidden; drop it from one of the two.")
        if node not in graph:
            raise GraphError(f"the hidden node {node!r} is no node of the graph; drop it from hidden.")
    check_acyclic(graph)
