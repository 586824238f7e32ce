from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from flatcausal.datasets import FeatureRoles
from flatcausal.exceptions import FeatureAlignmentError, ParameterTypeError
from flatcausal.metrics import Roles, ap_lift, auroc, average_precision, causal_mass, causal_recovery_report

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
        for metric in (ap_lift, auroc, average_precision, causal_mass)
    }


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
