"""Every metric against the three truths that must be read side by side."""

from __future__ import annotations

from collections.abc import Callable

from numpy.typing import ArrayLike

from flatcausal.exceptions import FeatureAlignmentError
from flatcausal.metrics._check import check_importances
from flatcausal.metrics._mass import causal_mass
from flatcausal.metrics._ranking import ap_lift, auroc, average_precision
from flatcausal.metrics._roles import Roles, check_roles

#: Truths that every report shows: direct causes, all causes, and what the best i.i.d. predictor uses.
TRUTHS = ("parents", "ancestors", "markov_blanket")

#: Metrics by the name that reports, scorers and searches use.
METRICS: dict[str, Callable[..., float]] = {
    "ap_lift": ap_lift,
    "auroc": auroc,
    "average_precision": average_precision,
    "causal_mass": causal_mass,
}


def causal_recovery_report(importances: ArrayLike, roles: Roles) -> dict[str, float]:
    """Score one importance vector by every metric against parents, ancestors and Markov blanket.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, in the order of ``roles.feature_names``.
    roles : Roles
        The features' roles, such as :class:`flatcausal.datasets.FeatureRoles`.

    Returns
    -------
    dict of str to float
        Keys are ``{metric}_{truth}``, for example ``ap_lift_parents``.

    Raises
    ------
    ParameterTypeError
        If roles are a bare array.
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If there are more or fewer importances than features.

    Examples
    --------
    A chain ``a -> b -> y -> c <- d`` and a distractor ``e``: the model leans on the parent ``b``
    and the child ``c``.

    >>> import networkx as nx
    >>> from flatcausal.datasets import FeatureRoles
    >>> from flatcausal.metrics import causal_recovery_report
    >>> graph = nx.DiGraph([("a", "b"), ("b", "y"), ("y", "c"), ("d", "c")])
    >>> roles = FeatureRoles.from_graph(graph, "y", ["a", "b", "c", "d", "e"])
    >>> report = causal_recovery_report([0.0, 0.5, 0.4, 0.1, 0.0], roles)
    >>> report["causal_mass_parents"], report["causal_mass_markov_blanket"]
    (0.5, 1.0)
    >>> report["auroc_ancestors"]
    0.5833333333333333
    """
    check_roles(roles)
    values = check_importances(importances)
    if len(values) != len(roles.feature_names):
        raise FeatureAlignmentError(
            f"importances have {len(values)} entries but roles name {len(roles.feature_names)} features; "
            "pass one importance for each feature."
        )
    return {
        f"{name}_{truth}": metric(values, mask)
        for truth in TRUTHS
        for mask in [roles.mask(truth)]
        for name, metric in METRICS.items()
    }
