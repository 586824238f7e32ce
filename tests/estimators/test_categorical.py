"""Categorical columns: how they are told, coded, embedded, and what an unseen category becomes."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import cross_val_score

from flatcausal.estimators import fit_together
from flatcausal.exceptions import DataError, ParameterError
from tests.estimators.fits import assert_same, bits, classifier, regressor

N = 80
RNG = np.random.default_rng(5)
TOWN = RNG.choice(["oslo", "bern", "rome"], N)  # position 1
ROOM = RNG.choice([101, 7, 40], N)  # position 3
FRAME = pd.DataFrame({"age": RNG.normal(size=N), "town": TOWN, "wage": RNG.normal(size=N), "room": ROOM})
Y = np.where(TOWN == "rome", 3.0, -1.0) + (ROOM == 40) + FRAME["age"].to_numpy()
BOTH = {"categorical_features": [1, 3], "cat_emb_dim": 2}


def by_dtype(frame=FRAME):
    return frame.astype({"town": "category", "room": "category"})


def as_objects(frame=FRAME):
    return frame.astype(object).to_numpy()


@pytest.fixture(scope="module")
def fitted():
    return regressor(**BOTH, n_members=3, max_epochs=5).fit(FRAME, Y)


def embeddings(est, column, member=0):
    """A member's embedding table, one row a category."""
    module = est.net_.module_
    return module.layout.split(module.population.detach())[f"embedding.{column}"][member].numpy()


@pytest.mark.parametrize(
    ("X", "chosen"),
    [
        (by_dtype(), "from_dtype"),
        (FRAME, ["town", "room"]),
        (FRAME, ("room", "town")),
        (FRAME, [1, 3]),
        (FRAME, np.array([3, 1])),
        (FRAME, [1, "room"]),
        (FRAME, [False, True, False, True]),
        (FRAME, np.array([False, True, False, True])),
        (FRAME, pd.Index(["town", "room"])),
        (by_dtype(), ["town", "room"]),
        (FRAME.astype({"town": "category"}), ["town", 3]),
        (FRAME.astype({"town": "string"}), [1, 3]),
    ],
)
def test_every_way_to_name_them_gives_the_same(X, chosen):
    told = regressor(**{**BOTH, "categorical_features": chosen}).fit(X, Y)
    assert_same(bits(told, X), bits(regressor(**BOTH).fit(FRAME, Y), FRAME))
    assert told.categories_[1].tolist() == ["bern", "oslo", "rome"]
    assert told.categories_[3].tolist() == [7, 40, 101]


@pytest.mark.parametrize("table", [as_objects(), as_objects().tolist()], ids=["array", "lists"])
def test_text_in_an_array_or_in_lists(table, fitted):
    est = regressor(**BOTH, n_members=3, max_epochs=5).fit(table, Y)
    assert_same(bits(est, table), bits(fitted, FRAME))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8])
def test_numbers_in_an_array(dtype):
    numbers = FRAME.assign(
        age=(10 * FRAME["age"]).round(), wage=0, town=np.searchsorted(["bern", "oslo"], TOWN)
    )
    table = numbers.to_numpy().astype(dtype)
    original = table.copy()
    est = regressor(**BOTH).fit(table, Y)
    assert_same(
        bits(est, table), bits(regressor(**BOTH).fit(numbers.astype(float), Y), numbers.astype(float))
    )
    np.testing.assert_array_equal(table, original)


def test_small_integers_hold_the_code_of_an_unseen_category():
    table = np.column_stack([np.arange(N) % 7, np.arange(N) % 3]).astype(np.uint8)
    est = regressor(categorical_features=[1]).fit(table, Y)
    strange = table + np.array([0, 9], dtype=np.uint8)
    np.testing.assert_array_equal(est.predict(strange), est.predict(strange.astype(float)))


def test_the_callers_frame_stays_as_it_is():
    X = by_dtype()
    before = X.copy(deep=True)
    regressor(**BOTH).fit(X, Y).predict(X)
    pd.testing.assert_frame_equal(X, before)


def test_from_dtype_alone_makes_no_number_a_category():
    X = FRAME.drop(columns="town").assign(old=FRAME["age"] > 0)
    assert regressor().fit(X, Y).categories_ == {}
    assert regressor().fit(X.assign(room=X["room"].astype("category")), Y).categories_.keys() == {2}
    assert regressor(categorical_features=None).fit(X.astype({"room": "category"}), Y).categories_ == {}


def test_order_of_the_dtype_and_categories_without_rows_do_not_matter():
    kind = pd.CategoricalDtype(["rome", "nowhere", "bern", "oslo", "elsewhere"], ordered=True)
    X = FRAME.astype({"town": kind, "room": pd.CategoricalDtype([999, 101, 40, 7, -1])})
    est = regressor(cat_emb_dim=2).fit(X, Y)
    assert_same(bits(est, X), bits(regressor(**BOTH).fit(FRAME, Y), FRAME))
    assert est.categories_[1].tolist() == ["bern", "oslo", "rome"]


@pytest.mark.parametrize(
    "renamed",
    [
        {"bern": "a", "oslo": "b", "rome": "c"},
        {"bern": -5, "oslo": 0, "rome": 10**6},
        {"bern": 0.5, "oslo": 0.75, "rome": np.inf},
        {
            "bern": pd.Timestamp("2001-01-01"),
            "oslo": pd.Timestamp("2002-01-01"),
            "rome": pd.Timestamp("2003-01-01"),
        },
        {"bern": pd.Interval(0, 1), "oslo": pd.Interval(1, 2), "rome": pd.Interval(2, 3)},
        {"bern": False, "oslo": True, "rome": True},
    ],
    ids=["letters", "integers", "floats", "dates", "intervals", "booleans"],
)
def test_names_are_nothing_but_names(renamed):
    X = FRAME.assign(town=FRAME["town"].map(renamed))
    same = FRAME if len(set(renamed.values())) == 3 else FRAME.replace({"town": {"rome": "oslo"}})
    est = regressor(**BOTH).fit(X, Y)
    assert_same(bits(est, X), bits(regressor(**BOTH).fit(same, Y), same))
    copy = pickle.loads(pickle.dumps(est))
    assert_same(bits(copy, X), bits(est, X))


def test_each_category_has_an_embedding_that_is_learnt(fitted):
    start = regressor(**BOTH, n_members=3, max_epochs=1, lr=0.0).fit(FRAME, Y)
    for column in (1, 3):
        assert embeddings(fitted, column).shape == (3, 2)
        assert (np.abs(embeddings(fitted, column) - embeddings(start, column)) > 1e-6).all()
    est = regressor(optimizer="adam", categorical_features=["town"], n_d=8, n_a=8, max_epochs=25)
    assert est.fit(FRAME[["age", "town"]], Y).score(FRAME[["age", "town"]], Y) > 0.8


def test_an_embedding_stands_where_its_column_stood(fitted):
    module = fitted.net_.module_
    codes = FRAME.assign(
        town=np.searchsorted(["bern", "oslo", "rome"], TOWN), room=np.searchsorted([7, 40, 101], ROOM)
    )
    with torch.no_grad():
        outputs = module(torch.tensor(codes.to_numpy(), dtype=torch.float32))[0][..., 0].numpy()
    expected = outputs * Y.std() + Y.mean()
    np.testing.assert_allclose(fitted.predict_members(FRAME), expected, atol=1e-4)


def test_an_unseen_category_takes_the_mean_embedding_of_the_training_rows(fitted):
    strange = FRAME.assign(town="paris")
    mean = pickle.loads(pickle.dumps(fitted))
    module = mean.net_.module_
    counts = np.array([(town == TOWN).sum() for town in mean.categories_[1]])
    with torch.no_grad():
        split = module.layout.split(module.population)["embedding.1"]
        split.copy_((torch.tensor(counts / N, dtype=torch.float32) @ split)[:, None, :])
    np.testing.assert_allclose(fitted.predict_members(strange), mean.predict_members(FRAME), atol=1e-4)
    np.testing.assert_allclose(fitted.explain(strange), mean.explain(FRAME), atol=1e-5)
    assert np.abs(fitted.predict(strange) - fitted.predict(FRAME)).max() > 1e-3
    for other in ("", "rome ", 3, 0.5, True):
        same = FRAME.assign(town=pd.Series([other] * N, dtype=object))
        np.testing.assert_array_equal(fitted.predict(same), fitted.predict(strange))


def test_an_unseen_category_in_a_category_column():
    est = regressor(cat_emb_dim=2).fit(by_dtype(), Y)
    strange = FRAME.assign(town=np.where(TOWN == "rome", "paris", TOWN))
    found, known = est.predict(by_dtype(strange)), est.predict(by_dtype())
    assert (found != known)[TOWN == "rome"].any()
    np.testing.assert_array_equal(found[TOWN != "rome"], known[TOWN != "rome"])


def test_later_fits_know_the_categories_of_the_first():
    early = FRAME[TOWN != "rome"]
    est = regressor(**BOTH).partial_fit(early, Y[TOWN != "rome"])
    est.partial_fit(FRAME, Y)
    assert est.categories_[1].tolist() == ["bern", "oslo"]
    assert np.isfinite(est.predict(FRAME)).all()
    warm = regressor(**BOTH, warm_start=True).fit(early, Y[TOWN != "rome"]).fit(FRAME, Y)
    assert warm.categories_[1].tolist() == ["bern", "oslo"]


def test_fits_can_be_made_together_only_with_as_many_categories():
    fewer, other = FRAME.replace({"town": {"rome": "oslo"}}), FRAME.replace({"town": {"rome": "paris"}})
    fits = fit_together([regressor(**BOTH), regressor(**BOTH)], [(FRAME, Y), (other, Y)])
    assert_same(bits(fits[1], other), bits(regressor(**BOTH).fit(other, Y), other))
    for first, second in ((FRAME, fewer), (fewer, FRAME)):
        with pytest.raises(DataError, match="fit them apart"):
            fit_together([regressor(**BOTH), regressor(**BOTH)], [(first, Y), (second, Y)])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=repr)
@pytest.mark.parametrize("method", ["fit", "predict"])
def test_a_missing_category_is_refused(method, missing, fitted):
    holed = FRAME.astype({"town": object})
    holed.iloc[6, 1] = missing
    arguments = (Y,) if method == "fit" else ()
    for X, name in ((holed, "'town'"), (holed.astype({"town": "category"}), "'town'")):
        est = pickle.loads(pickle.dumps(fitted))
        with pytest.raises(DataError, match=rf"X contains a missing category \(row 6, column {name}\)"):
            getattr(est, method)(X, *arguments)
    est = regressor(**BOTH).fit(as_objects(), Y)
    with pytest.raises(DataError, match=r"missing category \(row 6, column 1\)"):
        getattr(est, method)(holed.to_numpy(), *arguments)


def test_importances_and_explanations_are_of_input_columns(fitted):
    assert fitted.causal_importances_.shape == (4,)
    assert fitted.member_importances_.shape == (3, 4)
    np.testing.assert_allclose(fitted.member_importances_.sum(1), 1, atol=1e-6)
    explained = fitted.explain(FRAME)
    assert explained.shape == (N, 4)
    np.testing.assert_allclose(explained.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(explained.mean(0), fitted.causal_importances_, atol=1e-6)
    assert fitted.n_features_in_ == 4
    assert fitted.feature_names_in_.tolist() == list(FRAME)


def test_classifies_cross_validates_and_pickles():
    y = np.where(Y > 0, "high", "low")
    X = by_dtype()
    assert np.isfinite(cross_val_score(classifier(cat_emb_dim=3), X, y, cv=3, scoring="neg_log_loss")).all()
    est = classifier(early_stopping=True).fit(X, y)
    assert_same(bits(pickle.loads(pickle.dumps(est)), X), bits(est, X))


def test_ones_as_weights_are_no_weights():
    weighted = regressor(**BOTH).fit(FRAME, Y, sample_weight=np.ones(N))
    assert_same(bits(weighted, FRAME), bits(regressor(**BOTH).fit(FRAME, Y), FRAME))


def test_a_rare_category_may_be_held_out():
    X = FRAME.assign(town=np.where(np.arange(N) == 3, "lone", TOWN))
    for seed in range(5):
        est = regressor(**BOTH, early_stopping=True, validation_fraction=0.5, random_state=seed).fit(X, Y)
        assert np.isfinite(est.predict(X)).all()


@pytest.mark.parametrize(
    "chosen",
    [
        "town",
        1,
        True,
        2.0,
        {"town": 1},
        ["street"],
        [4],
        [-1],
        [1.0],
        [True],
        [True, 1, 3, 0],
        [[1], [3]],
        [[1], 3],
        [None],
    ],
    ids=repr,
)
@pytest.mark.parametrize("X", [FRAME, as_objects()], ids=["frame", "array"])
def test_what_names_no_column_is_refused(X, chosen):
    with pytest.raises(ParameterError, match="categorical_features"):
        regressor(categorical_features=chosen).fit(X, Y)


def test_a_name_needs_a_frame():
    with pytest.raises(
        ParameterError, match="categorical_features names 'town', which is none of the 4 columns"
    ):
        regressor(categorical_features=["town"]).fit(as_objects(), Y)


def test_text_in_a_column_that_is_not_named_points_at_it():
    with pytest.raises(DataError, match="column 'town' of X; encode it, or name it in categorical_features"):
        regressor(categorical_features=["room"]).fit(FRAME, Y)
    with pytest.raises(DataError, match="column 1 of X; encode it"):
        regressor(categorical_features=[3]).fit(as_objects(), Y)
