"""What each feature is to the target: parent, ancestor, child, spouse, ... or nothing at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from flatcausal._validation import check_choice
from flatcausal.datasets._graphs import check_acyclic
from flatcausal.exceptions import DataError, GraphError, ParameterTypeError

# Exclusive roles in order of priority, with the set that each is read from.
_PRIORITY = {
    "parent": "parents",
    "ancestor": "ancestors",
    "child": "children",
    "descendant": "descendants",
    "spouse": "spouses",
    "sibling": "siblings",
    "distractor": "distractors",
}


@dataclass(frozen=True)
class FeatureRoles:
    """Roles of all features relative to one target in a directed acyclic graph.

    The sets overlap: parents are ancestors, a spouse may be an ancestor, a descendant or a sibling. ``role``
    gives each feature one name, the first that fits. Build it with :meth:`from_graph`.

    Parameters
    ----------
    feature_names : tuple of str
        Names of the features, in column order.
    parents, children : frozenset of str
        Direct causes and direct effects of the target.
    ancestors, descendants : frozenset of str
        All causes and all effects, direct ones included.
    spouses : frozenset of str
        Other causes of the target's children, neither parents nor children themselves.
    siblings : frozenset of str
        Neither causes nor effects, but sharing a cause with the target.
    distractors : frozenset of str
        Features that are no node of the graph.

    Examples
    --------
    >>> import networkx as nx
    >>> from flatcausal.datasets import FeatureRoles
    >>> graph = nx.DiGraph([("a", "b"), ("b", "y"), ("y", "c"), ("d", "c"), ("a", "e")])
    >>> roles = FeatureRoles.from_graph(graph, "y", ["a", "b", "c", "d", "e", "f"])
    >>> roles.role
    {'a': 'ancestor', 'b': 'parent', 'c': 'child', 'd': 'spouse', 'e': 'sibling', 'f': 'distractor'}
    >>> roles.mask("markov_blanket")
    array([False,  True,  True,  True, False, False])
    """

    feature_names: tuple[str, ...]
    parents: frozenset[str]
    ancestors: frozenset[str]
    children: frozenset[str]
    descendants: frozenset[str]
    spouses: frozenset[str]
    siblings: frozenset[str]
    distractors: frozenset[str]

    @classmethod
    def from_graph(cls, graph: nx.DiGraph, target: str, feature_names: Iterable[str]) -> FeatureRoles:
        """Read the roles off a graph.

        Parameters
        ----------
        graph : networkx.DiGraph
            Edges point from cause to effect; every node must be the target or a feature.
        target : str
            The node to be predicted.
        feature_names : iterable of str
            Names of the features in column order; one that is no node is a distractor.

        Returns
        -------
        FeatureRoles
            Frozen and picklable.

        Raises
        ------
        GraphError
            If the graph has a cycle (one is named), lacks the target, or holds a node that is no feature.
        DataError
            If a feature name appears twice or is the target's.
        ParameterTypeError
            If graph is no DiGraph or a feature name no string.
        """
        names = _check_names(feature_names, target)
        _check_graph(graph, target, names)
        ancestors, descendants = nx.ancestors(graph, target), nx.descendants(graph, target)
        parents, children = set(graph.predecessors(target)), set(graph.successors(target))
        partners = {partner for child in children for partner in graph.predecessors(child)}
        # Sharing a cause with the target means lying downstream of one of the target's causes.
        downstream = {node for layer in nx.bfs_layers(graph, ancestors) for node in layer}
        return cls(
            feature_names=names,
            parents=frozenset(parents),
            ancestors=frozenset(ancestors),
            children=frozenset(children),
            descendants=frozenset(descendants),
            spouses=frozenset(partners - {target} - parents - children),
            siblings=frozenset(downstream - ancestors - descendants - {target}),
            distractors=frozenset(set(names) - set(graph)),
        )

    @property
    def markov_blanket(self) -> frozenset[str]:
        """Parents, children and spouses: given these, the target is independent of the rest."""
        return self.parents | self.children | self.spouses

    @property
    def irrelevant(self) -> frozenset[str]:
        """Nodes that are d-separated from the target given nothing, and no spouse.

        A d-separated spouse is a suppressor: useless alone, useful beside the child.
        """
        related = self.ancestors | self.descendants | self.spouses | self.siblings | self.distractors
        return frozenset(self.feature_names) - related

    @property
    def role(self) -> Mapping[str, str]:
        """One role for each feature, by priority.

        parent > ancestor > child > descendant > spouse > sibling > irrelevant > distractor.
        """
        chosen = dict.fromkeys(self.feature_names, "irrelevant")
        for role, members in reversed(_PRIORITY.items()):
            chosen.update(dict.fromkeys(getattr(self, members), role))
        return chosen

    def mask(self, truth: str) -> NDArray[np.bool_]:
        """Which features belong to a set, in column order.

        Parameters
        ----------
        truth : str
            One of "parents", "ancestors", "markov_blanket", "children", "descendants",
            "spouses", "siblings", "irrelevant", "distractors".

        Returns
        -------
        ndarray of bool, shape (n_features,)
            True for the members.

        Raises
        ------
        ParameterError
            If truth is none of these.
        """
        members = getattr(self, check_choice("truth", truth, _SETS))
        return np.array([name in members for name in self.feature_names], dtype=bool)


_SETS = (
    "parents",
    "ancestors",
    "markov_blanket",
    "children",
    "descendants",
    "spouses",
    "siblings",
    "irrelevant",
    "distractors",
)


def _check_names(feature_names: Iterable[str], target: str) -> tuple[str, ...]:
    if isinstance(feature_names, str):
        raise ParameterTypeError(f"feature_names must be a list of names, got the string {feature_names!r}.")
    names = tuple(feature_names)
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise ParameterTypeError(f"feature_names must be strings, got {name!r}; rename the column.")
        if name == target:
            raise DataError(f"the target {target!r} is also a feature; drop it from feature_names.")
        if name in seen:
            raise DataError(f"feature_names holds {name!r} twice; rename one of the columns.")
        seen.add(name)
    return names


def _check_graph(graph: nx.DiGraph, target: str, names: tuple[str, ...]) -> None:
    if not isinstance(graph, nx.DiGraph):
        raise ParameterTypeError(f"graph must be a networkx DiGraph, got {type(graph).__name__}.")
    if target not in graph:
        raise GraphError(f"the target {target!r} is no node of the graph; add an edge to or from it.")
    features = set(names)
    for node in graph:
        if node != target and node not in features:
            raise GraphError(
                f"the graph's node {node!r} is neither a feature nor the target; "
                "add the column or drop the node."
            )
    check_acyclic(graph)
