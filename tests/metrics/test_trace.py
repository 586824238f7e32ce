from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.random_projection import GaussianRandomProjection

from flatcausal.exceptions import FeatureAlignmentError, ParameterTypeError
from flatcausal.metrics import aligned_importances
from flatcausal.metrics._trace import trace

# Names that a reader of names alone would confuse: level "2_a" of "x1" and level "a" of "x1_2".
NAMES = ["x1", "x1_2", "x", "pca0"]
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "x1": RNG.choice(["a", "2_a", "c"], 60),
        "x1_2": RNG.choice(["a", "b"], 60),
        "x": RNG.normal(size=60),
        "pca0": RNG.normal(size=60),
    }
)
NUMBERS = RNG.normal(size=(60, 4))
Y = RNG.normal(size=60)
WORDS, REALS = NAMES[:2], NAMES[2:]


class Reader(RegressorMixin, BaseEstimator):
    """Importance 1 for each column that reaches it."""

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        self.feature_importances_ = np.ones(X.shape[1])
        return self

    def predict(self, X):
        return np.zeros(len(X))


def widths(*steps, data=FRAME, names=NAMES):
    return aligned_importances(make_pipeline(*steps, Reader()).fit(data, Y), names).tolist()


def encode(encoder):
    return ColumnTransformer([("words", encoder, WORDS), ("reals", StandardScaler(), REALS)])


def test_one_hot_columns_are_summed_back():
    assert widths(encode(OneHotEncoder(sparse_output=False))) == [3, 2, 1, 1]
    assert widths(encode(OneHotEncoder(drop="first", sparse_output=False))) == [2, 1, 1, 1]
    assert widths(encode(OneHotEncoder(drop="if_binary", sparse_output=False))) == [3, 1, 1, 1]
    assert widths(OneHotEncoder(), data=FRAME[WORDS], names=WORDS) == [3, 2]


def test_one_hot_with_infrequent_categories():
    words = pd.DataFrame({"x": ["a"] * 40 + ["b"] * 15 + ["c"] * 3 + ["d"] * 2})
    for drop, expected in ((None, 3), ("first", 2)):
        encoder = OneHotEncoder(min_frequency=5, drop=drop)
        assert len(encoder.fit(words).get_feature_names_out()) == expected
        assert widths(OneHotEncoder(min_frequency=5, drop=drop), data=words, names=["x"]) == [expected]


def test_importances_stay_with_their_columns_through_one_hot():
    y = 5.0 * (FRAME["x1"] == "2_a") + 0.01 * FRAME["x"]
    pipe = make_pipeline(encode(OneHotEncoder()), LinearRegression()).fit(FRAME, y)
    found = aligned_importances(pipe, NAMES, importance="coef_")
    assert found[0] > 4
    np.testing.assert_allclose(found[1:], [0.0, 0.01 * FRAME["x"].std(ddof=0), 0.0], atol=1e-9)


@pytest.mark.parametrize(
    ("transformer", "expected"),
    [
        (StandardScaler(), [1, 1, 1, 1]),
        (FunctionTransformer(), [1, 1, 1, 1]),
        ("passthrough", [1, 1, 1, 1]),
        (VarianceThreshold(), [1, 1, 1, 1]),
        (RFE(LinearRegression(), n_features_to_select=3), None),
        (SelectFromModel(Ridge()), None),
        (SimpleImputer(), [1, 1, 1, 1]),
        (KBinsDiscretizer(n_bins=[2, 3, 4, 5], strategy="uniform"), [2, 3, 4, 5]),
        (
            KBinsDiscretizer(n_bins=[2, 3, 4, 5], encode="ordinal", strategy="uniform"),
            [1, 1, 1, 1],
        ),
        (SplineTransformer(n_knots=4), [6, 6, 6, 6]),
        (SplineTransformer(n_knots=4, include_bias=False), [5, 5, 5, 5]),
        (FeatureUnion([("a", StandardScaler()), ("b", "drop"), ("c", "passthrough")]), [2, 2, 2, 2]),
        (FeatureUnion([("a", SelectKBest(f_regression, k=4)), ("b", SplineTransformer())]), [8, 8, 8, 8]),
    ],
)
def test_what_keeps_features_apart(transformer, expected):
    found = widths(transformer, data=NUMBERS)
    if expected is None:
        expected = transformer.fit(NUMBERS, Y).get_support().astype(float).tolist()
    assert found == expected


def test_indicators_of_missing_values_count_for_their_feature():
    holes = NUMBERS.copy()
    holes[:5, 2] = np.nan
    assert widths(SimpleImputer(add_indicator=True), data=holes) == [1, 1, 2, 1]
    assert widths(SimpleImputer(add_indicator=True), data=pd.DataFrame(holes, columns=NAMES)) == [1, 1, 2, 1]
    holes[:, 1] = np.nan
    with pytest.warns(UserWarning, match="Skipping features"):
        assert widths(SimpleImputer(), data=holes) == [1, 0, 1, 1]


def test_target_encoder_of_several_classes():
    y = RNG.choice(["u", "v", "w"], 60)
    encoder = TargetEncoder(shuffle=False).fit(FRAME[WORDS], y)
    assert trace(encoder, 2) == [0, 0, 0, 1, 1, 1]
    assert [name.rpartition("_")[0] for name in encoder.get_feature_names_out()] == ["x1"] * 3 + ["x1_2"] * 3
    assert trace(TargetEncoder(shuffle=False).fit(FRAME[WORDS], Y), 2) == [0, 1]


@pytest.mark.parametrize(
    "columns",
    [
        ["pca0", "x1_2"],
        [3, 1],
        [-1, -3],
        np.array([3, 1]),
        lambda X: [3, 1],
        lambda X: ["pca0", "x1_2"],
    ],
)
def test_every_way_to_name_columns(columns):
    ordinal = OrdinalEncoder()
    fitted = ColumnTransformer([("some", ordinal, columns)], remainder="drop").fit(FRAME)
    assert trace(fitted, 4) == [3, 1]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (slice(1, 3), [1, 2]),
        (slice("x1_2", "x"), [1, 2]),
        (slice(None, "x1_2"), [0, 1]),
        (slice("x", None), [2, 3]),
        ([False, True, True, False], [1, 2]),
        (make_column_selector("^x1"), [0, 1]),
    ],
)
def test_slices_masks_and_selectors(columns, expected):
    split = ColumnTransformer([("some", "passthrough", columns)], remainder="drop")
    assert trace(split.fit(FRAME), 4) == expected
    rest = ColumnTransformer([("some", "drop", columns)], remainder="passthrough").fit(FRAME)
    assert trace(rest, 4) == [index for index in range(4) if index not in expected]


def test_deep_nesting():
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False))
    reals = FeatureUnion([("z", StandardScaler()), ("bins", KBinsDiscretizer(3, strategy="uniform"))])
    split = ColumnTransformer(
        [("reals", reals, REALS), ("none", StandardScaler(), []), ("words", words, WORDS)]
    )
    model = Pipeline([("keep", "passthrough"), ("model", Reader())])
    pipe = make_pipeline(split, VarianceThreshold(), model).fit(FRAME, Y)
    assert aligned_importances(pipe, NAMES).tolist() == [3, 2, 4, 4]


def test_searches_and_transformed_targets_are_opened():
    pipe = Pipeline([("words", encode(OneHotEncoder())), ("model", Reader())])
    target = TransformedTargetRegressor(pipe, func=np.arcsinh, inverse_func=np.sinh)
    search = GridSearchCV(target, {"regressor__words__reals__with_mean": [True, False]}, cv=2)
    assert aligned_importances(search.fit(FRAME, Y), NAMES).tolist() == [3, 2, 1, 1]


@pytest.mark.parametrize(
    "steps",
    [
        ["passthrough", Ridge()],
        [FeatureUnion([("a", "drop"), ("b", StandardScaler())]), Ridge()],
        [make_pipeline("passthrough", StandardScaler()), Ridge()],
        [GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2)],
    ],
)
def test_names_are_read_from_what_saw_the_features(steps):
    frame = pd.DataFrame(NUMBERS, columns=NAMES)[NAMES[::-1]]
    pipe = make_pipeline(*steps).fit(frame, NUMBERS[:, 1])
    assert aligned_importances(pipe, NAMES, importance="coef_").argmax() == 1


def test_coefficients_of_several_outputs_are_summed():
    y = RNG.choice([0, 1, 2], 60)
    model = LogisticRegression().fit(NUMBERS, y)
    expected = np.abs(model.coef_).sum(axis=0)
    np.testing.assert_allclose(aligned_importances(model, NAMES, importance="coef_"), expected)


class Shuffler(TransformerMixin, BaseEstimator):
    """Names what it puts out after features it was never given, or says nothing."""

    def __init__(self, names=None):
        self.names = names

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return np.asarray(X)[:, ::-1]

    def get_feature_names_out(self, input_features=None):
        if self.names is None:
            raise ValueError("no names")
        return np.array(self.names, dtype=object)


def test_a_transformer_that_names_its_columns_is_followed():
    frame = pd.DataFrame(NUMBERS[:, :2])
    pipe = make_pipeline(Shuffler(["x1", "x0"]), Ridge()).fit(frame.to_numpy(), frame[0])
    assert aligned_importances(pipe, ["a", "b"], importance="coef_").argmax() == 0


@pytest.mark.parametrize(
    ("transformer", "fragment"),
    [
        (PCA(1), "PCA mixes columns"),
        (GaussianRandomProjection(2), "GaussianRandomProjection mixes columns"),
        (PolynomialFeatures(2), "PolynomialFeatures mixes columns"),
        (make_pipeline(StandardScaler(), PCA(2)), "PCA mixes columns"),
        (FeatureUnion([("a", StandardScaler()), ("b", PCA(2))]), "PCA mixes columns"),
        (ColumnTransformer([("a", PCA(1), [0, 1])], remainder="passthrough"), "PCA mixes columns"),
        (FunctionTransformer(np.abs), "FunctionTransformer cannot be traced"),
        (Shuffler(), "Shuffler cannot be traced to features .no names."),
        (Shuffler(["x0", "x1", "x2", "sum"]), "Shuffler mixes columns: its output 'sum'"),
        (Shuffler(["x0", "x1"]), "Reader has 4 importances but 2 columns reach it"),
        (ColumnTransformer([("a", Shuffler(["x0"]), [0, 1])]), "Shuffler puts out 2 columns of which 1"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_a_cure(transformer, fragment):
    # "pca0" is a feature's name and the name of a component: a match of names would be a lie.
    data = pd.DataFrame(NUMBERS, columns=NAMES) if "PCA" in fragment else NUMBERS
    with pytest.raises(FeatureAlignmentError, match=fragment) as caught:
        widths(transformer, data=data)
    assert "importance='permutation'" in str(caught.value)


def test_an_attribute_that_is_not_there():
    with pytest.raises(ParameterTypeError, match="Ridge has no weights_; name its attribute"):
        aligned_importances(Ridge().fit(NUMBERS, Y), NAMES, importance="weights_")
