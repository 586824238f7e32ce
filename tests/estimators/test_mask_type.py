"""What turns attention into masks: chosen by name, kept by every way a model travels."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from flatcausal.estimators._files import read_state, write_state
from flatcausal.exceptions import ParameterError
from flatcausal.nn._projections import PROJECTIONS
from tests.estimators.fits import assert_same, bits, classes, classifier, regressor, table


@pytest.fixture(scope="module")
def fitted():
    return {name: regressor(mask_type=name, optimizer="adam").fit(*table()) for name in PROJECTIONS}


def test_sparsemax_is_the_default(fitted):
    assert regressor().mask_type == classifier().mask_type == "sparsemax"
    assert_same(bits(regressor(optimizer="adam").fit(*table())), bits(fitted["sparsemax"]))


def test_entmax_is_another_network_from_the_same_first_weights(fitted):
    X, _ = table()
    sparse, dense = (fitted[name] for name in PROJECTIONS)
    assert (sparse.net_.module_.mask_type, dense.net_.module_.mask_type) == ("sparsemax", "entmax")
    assert np.abs(sparse.predict(X) - dense.predict(X)).max() > 1e-3
    assert np.count_nonzero(dense.explain(X)) > np.count_nonzero(sparse.explain(X))
    np.testing.assert_allclose(dense.explain(X).sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(dense.member_importances_.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(dense.explain(X).mean(0), dense.causal_importances_, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sam", "entropy_sgd", "foof"])
def test_members_never_meet(optimizer):
    three, two = (regressor(mask_type="entmax", optimizer=optimizer, n_members=k) for k in (3, 2))
    weights = [est.fit(*table()).net_.module_.population for est in (three, two)]
    np.testing.assert_array_equal(weights[0][:2].detach(), weights[1].detach())


def test_a_classifier_learns_with_entmax():
    X, y = classes()
    est = classifier(mask_type="entmax", optimizer="adam", lr=0.03, max_epochs=20).fit(X, y)
    assert est.score(X, y) > np.unique(y, return_counts=True)[1].max() / len(y) + 0.2


def test_a_penalty_on_entropy_makes_masks_sparser():
    X, y = table()
    kept = [
        np.count_nonzero(
            regressor(mask_type="entmax", optimizer="adam", lr=0.03, max_epochs=12, lambda_sparse=weight)
            .fit(X, y)
            .explain(X)
            > 0.01
        )
        for weight in (0.0, 3.0)
    ]
    assert kept[1] < 0.9 * kept[0]


def test_copies_and_files_keep_it(fitted, tmp_path):
    est = fitted["entmax"]
    est.save_weights(tmp_path / "model")
    for twin in (pickle.loads(pickle.dumps(est)), clone(est).load_weights(tmp_path / "model")):
        assert twin.mask_type == "entmax"
        assert_same(bits(twin), bits(est))
    # The file knows what its weights belong to, whatever the estimator that reads it would train.
    other = regressor().load_weights(tmp_path / "model")
    np.testing.assert_array_equal(other.predict(table()[0]), est.predict(table()[0]))
    with pytest.raises(ParameterError, match=r"mask_type must stay as it was.*'entmax', got 'sparsemax'"):
        other.partial_fit(*table())


@pytest.mark.parametrize("way", ["warm_start", "partial_fit"])
def test_it_must_stay_while_weights_do(fitted, way):
    est = pickle.loads(pickle.dumps(fitted["entmax"])).set_params(mask_type="sparsemax", warm_start=True)
    with pytest.raises(ParameterError, match="mask_type must stay"):
        est.fit(*table()) if way == "warm_start" else est.partial_fit(*table())
    assert_same(bits(est), bits(fitted["entmax"]))


def test_files_from_before_there_was_a_choice_are_sparsemax(fitted, tmp_path):
    est = fitted["sparsemax"]
    est.save_weights(tmp_path / "model")
    state = read_state(tmp_path / "model", kind="model")
    assert state["network"].pop("mask_type") == "sparsemax"
    write_state(tmp_path / "old", state, kind="model")
    old = regressor(optimizer="adam").load_weights(tmp_path / "old")
    assert_same(bits(old), bits(est))
    assert_same(bits(old.partial_fit(*table())), bits(pickle.loads(pickle.dumps(est)).partial_fit(*table())))


def test_pickles_from_before_there_was_a_choice_are_sparsemax(fitted):
    est = fitted["sparsemax"]
    state = est.__getstate__()
    del state["mask_type"], state["_fitted"]["network"]["mask_type"]
    old = type(est).__new__(type(est))
    old.__setstate__(state)
    assert old.get_params() == est.get_params()
    assert_same(bits(old), bits(est))
    assert clone(old).mask_type == "sparsemax"
