"""A causal graph: causes left of effects, coloured by role, sized by importance."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from flatcausal.plotting._graph_input import check_graph, check_importances, check_roles
from flatcausal.plotting._layers import layered_positions
from flatcausal.plotting._marks import LOOKS, Mark, area, draw_edge, draw_node, look
from flatcausal.plotting._style import INK, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class DAGDisplay:
    """A causal graph with its target: an arrow points from cause to effect, causes stand left of effects.

    Make it with :meth:`from_graph`. The target is a dark square, and dark arrows are its own; hidden nodes
    are dashed; distractors, which are in no graph, stand beneath it.

    Parameters
    ----------
    nodes : DataFrame
        One row for each node and distractor, whose names are the index: ``x`` and ``y`` in inches, ``role``,
        and ``importance``, NaN for none.
    edges : list of pairs
        Cause and effect.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import networkx as nx
    >>> from flatcausal.plotting import DAGDisplay
    >>> graph = nx.DiGraph([("a", "y"), ("y", "c"), ("u", "a")])
    >>> roles = {"a": "parent", "c": "child", "d": "distractor"}
    >>> display = DAGDisplay.from_graph(graph, "y", roles, importances={"a": 0.6, "c": 0.4, "d": 0.0}).plot()
    >>> display.nodes["role"].to_dict()
    {'a': 'parent', 'y': 'target', 'c': 'child', 'u': 'hidden', 'd': 'distractor'}
    """

    def __init__(self, *, nodes: pd.DataFrame, edges: list[tuple[Any, Any]]):
        self.nodes = nodes
        self.edges = edges

    @classmethod
    def from_graph(
        cls,
        graph: nx.DiGraph,
        target: Hashable,
        roles: Any = None,
        importances: Mapping[Any, float] | ArrayLike | None = None,
    ) -> DAGDisplay:
        """Lay a graph out.

        Parameters
        ----------
        graph : networkx.DiGraph
            Edges point from cause to effect.
        target : node
            The node to be predicted.
        roles : FeatureRoles or mapping of node to str, default=None
            Role of every feature, by the names that :class:`flatcausal.datasets.FeatureRoles` gives. A node
            without role is hidden, a feature that is no node stands beneath the graph. None: all look alike.
        importances : mapping, Series or array-like of shape (n_features,), default=None
            At least 0, for every feature: by name, or in the order of the roles, without roles in that of
            the graph's nodes but the target. A node's area is proportional to it, but for the smallest dots.

        Returns
        -------
        DAGDisplay
            Ready to plot.

        Raises
        ------
        ParameterTypeError
            If graph is no DiGraph, or roles no mapping.
        ParameterError
            If a role is unknown.
        GraphError
            If the graph has a cycle or lacks the target.
        FeatureAlignmentError
            If importances are not those of the features.
        DataError
            If an importance is negative or not finite.
        """
        check_graph(graph, target)
        named = check_roles(roles, target)
        features = [node for node in graph if node != target] if named is None else list(named)
        apart = [name for name in features if name not in graph]
        places = layered_positions(graph, apart)
        known = dict.fromkeys(graph, "node") if named is None else dict.fromkeys(graph, "hidden") | named
        known[target] = "target"
        sizes = {} if importances is None else check_importances(importances, features)
        nodes = pd.DataFrame(
            {
                "x": [x for x, _ in places.values()],
                "y": [y for _, y in places.values()],
                "role": [known[node] for node in places],
                "importance": [sizes.get(node, np.nan) for node in places],
            },
            index=pd.Index(list(places), name="node", tupleize_cols=False),
        )
        return cls(nodes=nodes, edges=list(graph.edges))

    def plot(self, ax: Axes | None = None) -> DAGDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure that is large enough for every label.

        Returns
        -------
        DAGDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        marks = self._marks()
        width, height = np.ptp([mark.place for mark in marks.values()], axis=0)
        ax = new_axes(width + 2.4, max(height + 1.0, 2.6)) if ax is None else ax
        for cause, effect in self.edges:
            draw_edge(ax, marks[cause], marks[effect])
        for mark in marks.values():
            draw_node(ax, mark)
        self._draw_legend(ax)
        ax.margins(0.05 + 0.3 / (1 + width), 0.05 + 0.3 / (1 + height))
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_axis_off()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _marks(self) -> dict[Any, Mark]:
        columns = (self.nodes[column].tolist() for column in ("x", "y", "role", "importance"))
        largest = np.nanmax([0.0, *self.nodes["importance"]])
        return {
            name: Mark(str(name), (x, y), role, area(importance, largest))
            for name, x, y, role, importance in zip(self.nodes.index, *columns, strict=True)
        }

    def _draw_legend(self, ax: Axes) -> None:
        present = set(self.nodes["role"]) - {"node"}
        shown = [role for role in LOOKS if role in present]
        title = None if np.isnan(self.nodes["importance"]).all() else "area: importance"
        handles = [ax.scatter([], [], s=60, **look(role)) for role in shown]
        legend = ax.legend(
            handles, shown, title=title, frameon=False, loc="upper left", bbox_to_anchor=(1, 1)
        )
        for text in (legend.get_title(), *legend.get_texts()):
            text.set_color(INK)
