"""Whatever cannot be used is refused at once, by name, and leaves the estimator as it was."""

import pickle
import re
import time
from inspect import signature

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.exceptions import NotFittedError

from flatcausal.exceptions import FlatCausalError
from flatcausal.optim import SAM, SGD
from flatcausal.optim.averaging import EMA, LAWA, SWA, SWAD
from tests.estimators.fits import classes, classifier, regressor, table

X, Y = table()
KINDS = {"regressor": (regressor, Y), "classifier": (classifier, classes()[1])}
EACH = pytest.mark.parametrize("kind", KINDS)
FRAME = pd.DataFrame(X, columns=["age", "wage", "height"])
PREDICTIONS = ("predict", "predict_members", "explain", "predict_proba")


def altered(value, dtype=float):
    """X with another value in row 5, column 1."""
    changed = X.astype(dtype)
    changed[5, 1] = value
    return changed


def column(value):
    return FRAME.assign(wage=value)


def refused(call, message, errors=(ValueError, TypeError)):
    """Assert that a call ends, in under a second of work, in an error of ours that says so."""
    start = time.process_time()
    with pytest.raises(errors, match=message) as caught:
        call()
    assert time.process_time() - start < 1
    assert isinstance(caught.value, FlatCausalError)
    return caught.value


def state(est):
    return pickle.dumps({name: value for name, value in vars(est).items() if name != "net_"})


# What X may not be: the argument or column that its error names, and the table.
TABLES = {
    "NaN": (r"X contains NaN \(row 5, column 1\)", altered(np.nan)),
    "NaN in a frame": (r"X contains NaN \(row 0, column 'wage'\)", column(np.nan)),
    "nullable NA": (
        r"X contains NaN \(row 2, column 'wage'\)",
        column(pd.array([1, 2, None] + [3] * 67, dtype="Int64")),
    ),
    "None": (r"X contains NaN \(row 5, column 1\)", altered(None, object)),
    "infinity": (r"X contains infinity .*\(row 5, column 1\)", altered(np.inf)),
    "minus infinity": (r"X contains infinity .*\(row 5, column 1\)", altered(-np.inf)),
    "infinity of both signs": (
        r"X contains infinity .*\(row 5, column 1\)",
        np.where(X[6, 2] == X, -np.inf, altered(np.inf)),
    ),
    "infinity in a frame": (r"X contains infinity .*\(row 0, column 'wage'\)", column(np.inf)),
    "too large for float32": (r"X contains .* too large for float32 \(row 5, column 1\)", altered(1e39)),
    "no rows": (r"X .*0 sample", X[:0]),
    "no columns": (r"X .*0 feature", X[:, :0]),
    "no columns in a frame": (r"X .*0 feature", FRAME[[]]),
    "one dimension": (r"X .*2D array", X[:, 0]),
    "three dimensions": (r"X .*dim 3", X[None]),
    "a Series": (r"X .*2-dimensional", FRAME["age"]),
    "a number": (r"X .*2D array", 3.0),
    "nothing": (r"X .*2D array", None),
    "text for a table": (r"X .*2D array", "table"),
    "ragged lists": (r"X .*inhomogeneous", [[1.0, 2.0, 3.0], [4.0]]),
    "complex": (r"X (.|\n)*Complex data(.|\n)*column 0", X.astype(complex)),
    "complex in a frame": (r"X (.|\n)*Complex data(.|\n)*column 'wage'", column(1j)),
    "text": (r"X .*column 0", X.astype(str)),
    "bytes": (r"X .*column 0", X.astype(bytes)),
    "text among objects": (r"X .*column 1 .*categorical_features", altered("red", object)),
    "text in a frame": (r"X .*column 'wage' .*categorical_features", column("red")),
    "text as category, not wanted": (
        r"X .*column 'wage' .*categorical_features",
        column(pd.Categorical(["red"] * 70)),
    ),
    "lists among objects": (r"X .*column 1", altered([1, 2], object)),
    "dates": (r"X .*datetime64.*column 0", np.full((70, 3), np.datetime64("2020-01-01"))),
    "dates in a frame": (r"X .*column 'wage'", column(pd.Timestamp("2020-01-01"))),
    "dates with a zone": (r"X .*column 'wage'", column(pd.Timestamp("2020-01-01", tz="UTC"))),
    "time spans": (r"X .*column 'wage'", column(pd.Timedelta("1D"))),
    "a sparse matrix": (r"X .*[Ss]parse", scipy.sparse.csr_matrix(X)),
    "a sparse array": (r"X .*[Ss]parse", scipy.sparse.coo_array(X)),
}


@pytest.fixture(scope="module")
def fitted():
    return {
        (kind, named): make(categorical_features=None).fit(FRAME if named else X, y)
        for kind, (make, y) in KINDS.items()
        for named in (False, True)
    }


@EACH
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("message", "X"), TABLES.values(), ids=TABLES)
def test_tables_that_cannot_be_learnt_from(kind, method, message, X):
    make, y = KINDS[kind]
    est = make(categorical_features=None)
    before = state(est)
    refused(lambda: getattr(est, method)(X, y), message)
    assert state(est) == before
    with pytest.raises(NotFittedError):
        est.predict(X)


@EACH
@pytest.mark.parametrize(("message", "X"), TABLES.values(), ids=TABLES)
def test_tables_that_cannot_be_predicted(kind, message, X, fitted):
    est = fitted[kind, isinstance(X, pd.DataFrame)]
    before = state(est)
    for method in PREDICTIONS:
        if hasattr(est, method):
            refused(lambda method=method: getattr(est, method)(X), message)
    y = KINDS[kind][1]
    for method in ("data_loss", "partial_fit"):
        refused(lambda method=method: getattr(est, method)(X, y), message)
    assert state(est) == before


@EACH
@pytest.mark.parametrize(
    ("message", "X"),
    [
        (r"X (.|\n)*same order", FRAME[["wage", "age", "height"]]),
        (r"X (.|\n)*unseen at fit time(.|\n)*size", FRAME.rename(columns={"wage": "size"})),
        (r"X (.|\n)*unseen at fit time(.|\n)*size", FRAME.assign(size=1.0)),
        (r"X (.|\n)*now missing(.|\n)*wage", FRAME.drop(columns="wage")),
        (r"X has 2 features, .* expecting 3", X[:, :2]),
        (r"X has 4 features, .* expecting 3", np.c_[X, X[:, 0]]),
    ],
    ids=["another order", "another name", "one more", "one less", "narrower", "wider"],
)
def test_other_columns_than_those_of_the_fit(kind, message, X, fitted):
    est = fitted[kind, isinstance(X, pd.DataFrame)]
    for method in PREDICTIONS:
        if hasattr(est, method):
            refused(lambda method=method: getattr(est, method)(X), message)
    refused(lambda: est.partial_fit(X, KINDS[kind][1]), message)


@EACH
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_one_row_is_too_few_to_learn_from_but_can_be_predicted(kind, method, fitted):
    make, y = KINDS[kind]
    refused(lambda: getattr(make(), method)(X[:1], y[:1]), r"X .*1 sample.*minimum of 2")
    assert fitted[kind, False].predict(X[:1]).shape == (1,)


def replaced(y, value, dtype=object):
    changed = np.array(y, dtype=dtype)
    changed[5] = value
    return changed


ANY_TARGETS = {
    "nothing": ("y", None),
    "too short": (r"y has 69 rows, but X has 70", Y[:-1] > 4),
    "too long": (r"y has 71 rows, but X has 70", np.r_[Y, 1.0] > 4),
    "no rows": ("y", Y[:0]),
    "a number": ("y", 3.0),
    "three dimensions": ("y .*dim 3", np.zeros((70, 1, 1))),
    "no columns": ("y .*0 feature", np.zeros((70, 0))),
    "complex": ("y .*Complex data", Y * 1j),
    "sparse": ("y .*[Ss]parse", scipy.sparse.csr_matrix(Y[:, None])),
    "NaN": (r"y contains NaN \(row 5\)", replaced(Y.round(), np.nan, float)),
    "infinity": (r"y contains infinity .*\(row 5\)", replaced(Y.round(), np.inf, float)),
    "too large for float32": (
        r"y contains .* too large for float32 \(row 5\)",
        replaced(Y.round(), 1e39, float),
    ),
    "nullable NA": (r"y contains NaN \(row 2\)", pd.array([1, 2, None] + [3] * 67, dtype="Int64")),
    "mixed": ("y", replaced(Y, "red")),
}
TARGETS = {
    "regressor": {
        **ANY_TARGETS,
        "text": ("y", np.full(70, "red")),
        "text as category": ("y", pd.Series(["red"] * 70, dtype="category")),
        "dates": ("y .*datetime64", np.full(70, np.datetime64("2020-01-01"))),
        "NaN in the second target": (
            r"y contains NaN \(row 5, column 1\)",
            np.c_[Y, replaced(Y, np.nan, float)],
        ),
    },
    "classifier": {
        **ANY_TARGETS,
        "no label": (r"y contains a missing label \(row 5\)", replaced(classes()[1], None)),
        "NaN for a label": (r"y contains a missing label \(row 5\)", replaced(classes()[1], np.nan)),
        "fractions": ("y .*[Uu]nknown label type", Y),
        "numbers as objects": ("y .*[Uu]nknown label type", Y.round().astype(object)),
        "two columns": ("y .*1d array", np.c_[Y.round(), Y.round()]),
    },
}


@pytest.mark.parametrize(
    ("kind", "message", "y"),
    [(kind, *case) for kind, cases in TARGETS.items() for case in cases.values()],
    ids=[f"{kind}-{case}" for kind, cases in TARGETS.items() for case in cases],
)
def test_targets_that_cannot_be_learnt(kind, message, y, fitted):
    make, _ = KINDS[kind]
    for method in ("fit", "partial_fit"):
        est = make()
        before = state(est)
        refused(lambda est=est, method=method: getattr(est, method)(X, y), message)
        assert state(est) == before
    if y is not None:
        refused(lambda: fitted[kind, False].data_loss(X, y), message)


@pytest.mark.parametrize(
    ("message", "classes"),
    [
        ("y holds the class", ["low", "mid"]),
        ("y holds the class", [0, 1, 2]),
        ("classes .*1d array", [["low", "mid"], ["top", "low"]]),
        ("classes contains a missing label", ["low", "mid", "top", None]),
        ("classes", np.array(["low", 3], dtype=object)),
        ("classes", "low"),
        ("classes .*[Uu]nknown label type", [0.5, 1.5]),
    ],
)
def test_classes_of_the_first_partial_fit(message, classes):
    est = classifier()
    before = state(est)
    refused(lambda: est.partial_fit(X, KINDS["classifier"][1], classes=classes), message)
    assert state(est) == before


@EACH
def test_nothing_works_before_the_fit(kind, tmp_path):
    est, y = KINDS[kind][0](), KINDS[kind][1]
    for method in PREDICTIONS:
        if hasattr(est, method):
            with pytest.raises(NotFittedError):
                getattr(est, method)(X)
    for call in (
        lambda: est.score(X, y),
        lambda: est.data_loss(X, y),
        lambda: est.feature_importances_,
        lambda: est.save_weights(tmp_path / "weights"),
    ):
        with pytest.raises(NotFittedError):
            call()


# Values that a parameter may not have.
COUNT = (0, -1, 1.0, "2", None, True, np.nan)
PARAMETERS = {
    "optimizer": ("sma", 3, None, SAM, SAM(rho=-1), SAM(rho=np.nan), SAM(base=3), SGD(momentum=1.5)),
    "lr": (-0.1, np.nan, np.inf, "fast", True),
    "weight_decay": (-0.1, np.nan, np.inf, "some", None),
    "lr_schedule": ("step", 3, ["cosine"], True),
    "clip_norm": (0.0, -1.0, np.nan, np.inf, "short"),
    "averaging": (
        *("sma", 3, True, SWA, SAM(), SWA(start=1.0), SWA(freq=0), EMA(decay=1.0), EMA(decay=None)),
        *(LAWA(k=0), SWAD(freq=0), SWAD(n_converge=1.5), SWAD(n_tolerance=0), SWAD(tolerance_ratio=-1)),
    ),
    "max_epochs": COUNT,
    "batch_size": (1, *COUNT),
    "virtual_batch_size": (1, *COUNT),
    "early_stopping": (1, "yes", None),
    "validation_fraction": (0, 1, 1.5, -0.1, np.nan, "half", None),
    "n_iter_no_change": COUNT,
    "n_members": COUNT,
    "n_threads": COUNT,
    "device": ("gpu", 3, None, "meta"),
    "random_state": (-1, 1.5, "seed", True),
    "warm_start": (1, "yes", None),
    "checkpoint_dir": (3, ["folder"]),
    "callbacks": (3, "early", [3], ["early"], [None], {"a": 1}),
    "verbose": (-1, 1.5, "loud", None),
    "n_d": COUNT,
    "n_a": COUNT,
    "n_steps": COUNT,
    "gamma": (0.99, -1, np.nan, np.inf, "wide", None),
    "n_independent": (-1, 1.0, "2", None, True),
    "n_shared": (-1, 1.0, "2", None, True),
    "lambda_sparse": (-1e-3, np.nan, np.inf, "none", None),
    "bn_momentum": (-0.1, 1.1, np.nan, "slow", None),
    "mask_type": ("softmax", "entmax15", 1.5, True, None),
    "categorical_features": ("age", 3, [9], [-1], ["town"], [0.5], [True], {"a": 0}),
    "cat_emb_dim": COUNT,
    "scale_target": (1, "yes", None),
    "class_weight": (
        "balance",
        3,
        [1, 2],
        {"zzz": 1},
        {"low": 0},
        {"low": -1},
        {"low": np.nan},
        {"low": "a"},
    ),
}
NESTED = {
    "optimizer": ("rho", "base", "momentum"),
    "averaging": ("start", "freq", "decay", "k", "n_converge", "n_tolerance", "tolerance_ratio"),
}
# What a single epoch has no use for.
FIT_ONLY = ("early_stopping", "validation_fraction", "warm_start", "checkpoint_dir")


@EACH
def test_every_parameter_stands_in_the_table(kind):
    assert set(KINDS[kind][0]().get_params(deep=False)) <= set(PARAMETERS)
    assert signature(regressor().__init__).parameters.keys() | {"class_weight"} == PARAMETERS.keys()


@EACH
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_out_of_their_range(kind, name):
    make, y = KINDS[kind]
    if name not in make().get_params():
        pytest.skip(f"the {kind} has no {name}")
    # Of an object that is wrong, its own parameter is named.
    message = rf"\b({'|'.join((name, *NESTED.get(name, ())))})\b"
    for value in PARAMETERS[name]:
        for method in ("fit",) if name in FIT_ONLY else ("fit", "partial_fit"):
            est = make(**{name: value})
            before = {**vars(est)}
            refused(lambda est=est, method=method: getattr(est, method)(X, y), message)
            assert vars(est) == before, value


def test_a_layer_must_be_shared_or_independent():
    error = refused(lambda: regressor(n_shared=0, n_independent=0).fit(X, Y), "n_independent")
    assert "n_independent" in str(error)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    refused(lambda: regressor(device="cuda").fit(X, Y), "device='cuda'")


@EACH
def test_one_epoch_cannot_stop_early(kind):
    make, y = KINDS[kind]
    refused(lambda: make(early_stopping=True).partial_fit(X, y), "early_stopping")


@pytest.mark.parametrize("name", ["n_threads"])
def test_parameters_that_predicting_reads(name, fitted):
    est = pickle.loads(pickle.dumps(fitted["regressor", False])).set_params(**{name: 0})
    refused(lambda: est.predict(X), name)


@EACH
def test_a_refused_refit_keeps_the_fit(kind):
    make, y = KINDS[kind]
    est = make().fit(FRAME, y)
    expected = est.predict(FRAME)
    for bad in (altered(np.nan), X[:, :2].astype(complex), X[0]):
        with pytest.raises((ValueError, TypeError)):
            est.fit(bad, y)
    with pytest.raises(ValueError, match="gamma"):
        est.set_params(gamma=0.5).fit(X[:, :2], y)
    assert est.feature_names_in_.tolist() == list(FRAME)
    assert est.n_features_in_ == 3
    np.testing.assert_array_equal(est.predict(FRAME), expected)


@EACH
def test_messages_are_short(kind):
    """One sentence or two, whatever is in the table: scikit-learn's own may show an excerpt of it."""
    make, y = KINDS[kind]
    wide = np.full((70, 5000), np.nan)
    assert len(str(refused(lambda: make().fit(wide, y), "X contains NaN"))) < 200
    assert not re.search(
        r"np\.(str|int|float)", str(refused(lambda: classifier().partial_fit(X, classes()[1], ["a"]), "y"))
    )
