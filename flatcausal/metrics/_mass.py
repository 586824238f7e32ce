"""Mass metrics: where the importance lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal.exceptions import FeatureAlignmentError, ParameterTypeError
from flatcausal.metrics._check import check_importances, check_truth


def causal_mass(importances: ArrayLike, truth: ArrayLike, *, signed: bool = False) -> float:
    r"""Share of the positive importance that lies on true features.

    .. math:: \frac{\sum_{j \in \text{truth}} v_j^+}{\sum_j v_j^+}, \qquad v^+ = \max(v, 0)

    Chance is the prevalence. Negative importances (of a permutation) count as none.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    truth : array-like of bool, shape (n_features,)
        True for the features to be found.
    signed : bool, default=False
        Take magnitudes first, for coefficients.

    Returns
    -------
    float
        In [0, 1], higher is better; nan if no importance is positive, since a model that uses
        nothing uses no cause.

    Raises
    ------
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    Examples
    --------
    >>> from flatcausal.metrics import causal_mass
    >>> round(causal_mass([0.5, 0.2, 0.2, 0.1, 0.0], [True, False, True, False, False]), 4)
    0.7
    """
    values = check_importances(importances, signed=signed)
    mask = check_truth(truth, len(values))
    parts = _positive_parts(values)
    return float(parts[mask].sum() / parts.sum()) if parts.any() else float("nan")


def mass_lift(importances: ArrayLike, truth: ArrayLike, *, signed: bool = False) -> float:
    r"""`causal_mass` in multiples of what an even spread would put on the true features.

    .. math:: \text{causal mass} \Big/ \frac{n_+}{n}

    for :math:`n_+` true features among :math:`n`. Chance is 1.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    truth : array-like of bool, shape (n_features,)
        True for the features to be found.
    signed : bool, default=False
        Take magnitudes first, for coefficients.

    Returns
    -------
    float
        In [0, n / n_+], higher is better; nan if truth is all False or no importance is positive.

    Raises
    ------
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    Examples
    --------
    Mass 0.7, where two features of five would have 0.4 of an even spread:

    >>> from flatcausal.metrics import mass_lift
    >>> round(mass_lift([0.5, 0.2, 0.2, 0.1, 0.0], [True, False, True, False, False]), 4)
    1.75
    """
    values = check_importances(importances, signed=signed)
    mask = check_truth(truth, len(values))
    return causal_mass(values, mask) / float(mask.mean()) if mask.any() else float("nan")


def role_mass(importances: ArrayLike, roles: Any, *, signed: bool = False) -> dict[str, float]:
    r"""Share of the positive importance that lies on each role.

    .. math:: \frac{\sum_{j: \text{role}(j) = r} v_j^+}{\sum_j v_j^+}, \qquad v^+ = \max(v, 0)

    Chance is the share of features that have the role.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, in the order of ``roles.feature_names``.
    roles : object
        With ``feature_names`` and a mapping ``role`` that gives each of them one role, such as
        :class:`flatcausal.datasets.FeatureRoles`.
    signed : bool, default=False
        Take magnitudes first, for coefficients.

    Returns
    -------
    dict of str to float
        One share for each role that occurs, in the order of the features; they sum to 1, or are all nan
        if no importance is positive.

    Raises
    ------
    ParameterTypeError
        If roles lack names or roles.
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    Examples
    --------
    A chain ``a -> b -> y -> c <- d`` and a distractor ``e``:

    >>> import networkx as nx
    >>> from flatcausal.datasets import FeatureRoles
    >>> from flatcausal.metrics import role_mass
    >>> graph = nx.DiGraph([("a", "b"), ("b", "y"), ("y", "c"), ("d", "c")])
    >>> roles = FeatureRoles.from_graph(graph, "y", ["a", "b", "c", "d", "e"])
    >>> role_mass([0.0, 0.5, 0.25, 0.25, 0.0], roles)
    {'ancestor': 0.0, 'parent': 0.5, 'child': 0.25, 'spouse': 0.25, 'distractor': 0.0}
    """
    values = check_importances(importances, signed=signed)
    names, role_of = getattr(roles, "feature_names", None), getattr(roles, "role", None)
    if names is None or not isinstance(role_of, Mapping):
        raise ParameterTypeError(
            f"roles must have feature_names and a mapping role, such as FeatureRoles, "
            f"got {type(roles).__name__}."
        )
    if len(names) != len(values):
        raise FeatureAlignmentError(
            f"importances have {len(values)} entries but roles name {len(names)} features; "
            "pass one importance for each feature."
        )
    by_feature = np.array([role_of[name] for name in names], dtype=object)
    return {role: causal_mass(values, by_feature == role) for role in dict.fromkeys(by_feature)}


def _positive_parts(values: NDArray[np.float64]) -> NDArray[np.float64]:
    parts = np.maximum(values, 0.0)
    largest = parts.max()
    return parts / largest if largest > 0 else parts  # so that huge importances cannot overflow a sum
