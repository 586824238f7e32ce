"""What the true graph is good for: scores of importances, and of the data themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal._random import child
from flatcausal._validation import check_boolean, check_choice, check_integer
from flatcausal.datasets._blueprint import SORTABILITY, Blueprint
from flatcausal.datasets._columns import Columns
from flatcausal.datasets._effects import true_effects
from flatcausal.datasets._roles import FeatureRoles
from flatcausal.datasets._sortability import r2_scores, sortability
from flatcausal.datasets._stream import draw_blocks, leave_alone
from flatcausal.metrics import TRUTHS, CausalScorer, aligned_importances, causal_recovery_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SCORER_METRICS = ("ap_lift", "auroc", "causal_mass", "precision_at_k")


class Truth:
    """The part of a data set that scores against its true graph."""

    feature_names_: list[str]
    graph_: nx.DiGraph
    target_name_: str
    roles_: FeatureRoles
    _blueprint: Blueprint
    _columns: Columns
    _root: np.random.SeedSequence

    def scorers(self) -> dict[str, str | CausalScorer]:
        """Scorers for a multi-metric search: a predictive one, and oracle scores against three truths.

        Returns
        -------
        dict
            ``"r2"``, or ``"roc_auc"`` for classification, and ``{metric}_{truth}`` for ``ap_lift``,
            ``auroc``, ``causal_mass``, ``precision_at_k`` and ``parents``, ``ancestors``,
            ``markov_blanket``. The latter need the true graph: pass ``refit="r2"``, or ``refit="roc_auc"``.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> list(SyntheticDAGDataset(n_nodes=5, random_state=0).scorers())[:3]
        ['r2', 'ap_lift_parents', 'auroc_parents']
        """
        oracle = {
            f"{metric}_{truth}": CausalScorer(self.roles_, metric, truth)
            for truth in TRUTHS
            for metric in _SCORER_METRICS
        }
        predictive = "r2" if self._blueprint.task == "regression" else "roc_auc"
        return {predictive: predictive, **oracle}

    def report(
        self, estimator: Any, *, importance: str = "auto", nan_policy: str = "raise"
    ) -> dict[str, float]:
        """Score the importances of a fitted estimator against the three truths and the total effects.

        Parameters
        ----------
        estimator : estimator or array-like of float, shape (n_features,)
            A fitted estimator, pipeline or search, aligned by name if it was fitted on names; or importances,
            by name in a Series, else in column order.
        importance : str, default="auto"
            The attribute to read. ``"auto"`` reads ``causal_importances_``, else ``feature_importances_``.
        nan_policy : {"raise", "omit"}, default="raise"
            What to do with importances that are not finite.

        Returns
        -------
        dict of str to float
            See :func:`flatcausal.metrics.causal_recovery_report`, which is given ``effects("total")``.

        Raises
        ------
        FeatureAlignmentError
            If the features differ.
        DataError
            If importances are not finite.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=5, random_state=0)
        >>> ds.report(ds.roles_.mask("parents"))["ap_lift_parents"]
        1.0
        """
        importances = estimator
        if hasattr(estimator, "fit"):
            importances = aligned_importances(estimator, self.feature_names_, importance=importance)
        return causal_recovery_report(
            importances, self.roles_, effects=self.effects("total"), nan_policy=nan_policy
        )

    def effects(
        self, kind: str = "total", *, scale: str = "standardized", signed: bool = False
    ) -> NDArray[np.float64]:
        r"""How far each feature moves the target when it is set, and not merely seen, to be larger.

        Where the target and all its causes are linear with additive noise, exactly

        .. math:: \tau_j = |[(I - B)^{-1}]_{jt}|

        with the weights :math:`B_{ij}` of i on j, or :math:`|B_{jt}|` for direct effects. Otherwise by an
        intervention of half a standard deviation under common noise u,

        .. math::

            \tau_j = E_u |Y(do(X_j = x_j + \delta)) - Y| / \delta, \quad \delta = \operatorname{sd}(x_j) / 2,

        which in a linear model is the same number. A category is moved to the next higher one, the highest to
        the one below, and the change is divided by the mean move. A direct effect holds all other parents
        where they are. The mean is over 10000 rows (fewer above 400 causes), always the same ones: off by a
        few percent.

        Parameters
        ----------
        kind : {"total", "direct"}, default="total"
            Along all paths, or along the one edge into the target.
        scale : {"standardized", "raw"}, default="standardized"
            In sds of the target per sd of the feature, or per unit of it. The unit of a categorical feature
            is that in which its effects see it; of a binary target, a change of class, so that its mean is a
            change of :math:`P(y = 1)`.
        signed : bool, default=False
            Mean change instead of mean absolute change; ups and downs of a nonlinear effect cancel.

        Returns
        -------
        ndarray of float64, shape (n_features,)
            In column order, never nan: zero for distractors and whatever does not cause the target.

        Raises
        ------
        ParameterError
            If kind or scale is unknown.

        Examples
        --------
        >>> import networkx as nx
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> graph = nx.DiGraph([("a", "b"), ("b", "y"), ("y", "c")])
        >>> ds = SyntheticDAGDataset(adjacency=graph, target="y", n_distractors=1, random_state=0)
        >>> [bool(effect) for effect in ds.effects("total")] == list(ds.roles_.mask("ancestors"))
        True
        >>> [bool(effect) for effect in ds.effects("direct")] == list(ds.roles_.mask("parents"))
        True
        """
        check_choice("kind", kind, ["total", "direct"])
        check_choice("scale", scale, ["standardized", "raw"])
        known = self.__dict__.setdefault("_known_effects", {})
        key = kind, check_boolean("signed", signed)
        if key not in known:
            known[key] = true_effects(
                self._blueprint.model,
                self._blueprint.target,
                kind,
                child(self._root, SORTABILITY),
                signed=signed,
            )
        of_nodes = known[key].raw if scale == "raw" else known[key].standardized
        effects = np.zeros(len(self.feature_names_))
        for column, name in enumerate(self.feature_names_):
            if name in self._columns.node_of:
                effects[column] = of_nodes[self._columns.node_of[name]]
        return effects

    def plot(self, importances: ArrayLike | Mapping[str, float] | None = None, ax: Axes | None = None) -> Any:
        """Draw the graph, nodes coloured by role.

        Parameters
        ----------
        importances : array-like of shape (n_features,) or mapping, default=None
            At least 0, in column order or by name: a node's area is proportional to it.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        flatcausal.plotting.DAGDisplay
            The picture; ``figure_`` and ``ax_`` are its figure and axes.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=5, n_distractors=1, random_state=0)
        >>> ds.plot(importances=ds.effects("total")).nodes["role"]["y"]
        'target'
        """
        from flatcausal.plotting import DAGDisplay  # matplotlib is loaded only to draw

        return DAGDisplay.from_graph(self.graph_, self.target_name_, self.roles_, importances).plot(ax)

    def sortability(self, n: int = 10_000) -> dict[str, float]:
        """Return how far variances and R² betray the causal order: 1/2 not at all, 1 entirely.

        The share of directed paths along which the variance of a node rises (var-sortability, Reisach et al.
        2021), and along which its R² in a linear regression on all other nodes rises (R²-sortability, Reisach
        et al. 2023). Distractors and hidden nodes do not count.

        Parameters
        ----------
        n : int, default=10000
            Rows to draw, more than the graph has nodes; always the same ones, and none that ``sample`` draws.

        Returns
        -------
        dict of str to float
            ``"var"`` and ``"r2"``, each in [0, 1]; nan if the graph has no edge.

        Raises
        ------
        ParameterError
            If n is not larger than the number of nodes, where every R² would be 1.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> raw = SyntheticDAGDataset(mechanisms="linear", standardize=None, random_state=0)
        >>> raw.sortability()["var"] > 0.8
        True
        """
        model = self._blueprint.model
        observed = self._blueprint.observed
        n = check_integer("n", n, low=len(observed) + 1)
        values = np.empty((n, len(observed)))
        blocks = draw_blocks(n, self._blueprint, leave_alone, child(self._root, SORTABILITY))
        for rows, nodes, _ in blocks:
            values[rows] = nodes[observed, : rows.stop - rows.start].T
        adjacency = model.adjacency[np.ix_(observed, observed)]
        return {
            "var": sortability(adjacency, values.var(axis=0)),
            "r2": sortability(adjacency, r2_scores(values)),
        }
