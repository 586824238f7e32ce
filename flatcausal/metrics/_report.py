"""Every metric against the three truths that must be read side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal._validation import check_choice
from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterError, ParameterTypeError
from flatcausal.metrics._check import check_effects, check_importances, check_numbers
from flatcausal.metrics._effects import effect_spearman, ndcg
from flatcausal.metrics._mass import causal_mass, mass_lift
from flatcausal.metrics._ranking import ap_lift, auroc, average_precision
from flatcausal.metrics._readout import in_order
from flatcausal.metrics._roles import Roles, check_roles
from flatcausal.metrics._top_k import precision_at_k, recall_at_k

#: Truths that every report shows: direct causes, all causes, and what the best i.i.d. predictor uses.
TRUTHS = ("parents", "ancestors", "markov_blanket")

#: Metrics against a truth, by the name that reports, scorers and searches use.
METRICS: dict[str, Callable[..., float]] = {
    "ap_lift": ap_lift,
    "auroc": auroc,
    "average_precision": average_precision,
    "causal_mass": causal_mass,
    "mass_lift": mass_lift,
    "precision_at_k": precision_at_k,
    "recall_at_k": recall_at_k,
}

#: Metrics against the size of effects.
EFFECT_METRICS: dict[str, Callable[..., float]] = {"ndcg": ndcg, "effect_spearman": effect_spearman}

# With k as large as the truth, recall_at_k is precision_at_k: shown only on request.
_SHOWN = tuple(name for name in METRICS if name != "recall_at_k")


def causal_recovery_report(
    importances: ArrayLike,
    roles: Roles,
    *,
    metrics: Iterable[str] | None = None,
    effects: ArrayLike | None = None,
    nan_policy: str = "raise",
) -> dict[str, float]:
    """Score one importance vector against parents, ancestors and Markov blanket.

    Parameters
    ----------
    importances : Series or array-like of float, shape (n_features,)
        One number for each feature: by name in a Series, else in the order of ``roles.feature_names``.
    roles : Roles
        The features' roles, such as :class:`flatcausal.datasets.FeatureRoles`.
    metrics : iterable of str, default=None
        Among ``"ap_lift"``, ``"auroc"``, ``"average_precision"``, ``"causal_mass"``, ``"mass_lift"``,
        ``"precision_at_k"``, ``"recall_at_k"`` and, where effects are given, ``"ndcg"`` and
        ``"effect_spearman"``. None means all but ``"recall_at_k"``, which at the k taken here, the number
        of true features, is the same as ``"precision_at_k"``.
    effects : array-like of float, shape (n_features,), default=None
        True effects on the target, on one scale.
    nan_policy : {"raise", "omit"}, default="raise"
        What to do with importances that are not finite. ``"omit"`` scores the other features, against
        what is left of the truth, and counts what it left out; such a value is never taken for zero.

    Returns
    -------
    dict of str to float
        Keys are ``{metric}_{truth}``, for example ``ap_lift_parents``. Effects add ``ndcg``,
        ``effect_spearman`` and, among ancestors only, ``effect_spearman_ancestors``. ``"omit"`` adds
        ``n_omitted`` and ``n_omitted_{truth}``.

    Raises
    ------
    ParameterTypeError
        If roles are a bare array.
    ParameterError
        If a metric or nan_policy is unknown, or a metric needs effects and there are none.
    DataError
        If importances are not one-dimensional, or not finite (with ``"omit"``: nowhere finite).
    FeatureAlignmentError
        If there are more or fewer importances than features, or a Series has other names.

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
    check_choice("nan_policy", nan_policy, ("raise", "omit"))
    names = _check_metrics(metrics, with_effects=effects is not None)
    values = check_numbers(importances, "importances")
    if len(values) != len(roles.feature_names):
        raise FeatureAlignmentError(
            f"importances have {len(values)} entries but roles name {len(roles.feature_names)} features; "
            "pass one importance for each feature."
        )
    index = getattr(importances, "index", None)
    if index is not None and not callable(index) and all(isinstance(name, str) for name in index):
        values = in_order(values, index, list(roles.feature_names), "importances have")
    kept = _kept(values, nan_policy)
    truths = {truth: roles.mask(truth) for truth in TRUTHS}
    report = {
        f"{name}_{truth}": METRICS[name](values[kept], mask[kept])
        for truth, mask in truths.items()
        for name in names
        if name in METRICS
    }
    if effects is not None:
        sizes = check_effects(effects, len(values))[kept]
        against_effects = [name for name in names if name in EFFECT_METRICS]
        report |= {name: EFFECT_METRICS[name](values[kept], sizes) for name in against_effects}
        if "effect_spearman" in against_effects:
            among = truths["ancestors"][kept]
            report["effect_spearman_ancestors"] = effect_spearman(values[kept], sizes, among)
    if nan_policy == "omit":
        report["n_omitted"] = float((~kept).sum())
        report |= {f"n_omitted_{truth}": float((mask & ~kept).sum()) for truth, mask in truths.items()}
    return report


def _kept(values: NDArray[np.float64], nan_policy: str) -> NDArray[np.bool_]:
    if nan_policy == "raise":
        check_importances(values)
    kept = np.isfinite(values)
    if not kept.any():
        raise DataError("importances are nowhere finite; a model that diverged has none to score.")
    return kept


def _check_metrics(metrics: Iterable[str] | None, *, with_effects: bool) -> Sequence[str]:
    if metrics is None:
        return (*_SHOWN, *(EFFECT_METRICS if with_effects else ()))
    if isinstance(metrics, str):
        raise ParameterTypeError(f"metrics must be a list of names, got the string {metrics!r}.")
    names = [check_choice("metrics", name, [*METRICS, *EFFECT_METRICS]) for name in metrics]
    if not names:
        raise ParameterError("metrics must name at least one metric, got none.")
    for name in names:
        if name in EFFECT_METRICS and not with_effects:
            raise ParameterError(f"the metric {name!r} compares with true effects; pass effects.")
    return names
