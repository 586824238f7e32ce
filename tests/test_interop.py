"""Models of pytorch_tabnet 4.1 as estimators and back, against the installed package."""

import copy
import importlib.util
import pickle
import random
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from flatcausal import FlatMinimaTabNetClassifier, FlatMinimaTabNetRegressor, interop
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.flatness import sharpness
from flatcausal.interop import from_pytorch_tabnet, to_pytorch_tabnet
from flatcausal.nn import TabNet
from tests.reference.pytorch_tabnet_weights import copy_weights, reference_network

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from pytorch_tabnet.multitask import TabNetMultiTaskClassifier
    from pytorch_tabnet.tab_model import TabNetClassifier, TabNetRegressor

N = 120
CODES = {1: 4, 3: 3}  # categories of the categorical columns
CATEGORICAL = {"cat_idxs": [1, 3], "cat_dims": [4, 3]}


def table(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 5)).astype(np.float32)
    for column, n_categories in CODES.items():
        X[:, column] = rng.integers(n_categories, size=N)
        X[:n_categories, column] = np.arange(n_categories)
    return X


def target(kind, X):
    signal = X[:, 0] + (X[:, 1] == 2) * X[:, 2]
    match kind:
        case "one":
            return signal
        case "several":
            return np.stack([50 + 9 * signal, X[:, 4] * X[:, 0], X[:, 1]], axis=1)
        case "binary":
            return (signal > 0).astype(np.int64)
        case "multiclass":
            return np.digitize(signal, [-0.5, 0.5]) * 10 - 10
        case "strings":
            return np.array(["low", "a middle", "high"])[np.digitize(signal, [-0.5, 0.5])]
        case "booleans":
            return signal > 0


THEIRS = {
    "one target": ("one", {}),
    "several targets": ("several", {"n_d": 5, "n_a": 3, "n_steps": 4, "gamma": 1.7, "clip_value": 0}),
    "shared layers only": ("one", {"n_independent": 0, "n_shared": 3, "n_d": 3, "n_a": 6, "n_steps": 1}),
    "own layers only": ("several", {"n_independent": 3, "n_shared": 0, "gamma": 1.0, "momentum": 0.3}),
    "a single layer": ("one", {"n_independent": 1, "n_shared": 0}),
    "entmax": ("several", {"mask_type": "entmax", "n_steps": 4}),
    "entmax and categories": ("multiclass", {**CATEGORICAL, "mask_type": "entmax", "n_steps": 2}),
    "binary": ("binary", {"n_d": 4, "n_a": 4}),
    "multiclass": ("multiclass", {"n_steps": 2}),
    "booleans": ("booleans", {"n_steps": 2}),
    "categories": ("one", {**CATEGORICAL, "cat_emb_dim": 2}),
    "categories in any order": ("strings", {"cat_idxs": [3, 1], "cat_dims": [3, 4], "cat_emb_dim": [1, 3]}),
}
OURS = {
    "one target": ("one", {}),
    "several targets": ("several", {"n_d": 5, "n_a": 3, "n_steps": 4, "gamma": 1.7}),
    "unscaled": ("several", {"scale_target": False, "n_steps": 2}),
    "shared layers only": ("several", {"n_independent": 0, "n_shared": 3, "n_d": 3, "n_a": 6, "n_steps": 1}),
    "own layers only": ("one", {"n_independent": 3, "n_shared": 0, "gamma": 1.0, "bn_momentum": 0.3}),
    "a single layer": ("several", {"n_independent": 1, "n_shared": 0}),
    "entmax": ("several", {"mask_type": "entmax", "n_steps": 4}),
    "entmax and strings": ("strings", {"mask_type": "entmax", "categorical_features": [1, 3]}),
    "binary": ("binary", {"n_d": 4, "n_a": 4}),
    "multiclass": ("multiclass", {"n_steps": 2}),
    "categories": ("one", {"categorical_features": [3, 1], "cat_emb_dim": 2}),
    "categories and strings": ("strings", {"categorical_features": [1, 3]}),
}


def train_theirs(kind, settings, **fit):
    X = table()
    y = target(kind, X)
    is_regression = kind in ("one", "several")
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = (TabNetRegressor if is_regression else TabNetClassifier)(**{"verbose": 0, **settings})
        fit = {"max_epochs": 6, "batch_size": 60, "virtual_batch_size": 30, **fit}
        model.fit(X, y.reshape(N, -1) if is_regression else y, **fit)
    return model, X, y


def train_ours(kind, settings, n_members=1):
    X = table()
    y = target(kind, X)
    kinds = {"one": FlatMinimaTabNetRegressor, "several": FlatMinimaTabNetRegressor}
    est = kinds.get(kind, FlatMinimaTabNetClassifier)(
        **{"optimizer": "adam", "max_epochs": 6, "batch_size": 60, "virtual_batch_size": 30},
        **{"n_members": n_members, "random_state": 0, **settings},
    )
    return est.fit(X, y), X, y


@pytest.fixture(scope="module", params=THEIRS)
def theirs(request):
    return train_theirs(*THEIRS[request.param])


@pytest.fixture(scope="module", params=OURS)
def ours(request):
    return train_ours(*OURS[request.param], n_members=2)


@pytest.fixture(scope="module")
def regressor():
    return train_ours("one", {"categorical_features": [1, 3]})


def near(actual, expected, tolerance=1e-5):
    """Equal to 1e-5 of the expected scale."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def exact(model, X):
    """Predictions or probabilities of a model of theirs, without the rounding of float32."""
    network = copy.deepcopy(model.network).double().eval()
    inner = network.tabnet.encoder
    shares = inner.group_attention_matrix > 0  # 1 / dimension, rounded
    inner.group_attention_matrix = shares / shares.sum(1, keepdim=True).double()
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "FloatTensor", torch.DoubleTensor)  # they write sqrt(0.5) in float32
        output = network(torch.from_numpy(X).double())[0]
    return (output.softmax(1) if isinstance(model, TabNetClassifier) else output).numpy()


def same_predictions(est, model, X, member=None):
    """The estimator is right to 1e-6; the model's float32 rounds a few rows by more than that."""
    ours = est.predict_members(X)[0 if member is None else member].reshape(len(X), -1)
    classifies = isinstance(model, TabNetClassifier)
    truth, theirs = exact(model, X), model.predict_proba(X) if classifies else model.predict(X)
    near(ours, truth, 1e-6)
    scale = np.abs(truth).max()
    assert (np.abs(ours - theirs) <= 1e-5 * scale + np.abs(theirs - truth)).all()
    assert np.median(np.abs(ours - theirs)) <= 1e-6 * scale
    if classifies:
        np.testing.assert_array_equal(est.classes_[ours.argmax(1)], model.predict(X))
    if member is None:
        mean = est.predict_proba(X) if classifies else est.predict(X)
        near(mean.reshape(len(X), -1), ours, 1e-7)


def own_loss(model, X, y):
    model.network.eval()
    with torch.no_grad():
        output = model.network(torch.from_numpy(X))[0]
        if isinstance(model, TabNetClassifier):
            codes = torch.from_numpy(model.prepare_target(y))
            return torch.nn.functional.cross_entropy(output.double(), codes).item()
        expected = torch.from_numpy(np.reshape(y, (len(y), -1))).double()
        return torch.nn.functional.mse_loss(output.double(), expected).item()


# --- In ---


def test_an_estimator_predicts_what_the_model_predicts(theirs):
    model, X, _ = theirs
    fresh = table(seed=7)
    est = from_pytorch_tabnet(model)
    same_predictions(est, model, X)
    same_predictions(est, model, fresh)
    if isinstance(model, TabNetClassifier):
        assert est.classes_.dtype == model.classes_.dtype
        np.testing.assert_array_equal(est.classes_, model.classes_)


def test_the_word_of_the_network_counts_not_that_of_the_model():
    model, X, _ = train_theirs(*THEIRS["entmax"])
    model.mask_type = "sparsemax"
    est = from_pytorch_tabnet(model)
    assert est.mask_type == est.net_.module_.mask_type == "entmax"
    same_predictions(est, model, X)


def test_every_number_is_where_the_slow_twin_puts_it(theirs):
    model = theirs[0]
    ours = from_pytorch_tabnet(model).net_.module_
    twin = copy.deepcopy(ours)
    with torch.no_grad():
        twin.population.fill_(torch.nan)
        twin.statistics.fill_(torch.nan)
    copy_weights(model.network, twin)
    torch.testing.assert_close(ours.population, twin.population, rtol=0, atol=0)
    torch.testing.assert_close(ours.statistics, twin.statistics, rtol=0, atol=0)


def test_sharpness_measures_the_models_own_loss(theirs):
    model, X, y = theirs
    result = sharpness(from_pytorch_tabnet(model), X, y)
    assert result.loss[0] == pytest.approx(own_loss(model, X, y), rel=1e-5)
    assert np.isfinite(result.value).all()


def test_explanations_agree_with_the_models(theirs):
    model, X, _ = theirs
    aggregated, masks = model.explain(X)
    total = aggregated.sum(1, keepdims=True)
    plain = np.mean(list(masks.values()), axis=0)
    expected = np.divide(aggregated, total, out=plain.astype(np.float64), where=total > 0)
    np.testing.assert_allclose(from_pytorch_tabnet(model).explain(X), expected, atol=1e-5)


def test_importances_are_the_models_or_those_of_given_rows(theirs):
    model, X, _ = theirs
    est = from_pytorch_tabnet(model)
    np.testing.assert_allclose(est.causal_importances_, model.feature_importances_, atol=1e-12)
    est = from_pytorch_tabnet(model, X[:30])
    np.testing.assert_allclose(est.causal_importances_, est.explain(X[:30]).mean(0), atol=1e-6)
    np.testing.assert_array_equal(est.feature_importances_, est.member_importances_[0])
    assert est.causal_importances_.sum() == pytest.approx(1)
    assert not est.causal_importances_std_.any()


def test_a_model_without_importances_needs_rows():
    model, X, _ = train_theirs("one", {}, compute_importance=False)
    with pytest.raises(ParameterError, match="model holds no feature_importances_"):
        from_pytorch_tabnet(model)
    assert from_pytorch_tabnet(model, X).causal_importances_.shape == (5,)


@pytest.mark.parametrize("name", ["several targets", "categories", "multiclass", "entmax"])
def test_a_saved_and_loaded_model_can_be_taken_over(tmp_path, name):
    model, X, y = train_theirs(*THEIRS[name])
    path = model.save_model(str(tmp_path / "model"))
    loaded = type(model)(verbose=0)
    with torch.random.fork_rng():
        loaded.load_model(path)
    est = from_pytorch_tabnet(loaded, X)
    same_predictions(est, model, X)
    assert est.n_iter_ == len(est.history_["train_loss"]) == 0
    assert sharpness(est, X, y).loss[0] == pytest.approx(own_loss(model, X, y), rel=1e-5)
    assert est.partial_fit(X, y).n_iter_ == len(est.history_["train_loss"]) == 1


def test_parameters_of_equal_meaning_are_taken_over():
    settings = {**THEIRS["own layers only"][1], **CATEGORICAL, "lambda_sparse": 0.02, "mask_type": "entmax"}
    model, _, _ = train_theirs("one", settings)
    params = from_pytorch_tabnet(model).get_params()
    expected = {"n_d": 8, "n_a": 8, "n_steps": 3, "gamma": 1.0, "n_independent": 3, "n_shared": 0}
    expected |= {"bn_momentum": 0.3, "virtual_batch_size": 30, "batch_size": 60, "lambda_sparse": 0.02}
    expected |= {"mask_type": "entmax"}
    expected |= {"clip_norm": 1, "categorical_features": [1, 3], "cat_emb_dim": 1, "scale_target": False}
    assert expected.items() <= params.items()


def test_the_record_of_the_training_is_taken_over():
    model, _, _ = train_theirs("one", {})
    est = from_pytorch_tabnet(model)
    assert est.n_iter_ == 6
    np.testing.assert_array_equal(est.history_["epoch"], [1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(est.history_["train_loss"], model.history["loss"])
    assert est.n_gradient_evaluations_ == 6 * 2
    np.testing.assert_array_equal(est.best_epoch_, [6])


def test_the_best_epoch_is_the_one_whose_weights_the_model_keeps():
    X = table(seed=3)
    noise = np.random.default_rng(0).normal(size=(N, 1)).astype(np.float32)
    model, _, _ = train_theirs("one", {}, eval_set=[(X, noise)], patience=2, max_epochs=20)
    est = from_pytorch_tabnet(model)
    best = int(np.argmin(model.history["val_0_mse"]))
    assert best + 1 < est.n_iter_  # it was another than the last
    np.testing.assert_array_equal(est.best_epoch_, [best + 1])
    assert est.n_gradient_evaluations_ == 2 * (best + 1)


def test_an_estimator_is_a_copy_and_the_model_stays_as_it_was():
    model, X, _ = train_theirs("one", {})
    before = copy.deepcopy(model.network.state_dict())
    est = from_pytorch_tabnet(model)
    predictions = model.predict(X)
    with torch.no_grad():
        est.net_.module_.population.zero_()
    np.testing.assert_array_equal(model.predict(X), predictions)
    for name, tensor in model.network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


# --- A full estimator ---


@pytest.mark.parametrize("name", ["several targets", "categories", "categories in any order", "entmax"])
def test_an_imported_estimator_is_pickled_and_saved(tmp_path, name):
    model, X, _ = train_theirs(*THEIRS[name])
    est = from_pytorch_tabnet(model)
    est.save_weights(tmp_path / "weights")
    for again in [pickle.loads(pickle.dumps(est)), clone(est).load_weights(tmp_path / "weights")]:
        np.testing.assert_array_equal(again.predict(X), est.predict(X))
        np.testing.assert_array_equal(again.causal_importances_, est.causal_importances_)
        same_predictions(from_pytorch_tabnet(to_pytorch_tabnet(again)), model, X)


@pytest.mark.parametrize("name", ["several targets", "categories", "multiclass", "entmax"])
def test_an_imported_estimator_trains_on(name):
    model, X, y = train_theirs(*THEIRS[name])
    est = from_pytorch_tabnet(model).set_params(optimizer="adam", lr=0.02, random_state=0, max_epochs=3)
    before = sharpness(est, X, y).loss[0]
    for _ in range(10):
        est.partial_fit(X, y)
    assert est.n_iter_ == len(est.history_["train_loss"]) == 6 + 10
    assert sharpness(est, X, y).loss[0] < before
    fresh = clone(est).fit(X, y)
    assert fresh.n_iter_ == 3
    assert fresh.predict(X).shape == est.predict(X).shape


def test_embeddings_of_several_widths_are_measured_but_not_trained():
    model, X, y = train_theirs(*THEIRS["categories in any order"])
    est = from_pytorch_tabnet(model)
    assert est.cat_emb_dim == [3, 1]  # by column, whatever the order of cat_idxs
    assert np.isfinite(sharpness(est, X, y).value).all()
    with pytest.raises(ParameterTypeError, match=r"cat_emb_dim must be an integer, got \[3, 1\]"):
        est.partial_fit(X, y)


def test_a_code_without_an_embedding_counts_as_unseen():
    model, X, _ = train_theirs(*THEIRS["categories"])
    est = from_pytorch_tabnet(model)
    X = X.copy()
    X[:, 1] = 99
    with pytest.raises(IndexError):
        model.predict(X)
    assert np.isfinite(est.predict(X)).all()


# --- Out ---


@pytest.mark.parametrize("member", [0, 1])
def test_a_model_predicts_what_the_member_predicts(ours, member):
    est, X, _ = ours
    model = to_pytorch_tabnet(est, member=member)
    assert isinstance(model, TabNetClassifier) is hasattr(est, "classes_")
    same_predictions(est, model, X, member)
    same_predictions(est, model, table(seed=7), member)
    np.testing.assert_array_equal(model.feature_importances_, est.member_importances_[member])


def test_a_model_explains_as_the_member_does(ours):
    est, X, _ = ours
    healthy = torch.tensor([1])
    expected = est._over_rows(X, lambda network, rows: network.explain(rows)[healthy].mean(0))
    aggregated, _ = to_pytorch_tabnet(est, member=1).explain(X)
    decided = aggregated.sum(1) > 0.1  # where steps add next to nothing, the constant unit decides
    assert decided.mean() > 0.3
    aggregated = aggregated[decided]
    shares = aggregated / aggregated.sum(1, keepdims=True)
    np.testing.assert_allclose(shares, expected[decided], atol=1e-4)


def test_a_model_is_saved_loaded_and_taken_over_again(ours, tmp_path):
    est, X, _ = ours
    model = to_pytorch_tabnet(est, member=0)
    loaded = type(model)(verbose=0)
    with torch.random.fork_rng():
        loaded.load_model(model.save_model(str(tmp_path / "model")))
    if isinstance(model, TabNetClassifier):
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    else:
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    same_predictions(from_pytorch_tabnet(loaded, X), model, X)


def test_there_and_back_keeps_every_number(ours):
    est = copy.deepcopy(ours[0])
    if isinstance(est, FlatMinimaTabNetRegressor):  # without a scale to fold in
        est.target_mean_, est.target_scale_ = np.zeros_like(est.target_mean_), np.ones_like(est.target_scale_)
    back = from_pytorch_tabnet(to_pytorch_tabnet(est, member=1)).net_.module_
    there = est.net_.module_
    torch.testing.assert_close(back.population[0], there.population[1], rtol=0, atol=0)
    torch.testing.assert_close(back.statistics[0], there.statistics[1], rtol=0, atol=0)


def test_back_and_there_keeps_every_prediction(theirs):
    model, X, _ = theirs
    again = to_pytorch_tabnet(from_pytorch_tabnet(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    sizes = [sum(p.numel() for p in m.network.parameters()) for m in (again, model)]
    assert sizes[0] == sizes[1]
    names = ["n_d", "n_a", "n_steps", "gamma", "n_independent", "n_shared", "momentum", "lambda_sparse"]
    names += ["mask_type", "input_dim", "output_dim", "cat_dims"]
    for name in names:
        assert getattr(again, name) == getattr(model, name)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_mean_of_the_target_is_carried_by_one_constant_unit(scale):
    X = table()
    y = np.stack([-3e3 + scale * X[:, 0], 20 + X[:, 2]], axis=1)
    est = FlatMinimaTabNetRegressor(max_epochs=2, n_d=4, random_state=0).fit(X, y)
    model = to_pytorch_tabnet(est)
    assert model.n_d == 5
    for predicted, expected in zip(model.predict(X).T, est.predict(X).T, strict=True):
        near(predicted, expected)
    est.set_params(scale_target=False).fit(X, y)
    assert to_pytorch_tabnet(est).n_d == 4


def test_a_model_with_a_constant_unit_trains_on():
    X = table()
    y = 100 + target("one", X)
    est = FlatMinimaTabNetRegressor(optimizer="adam", max_epochs=20, batch_size=60, random_state=0).fit(X, y)
    model = to_pytorch_tabnet(est)
    before = own_loss(model, X, y)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.optimizer_params = {"lr": 1e-3}
        model.fit(X, y[:, None], warm_start=True, max_epochs=10, batch_size=60, virtual_batch_size=30)
    assert own_loss(model, X, y) < 2 * before < 2 * np.var(y)


def test_string_categories_become_codes():
    X = pd.DataFrame(table(), columns=list("abcde"))
    X["b"] = pd.Categorical(np.array(["w", "x", "y", "z"])[X["b"].astype(int)])
    X["d"] = X["d"].map({0.0: "no", 1.0: "perhaps", 2.0: "yes"})
    y = X["a"] + (X["d"] == "yes")
    est = FlatMinimaTabNetRegressor(max_epochs=4, categorical_features=["b", "d"], random_state=0).fit(X, y)
    coded = X.assign(b=X["b"].cat.codes, d=X["d"].map({"no": 0, "perhaps": 1, "yes": 2}))
    model, codes = to_pytorch_tabnet(est), coded.to_numpy(dtype=np.float64)
    near(est.predict(X), exact(model, codes)[:, 0], 1e-6)
    near(model.predict(codes)[:, 0], est.predict(X))


def test_one_member_needs_no_name_and_several_do(regressor, ours):
    est, X, _ = regressor
    same_predictions(est, to_pytorch_tabnet(est), X)
    with pytest.raises(ParameterError, match=r"member is needed, as the estimator has 2 .* from 0 to 1"):
        to_pytorch_tabnet(ours[0])
    with pytest.raises(ParameterError, match=r"member must be .*, got 1"):
        to_pytorch_tabnet(est, member=1)
    with pytest.raises(ParameterTypeError, match="member must be an integer"):
        to_pytorch_tabnet(est, member="first")


def test_the_estimator_stays_as_it_was(regressor):
    est, X, _ = regressor
    before, predictions = pickle.dumps(est), est.predict(X)
    model = to_pytorch_tabnet(est)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.fill_(7)
    model.feature_importances_[:] = 0
    np.testing.assert_array_equal(est.predict(X), predictions)
    assert pickle.dumps(est) == before


# --- Any shape, any numbers ---


@st.composite
def shapes(draw):
    n_features = draw(st.integers(1, 6))
    columns = draw(st.sets(st.integers(0, n_features - 1)))
    size = st.tuples(st.integers(1, 5), st.integers(1, 3))
    n_shared = draw(st.integers(0, 2))
    return {
        "n_features": n_features,
        "n_outputs": draw(st.integers(1, 3)),
        "n_d": draw(st.integers(1, 5)),
        "n_a": draw(st.integers(1, 5)),
        "n_steps": draw(st.integers(1, 4)),
        "gamma": draw(st.floats(1.0, 2.0)),
        "mask_type": draw(st.sampled_from(["sparsemax", "entmax"])),
        "n_shared": n_shared,
        "n_independent": draw(st.integers(int(n_shared == 0), 2)),
        "embeddings": {column: draw(size) for column in sorted(columns)},
    }


def with_network(network, seed):
    """A model of theirs around a network whose every number is random."""
    with torch.random.fork_rng():
        model = TabNetRegressor(verbose=0)
    model.network = reference_network(network, seed).eval()
    model.input_dim, model.output_dim = network.n_features, network.n_outputs
    return model


@given(shapes(), st.integers(0, 1000))
@settings(max_examples=20)
def test_any_network_survives_both_ways(shape, seed):
    if not shape["embeddings"]:
        return  # the reference then is a network without the embedding layer
    model = with_network(TabNet(**shape), seed)
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20, shape["n_features"])).astype(np.float32)
    for column, (n_categories, _) in shape["embeddings"].items():
        X[:, column] = rng.integers(n_categories, size=20)
    est = from_pytorch_tabnet(model, X)
    output = model.predict(X)
    scale = np.abs(output).max()
    np.testing.assert_allclose(est.predict(X).reshape(20, -1), output, rtol=0, atol=1e-5 * scale)
    np.testing.assert_array_equal(to_pytorch_tabnet(est).predict(X), output)
    # As if it had been trained on a target of another place and scale.
    est.target_mean_ = est.target_mean_ + scale * rng.normal(size=est.target_mean_.shape)
    est.target_scale_ = est.target_scale_ * 3.0
    expected = est.predict(X).reshape(20, -1)
    np.testing.assert_allclose(
        to_pytorch_tabnet(est).predict(X), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


# --- Refusals ---


def untrained(**settings):
    with torch.random.fork_rng():
        return TabNetRegressor(verbose=0, **settings)


def test_what_is_not_fitted_is_refused():
    with pytest.raises(NotFittedError, match="This TabNetRegressor is not fitted"):
        from_pytorch_tabnet(untrained())
    with pytest.raises(NotFittedError, match="This FlatMinimaTabNetClassifier instance is not fitted"):
        to_pytorch_tabnet(FlatMinimaTabNetClassifier())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grouped_features": [[0, 1]]}, r"model has grouped_features=\[\[0, 1\]\], which this TabNet lacks"),
        ({"gamma": 0.9}, "gamma must be .*, got 0.9"),
    ],
)
def test_what_this_tabnet_lacks_is_refused(settings, message):
    model, X, _ = train_theirs("one", settings, max_epochs=1)
    with pytest.raises(ParameterError, match=message):
        from_pytorch_tabnet(model, X)


def test_other_objects_are_refused(regressor):
    with torch.random.fork_rng():
        several_tasks = TabNetMultiTaskClassifier(verbose=0)
    for thing in [several_tasks, regressor[0], None]:
        with pytest.raises(ParameterTypeError, match="model must be a TabNetRegressor or a TabNetClassifier"):
            from_pytorch_tabnet(thing)
    for thing in [untrained(), "model"]:
        with pytest.raises(ParameterTypeError, match="estimator must be a FlatMinimaTabNetRegressor or"):
            to_pytorch_tabnet(thing)


def test_a_single_class_is_refused_both_ways():
    X = table()
    y = np.full(N, "all")
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TabNetClassifier(verbose=0)
        model.fit(X, y, max_epochs=1, batch_size=60)
    est = FlatMinimaTabNetClassifier(max_epochs=1).fit(X, y)
    for call, thing in [(from_pytorch_tabnet, model), (to_pytorch_tabnet, est)]:
        with pytest.raises(ParameterError, match=r"The only class is .*'all'.*fit on two classes"):
            call(thing)


def test_importing_the_room_needs_no_pytorch_tabnet_and_using_it_says_how_to_install(monkeypatch, regressor):
    for name in [name for name in sys.modules if name.startswith(("pytorch_tabnet", "flatcausal.interop"))]:
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.spec_from_file_location("flatcausal.interop", interop.__file__)
    room = importlib.util.module_from_spec(spec)
    for name in ["", "._border", "._weights", "._incoming", "._outgoing"]:
        monkeypatch.delitem(sys.modules, f"flatcausal.interop{name}")
    spec.loader.exec_module(room)
    for call in [room.from_pytorch_tabnet, room.to_pytorch_tabnet]:
        with pytest.raises(ImportError, match=r"pip install pytorch-tabnet==4\.1\.0"):
            call(regressor[0])


# --- Nothing global moves ---


def global_states():
    return torch.random.get_rng_state().tolist(), pickle.dumps(np.random.get_state()), random.getstate()  # noqa: NPY002


def test_no_random_state_is_moved(regressor):
    model, _, _ = train_theirs("one", CATEGORICAL)
    before = global_states()
    from_pytorch_tabnet(model)
    assert global_states() == before
    to_pytorch_tabnet(regressor[0])
    assert global_states() == before


def test_models_are_in_evaluation_mode_and_say_nothing(regressor, capsys):
    model = to_pytorch_tabnet(regressor[0])
    assert not any(module.training for module in model.network.modules())
    assert not from_pytorch_tabnet(model).net_.module_.training
    assert capsys.readouterr() == ("", "")
