from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from flatcausal.datasets import FeatureRoles
from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterError, ParameterTypeError
from flatcausal.metrics import (
    Roles,
    ap_lift,
    auroc,
    average_precision,
    causal_mass,
    causal_recovery_report,
    effect_spearman,
    mass_lift,
    ndcg,
    precision_at_k,
)

GRAPH = nx.DiGraph([("a", "b"), ("b", "y"), ("y", "c"), ("d", "c")])
ROLES = FeatureRoles.from_graph(GRAPH, "y", ["a", "b", "c", "d", "e"])


def test_every_metric_against_every_truth():
    importances = [0.1, 0.5, 0.4, 0.0, 0.2]
    report = causal_recovery_report(importances, ROLES)
    truths = {
        "parents": [0, 1, 0, 0, 0],
        "ancestors": [1, 1, 0, 0, 0],
        "markov_blanket": [0, 1, 1, 1, 0],
    }
    assert report == {
        f"{metric.__name__}_{truth}": metric(importances, mask)
        for truth, mask in truths.items()
        for metric in (ap_lift, auroc, average_precision, causal_mass, mass_lift, precision_at_k)
    }


EFFECTS = [0.3, -0.6, 0.0, 0.0, 0.0]


def test_metrics_by_name():
    report = causal_recovery_report([5, 4, 3, 2, 1], ROLES, metrics=["recall_at_k"])
    assert report == {
        "recall_at_k_parents": 0.0,
        "recall_at_k_ancestors": 1.0,
        "recall_at_k_markov_blanket": 2 / 3,
    }


def test_effects_add_what_compares_with_them():
    importances = [0.5, 0.4, 0.1, 0.0, 0.2]
    report = causal_recovery_report(importances, ROLES, effects=EFFECTS)
    assert report["ndcg"] == ndcg(importances, EFFECTS)
    assert report["effect_spearman"] == effect_spearman(importances, EFFECTS)
    assert report["effect_spearman_ancestors"] == -1.0
    assert report.items() > causal_recovery_report(importances, ROLES).items()
    assert list(causal_recovery_report(importances, ROLES, metrics=["ndcg"], effects=EFFECTS)) == ["ndcg"]


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_dropped_and_counted_but_never_zero(lost):
    importances = [0.1, 0.5, lost, 0.0, 0.2]
    with pytest.raises(DataError, match="at position 2"):
        causal_recovery_report(importances, ROLES)
    report = causal_recovery_report(importances, ROLES, effects=EFFECTS, nan_policy="omit")
    names = ["a", "b", "d", "e"]
    fewer = FeatureRoles.from_graph(nx.DiGraph([("a", "b"), ("b", "y")]), "y", names)
    left = causal_recovery_report([0.1, 0.5, 0.0, 0.2], fewer, effects=[0.3, -0.6, 0.0, 0.0])
    for key in left:
        if "blanket" not in key:  # the child is gone, and with it its other parent's reason to count
            assert report[key] == left[key], key
    assert report["causal_mass_markov_blanket"] == causal_mass([0.1, 0.5, 0.0, 0.2], [0, 1, 1, 0])
    counts = {key: value for key, value in report.items() if key.startswith("n_omitted")}
    assert counts == {
        "n_omitted": 1.0,
        "n_omitted_parents": 0.0,
        "n_omitted_ancestors": 0.0,
        "n_omitted_markov_blanket": 1.0,
    }


def test_a_lost_cause_leaves_nothing_to_find():
    report = causal_recovery_report(
        [0.1, math.nan, 0.4, 0.0, 0.2], ROLES, metrics=["ap_lift"], nan_policy="omit"
    )
    assert math.isnan(report["ap_lift_parents"])
    assert report["n_omitted_parents"] == 1.0


def test_nothing_lost_is_counted_as_nothing():
    importances = [0.1, 0.5, 0.4, 0.0, 0.2]
    report = causal_recovery_report(importances, ROLES, nan_policy="omit")
    assert report["n_omitted"] == 0.0
    assert report.items() > causal_recovery_report(importances, ROLES).items()


@pytest.mark.parametrize(
    ("options", "error", "fragment"),
    [
        ({"metrics": ["recall"]}, ParameterError, "metrics must be one of 'ap_lift'"),
        ({"metrics": "auroc"}, ParameterTypeError, "a list of names, got the string 'auroc'"),
        ({"metrics": []}, ParameterError, "at least one metric"),
        ({"metrics": ["ndcg"]}, ParameterError, "'ndcg' compares with true effects; pass effects"),
        ({"nan_policy": "drop"}, ParameterError, "nan_policy must be one of 'raise', 'omit'"),
        ({"effects": [1, 2]}, FeatureAlignmentError, "effects has 2 entries"),
    ],
)
def test_bad_options(options, error, fragment):
    with pytest.raises(error, match=fragment):
        causal_recovery_report([1, 2, 3, 4, 5], ROLES, **options)


def test_nothing_finite():
    with pytest.raises(DataError, match="nowhere finite"):
        causal_recovery_report([math.nan] * 5, ROLES, nan_policy="omit")


def test_any_object_with_names_and_masks_will_do():
    class Own:
        feature_names = ("a", "b")

        def mask(self, truth, /):
            return np.array([True, False])

    assert isinstance(ROLES, Roles)
    assert causal_recovery_report([1, 0], Own())["auroc_ancestors"] == 1.0


def test_length_must_match():
    with pytest.raises(FeatureAlignmentError, match="2 entries but roles name 5 features"):
        causal_recovery_report([1, 2], ROLES)


@pytest.mark.parametrize("array", [[1, 0, 0, 0, 0], np.eye(5)[0]])
def test_a_bare_array_is_refused_with_the_reason(array):
    with pytest.raises(ParameterTypeError, match="sliced by cross-validation"):
        causal_recovery_report([1, 2, 3, 4, 5], array)


def test_a_series_is_aligned_by_name():
    importances = pd.Series({"e": 0.2, "b": 0.5, "a": 0.1, "d": 0.0, "c": 0.4})
    assert causal_recovery_report(importances, ROLES) == causal_recovery_report(
        [0.1, 0.5, 0.4, 0.0, 0.2], ROLES
    )
    numbered = pd.Series([0.1, 0.5, 0.4, 0.0, 0.2])  # numbers are positions
    assert causal_recovery_report(numbered, ROLES) == causal_recovery_report(importances, ROLES)
    with pytest.raises(FeatureAlignmentError, match="do not share the feature 'e'"):
        causal_recovery_report(importances.rename({"e": "f"}), ROLES)
    with pytest.raises(FeatureAlignmentError, match="importances have 4 entries"):
        causal_recovery_report(importances.drop("e"), ROLES)
