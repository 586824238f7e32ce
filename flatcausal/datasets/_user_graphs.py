"""A user's graph, as a networkx DiGraph, an adjacency matrix or a list of edges, in a causal order."""

from __future__ import annotations

import numbers
from typing import Any

import networkx as nx
import numpy as np

from flatcausal.datasets._graph_laws import Adjacency
from flatcausal.datasets._graphs import TargetRule, check_acyclic
from flatcausal.exceptions import GraphError, ParameterError, ParameterTypeError


def ordered_graph(adjacency: object) -> tuple[Adjacency, list[Any], bool]:
    """Return the matrix in a causal order, the user's label of each node, and whether labels are names."""
    if _is_edge_list(adjacency):
        adjacency = _graph_of_edges(adjacency)
    named = isinstance(adjacency, nx.DiGraph)
    graph = _check_names(adjacency) if named else _graph_of_matrix(adjacency)
    check_acyclic(graph)
    if len(graph) < 2:
        raise GraphError(f"adjacency must have at least 2 nodes, a target and a feature, got {len(graph)}.")
    order = list(nx.topological_sort(graph))
    position = {node: index for index, node in enumerate(order)}
    matrix = np.zeros((len(order), len(order)), dtype=bool)
    for cause, effect in graph.edges():
        matrix[position[cause], position[effect]] = True
    return matrix, order, named


def choose_target(
    target: object, adjacency: Adjacency, labels: list[Any], rule: TargetRule, rng: np.random.Generator
) -> int:
    """Index of the target: the one named, or one drawn among the nodes that satisfy the rule."""
    if not isinstance(target, str) or target != "auto":
        nameable = isinstance(target, (str, numbers.Integral)) and not isinstance(target, bool)
        if not nameable or target not in labels:
            raise ParameterError(f"target must be 'auto' or a node of adjacency, got {target!r}.")
        return labels.index(target)
    candidates = rule.candidates(adjacency)
    if not candidates.size:
        raise GraphError(
            f"the 1 graph tried, adjacency, holds no target with {rule}; "
            "lower these minima or name the target."
        )
    return int(rng.choice(candidates))


def _check_names(graph: nx.DiGraph) -> nx.DiGraph:
    for node in graph:
        if not isinstance(node, str):
            raise ParameterTypeError(
                f"adjacency must name its nodes by strings, got the node {node!r}; use nx.relabel_nodes."
            )
    return graph


def _is_edge_list(adjacency: Any) -> bool:
    """Names tell a list of edges from the rows of a matrix."""
    return isinstance(adjacency, (list, tuple)) and any(
        isinstance(entry, (list, tuple)) and any(isinstance(name, str) for name in entry)
        for entry in adjacency
    )


def _graph_of_edges(edges: Any) -> nx.DiGraph:
    for edge in edges:
        pair = isinstance(edge, (list, tuple)) and len(edge) == 2
        if not pair or not all(isinstance(name, str) for name in edge):
            raise ParameterTypeError(
                f"adjacency as a list of edges must hold pairs of names (cause, effect), got {edge!r}."
            )
    return nx.DiGraph([tuple(edge) for edge in edges])


def _graph_of_matrix(adjacency: object) -> nx.DiGraph:
    try:
        matrix = np.asarray(adjacency, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterTypeError(
            "adjacency must be a networkx DiGraph, a square matrix of numbers or a list of edges, "
            f"got {type(adjacency).__name__}."
        ) from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise GraphError(f"adjacency must be square (row -> column), got shape {matrix.shape}.")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise GraphError(
            f"adjacency must be finite, got {matrix[row, column]} at row {row}, column {column}."
        )
    return nx.from_numpy_array(matrix != 0, create_using=nx.DiGraph)
