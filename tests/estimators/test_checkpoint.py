"""A fit that was interrupted and is repeated ends as if it had not been."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from flatcausal.exceptions import ParameterError, ParameterTypeError, WeightsError
from flatcausal.optim import SAM, SGD, names
from tests.estimators.fits import (
    AtEpochEnd,
    assert_same,
    bits,
    classes,
    classifier,
    interrupt,
    poison,
    regressor,
    table,
)

EPOCHS = 6


def files(folder):
    return sorted(Path(folder).iterdir())


def interrupted(est, after, data=None):
    """The estimator, whose fit was stopped at the end of an epoch, before that epoch was saved."""
    with pytest.raises(KeyboardInterrupt):
        est.set_params(callbacks=[interrupt(after)]).fit(*(data or table()))
    assert not hasattr(est, "net_")
    return est.set_params(callbacks=None)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("optimizer", names())
def test_interrupted_at_every_epoch_in_turn(optimizer, early_stopping, tmp_path):
    params = {"optimizer": optimizer, "early_stopping": early_stopping, "max_epochs": EPOCHS}
    whole = bits(regressor(**params).fit(*table()))
    for after in range(1, EPOCHS):
        interrupted(regressor(**params, checkpoint_dir=tmp_path), after + 1)
        assert len(files(tmp_path)) == 1
    epochs = []
    record = AtEpochEnd(lambda net, epoch: epochs.append(epoch))
    est = regressor(**params, checkpoint_dir=tmp_path, callbacks=[record]).fit(*table())
    assert epochs == [EPOCHS]
    assert_same(bits(est), whole)
    assert files(tmp_path) == []


@pytest.mark.parametrize("after", range(1, EPOCHS))
@pytest.mark.parametrize("optimizer", ["momentum", SAM(rho=0.1, base=SGD(momentum=0.9))], ids=str)
def test_interrupted_once(optimizer, after, tmp_path):
    params = {"optimizer": optimizer, "max_epochs": EPOCHS, "checkpoint_dir": tmp_path}
    whole = bits(regressor(**{**params, "checkpoint_dir": None}).fit(*table()))
    est = interrupted(regressor(**params), after)
    assert_same(bits(est.fit(*table())), whole)


def test_members_that_diverged_or_stopped_stay_so(tmp_path):
    params = {"early_stopping": True, "n_iter_no_change": 2, "n_members": 3, "max_epochs": 8, "lr": 1.0}
    sick = poison(0, after=2)
    with pytest.warns(UserWarning, match="member 0 in epoch 3"):
        whole = regressor(**params, callbacks=[sick]).fit(*table())
    est = regressor(**params, checkpoint_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        est.set_params(callbacks=[sick, interrupt(4)]).fit(*table())
    with pytest.warns(UserWarning, match="member 0 in epoch 3"):
        est.set_params(callbacks=None).fit(*table())
    assert_same(bits(est), bits(whole))


def test_interrupted_within_an_epoch(tmp_path):
    class Interrupt(Callback):
        def on_grad_computed(self, net, *args, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    est = regressor(checkpoint_dir=tmp_path, max_epochs=4)
    with pytest.raises(KeyboardInterrupt):
        est.set_params(callbacks=[Interrupt()]).fit(*table())
    assert_same(
        bits(est.set_params(callbacks=None).fit(*table())), bits(regressor(max_epochs=4).fit(*table()))
    )


def test_a_classifier_with_weights(tmp_path):
    X, y = classes()
    weight = np.linspace(0, 2, len(y))
    params = {"optimizer": "adam", "class_weight": "balanced", "max_epochs": 4}
    est = classifier(**params, checkpoint_dir=tmp_path)
    interrupted(est, 3, (X, y, weight))
    assert_same(bits(est.fit(X, y, weight)), bits(classifier(**params).fit(X, y, weight)))


def test_a_killed_process_leaves_a_file_to_go_on_from(tmp_path):
    program = f"""
import os, signal
from tests.estimators.fits import AtEpochEnd, regressor, table

def kill(net, epoch):
    if epoch == 4:
        os.kill(os.getpid(), signal.SIGKILL)

regressor(max_epochs=6, checkpoint_dir={str(tmp_path)!r}, callbacks=[AtEpochEnd(kill)]).fit(*table())
"""
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", program], cwd=root, env=os.environ, timeout=60, check=False)
    assert run.returncode == -signal.SIGKILL
    assert len(files(tmp_path)) == 1
    epochs = []
    record = AtEpochEnd(lambda net, epoch: epochs.append(epoch))
    est = regressor(max_epochs=6, checkpoint_dir=tmp_path, callbacks=[record]).fit(*table())
    assert epochs == [4, 5, 6]
    assert_same(bits(est), bits(regressor(max_epochs=6).fit(*table())))


X, y = table()
OTHERS = {
    "learning rate": ({"lr": 0.01}, (X, y)),
    "seed": ({"random_state": 1}, (X, y)),
    "recipe": ({"optimizer": SAM(rho=0.06)}, (X, y)),
    "clipping": ({"clip_norm": 0.1}, (X, y)),
    "members": ({"n_members": 3}, (X, y)),
    "more epochs": ({"max_epochs": 5}, (X, y)),
    "held-out rows": ({"early_stopping": True}, (X, y)),
    "rows": ({}, (X[1:], y[1:])),
    "one value": ({}, (np.where(np.arange(210).reshape(70, 3) == 17, 0.5, X), y)),
    "target": ({}, (X, y + 0.01 * X[:, 2])),
    "weights": ({}, (X, y, np.linspace(1, 2, 70))),
}


@pytest.mark.parametrize(("params", "data"), OTHERS.values(), ids=OTHERS)
def test_another_fit_does_not_pick_up_the_file(params, data, tmp_path):
    base = {"optimizer": SAM(), "max_epochs": 4}
    interrupted(regressor(**base, checkpoint_dir=tmp_path), 3)
    left = files(tmp_path)
    other = {**base, **params}
    assert_same(
        bits(regressor(**other, checkpoint_dir=tmp_path).fit(*data)), bits(regressor(**other).fit(*data))
    )
    assert files(tmp_path) == left


@pytest.mark.parametrize("changed", [{"lr": 0.2}, {"random_state": 1}], ids=str)
def test_a_warm_start_from_other_weights_or_seed_does_not_pick_up_the_file(changed, tmp_path):
    def start(lr=0.1, random_state=0):
        est = regressor(lr=lr).fit(*table())
        return est.set_params(lr=0.1, random_state=random_state, warm_start=True)

    expected = bits(start(**changed).fit(*table()))
    one, other = (est.set_params(checkpoint_dir=tmp_path) for est in (start(), start(**changed)))
    with pytest.raises(KeyboardInterrupt):
        one.set_params(callbacks=[interrupt(3)]).fit(*table())
    assert_same(bits(other.fit(*table())), expected)
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"", lambda data: b"x" * 999])
def test_a_damaged_file_is_named(damage, tmp_path):
    est = interrupted(regressor(checkpoint_dir=tmp_path), 2)
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(WeightsError, match=file.name) as caught:
        est.fit(*table())
    assert "delete it" in str(caught.value)
    assert not hasattr(est, "net_")
    file.unlink()
    assert_same(bits(est.fit(*table())), bits(regressor().fit(*table())))


def test_a_fit_that_fails_at_the_end_is_not_trained_again(tmp_path):
    est = regressor(optimizer="sgd", lr=1e30, checkpoint_dir=tmp_path)
    with pytest.raises(FloatingPointError):
        est.fit(*table())
    epochs = []
    est.set_params(callbacks=[AtEpochEnd(lambda net, epoch: epochs.append(epoch))])
    with pytest.raises(FloatingPointError):
        est.fit(*table())
    assert epochs == []


def test_a_search_goes_on_where_it_was(tmp_path):
    def search(**params):
        est = regressor(max_epochs=4, **params)
        return GridSearchCV(est, {"lr": [0.05, 0.1]}, cv=2, error_score="raise")

    gradients = []

    class Count(Callback):
        def on_grad_computed(self, net, *args, **kwargs):
            gradients.append(None)
            if len(gradients) == stop:
                raise KeyboardInterrupt

    expected = search().fit(*table())
    stop = 40
    with pytest.raises(KeyboardInterrupt):
        search(checkpoint_dir=tmp_path, callbacks=[Count()]).fit(*table())
    found = search(checkpoint_dir=tmp_path).fit(*table())
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )
    assert_same(bits(found.best_estimator_), bits(expected.best_estimator_))
    assert files(tmp_path) == []


def test_the_folder_is_made_and_may_be_a_string(tmp_path):
    folder = tmp_path / "runs" / "today"
    est = interrupted(regressor(checkpoint_dir=str(folder)), 2)
    assert len(files(folder)) == 1
    assert clone(est).checkpoint_dir == str(folder)


def test_callbacks_and_noise_of_the_machine_take_no_part(tmp_path):
    est = interrupted(regressor(checkpoint_dir=tmp_path, max_epochs=4), 3)
    draws = torch.get_rng_state()
    est.set_params(verbose=1, callbacks=[AtEpochEnd(lambda net, epoch: torch.get_num_threads())])
    assert_same(bits(est.fit(*table())), bits(regressor(max_epochs=4).fit(*table())))
    assert torch.equal(torch.get_rng_state(), draws)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"random_state": None}, ParameterError, "checkpoint_dir needs a random_state"),
        ({"checkpoint_dir": 5}, ParameterTypeError, "checkpoint_dir.*5"),
    ],
)
def test_bad_parameters_are_named(params, error, match, tmp_path):
    with pytest.raises(error, match=match):
        regressor(**{"checkpoint_dir": tmp_path, **params}).fit(*table())
    assert files(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        regressor(checkpoint_dir=tmp_path / "taken").fit(*table())
