"""Where the nodes of a causal graph stand: causes left of effects, what has no edge to them beneath."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import networkx as nx

_ROW = 0.55  # inches between nodes of one layer
_COLUMN = 1.3
_LETTER = 0.08
_SWEEPS = 12


def layered_positions(
    graph: nx.DiGraph, apart: Iterable[Hashable] = ()
) -> dict[Hashable, tuple[float, float]]:
    """Return positions in inches, by node; those ``apart`` stand in rows beneath the graph."""
    apart = list(apart)
    longest = max((len(str(node)) for node in [*graph, *apart]), default=0)
    column, step = max(_COLUMN, _LETTER * longest), max(_ROW, _LETTER * longest)
    depth = _depths(graph)
    rows = _rows(graph, depth)
    # Every other layer is lowered, so that an edge over two layers seldom passes through a node between.
    places = {node: (column * depth[node], -_ROW * (rows[node] + 0.4 * (depth[node] % 2))) for node in graph}
    low = min(y for _, y in places.values())
    width = column * max(depth.values())
    per_row = max(8, int(width / step) + 1)
    for position, node in enumerate(apart):
        line, place = divmod(position, per_row)
        places[node] = (step * place, low - _ROW * (1.5 + line))
    return places


def _depths(graph: nx.DiGraph) -> dict[Any, int]:
    """Layer of each node: right of all its causes, and as near to its effects as that allows."""
    depth: dict[Any, int] = {}
    order = list(nx.topological_sort(graph))
    for node in order:
        depth[node] = max((depth[cause] + 1 for cause in graph.predecessors(node)), default=0)
    for node in reversed(order):
        depth[node] = min((depth[effect] - 1 for effect in graph.successors(node)), default=depth[node])
    return depth


def _rows(graph: nx.DiGraph, depth: dict[Any, int]) -> dict[Any, float]:
    """Row of each node within its layer, centred: spectral order first, then Sugiyama's barycentres."""
    layers: dict[int, list[Any]] = {}
    for node in nx.spectral_ordering(graph.to_undirected(), seed=0):
        layers.setdefault(depth[node], []).append(node)
    row: dict[Any, float] = {}
    for nodes in layers.values():
        _number(nodes, row)
    neighbours = {node: [*graph.predecessors(node), *graph.successors(node)] for node in graph}
    for sweep in range(_SWEEPS):
        for layer in sorted(layers, reverse=bool(sweep % 2)):
            nodes = layers[layer]
            level = {
                node: sum(row[other] for other in neighbours[node]) / max(1, len(neighbours[node]))
                for node in nodes
            }
            nodes.sort(key=level.__getitem__)
            _number(nodes, row)
    return row


def _number(nodes: list[Any], row: dict[Any, float]) -> None:
    row.update((node, position - (len(nodes) - 1) / 2) for position, node in enumerate(nodes))
