"""What the true graph is good for: scores of importances, and of the data themselves."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np

from flatcausal._random import child
from flatcausal._validation import check_integer
from flatcausal.datasets._blueprint import SORTABILITY, Blueprint
from flatcausal.datasets._roles import FeatureRoles
from flatcausal.datasets._sortability import r2_scores, sortability
from flatcausal.datasets._stream import block_intervention, draw_blocks
from flatcausal.metrics import TRUTHS, CausalScorer, aligned_importances, causal_recovery_report

_SCORER_METRICS = ("ap_lift", "auroc", "causal_mass")


class Truth:
    """The part of a data set that scores against its true graph."""

    feature_names_: list[str]
    graph_: nx.DiGraph
    roles_: FeatureRoles
    _blueprint: Blueprint
    _root: np.random.SeedSequence

    def scorers(self) -> dict[str, str | CausalScorer]:
        """Scorers for a multi-metric search: ``"r2"`` and oracle scores against three truths.

        Returns
        -------
        dict
            ``"r2"`` and ``{metric}_{truth}`` for ``ap_lift``, ``auroc``, ``causal_mass`` and
            ``parents``, ``ancestors``, ``markov_blanket``. The latter need the true graph: pass
            ``refit="r2"``.

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
        return {"r2": "r2", **oracle}

    def report(self, estimator: Any) -> dict[str, float]:
        """Score the importances of a fitted estimator against the three truths.

        Parameters
        ----------
        estimator : estimator or array-like of float, shape (n_features,)
            A fitted estimator or pipeline with ``causal_importances_`` or ``feature_importances_``, aligned
            by name if it was fitted on names; or importances in column order.

        Returns
        -------
        dict of str to float
            See :func:`flatcausal.metrics.causal_recovery_report`.

        Raises
        ------
        FeatureAlignmentError
            If the features differ.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=5, random_state=0)
        >>> ds.report(ds.roles_.mask("parents"))["ap_lift_parents"]
        1.0
        """
        if hasattr(estimator, "fit"):
            importances = aligned_importances(estimator, self.feature_names_)
        else:
            importances = estimator
        return causal_recovery_report(importances, self.roles_)

    def sortability(self, n: int = 10_000) -> dict[str, float]:
        """Return how far variances and R² betray the causal order: 1/2 not at all, 1 entirely.

        The share of directed paths along which the variance of a node rises (var-sortability, Reisach et al.
        2021), and along which its R² in a linear regression on all other nodes rises (R²-sortability, Reisach
        et al. 2023). Distractors do not count.

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
        n = check_integer("n", n, low=model.n_nodes + 1)
        values = np.empty((n, model.n_nodes))
        blocks = draw_blocks(
            n, self._blueprint, block_intervention({}, None, {}), child(self._root, SORTABILITY)
        )
        for rows, nodes, _ in blocks:
            values[rows] = nodes[:, : rows.stop - rows.start].T
        adjacency = model.adjacency
        return {
            "var": sortability(adjacency, values.var(axis=0)),
            "r2": sortability(adjacency, r2_scores(values)),
        }
