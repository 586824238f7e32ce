"""scikit-learn's callbacks watch and stop a fit; where it has none, fits go on without them."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from flatcausal import SyntheticDAGDataset
from flatcausal.metrics import CausalScorer
from tests.estimators.fits import assert_same, bits, classes, classifier, regressor, table

sklearn_callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 brought callbacks")

X, Y = table()
KINDS = {"regressor": (regressor, Y), "classifier": (classifier, classes()[1])}
EACH = pytest.mark.parametrize("kind", KINDS)


class Recorder:
    """Write down which hooks were called, and let ``act`` look at the end of each epoch."""

    def __init__(self, act=lambda epoch, fitted: False):
        self.act = act
        self.calls = []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator, X, y, metadata):
        self.calls.append(f"end {context.task_name}")
        if context.task_name == "epoch":
            return self.act(context.task_id + 1, fitted_estimator)
        return False


class Watcher(Recorder):
    """Record without asking for a fitted estimator."""

    def on_fit_task_end(self, estimator, context):
        self.calls.append(f"end {context.task_name}")


@EACH
def test_hooks_are_called_for_the_fit_and_for_every_epoch(kind):
    make, y = KINDS[kind]
    watcher = Watcher()
    est = make(max_epochs=2).set_callbacks(watcher).fit(X, y)
    epochs = ["begin epoch", "end epoch"] * 2
    assert watcher.calls == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    assert_same(bits(est), bits(make(max_epochs=2).fit(X, y)))
    est.fit(X, y)
    assert len(watcher.calls) == 2 * 8


@EACH
@pytest.mark.parametrize(
    "params", [{}, {"early_stopping": True}, {"optimizer": "gd"}, {"optimizer": "adam"}], ids=repr
)
def test_looking_at_the_fit_leaves_it_bitwise_unchanged(kind, params):
    make, y = KINDS[kind]
    seen = []

    def look(epoch, fitted):
        seen.append(bits(fitted))

    params = {"max_epochs": 4, "early_stopping": False, **params}
    est = make(**params).set_callbacks(Recorder(look)).fit(X, y)
    assert len(seen) == 4
    assert_same(bits(est), bits(make(**params).fit(X, y)))
    assert_same(seen[-1], bits(est))
    assert seen[1]["n_iter"] == 2
    assert not np.array_equal(seen[0]["predictions"], seen[1]["predictions"])


@EACH
def test_what_a_hook_sees_is_the_fit_that_ends_there(kind):
    make, y = KINDS[kind]
    seen = {}
    params = {"max_epochs": 4, "lr_schedule": None}
    make(**params).set_callbacks(Recorder(lambda epoch, fitted: seen.update({epoch: bits(fitted)}))).fit(X, y)
    for epoch in (1, 3):
        assert_same(seen[epoch], bits(make(**{**params, "max_epochs": epoch}).fit(X, y)))


@EACH
def test_a_callback_may_stop_the_fit(kind):
    make, y = KINDS[kind]
    recorder = Recorder(lambda epoch, fitted: epoch == 3)
    est = make(max_epochs=30, lr_schedule=None).set_callbacks(recorder).fit(X, y)
    assert est.n_iter_ == 3
    assert recorder.calls.count("end epoch") == 3
    assert recorder.calls[-2:] == ["end fit", "teardown"]
    assert_same(bits(est), bits(make(max_epochs=3, lr_schedule=None).fit(X, y)))


def test_a_failing_callback_leaves_the_estimator_unfitted_and_is_torn_down():
    def fail(epoch, fitted):
        raise RuntimeError("no more")

    recorder = Recorder(fail)
    est = regressor().set_callbacks(recorder)
    before = dict(vars(est))
    with pytest.raises(RuntimeError, match="no more"):
        est.fit(X, Y)
    assert vars(est) == before
    assert recorder.calls[-1] == "teardown"


def test_a_refused_fit_calls_no_hook():
    recorder = Recorder()
    with pytest.raises(ValueError, match="NaN"):
        regressor().set_callbacks(recorder).fit(np.full_like(X, np.nan), Y)
    assert recorder.calls == []


def test_weights_reach_the_hooks():
    seen = []

    class Metadata(Watcher):
        def on_fit_task_end(self, estimator, context, *, metadata):
            seen.append(metadata)

    weight = np.arange(1, 71)
    regressor(max_epochs=1).set_callbacks(Metadata()).fit(X, Y, sample_weight=weight)
    assert all(metadata["sample_weight"] is weight for metadata in seen)
    assert len(seen) == 2


@EACH
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rich, where it is so
def test_the_progress_bar_fills_and_what_is_fitted_stays(kind, capsys):
    make, y = KINDS[kind]
    est = make().set_callbacks(sklearn_callback.ProgressBar()).fit(X, y)
    assert "100%" in capsys.readouterr().out
    assert_same(bits(est), bits(make().fit(X, y)))


@EACH
def test_the_scoring_monitor_scores_every_epoch(kind):
    make, y = KINDS[kind]
    monitor = sklearn_callback.ScoringMonitor(scoring="r2" if kind == "regressor" else "accuracy")
    est = make(max_epochs=4).set_callbacks(monitor).fit(X, y, sample_weight=np.arange(1, 71))
    frame = monitor.get_logs().data_as_pandas
    epochs = frame[frame["task_name"] == "epoch"]
    assert len(epochs) == 4
    assert epochs.iloc[-1, -1] == pytest.approx(est.score(X, y, sample_weight=np.arange(1, 71)))


@pytest.mark.parametrize("n_jobs", [None, 2], ids=["in turn", "in two threads"])
def test_a_search_monitors_accuracy_and_causal_recovery(n_jobs):
    ds = SyntheticDAGDataset(n_nodes=5, n_distractors=2, random_state=0)
    X, y = ds.sample(60, return_X_y=True)
    scoring = {"r2": "r2", "auroc": CausalScorer(ds.roles_, "auroc")}
    est = regressor(max_epochs=2)
    monitor = sklearn_callback.ScoringMonitor(scoring=scoring)
    est.set_callbacks(monitor)
    search = GridSearchCV(est, {"n_steps": [1, 2]}, cv=2, scoring=scoring, refit="r2", n_jobs=n_jobs)
    with joblib.parallel_config("threading"):
        search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_auroc"]).all()
    frame = monitor.get_logs().data_as_pandas
    epochs = frame[frame["task_name"] == "epoch"]
    assert len(epochs) == 2 * (2 * 2 + 1)  # epochs of every fold of every candidate, and of the refit
    assert np.isfinite(epochs["r2"]).all()
    assert epochs["auroc"].between(0, 1).all()
    (refit,) = frame[frame["task_id_path"].map(len) == 2].to_dict("records")
    best = search.best_estimator_
    assert refit["auroc"] == scoring["auroc"](best)
    assert refit["r2"] == pytest.approx(best.score(X, y))


def test_the_estimator_without_scikit_learns_callbacks():
    script = """
import builtins
import_module = builtins.__import__

def as_before_callbacks(name, globals=None, *rest):
    if name == "sklearn.callback" and globals["__name__"].startswith("flatcausal"):
        raise ImportError(name)
    return import_module(name, globals, *rest)

builtins.__import__ = as_before_callbacks
import numpy as np
from flatcausal import FlatMinimaTabNetClassifier, FlatMinimaTabNetRegressor
from sklearn.base import clone
from tests.estimators.fits import bits, classes, classifier, regressor, table
X, y = table()
assert not hasattr(regressor(), "set_callbacks")
est = clone(regressor(early_stopping=True)).fit(X, y, sample_weight=np.ones(70))
print(bits(est)["weights"].tobytes().hex())
print(bits(classifier().fit(X, classes()[1]).partial_fit(X, classes()[1]))["weights"].tobytes().hex())
"""
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    fits = [regressor(early_stopping=True).fit(X, Y), classifier().fit(*classes()).partial_fit(*classes())]
    assert shown.stdout.split() == [bits(est)["weights"].tobytes().hex() for est in fits]
