from __future__ import annotations

import pickle
import subprocess
import sys

import networkx as nx
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PolynomialFeatures, StandardScaler

from flatcausal.datasets import FeatureRoles, SyntheticDAGDataset
from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterError, ParameterTypeError
from flatcausal.metrics import CausalScorer, aligned_importances, causal_mass, precision_at_k, recall_at_k


class Fixed(RegressorMixin, BaseEstimator):
    """Importances 1, 2, 3, ... in the order of the columns that it was fitted on."""

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        if hasattr(X, "columns"):
            self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.feature_importances_ = np.arange(1.0, X.shape[1] + 1)
        return self

    def predict(self, X):
        return np.zeros(len(X))


@pytest.fixture(scope="module")
def ds():
    return SyntheticDAGDataset(n_nodes=6, n_distractors=3, random_state=3)


@pytest.fixture(scope="module")
def frame(ds):
    sample = ds.sample(80, as_frame=True, random_state=0)
    return sample.X, sample.y


def test_reads_by_position_without_names(ds, frame):
    X, y = frame
    fitted = Fixed().fit(X.to_numpy(), y)
    np.testing.assert_array_equal(aligned_importances(fitted, ds.feature_names_), np.arange(1, 9))


def test_aligns_by_name(ds, frame):
    X, y = frame
    order = ds.feature_names_[::-1]
    fitted = Fixed().fit(X[order], y)
    np.testing.assert_array_equal(aligned_importances(fitted, ds.feature_names_), np.arange(8, 0, -1))
    for truth in ("parents", "markov_blanket", "distractors"):
        scorer = CausalScorer(ds.roles_, "causal_mass", truth)
        assert scorer(fitted, X, y) == causal_mass(np.arange(8, 0, -1), ds.roles_.mask(truth))


def test_causal_importances_come_first(ds, frame):
    fitted = Fixed().fit(*frame)
    fitted.causal_importances_ = np.ones(8)
    assert aligned_importances(fitted, ds.feature_names_).tolist() == [1.0] * 8


@pytest.mark.parametrize("named", [True, False])
def test_dropped_features_count_zero(ds, frame, named):
    X, y = frame if named else (frame[0].to_numpy(), frame[1].to_numpy())
    pipe = make_pipeline(StandardScaler(), SelectKBest(f_regression, k=3), Fixed()).fit(X, y)
    kept = np.flatnonzero(pipe[1].get_support())
    expected = np.zeros(8)
    expected[kept] = [1, 2, 3]
    np.testing.assert_array_equal(aligned_importances(pipe, ds.feature_names_), expected)


def test_nested_pipelines_and_column_transformers(ds, frame):
    X, y = frame
    names = ds.feature_names_
    split = ColumnTransformer([("scale", StandardScaler(), names[4:]), ("keep", "passthrough", names[:2])])
    inner = make_pipeline(SelectKBest(f_regression, k="all"), Fixed())
    pipe = Pipeline([("split", split.set_output(transform="pandas")), ("model", inner)]).fit(X, y)
    expected = np.array([5, 6, 0, 0, 1, 2, 3, 4.0])
    np.testing.assert_array_equal(aligned_importances(pipe, names), expected)


def test_columns_of_one_feature_are_summed(ds, frame):
    X, y = frame
    twice = FeatureUnion(
        [("a", StandardScaler()), ("b", FunctionTransformer(feature_names_out="one-to-one"))]
    )
    pipe = make_pipeline(twice, Fixed()).fit(X, y)
    expected = np.arange(1, 9) + np.arange(9, 17)
    np.testing.assert_array_equal(aligned_importances(pipe, ds.feature_names_), expected)


@pytest.mark.parametrize(
    ("transformer", "fragment"),
    [
        (PCA(3), "PCA mixes columns"),
        (PolynomialFeatures(2, include_bias=False), "PolynomialFeatures mixes columns"),
        (FunctionTransformer(np.abs), "FunctionTransformer cannot be traced"),
    ],
)
def test_mixing_transformers_are_refused(ds, frame, transformer, fragment):
    pipe = make_pipeline(transformer, Fixed()).fit(frame[0].to_numpy(), frame[1])
    with pytest.raises(FeatureAlignmentError, match=fragment):
        CausalScorer(ds.roles_, "auroc")(pipe, *frame)


def test_misaligned_features_are_refused(ds, frame):
    X, y = frame
    scorer = CausalScorer(ds.roles_, "auroc")
    with pytest.raises(FeatureAlignmentError, match="fitted on 7 features but the roles name 8"):
        scorer(Fixed().fit(X.to_numpy()[:, :7], y))
    with pytest.raises(FeatureAlignmentError, match="do not share the feature 'other'"):
        scorer(Fixed().fit(X.rename(columns={"x0": "other"}), y))
    with pytest.raises(FeatureAlignmentError, match="fitted on 7 features"):
        scorer(make_pipeline(StandardScaler(), Fixed()).fit(X.to_numpy()[:, :7], y))


def test_estimators_without_importances(ds, frame):
    scorer = CausalScorer(ds.roles_, "auroc")
    with pytest.raises(ParameterTypeError, match="Ridge has neither causal_importances_ nor"):
        scorer(Ridge().fit(*frame))
    for unfitted in (Ridge(), RandomForestRegressor(), make_pipeline(StandardScaler(), Fixed())):
        with pytest.raises(NotFittedError):
            scorer(unfitted)


@pytest.mark.parametrize(
    ("roles", "truth", "error", "fragment"),
    [
        (np.array([True, False]), "parents", ParameterTypeError, "sliced by cross-validation"),
        ([1, 0], "parents", ParameterTypeError, "sliced by cross-validation"),
        (None, np.array([True, False]), ParameterTypeError, "sliced by cross-validation"),
        (None, [1, 0], ParameterTypeError, "sliced by cross-validation"),
        (None, "causes", ParameterError, "truth must be one of 'parents'"),
    ],
)
def test_arrays_and_unknown_names_are_refused(ds, roles, truth, error, fragment):
    with pytest.raises(error) as caught:
        CausalScorer(ds.roles_ if roles is None else roles, "auroc", truth)
    assert fragment in str(caught.value)


def test_unknown_metric(ds):
    with pytest.raises(ParameterError, match=r"metric must be one of 'ap_lift', .* got 'recall'"):
        CausalScorer(ds.roles_, "recall")


def test_pickles(ds, frame):
    scorer = CausalScorer(ds.roles_, "ap_lift", "ancestors")
    copy = pickle.loads(pickle.dumps(scorer))
    fitted = Fixed().fit(*frame)
    assert copy(fitted) == scorer(fitted)
    assert repr(copy) == "CausalScorer(metric='ap_lift', truth='ancestors')"


def test_multimetric_search_in_two_processes(ds, frame):
    X, y = frame
    pipe = Pipeline(
        [
            ("select", SelectKBest(f_regression)),
            ("forest", RandomForestRegressor(n_estimators=5, random_state=0)),
        ]
    )
    grid = {"select__k": [2, 8]}
    search = GridSearchCV(pipe, grid, scoring=ds.scorers(), refit="r2", cv=2, n_jobs=2).fit(X, y)
    for name, scorer in ds.scorers().items():
        scores = search.cv_results_[f"mean_test_{name}"]
        assert np.isfinite(scores).all(), name
        if name != "r2":
            assert 0 <= scorer(search.best_estimator_, X, y) <= 1 or name.startswith("ap_lift")
    # The scores are those of the folds' own fits, with the dropped features at zero.
    by_hand = []
    for train, _ in KFold(2).split(X):
        fold = clone(pipe).set_params(select__k=2).fit(X.iloc[train], y.iloc[train])
        importances = np.zeros(8)
        importances[fold[0].get_support()] = fold[1].feature_importances_
        by_hand.append(causal_mass(importances, ds.roles_.mask("parents")))
    assert search.cv_results_["mean_test_causal_mass_parents"][0] == pytest.approx(np.mean(by_hand))


def test_as_many_features_as_rows():
    ds = SyntheticDAGDataset(n_nodes=21, n_distractors=10, random_state=0)
    X, y = ds.sample(30, return_X_y=True)
    assert X.shape == (30, 30)
    forest = RandomForestRegressor(n_estimators=5, random_state=0)
    search = GridSearchCV(forest, {"max_depth": [2]}, scoring=ds.scorers(), refit="r2", cv=3).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_auroc_parents"]).all()


def test_roles_of_a_users_graph():
    roles = FeatureRoles.from_graph(nx.DiGraph([("a", "y")]), "y", ["a", "b"])
    fitted = Fixed().fit(np.zeros((3, 2)), np.zeros(3))
    assert CausalScorer(roles, "causal_mass")(fitted) == pytest.approx(1 / 3)


def test_neither_room_loads_torch():
    code = (
        "import sys, flatcausal.datasets as d, flatcausal.metrics;"
        "d.SyntheticDAGDataset(random_state=0).sample(5);"
        "loaded = {'torch', 'skorch', 'matplotlib'} & set(sys.modules); assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_search_with_weights_scores_importances_without():
    ds = SyntheticDAGDataset(n_nodes=6, n_distractors=2, random_state=0)
    X, y = ds.sample(60, return_X_y=True)
    scoring = {"r2": "r2", "oracle": CausalScorer(ds.roles_, "auroc")}
    search = GridSearchCV(
        RandomForestRegressor(n_estimators=3, random_state=0),
        {"max_depth": [2]},
        scoring=scoring,
        refit="r2",
        cv=2,
    )
    with pytest.warns(UserWarning, match="oracle=CausalScorer.* does not support sample_weight"):
        search.fit(X, y, sample_weight=np.ones(60))
    assert np.isfinite(search.cv_results_["mean_test_oracle"]).all()


def test_first_k(ds, frame):
    fitted = Fixed().fit(*frame)
    for name, metric in {"precision_at_k": precision_at_k, "recall_at_k": recall_at_k}.items():
        for k in (None, 1, 3, 100):
            expected = metric(np.arange(1, 9), ds.roles_.mask("markov_blanket"), k)
            assert CausalScorer(ds.roles_, name, "markov_blanket", k=k)(fitted) == expected


def test_permutation_measures_on_the_rows_given(ds, frame):
    X, y = frame
    boosted = HistGradientBoostingRegressor(max_iter=5).fit(X[:40], y[:40])  # has no importances of its own
    expected = permutation_importance(boosted, X[40:], y[40:], n_repeats=5, random_state=0).importances_mean
    scorer = CausalScorer(ds.roles_, "causal_mass", "markov_blanket", importance="permutation")
    found = scorer(boosted, X[40:], y[40:])
    assert found == causal_mass(expected, ds.roles_.mask("markov_blanket"))
    assert found == scorer(boosted, X[40:], y[40:])
    with pytest.raises(ParameterTypeError, match="X and y must be given"):
        scorer(boosted)
    with pytest.raises(NotFittedError):
        scorer(HistGradientBoostingRegressor(), X, y)


def test_permutation_sees_through_what_mixes_columns(ds, frame):
    X, y = frame
    shuffled = X[ds.feature_names_[::-1]]
    mixing = make_pipeline(PCA(), LinearRegression()).fit(shuffled, y)
    scorer = CausalScorer(ds.roles_, "auroc", "markov_blanket", importance="permutation")
    plain = LinearRegression().fit(X.to_numpy(), y)
    by_name, by_position = scorer(mixing, shuffled, y), scorer(plain, X.to_numpy(), y)
    assert by_name == pytest.approx(by_position, abs=0.1)
    assert by_name > 0.8


def magnitudes(estimator, X, y):
    return np.abs(estimator.coef_)


def test_importances_of_the_users_own(ds, frame):
    X, y = frame
    fitted = Ridge().fit(X, y)
    for importance in (magnitudes, "coef_"):
        scorer = pickle.loads(pickle.dumps(CausalScorer(ds.roles_, "causal_mass", importance=importance)))
        assert scorer(fitted, X, y) == causal_mass(np.abs(fitted.coef_), ds.roles_.mask("parents"))
    scorer = CausalScorer(ds.roles_, "auroc", importance=magnitudes)
    numbered = X.set_axis(range(8), axis=1)
    assert scorer(Ridge().fit(numbered, y), numbered, y) == scorer(fitted, X, y)
    with pytest.raises(FeatureAlignmentError, match="X has 7 features but the roles name 8"):
        scorer(Ridge().fit(X.iloc[:, :7], y), X.iloc[:, :7], y)
    with pytest.raises(FeatureAlignmentError, match="X and the roles do not share the feature 'other'"):
        scorer(fitted, X.rename(columns={"x0": "other"}), y)


def test_importances_that_are_not_finite_are_no_score(ds, frame):
    fitted = Fixed().fit(*frame)
    fitted.feature_importances_ = np.full(8, np.nan)
    for metric in ("ap_lift", "precision_at_k", "causal_mass"):
        with pytest.raises(DataError, match="nan at position 0"):
            CausalScorer(ds.roles_, metric)(fitted)


@pytest.mark.parametrize(
    ("options", "error", "fragment"),
    [
        ({"metric": "auroc", "k": 2}, ParameterError, "k is for precision_at_k and recall_at_k, got k=2"),
        ({"metric": "precision_at_k", "k": 0}, ParameterError, "k must be at least 1"),
        ({"metric": "auroc", "importance": [1, 2]}, ParameterTypeError, "a name or a callable, got list"),
    ],
)
def test_bad_options(ds, options, error, fragment):
    with pytest.raises(error, match=fragment):
        CausalScorer(ds.roles_, **options)


def test_options_are_shown(ds):
    scorer = CausalScorer(ds.roles_, "recall_at_k", importance="coef_", k=3)
    assert repr(scorer) == "CausalScorer(metric='recall_at_k', truth='parents', importance='coef_', k=3)"


def test_a_search_that_carries_the_scorer_can_be_cloned(ds, frame):
    search = GridSearchCV(Fixed(), {}, scoring=CausalScorer(ds.roles_, "causal_mass"), cv=2)
    copy = clone(search).fit(*frame)
    expected = causal_mass(np.arange(1, 9), ds.roles_.mask("parents"))
    assert copy.best_score_ == pytest.approx(expected)
    assert aligned_importances(copy, ds.feature_names_).tolist() == list(range(1, 9))


def test_one_hot_features_in_a_search(ds, frame):
    X, y = frame
    coarse = X.assign(x0=np.digitize(X["x0"], [-0.5, 0.5]).astype(str))
    encode = ColumnTransformer([("words", OneHotEncoder(), ["x0"])], remainder=StandardScaler())
    pipe = Pipeline([("encode", encode), ("model", RandomForestRegressor(n_estimators=5, random_state=0))])
    scorer = CausalScorer(ds.roles_, "causal_mass", "markov_blanket")
    search = GridSearchCV(pipe, {"model__max_depth": [2]}, scoring=scorer, cv=2, error_score="raise")
    search.fit(coarse, y)
    by_hand = []
    for train, _ in KFold(2).split(coarse):
        fold = clone(pipe).set_params(model__max_depth=2).fit(coarse.iloc[train], y.iloc[train])
        raw = fold[-1].feature_importances_
        levels = coarse["x0"].iloc[train].nunique()
        found = dict(zip(coarse.columns[1:], raw[levels:], strict=True), x0=raw[:levels].sum())
        importances = [found[name] for name in ds.feature_names_]
        by_hand.append(causal_mass(importances, ds.roles_.mask("markov_blanket")))
    assert search.best_score_ == pytest.approx(np.mean(by_hand))


def test_a_truth_through_metadata_routing_is_refused_with_the_reason():
    ds = SyntheticDAGDataset(n_nodes=7, n_distractors=4, random_state=0)
    X, y = ds.sample(10, return_X_y=True)
    truth = ds.roles_.mask("parents")
    assert len(truth) == len(X)  # cross-validation would slice it
    scorer = CausalScorer(ds.roles_, "auroc")
    with pytest.raises(
        ParameterTypeError, match=r"takes no metadata, got 'truth': .* sliced by cross-validation"
    ):
        scorer.set_score_request(truth=True)
    with pytest.raises(TypeError, match="takes no metadata, got 'truth'"):
        scorer(Fixed().fit(X, y), X, y, truth=truth)
    with config_context(enable_metadata_routing=True), pytest.raises(TypeError, match="truth"):
        cross_validate(Fixed(), X, y, scoring=scorer, cv=2, params={"truth": truth})


def test_routing_of_other_metadata_leaves_the_scorer_alone(ds, frame):
    X, y = frame
    scorer = CausalScorer(ds.roles_, "causal_mass", importance="coef_")
    plain = cross_val_score(Ridge(), X, y, scoring=scorer, cv=2)
    with config_context(enable_metadata_routing=True):
        weighted = Ridge().set_fit_request(sample_weight=True)
        params = {"sample_weight": np.ones(len(X))}
        scoring = {"oracle": scorer}
        routed = cross_validate(weighted, X, y, scoring=scoring, cv=2, params=params, error_score="raise")
    np.testing.assert_allclose(routed["test_oracle"], plain)
