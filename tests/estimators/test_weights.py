"""Weights of rows: which fits they leave bitwise the same, and what they do."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flatcausal.estimators._batches import Batch
from flatcausal.exceptions import DataError
from flatcausal.nn import TabNet
from tests.estimators.fits import assert_same, bits, classes, classifier, regressor, table

X, Y = table()
RNG = np.random.default_rng(7)
WEIGHT = RNG.uniform(0.5, 3.5, 70)
SETTINGS = {
    "regressor": (regressor, {}, Y),
    "early stopping": (regressor, {"early_stopping": True, "max_epochs": 6}, Y),
    "several targets": (regressor, {"optimizer": "adam"}, np.column_stack([Y, X[:, 1]])),
    "full batch": (regressor, {"optimizer": "gd"}, Y),
    "renewed batches": (regressor, {"optimizer": "entropy_sgd"}, Y),
    "classifier": (classifier, {}, classes()[1]),
    "balanced": (classifier, {"class_weight": "balanced", "early_stopping": True}, classes()[1]),
    "weighted classes": (classifier, {"class_weight": {"low": 3.0}}, classes()[1]),
}
EACH = pytest.mark.parametrize(("kind", "params", "y"), SETTINGS.values(), ids=SETTINGS)


@EACH
def test_ones_are_as_no_weights(kind, params, y):
    assert_same(bits(kind(**params).fit(X, y, sample_weight=np.ones(70))), bits(kind(**params).fit(X, y)))


@EACH
def test_a_row_of_weight_zero_is_as_removed(kind, params, y):
    kept = RNG.random(70) < 0.8
    zeroed = kind(**params).fit(X, y, sample_weight=np.where(kept, WEIGHT, 0))
    assert_same(bits(zeroed), bits(kind(**params).fit(X[kept], y[kept], sample_weight=WEIGHT[kept])))


@EACH
def test_a_common_factor_is_nothing(kind, params, y):
    plain = bits(kind(**params).fit(X, y, sample_weight=WEIGHT))
    for power in (-900, 1022):  # of the second, no two weights have a finite sum
        assert_same(bits(kind(**params).fit(X, y, sample_weight=WEIGHT * 2.0**power)), plain)


@EACH
def test_other_weights_are_another_fit(kind, params, y):
    weighted, plain = kind(**params).fit(X, y, sample_weight=WEIGHT), kind(**params).fit(X, y)
    assert not np.array_equal(weighted.predict_members(X), plain.predict_members(X))
    assert not np.array_equal(weighted.causal_importances_, plain.causal_importances_)


def test_a_category_or_class_of_removed_rows_only_was_never_there():
    frame = pd.DataFrame(X, columns=list("abc")).assign(
        c=pd.Categorical(np.where(X[:, 2] > 1, "rare", np.where(X[:, 2] > 0, "up", "down")))
    )
    kept = (frame["c"] != "rare").to_numpy()
    labels = np.where(kept, classes()[1], "gone")
    zeroed = classifier().fit(frame, labels, sample_weight=kept.astype(float))
    removed = classifier().fit(frame[kept], labels[kept])
    assert_same(bits(zeroed, frame), bits(removed, frame))
    assert zeroed.classes_.tolist() == ["low", "mid", "top"]
    assert zeroed.categories_[2].tolist() == ["down", "up"]


def test_partial_fit_weighs_rows():
    kept = WEIGHT > 1
    weights = [np.where(kept, WEIGHT, 0), WEIGHT[kept]]
    tables = [(X, Y), (X[kept], Y[kept])]
    fits = [
        regressor().partial_fit(*rows, sample_weight=w).partial_fit(*rows, sample_weight=w)
        for rows, w in zip(tables, weights, strict=True)
    ]
    assert_same(bits(fits[0]), bits(fits[1]))
    assert not np.array_equal(fits[0].predict(X), regressor().partial_fit(X, Y).partial_fit(X, Y).predict(X))


@pytest.mark.parametrize("n_members", [1, 3])
def test_the_gradient_is_that_of_the_weighted_mean(n_members):
    est = regressor(n_members=n_members, lambda_sparse=0.01).fit(X, Y, sample_weight=WEIGHT)
    net = est.net_
    rows = torch.tensor(X, dtype=torch.float32)
    target = torch.tensor((Y - Y.mean()) / Y.std(), dtype=torch.float32)
    weight = torch.tensor(WEIGHT / WEIGHT.mean(), dtype=torch.float32)
    each = [part.expand(n_members, *part.shape) for part in (rows, target[:, None], weight)]
    net.module_.zero_grad()
    net.module_.train()
    step = net.train_step_single(Batch(*each))
    found = net.module_.population.grad.clone()
    net.module_.zero_grad()
    output, sparsity = net.module_(rows)
    losses = (weight * (output[..., 0] - target) ** 2).sum(1) / weight.sum() - 0.01 * sparsity
    losses.sum().backward()
    np.testing.assert_allclose(step["losses"], losses.detach(), rtol=1e-5)
    scale = net.module_.population.grad.abs().max()
    np.testing.assert_allclose(found / scale, net.module_.population.grad / scale, atol=1e-4)  # float32


def test_the_history_tells_weighted_means():
    params = {"optimizer": "gd", "lr": 0.0, "lambda_sparse": 0.0, "max_epochs": 1, "virtual_batch_size": 70}
    est = regressor(**params).fit(X, Y, sample_weight=WEIGHT)
    network: TabNet = est.net_.module_.train()
    with torch.no_grad():
        output = network(torch.tensor(X, dtype=torch.float32))[0][..., 0].numpy()
    squares = (output - (Y - est.target_mean_) / est.target_scale_) ** 2
    by_hand = np.average(squares, axis=1, weights=WEIGHT)
    np.testing.assert_allclose(est.history_["train_loss"], by_hand.mean(), rtol=1e-4)


def test_the_target_is_standardised_by_weighted_moments():
    est = regressor(max_epochs=1).fit(X, Y, sample_weight=WEIGHT)
    mean = np.average(Y, weights=WEIGHT)
    assert est.target_mean_ == pytest.approx(mean)
    assert est.target_scale_ == pytest.approx(np.sqrt(np.average((Y - mean) ** 2, weights=WEIGHT)))


def test_importances_are_weighted_means_of_explanations():
    est = regressor(n_members=3).fit(X, Y, sample_weight=WEIGHT)
    np.testing.assert_allclose(
        est.causal_importances_, np.average(est.explain(X), axis=0, weights=WEIGHT), atol=1e-6
    )
    assert est.causal_importances_.sum() == pytest.approx(1)


def test_heavy_rows_are_fitted_best():
    # Two groups with opposite slopes that no column tells apart.
    X, _ = table(120)
    group = np.arange(120) % 2
    y = np.where(group, 1, -1) * X[:, 0]
    heavy = [
        regressor(optimizer="adam", max_epochs=20).fit(X, y, sample_weight=np.where(group == g, 1, 0.01))
        for g in (0, 1)
    ]
    for g, est in enumerate(heavy):
        assert est.score(X[group == g], y[group == g]) > 0 > est.score(X[group != g], y[group != g])


FAULTS = {
    "all zero": np.zeros(70),
    "one row left": np.eye(70)[0],
    "negative": np.where(np.arange(70) == 4, -1.0, 1.0),
    "NaN": np.where(np.arange(70) == 4, np.nan, 1.0),
    "infinity": np.where(np.arange(70) == 4, np.inf, 1.0),
    "too short": np.ones(69),
    "a column": np.ones((70, 1)),
    "one number": 2.0,
    "text": ["a"] * 70,
    "complex": np.ones(70) * 1j,
    "dates": np.full(70, np.datetime64("2020-01-01")),
    "nothing": [None] * 70,
}


@pytest.mark.parametrize("weight", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("kind", "y"), [(regressor, Y), (classifier, classes()[1])], ids=["regressor", "classifier"]
)
def test_bad_weights_are_named(kind, y, method, weight):
    est = kind()
    before = dict(vars(est))
    with pytest.raises((ValueError, TypeError), match="sample_weight") as caught:
        getattr(est, method)(X, y, sample_weight=weight)
    assert vars(est) == before
    if np.shape(weight) == (70,) and np.asarray(weight).dtype == float and np.sum(weight) != 1:
        assert isinstance(caught.value, DataError)


def test_weights_are_routed_through_pipelines_and_searches():
    weight = np.where(X[:, 1] > 0, WEIGHT, 0)
    with sklearn.config_context(enable_metadata_routing=True):
        est = regressor().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(est, {"n_steps": [1, 2]}, cv=2).fit(X, Y, sample_weight=weight)
        best = regressor(**search.best_params_).fit(X, Y, sample_weight=weight)
        assert_same(bits(search.best_estimator_), bits(best))

        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipe = make_pipeline(scaler, regressor().set_fit_request(sample_weight=True))
        pipe.fit(X, Y, sample_weight=weight)
        by_hand = regressor().fit(pipe[:-1].transform(X), Y, sample_weight=weight)
        np.testing.assert_array_equal(pipe.predict(X), by_hand.predict(pipe[:-1].transform(X)))

        kept = weight > 0
        result = cross_validate(
            est, X, Y, cv=[(np.arange(0, 50), np.arange(50, 70))], params={"sample_weight": weight}
        )
        alone = regressor().fit(X[:50], Y[:50], sample_weight=weight[:50])
        expected = alone.score(X[50:], Y[50:], sample_weight=weight[50:])
        assert kept[50:].any()
        assert result["test_score"] == pytest.approx([expected])
