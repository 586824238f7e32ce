"""What each feature is to the target: parent, ancestor, child, spouse, ... or nothing at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from flatcausal._validation import check_choice
from flatcausal.datasets._named_graphs import check_graph, check_names
from flatcausal.datasets._projection import Projection

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

    Where nodes are hidden, roles are those in the latent projection on the observed ones: a cause through
    hidden nodes alone is a parent.

    Parameters
    ----------
    feature_names : tuple of str
        Names of the features, in column order.
    parents, children : frozenset of str
        Direct causes and direct effects of the target.
    ancestors, descendants : frozenset of str
        All causes and all effects, direct ones included.
    spouses : frozenset of str
        Other causes of the target's children, neither parents nor children themselves; with hidden nodes,
        also what else is in the Markov blanket and not adjacent to the target, such as a cause of a
        feature that is confounded with it.
    siblings : frozenset of str
        Neither causes nor effects, but sharing a cause with the target, hidden or not.
    distractors : frozenset of str
        Features that are no node of the graph.
    confounded : frozenset of str, default=frozenset()
        Those that share a hidden cause with the target, be they parents, children or neither.

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
    confounded: frozenset[str] = frozenset()

    @classmethod
    def from_graph(
        cls,
        graph: nx.DiGraph,
        target: str,
        feature_names: Iterable[str],
        *,
        hidden: Iterable[str] = (),
    ) -> FeatureRoles:
        """Read the roles off a graph.

        Parameters
        ----------
        graph : networkx.DiGraph
            Edges point from cause to effect; every node must be the target, a feature or hidden.
        target : str
            The node to be predicted.
        feature_names : iterable of str
            Names of the features in column order; one that is no node is a distractor.
        hidden : iterable of str, default=()
            Nodes that nobody sees.

        Returns
        -------
        FeatureRoles
            Frozen and picklable.

        Raises
        ------
        GraphError
            If the graph has a cycle (one is named), lacks the target or a hidden node, or holds a node
            that is no feature.
        DataError
            If a feature name appears twice or is the target's, or a hidden node is shown.
        ParameterTypeError
            If graph is no DiGraph or a feature name no string.
        """
        names = check_names("feature_names", feature_names, target)
        unseen = frozenset(check_names("hidden", hidden, target))
        check_graph(graph, target, names, unseen)
        ancestors, descendants = nx.ancestors(graph, target), nx.descendants(graph, target)
        projection = Projection.of(graph, unseen)
        parents = set(projection.directed.predecessors(target))
        children = set(projection.directed.successors(target))
        confounded = set(projection.confounded[target])
        partners = {partner for child in children for partner in projection.directed.predecessors(child)}
        distant = projection.markov_blanket(target) - confounded
        # Sharing a cause with the target means lying downstream of one of the target's causes.
        downstream = {node for layer in nx.bfs_layers(graph, ancestors) for node in layer}
        return cls(
            feature_names=names,
            parents=frozenset(parents),
            ancestors=frozenset(ancestors - unseen),
            children=frozenset(children),
            descendants=frozenset(descendants - unseen),
            spouses=frozenset((partners | distant) - {target} - parents - children),
            siblings=frozenset(downstream - ancestors - descendants - unseen - {target}),
            distractors=frozenset(set(names) - set(graph)),
            confounded=frozenset(confounded),
        )

    @property
    def markov_blanket(self) -> frozenset[str]:
        """The least set given which the target is independent of all other features, in the faithful case.

        Parents, children, spouses, and what is confounded with the target. Hidden nodes are not in it, so
        it is the blanket of what can be observed: it says what predicts best, not what causes.
        """
        return self.parents | self.children | self.spouses | self.confounded

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
            "spouses", "siblings", "confounded", "irrelevant", "distractors".

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
    "confounded",
    "irrelevant",
    "distractors",
)
