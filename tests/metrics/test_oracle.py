from __future__ import annotations

import pickle

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_score

from flatcausal.datasets import FeatureRoles
from flatcausal.exceptions import FeatureAlignmentError, ParameterError, ParameterTypeError
from flatcausal.metrics import (
    CausalScorer,
    aligned_importances,
    causal_oracle,
    excess_over_oracle,
    price_of_causality,
    worst_case_risk,
)

NAMES = ["effect", "cause", "noise", "other_cause"]
GRAPH = nx.DiGraph([("cause", "y"), ("other_cause", "y"), ("y", "effect")])
ROLES = FeatureRoles.from_graph(GRAPH, "y", NAMES)


def rows(n, seed, *, effect=1.0):
    """Draw the model; ``effect`` is what the target does to the column that comes after it."""
    rng = np.random.default_rng(seed)
    noise, cause, other = rng.normal(size=(3, n))
    y = cause - other + rng.normal(size=n)
    X = np.column_stack([effect * y + 0.5 * rng.normal(size=n), cause, noise, other])
    return X, y


HOME, HELD_OUT, FAR = rows(2000, 0), rows(2000, 1), rows(2000, 2, effect=-1.0)


def fitted():
    return LinearRegression().fit(*HOME), causal_oracle(LinearRegression(), ROLES).fit(*HOME)


def test_the_oracle_is_the_learner_on_the_causes_alone():
    _, oracle = fitted()
    alone = LinearRegression().fit(HOME[0][:, [1, 3]], HOME[1])
    np.testing.assert_array_equal(oracle.predict(FAR[0]), alone.predict(FAR[0][:, [1, 3]]))
    np.testing.assert_array_equal(
        aligned_importances(oracle, NAMES, importance="coef_"),
        [0, abs(alone.coef_[0]), 0, abs(alone.coef_[1])],
    )
    assert CausalScorer(ROLES, "causal_mass", importance="coef_")(oracle) == 1.0


def test_frames_are_read_by_name():
    _, oracle = fitted()
    frame = pd.DataFrame(HOME[0], columns=NAMES)[NAMES[::-1]]
    by_name = causal_oracle(LinearRegression(), ROLES).fit(frame, HOME[1])
    assert list(by_name[-1].feature_names_in_) == ["other_cause", "cause"]
    np.testing.assert_allclose(by_name.predict(frame), oracle.predict(HOME[0]))
    importances = aligned_importances(by_name, NAMES, importance="coef_")
    np.testing.assert_allclose(importances, aligned_importances(oracle, NAMES, importance="coef_"))
    with pytest.raises(ValueError, match="feature names should match"):
        by_name.predict(frame[NAMES])


def test_accuracy_and_causes_part_ways():
    model, oracle = fitted()
    price = price_of_causality(model, oracle, HELD_OUT)
    excess = excess_over_oracle(model, oracle, {"home": HELD_OUT, "far": FAR})
    assert 0.6 < price < 0.9  # 1 of noise without the effect, 1 / (1 + 1 / 0.5^2) = 0.2 with it
    assert excess > 1.0
    risks = [worst_case_risk(f, {"home": HELD_OUT, "far": FAR}, iid=HELD_OUT) for f in (model, oracle)]
    assert price == pytest.approx(risks[1].iid - risks[0].iid)
    assert excess == pytest.approx(risks[0].worst - risks[1].worst)


def test_a_model_is_no_worse_than_itself():
    model, _ = fitted()
    environments = (one for one in [HELD_OUT, FAR])  # read once, used twice
    assert excess_over_oracle(model, model, environments) == 0.0
    assert price_of_causality(model, model, HELD_OUT) == 0.0


def test_risks_of_classifiers():
    labels = HOME[1] > 0
    model = LogisticRegression().fit(HOME[0], labels)
    oracle = causal_oracle(LogisticRegression(), ROLES).fit(HOME[0], labels)
    for risk in ("auto", "log_loss", "error"):
        assert price_of_causality(model, oracle, (HELD_OUT[0], HELD_OUT[1] > 0), risk=risk) > 0.02
        assert excess_over_oracle(model, oracle, [(FAR[0], FAR[1] > 0)], risk=risk) > 0.1


def test_the_oracle_is_an_estimator_like_others():
    oracle = causal_oracle(HistGradientBoostingRegressor(max_iter=5), ROLES, "ancestors")
    copy = pickle.loads(pickle.dumps(clone(oracle).set_params(estimator__max_iter=6)))
    assert cross_val_score(copy, *rows(200, 3), cv=2).mean() > 0.0
    with pytest.raises(NotFittedError):
        price_of_causality(oracle, oracle, HELD_OUT)


def test_bad_input():
    with pytest.raises(ParameterTypeError, match="such as FeatureRoles"):
        causal_oracle(LinearRegression(), np.array([1, 0, 0, 0]))
    with pytest.raises(ParameterError, match="truth must be one of"):
        causal_oracle(LinearRegression(), ROLES, "causes")
    with pytest.raises(ParameterError, match="'spouses' holds no feature"):
        causal_oracle(LinearRegression(), ROLES, "spouses")
    with pytest.raises(FeatureAlignmentError, match="3 columns of X are not the 4 features"):
        causal_oracle(LinearRegression(), ROLES).fit(HOME[0][:, :3], HOME[1])
    frame = pd.DataFrame(HOME[0], columns=list("abcd"))
    with pytest.raises(FeatureAlignmentError, match="4 columns of X are not the 4 features"):
        causal_oracle(LinearRegression(), ROLES).fit(frame, HOME[1])
