"""Models as pickles and files: the same bits come back, and nothing else does."""

import copy
import io
import os
import pickle
import random
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression

from flatcausal import FlatMinimaTabNetRegressor, __version__
from flatcausal.exceptions import ParameterError, WeightsError
from flatcausal.optim import SAM, Adam, names
from tests.estimators.fits import assert_same, bits, classes, classifier, poison, regressor, table


def through_joblib(est):
    file = io.BytesIO()
    joblib.dump(est, file, compress=3)
    file.seek(0)
    return joblib.load(file)


def through_skops(est):
    data = skops.io.dumps(est)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


def through_weights(est, tmp_path):
    est.save_weights(tmp_path / "model.safetensors")
    return clone(est).load_weights(tmp_path / "model.safetensors")


def mixed(n=70):
    X, y = table(n)
    frame = pd.DataFrame(X, columns=["height", "width", "shop"])
    frame["shop"] = pd.Categorical(np.array(["north", "east", "south"])[np.digitize(X[:, 2], [-0.5, 0.5])])
    return frame, y


def two_targets():
    X, y = table()
    return X, np.c_[y, -2 * y + X[:, 2]]


CASES = {
    "one target": (regressor, table),
    "two targets": (regressor, two_targets),
    "classes by name": (classifier, classes),
    "categories": (regressor, mixed),
}
every_case = pytest.mark.parametrize("case", CASES)
MODELS = {}


def fitted(case):
    if case not in MODELS:
        make, data = CASES[case]
        MODELS[case] = make().fit(*data()), data()
    return MODELS[case]


@every_case
@pytest.mark.parametrize(
    "through",
    [lambda est: pickle.loads(pickle.dumps(est)), through_joblib, copy.deepcopy, copy.copy, through_skops],
    ids=["pickle", "joblib", "deepcopy", "copy", "skops"],
)
def test_copies_are_the_same_bit_for_bit(case, through):
    est, (X, _) = fitted(case)
    twin = through(est)
    assert_same(bits(twin, X), bits(est, X))
    assert twin.get_params() == est.get_params()
    for name in ("classes_", "feature_names_in_", "target_mean_", "target_scale_"):
        np.testing.assert_array_equal(getattr(twin, name, None), getattr(est, name, None))
    assert twin.categories_.keys() == est.categories_.keys()
    if case == "classes by name":
        np.testing.assert_array_equal(twin.predict_proba(X), est.predict_proba(X))


@every_case
def test_weights_in_a_file_are_the_model_bit_for_bit(case, tmp_path):
    est, (X, _) = fitted(case)
    twin = through_weights(est, tmp_path)
    assert_same(bits(twin, X), bits(est, X))
    np.testing.assert_array_equal(twin.history_["dur"], est.history_["dur"])


def test_a_copy_shares_nothing_with_the_original():
    est, (X, y) = fitted("one target")
    before = bits(est)
    copy.deepcopy(est).partial_fit(X, y)
    copy.copy(est).partial_fit(X, y)
    assert_same(bits(est), before)


@every_case
def test_a_pickle_holds_no_torch_object_and_little_more_than_the_weights(case):
    est, _ = fitted(case)
    data = pickle.dumps(est)
    assert b"torch" not in data
    assert b"skorch" not in data
    state = est.net_.module_.state_dict()
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    assert len(data) < n_bytes + 10_000


def test_skops_asks_to_trust_the_estimator_alone():
    for case in CASES:
        est, _ = fitted(case)
        kind = type(est)
        assert skops.io.get_untrusted_types(data=skops.io.dumps(est)) == [
            f"{kind.__module__}.{kind.__qualname__}"
        ]


def test_skops_keeps_a_recipe():
    est = regressor(optimizer=SAM(rho=0.3, base=Adam(eps=1e-6))).fit(*table())
    twin = through_skops(est)
    assert (twin.optimizer.rho, twin.optimizer.base.eps) == (0.3, 1e-6)
    assert_same(bits(twin), bits(est))


def test_an_unfitted_estimator_is_pickled_too():
    twin = pickle.loads(pickle.dumps(regressor(lr=0.5)))
    assert twin.lr == 0.5
    with pytest.raises(NotFittedError):
        twin.predict(table()[0])


def test_a_pickle_of_another_version_warns():
    est, _ = fitted("one target")
    state = est.__getstate__()
    state["_fitted"] = {**state["_fitted"], "version": "0.0.1"}
    twin = FlatMinimaTabNetRegressor.__new__(FlatMinimaTabNetRegressor)
    with pytest.warns(UserWarning, match=f"flatcausal 0.0.1 and is read by {__version__}"):
        twin.__setstate__(state)
    assert_same(bits(twin), bits(est))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(est))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_model_made_for_a_gpu_predicts_where_there_is_none(tmp_path):
    est = regressor().fit(*table())
    before = bits(est)
    est.device = "cuda"
    for twin in (pickle.loads(pickle.dumps(est)), through_skops(est), through_weights(est, tmp_path)):
        assert twin.device == "cuda"
        assert_same(bits(twin), before)
        with pytest.raises(ParameterError, match="device='cuda'"):
            twin.partial_fit(*table())


def test_a_diverged_member_stays_so(tmp_path):
    with pytest.warns(ConvergenceWarning):
        est = regressor(callbacks=[poison(1)]).fit(*table())
    est.set_params(callbacks=None)
    for twin in (pickle.loads(pickle.dumps(est)), through_weights(est, tmp_path)):
        assert_same(bits(twin), bits(est))


# Files of weights


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_other_parameters_of_training_and_of_the_network_do_not_matter(path):
    est, (X, _) = fitted("one target")
    est.save_weights(path)
    other = FlatMinimaTabNetRegressor(optimizer="adam", lr=0.5, n_d=7, n_members=9, max_epochs=1)
    assert_same(bits(other.load_weights(path)), bits(est))
    assert other.get_params()["lr"] == 0.5
    assert other.predict(X).dtype == np.float32


def test_an_earlier_fit_gives_way(path):
    est, (X, _) = fitted("categories")
    est.save_weights(path)
    other = regressor(n_d=3).fit(*two_targets())
    assert_same(bits(other.load_weights(path), X), bits(est, X))
    assert "feature_names_in_" in vars(other)
    fitted("one target")[0].save_weights(path)
    assert "feature_names_in_" not in vars(other.load_weights(path))


@every_case
def test_a_flipped_bit_is_refused_and_leaves_the_estimator_as_it_was(case, path):
    est, (X, _) = fitted(case)
    est.save_weights(path)
    data = path.read_bytes()
    other = clone(est)
    draw = random.Random(0)
    for _ in range(50):
        place, bit = draw.randrange(len(data)), draw.randrange(8)
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        with pytest.raises(WeightsError, match=path.name):
            other.load_weights(path)
    assert not hasattr(other, "net_")
    path.write_bytes(data)
    assert_same(bits(other.load_weights(path), X), bits(est, X))


def test_another_class_is_refused(path):
    fitted("classes by name")[0].save_weights(path)
    with pytest.raises(WeightsError, match="FlatMinimaTabNetClassifier"):
        regressor().load_weights(path)


def test_no_file_and_no_fit(path):
    with pytest.raises(FileNotFoundError):
        regressor().load_weights(path)
    with pytest.raises(NotFittedError):
        regressor().save_weights(path)
    assert not path.exists()


@pytest.mark.skipif(os.name == "nt", reason="folders are written to otherwise")
def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        fitted("one target")[0].save_weights(tmp_path / "nowhere" / "model")


# With the optimizer's state


@pytest.mark.parametrize("optimizer", names())
@pytest.mark.parametrize("n_rows", [70, 71])
def test_with_the_optimizer_s_state_partial_fit_goes_on_as_if_never_saved(optimizer, n_rows, path):
    X, y = table(n_rows)
    est = regressor(optimizer=optimizer).fit(X, y)
    est.save_weights(path, optimizer_state=True)
    twin = regressor(optimizer=optimizer, random_state=5).load_weights(path)
    assert_same(bits(twin), bits(est))
    for _ in range(2):
        assert_same(bits(twin.partial_fit(X, y)), bits(est.partial_fit(X, y)))


def test_a_fresh_random_state_is_saved_whole(path):
    est = regressor(random_state=None).fit(*table())
    est.save_weights(path, optimizer_state=True)
    twin = regressor(random_state=None).load_weights(path)
    assert_same(bits(twin.partial_fit(*table())), bits(est.partial_fit(*table())))


def test_without_it_the_file_is_smaller_and_holds_none(tmp_path):
    est = regressor(optimizer="adam").fit(*table())
    small, large = tmp_path / "small", tmp_path / "large"
    est.save_weights(small)
    est.save_weights(large, optimizer_state=True)
    assert small.stat().st_size < large.stat().st_size / 2
    assert b"exp_avg" in large.read_bytes()
    assert b"exp_avg" not in small.read_bytes()
    assert b"optimizer" not in small.read_bytes()


def test_a_state_cannot_be_saved_once_it_is_lost(path):
    est = pickle.loads(pickle.dumps(fitted("one target")[0]))
    with pytest.raises(ParameterError, match="optimizer_state"):
        est.save_weights(path, optimizer_state=True)
    assert not path.exists()


@pytest.mark.parametrize(
    ("changed", "match"),
    [({"optimizer": "sgd"}, "Adam.*SGD"), ({"weight_decay": 0.1}, "weight_decay"), ({"n_d": 3}, "n_d")],
    ids=str,
)
def test_the_state_of_another_optimizer_or_network_is_refused_by_name(changed, match, path):
    regressor(optimizer="adam").fit(*table()).save_weights(path, optimizer_state=True)
    other = regressor(**{"optimizer": "adam", **changed})
    with pytest.raises(ParameterError, match=match):
        other.load_weights(path)
    assert not hasattr(other, "net_")


def test_linear_regression_s_pickle_shows_what_a_stranger_s_bytes_do(path):
    path.write_bytes(pickle.dumps(LinearRegression()))
    with pytest.raises(WeightsError, match="not written by flatcausal"):
        regressor().load_weights(path)
