"""The classifier: labels of any kind, probabilities, weights of classes."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.class_weight import compute_sample_weight

from flatcausal.estimators import fit_together
from flatcausal.exceptions import DataError, ParameterError
from flatcausal.flatness import sharpness
from tests.estimators.fits import assert_same, bits, classes, classifier

CODES = np.digitize(classes()[0][:, 0], [-0.5, 0.5])
X = classes()[0]
LABELS = {
    "text": np.array(["low", "mid", "top"]),
    "integers": np.array([-7, 0, 12]),
    "floats": np.array([1.0, 2.0, 5.0]),
    "objects": np.array(["a", "bb", "ccc"], dtype=object),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_any_kind_are_told_back_and_change_nothing_else(labels):
    plain, est = classifier().fit(X, CODES), classifier().fit(X, labels[CODES])
    assert est.classes_.dtype == labels.dtype
    np.testing.assert_array_equal(est.classes_, labels)
    predicted = est.predict(X)
    assert predicted.dtype == labels.dtype
    np.testing.assert_array_equal(predicted, labels[plain.predict(X)])
    np.testing.assert_array_equal(est.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(est.causal_importances_, plain.causal_importances_)


@pytest.mark.parametrize(
    "labels",
    [np.array([False, True]), np.array([-1, 1])],
    ids=["booleans", "minus one and one"],
)
def test_two_classes(labels):
    codes = (CODES > 0).astype(int)
    est = classifier().fit(X, labels[codes])
    assert est.predict_proba(X).shape == (70, 2)
    assert set(est.predict(X).tolist()) <= set(labels.tolist())
    np.testing.assert_array_equal(est.predict_proba(X), classifier().fit(X, codes).predict_proba(X))


@pytest.mark.parametrize(
    "as_column",
    [list, pd.Series, lambda y: pd.Series(y, dtype="category"), lambda y: pd.Series(y, dtype="string")],
    ids=["list", "Series", "category", "string"],
)
def test_labels_come_in_any_container(as_column):
    y = LABELS["text"][CODES]
    est = classifier().fit(X, as_column(y))
    np.testing.assert_array_equal(est.predict(X), classifier().fit(X, y).predict(X))
    assert est.classes_.tolist() == ["low", "mid", "top"]


def test_one_class_is_predicted_for_sure():
    est = classifier().fit(X, np.full(70, "only"))
    assert (est.predict(X) == "only").all()
    np.testing.assert_array_equal(est.predict_proba(X), np.ones((70, 1)))
    assert est.predict_members(X).shape == (2, 70, 1)


def test_probabilities_are_the_mean_over_members():
    est = classifier(n_members=3).fit(X, CODES)
    members = est.predict_members(X)
    assert members.shape == (3, 70, 3)
    assert members.dtype == est.predict_proba(X).dtype == np.float32
    np.testing.assert_allclose(members.sum(2), 1, atol=1e-6)
    np.testing.assert_allclose(est.predict_proba(X), members.mean(0), rtol=1e-6)
    np.testing.assert_array_equal(est.predict(X), members.astype(float).mean(0).argmax(1))
    with torch.no_grad():
        logits = est.net_.module_(torch.tensor(X, dtype=torch.float32))[0]
    np.testing.assert_allclose(members, logits.softmax(2), atol=1e-5)


def test_learns():
    X, y = make_classification(
        400, 6, n_informative=3, n_redundant=0, n_classes=3, class_sep=2.0, random_state=3
    )
    est = classifier(optimizer="adam", n_d=8, n_a=8, batch_size=64, max_epochs=20, n_members=4)
    assert est.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.75
    assert est.history_["train_loss"][-1] < 0.6 * est.history_["train_loss"][0]


@pytest.mark.parametrize("y", [np.full(70, 3), CODES == 0, CODES], ids=["one", "two", "three"])
def test_the_measured_loss_is_the_cross_entropy(y):
    est = classifier(n_members=2).fit(X, y)
    with torch.no_grad():
        logits = est.net_.module_.double()(torch.tensor(X, dtype=torch.float32).double())[0]
    codes = torch.from_numpy(np.searchsorted(est.classes_, y))
    by_hand = [torch.nn.functional.cross_entropy(member, codes) for member in logits]
    np.testing.assert_allclose(est.data_loss(X, y)(est.net_.module_).detach(), by_hand, rtol=1e-9)
    measured = sharpness(est, X, y, rho=0.1)
    np.testing.assert_allclose(measured.loss, by_hand, rtol=1e-9)
    assert (measured.value >= 0).all()


def test_balanced_classes_have_the_same_total():
    y = np.repeat(["rare", "often"], [10, 60])
    by_hand = compute_sample_weight("balanced", y)
    assert_same(
        bits(classifier(class_weight="balanced").fit(X, y)),
        bits(classifier().fit(X, y, sample_weight=by_hand)),
    )


def test_balanced_counts_the_weights_of_rows():
    y, weight = np.repeat(["rare", "often"], [10, 60]), 1.0 + np.arange(70) % 4
    totals = {label: weight[y == label].sum() for label in np.unique(y)}
    by_hand = weight / np.array([totals[label] for label in y])
    est = classifier(class_weight="balanced").fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(
        est.predict_proba(X), classifier().fit(X, y, by_hand).predict_proba(X), atol=1e-5
    )


def test_weights_of_classes_are_those_of_their_rows():
    y = LABELS["text"][CODES]
    weighted = classifier(class_weight={"low": 4.0, "top": 0.5}).fit(X, y)  # the rest weighs 1
    by_hand = np.array([4.0, 1.0, 0.5])[CODES]
    assert_same(bits(weighted), bits(classifier().fit(X, y, sample_weight=by_hand)))
    with pytest.raises(AssertionError):
        assert_same(bits(weighted), bits(classifier().fit(X, y)))


def test_a_heavy_class_is_predicted_more_often():
    y = CODES > 1
    rows = [
        (classifier(class_weight={False: 1, True: w}, n_members=1, max_epochs=10).fit(X, y).predict(X)).sum()
        for w in (0.01, 100)
    ]
    assert rows[0] < rows[1]


@pytest.mark.parametrize(
    "class_weight",
    ["balance", 3, [1, 2, 3], {"zzz": 1.0}, {0: "a"}, {0: -1.0}, {0: 0}, {0: np.nan}, {0: np.inf}],
    ids=repr,
)
def test_bad_class_weights_are_named(class_weight):
    with pytest.raises(ParameterError, match="class_weight"):
        classifier(class_weight=class_weight).fit(X, CODES)


def test_a_label_that_the_fit_did_not_see_is_named():
    est = classifier().fit(X, LABELS["text"][CODES])
    strange = np.array(["low", "mid", "new"])[CODES]
    for call in (est.data_loss, est.partial_fit, classifier(warm_start=True).fit(X, CODES).fit):
        with pytest.raises(DataError, match=r"y holds the class '(new|low|mid)', which is none of"):
            call(X, strange)


@pytest.mark.parametrize(
    ("known", "strange"), [(np.array([0, 1]), np.array(["0", "1"])), (np.array(["0", "1"]), np.array([0, 1]))]
)
def test_a_label_of_another_kind_is_another_label(known, strange):
    codes = (CODES > 0).astype(int)
    with pytest.raises(DataError, match="y holds the class"):
        classifier().fit(X, known[codes]).partial_fit(X, strange[codes])


def test_first_call_of_partial_fit_may_name_all_classes():
    y = LABELS["text"][CODES]
    first = y != "mid"
    est = classifier().partial_fit(X[first], y[first], classes=["top", "mid", "low"])
    assert est.classes_.tolist() == ["low", "mid", "top"]
    assert est.predict_proba(X).shape == (70, 3)
    est.partial_fit(X, y)
    assert est.n_iter_ == 2
    with pytest.raises(DataError, match="'mid', which is none of"):
        classifier().partial_fit(X[first], y[first]).partial_fit(X, y)
    with pytest.raises(DataError, match="'low', which is none of"):
        classifier().partial_fit(X, y, classes=["mid", "top"])


def test_searches_and_cross_validation_stratify():
    # Sorted labels: without stratification a fold would hold classes that its training rows lack.
    y = np.sort(LABELS["text"][CODES])
    assert np.isfinite(cross_val_score(classifier(), X, y, cv=3, scoring="neg_log_loss")).all()
    search = GridSearchCV(
        classifier(), {"n_steps": [1, 2]}, cv=3, scoring=["accuracy", "neg_log_loss"], refit="accuracy"
    )
    search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_neg_log_loss"]).all()
    assert search.best_estimator_.classes_.tolist() == ["low", "mid", "top"]


def test_early_stopping_holds_out_by_class():
    seen = []

    class Remembers(classifier().__class__):
        def _conclude(self, net, table):
            seen.append(np.bincount(table.parts.y.numpy()).tolist())
            super()._conclude(net, table)

    y = np.repeat(["a", "b"], [14, 56])
    for seed in range(3):
        params = {"early_stopping": True, "validation_fraction": 0.5, "random_state": seed, "max_epochs": 1}
        Remembers(**classifier(**params).get_params()).fit(X, y)
    assert seen == [[7, 28]] * 3


def test_fits_with_other_classes_can_be_made_together_only_if_there_are_as_many():
    y = LABELS["text"][CODES]
    renamed, merged = np.char.upper(y), np.where(CODES > 1, "mid", y)
    fits = fit_together([classifier(), classifier()], [(X, y), (X, renamed)])
    assert [est.classes_.tolist() for est in fits] == [["low", "mid", "top"], ["LOW", "MID", "TOP"]]
    assert_same(bits(fits[1]), bits(classifier().fit(X, renamed)))
    with pytest.raises(DataError, match=r"datasets\[1\] has \(2, {}\): fit them apart"):
        fit_together([classifier(), classifier()], [(X, y), (X, merged)])


def test_a_pickled_classifier_is_the_same():
    est = classifier(class_weight="balanced").fit(X, LABELS["objects"][CODES])
    copy = pickle.loads(pickle.dumps(est))
    assert_same(bits(copy), bits(est))
    np.testing.assert_array_equal(copy.predict_proba(X), est.predict_proba(X))
    assert copy.classes_.dtype == object
