"""Averages of weights in fits: what members keep, and that the fit itself does not notice."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from flatcausal.estimators import fit_together
from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.optim import names
from flatcausal.optim.averaging import EMA, LAWA, SWA, SWAD
from tests.estimators.fits import (
    AtEpochEnd,
    assert_same,
    bits,
    classes,
    classifier,
    interrupt,
    member_bits,
    poison,
    regressor,
    table,
)
from tests.reference import averaging as reference

STEPS = 5  # of an epoch without held-out rows; 4 with a tenth of them
AVERAGES = {
    "swa": SWA(start=0.4),
    "ema": EMA(decay=0.8),
    "lawa": LAWA(k=3),
    "swad": SWAD(freq=3, n_converge=2, n_tolerance=2),
}
every_average = pytest.mark.parametrize("average", AVERAGES.values(), ids=AVERAGES)
STOPPING = {
    **{"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 2, "max_epochs": 12},
    **{"optimizer": "adam", "lr": 0.1, "lr_schedule": None, "random_state": 2, "n_members": 5},
}
PATIENT = {"early_stopping": True, "n_iter_no_change": 99}
KEPT = ("weights", "statistics", "predictions", "importances")


class Trajectory(Callback):
    """Collect the weights after every step and every epoch."""

    def __init__(self):
        self.steps, self.epochs, self.statistics = [], [], []

    def on_batch_end(self, net, **kwargs):
        self.steps.append(net.module_.population.detach().double().numpy())
        self.statistics.append(net.module_.statistics.clone())

    def on_epoch_end(self, net, **kwargs):
        self.epochs.append(self.steps[-1])


def record(**params):
    found = Trajectory()
    return regressor(**params, callbacks=[found]).fit(*table()), found


def history(est):
    return {name: values for name, values in est.history_.items() if name != "dur"}


# What members keep


@pytest.mark.parametrize("average", ["swa", "ema", "lawa"])
def test_members_keep_the_mean_of_their_weights(average):
    est, found = record(averaging=AVERAGES[average], max_epochs=7)
    expected = {
        "swa": lambda: reference.swa(found.epochs, 0.4),
        "ema": lambda: reference.ema(found.steps, 0.8),
        "lawa": lambda: reference.lawa(found.epochs, 3),
    }[average]()
    np.testing.assert_allclose(bits(est)["weights"], expected, rtol=0, atol=1e-6)
    assert len(found.steps) == 7 * STEPS
    assert abs(bits(est)["weights"] - found.epochs[-1]).max() > 1e-4
    assert est.best_epoch_.tolist() == [7, 7]


def test_swad_judges_by_the_loss_on_held_out_rows_at_the_end_of_a_segment():
    params = {"optimizer": "adam", "lr": 0.1, "lr_schedule": None, "max_epochs": 20, "n_members": 4}
    rule = 2, 2, 0.05
    est, found = record(averaging=SWAD(4, *rule), **params)
    assert len(found.steps) == 20 * 4  # so that an epoch is a segment
    losses = est.history_["member_valid_loss"]
    lengths = set()
    for k in range(4):
        steps = [weights[k] for weights in found.steps]
        expected = reference.swad(steps, losses[:, k], 4, *rule)
        np.testing.assert_allclose(bits(est)["weights"][k], expected, rtol=0, atol=1e-6)
        lengths.add(len(reference.swad_segments(losses[:, k], *rule)))
    assert len(lengths) > 1


@every_average
def test_statistics_and_importances_are_those_of_the_mean(average):
    X, y = table()
    est = regressor(averaging=average, validation_fraction=0.05).fit(X, y)
    if not average.needs_validation:  # which trains on other rows than these
        np.testing.assert_allclose(est.explain(X).mean(0), est.causal_importances_, rtol=1e-5)
        _, rows = est._read(X, y, None, est)
        before = est.net_.module_.statistics.clone()
        est.net_.reestimate_statistics(rows)
        assert torch.equal(est.net_.module_.statistics, before)
    plain = regressor(early_stopping=average.needs_validation, validation_fraction=0.05).fit(X, y)
    assert not np.array_equal(plain.causal_importances_, est.causal_importances_)
    assert np.isfinite(est.predict(X)).all()


@pytest.mark.parametrize(
    ("optimizer", "last"),
    [*((name, EMA(decay=0.0)) for name in names()), ("sam", LAWA(k=1)), ("sam", SWA(start=0.99))],
)
def test_the_mean_of_the_last_weights_alone_is_the_fit_without(optimizer, last):
    assert_same(
        bits(regressor(optimizer=optimizer, averaging=last).fit(*table())),
        bits(regressor(optimizer=optimizer).fit(*table())),
    )


def test_before_the_first_evaluation_the_last_weights_stay():
    est, found = record(averaging=SWAD(freq=10**6))
    np.testing.assert_array_equal(bits(est)["weights"], found.epochs[-1].astype(np.float32))


def test_a_classifier_keeps_a_mean_as_well():
    X, y = classes()
    est = classifier(averaging="swa", max_epochs=8).fit(X, y)
    plain = classifier(max_epochs=8).fit(X, y)
    assert not np.array_equal(est.predict_proba(X), plain.predict_proba(X))
    assert est.score(X, y) > 0.4


# The fit does not notice


@pytest.mark.parametrize("optimizer", ["gd", "sam", "entropy_sgd", "bh"])
@every_average
def test_losses_are_bitwise_those_of_the_fit_without(optimizer, average):
    params = {"optimizer": optimizer, **PATIENT}
    expected = history(regressor(**params).fit(*table()))
    assert_same(history(regressor(**params, averaging=average).fit(*table())), expected)
    if average.needs_validation:
        params["early_stopping"] = False
        assert_same(history(regressor(**params, averaging=average).fit(*table())), expected)


@every_average
def test_callbacks_see_the_weights_and_statistics_of_the_fit_without(average):
    _, expected = record(**PATIENT)
    _, found = record(**PATIENT, averaging=average)
    for ours, theirs in zip(found.statistics, expected.statistics, strict=True):
        assert torch.equal(ours, theirs)
    np.testing.assert_array_equal(found.steps, expected.steps)


# Members


@every_average
def test_a_member_is_bitwise_the_same_whatever_its_neighbours(average):
    params = {"averaging": average, "max_epochs": 5}
    two, three, five = (regressor(**params, n_members=k).fit(*table()) for k in (2, 3, 5))
    assert_same(member_bits(two, [0, 1]), member_bits(three, [0, 1]))
    assert_same(member_bits(three, [0, 1, 2]), member_bits(five, [0, 1, 2]))


@every_average
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_member_that_diverged_keeps_what_it_would_without_and_leaves_the_others_alone(
    average, early_stopping
):
    params = {**PATIENT, "early_stopping": early_stopping or average.needs_validation}
    params |= {"n_members": 3, "lr_schedule": None, "max_epochs": 6}
    healthy = regressor(**params, averaging=average).fit(*table())
    with pytest.warns(ConvergenceWarning, match="member 1 in epoch 4"):
        plain = regressor(**params, callbacks=[poison(1, after=3)]).fit(*table())
    with pytest.warns(ConvergenceWarning, match="member 1 in epoch 4"):
        sick = regressor(**params, averaging=average, callbacks=[poison(1, after=3)]).fit(*table())
    assert_same(member_bits(sick, [0, 2]), member_bits(healthy, [0, 2]))
    assert_same(member_bits(sick, [1]), member_bits(plain, [1]))


@pytest.mark.parametrize("average", [SWA(start=0.0), *list(AVERAGES.values())[1:]], ids=repr)
def test_the_mean_of_a_member_that_stops_early_ends_with_its_last_epoch(average):
    stopped = regressor(**STOPPING, averaging=average).fit(*table())
    plain = regressor(**STOPPING).fit(*table())
    assert_same(history(stopped), history(plain))
    last = np.minimum(plain.best_epoch_ + 2, 12)
    np.testing.assert_array_equal(stopped.best_epoch_, last)
    assert len(set(last)) > 1
    for k, epoch in enumerate(last):
        params = {**STOPPING, "n_iter_no_change": 99, "max_epochs": int(epoch)}
        until_then = regressor(**params, averaging=average).fit(*table())
        ours, theirs = member_bits(stopped, [k]), member_bits(until_then, [k])
        for name in KEPT:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_member_that_stops_before_it_has_a_mean_keeps_its_best_weights():
    plain = regressor(**STOPPING).fit(*table())
    start = (plain.n_iter_ - 1) / STOPPING["max_epochs"]
    late = regressor(**STOPPING, averaging=SWA(start=start)).fit(*table())
    stops_early = plain.best_epoch_ + 2 < plain.n_iter_
    early, others = (np.flatnonzero(which).tolist() for which in (stops_early, ~stops_early))
    assert early
    assert others
    assert_same(member_bits(late, early), member_bits(plain, early))
    assert (member_bits(late, others)["weights"] != member_bits(plain, others)["weights"]).any(1).all()


@every_average
def test_fits_together_are_those_apart(average):
    params = {"averaging": average, "max_epochs": 6, "early_stopping": True, "n_iter_no_change": 2}
    datasets = [table(), table(seed=1), table(seed=2)]
    apart = [regressor(**params, random_state=s).fit(*data) for s, data in enumerate(datasets)]
    together = fit_together([regressor(**params, random_state=s) for s in range(3)], datasets)
    for ours, theirs in zip(together, apart, strict=True):
        assert_same(bits(ours), bits(theirs))


def test_fits_together_with_rows_that_swad_alone_asks_for():
    datasets = [table(), table(seed=1)]
    params = {"averaging": AVERAGES["swad"], "max_epochs": 6}
    apart = [regressor(**params).fit(*data) for data in datasets]
    for ours, theirs in zip(fit_together([regressor(**params) for _ in apart], datasets), apart, strict=True):
        assert_same(bits(ours), bits(theirs))


# Interrupts, files, further fits


@pytest.mark.parametrize("early_stopping", [False, True])
@every_average
def test_interrupted_at_every_epoch_in_turn(average, early_stopping, tmp_path):
    params = {"averaging": average, "early_stopping": early_stopping, "max_epochs": 6}
    whole = bits(regressor(**params).fit(*table()))
    for after in range(1, 6):
        est = regressor(**params, checkpoint_dir=tmp_path, callbacks=[interrupt(after + 1)])
        with pytest.raises(KeyboardInterrupt):
            est.fit(*table())
    epochs = []
    seen = AtEpochEnd(lambda net, epoch: epochs.append(epoch))
    est = regressor(**params, checkpoint_dir=tmp_path, callbacks=[seen]).fit(*table())
    assert epochs == [6]
    assert_same(bits(est), whole)


def test_a_checkpoint_of_another_average_is_not_picked_up(tmp_path):
    est = regressor(averaging="ema", checkpoint_dir=tmp_path, callbacks=[interrupt(2)])
    with pytest.raises(KeyboardInterrupt):
        est.fit(*table())
    other = regressor(averaging=EMA(decay=0.5), checkpoint_dir=tmp_path).fit(*table())
    assert_same(bits(other), bits(regressor(averaging=EMA(decay=0.5)).fit(*table())))
    assert len(list(tmp_path.iterdir())) == 1


@every_average
def test_models_are_kept_and_loaded_with_the_mean(average, tmp_path):
    est = regressor(averaging=average).fit(*table())
    path = tmp_path / "model.safetensors"
    assert_same(bits(pickle.loads(pickle.dumps(est))), bits(est))
    for optimizer_state in (False, True):
        est.save_weights(path, optimizer_state=optimizer_state)
        assert_same(bits(clone(est).load_weights(path)), bits(est))
        for other in (None, "lawa", "ema"):
            assert_same(bits(regressor(averaging=other).load_weights(path)), bits(est))
    assert est.net_.average_ is None  # so that files hold none of its copies of the weights
    loaded = regressor().load_weights(path).partial_fit(*table())
    assert_same(bits(loaded), bits(est.set_params(averaging=None).partial_fit(*table())))


def test_a_warm_start_goes_on_from_the_mean_and_takes_one_anew():
    starts = []

    class Start(Callback):
        def on_train_begin(self, net, **kwargs):
            starts.append(net.module_.population.detach().clone())

    est = regressor(averaging=LAWA(k=10), warm_start=True, callbacks=[Start()]).fit(*table())
    mean = est.net_.module_.population.detach().clone()
    found = Trajectory()
    est.set_params(callbacks=[Start(), found]).fit(*table())
    assert torch.equal(starts[1], mean)
    np.testing.assert_allclose(bits(est)["weights"], np.mean(found.epochs, axis=0), rtol=0, atol=1e-6)


@every_average
def test_partial_fit_knows_of_no_average(average):
    est = regressor(averaging=average)
    with pytest.raises(ParameterError, match=r"averaging=.* needs whole fits"):
        est.partial_fit(*table())
    assert not hasattr(est, "net_")


@every_average
def test_scikit_learns_callbacks_see_the_mean_so_far(average):
    pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 brought callbacks")
    seen = []

    class Look:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator, X, y, metadata):
            if context.task_name == "epoch":
                seen.append(bits(fitted_estimator))
            return False

    params = {"averaging": average, "max_epochs": 4}
    est = regressor(**params).set_callbacks(Look()).fit(*table())
    assert_same(bits(est), bits(regressor(**params).fit(*table())))
    assert_same(seen[-1], bits(est))


# Parameters


def test_parameters_of_an_average_are_searched():
    est = regressor(averaging="ema").set_params(averaging__decay=0.5)
    assert repr(est.averaging) == "EMA(decay=0.5)"
    assert clone(est).get_params()["averaging__decay"] == 0.5
    with pytest.raises(ParameterTypeError, match=r"averaging must be one of .* got None"):
        regressor().set_params(averaging__decay=0.5)
    search = GridSearchCV(regressor(averaging="ema"), {"averaging__decay": [0.0, 0.9]}, cv=2).fit(*table())
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] != scores[1]
    plain = GridSearchCV(regressor(), {"averaging": [None, "swa"]}, cv=2).fit(*table())
    assert plain.cv_results_["mean_test_score"][0] == scores[0]


def test_a_recipe_is_used_as_it_is_at_the_fit():
    recipe = EMA(decay=0.5)
    est = regressor(averaging=recipe).fit(*table())
    assert est.averaging is recipe
    recipe.set_params(decay=0.1)
    assert est.net_.averaging.decay == 0.5


def test_swad_holds_out_rows_by_itself():
    params = {"averaging": AVERAGES["swad"], "max_epochs": 5, "validation_fraction": 0.3}
    est = regressor(**params).fit(*table())
    assert est.n_iter_ == 5
    assert np.isfinite(est.history_["member_valid_loss"]).all()
    assert_same(bits(est), bits(regressor(**params, **PATIENT).fit(*table())))
    with pytest.raises(DataError, match=r"averaging=SWAD.* cannot hold out 0.99 of 70 rows"):
        regressor(**{**params, "validation_fraction": 0.99}).fit(*table())
    with pytest.raises(ParameterError, match="validation_fraction"):
        regressor(**{**params, "validation_fraction": 0.0}).fit(*table())
