"""The graph that remains of a causal graph when some of its nodes are hidden."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import networkx as nx


@dataclass(frozen=True)
class Projection:
    """Latent projection (Verma and Pearl 1990) on the observed nodes.

    ``directed`` has an edge where a path leads from cause to effect through hidden nodes alone;
    ``confounded`` has one between nodes that share a hidden cause, reached in that way by both.
    """

    directed: nx.DiGraph
    confounded: nx.Graph

    @classmethod
    def of(cls, graph: nx.DiGraph, hidden: Set[str]) -> Projection:
        """Project out the hidden nodes; without any, nothing changes."""
        observed = [node for node in graph if node not in hidden]
        directed, confounded = nx.DiGraph(), nx.Graph()
        directed.add_nodes_from(observed)
        confounded.add_nodes_from(observed)
        for node in graph:
            reached = _first_observed(graph, node, hidden)
            if node in hidden:
                confounded.add_edges_from((a, b) for a in reached for b in reached if a != b)
            else:
                directed.add_edges_from((node, effect) for effect in reached)
        return cls(directed, confounded)

    def markov_blanket(self, target: str) -> set[str]:
        """Observed nodes without which the target is not independent of the rest.

        Given all others, exactly those are dependent that a path joins of which every inner node is a
        collider: it leaves the target or a child of it along confounded edges, and ends with any edge.
        """
        district: set[str] = set()
        for seed in (target, *self.directed.successors(target)):
            district |= nx.node_connected_component(self.confounded, seed)
        causes = {cause for node in district for cause in self.directed.predecessors(node)}
        return (district | causes) - {target}


def _first_observed(graph: nx.DiGraph, node: str, hidden: Set[str]) -> set[str]:
    """Observed nodes that paths from a node meet first."""
    found: set[str] = set()
    seen: set[str] = set()
    ahead = list(graph.successors(node))
    while ahead:
        effect = ahead.pop()
        if effect not in hidden:
            found.add(effect)
        elif effect not in seen:
            seen.add(effect)
            ahead.extend(graph.successors(effect))
    return found
