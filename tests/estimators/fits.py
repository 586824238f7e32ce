"""Tiny fits for tests, what comes out of them, and callbacks that meddle with them."""

import numpy as np
import torch
from skorch.callbacks import Callback

from flatcausal import FlatMinimaTabNetClassifier, FlatMinimaTabNetRegressor

TINY = {
    **{"n_d": 2, "n_a": 2, "n_steps": 2, "n_shared": 1, "n_independent": 1, "device": "cpu"},
    **{"batch_size": 16, "virtual_batch_size": 8, "max_epochs": 3, "n_members": 2, "random_state": 0},
}
WITHOUT_MEMBERS = ("epoch", "train_loss", "valid_loss")


def table(n=70, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, 3 * X[:, 0] - X[:, 1] ** 2 + 0.3 * rng.normal(size=n) + 5


def classes(n=70):
    X, y = table(n)
    return X, np.array(["low", "mid", "top"])[np.digitize(y, [3.5, 6.0])]


def regressor(**params):
    return FlatMinimaTabNetRegressor(**{**TINY, **params})


def classifier(**params):
    return FlatMinimaTabNetClassifier(**{**TINY, **params})


def bits(est, X=None):
    """All that a fit leaves behind, in arrays: equal only if the fits are."""
    X = table()[0] if X is None else X
    module = est.net_.module_
    found = {
        "weights": module.population.detach().cpu().numpy(),
        "statistics": module.statistics.cpu().numpy(),
        "predictions": est.predict_members(X),
        "mean": est.predict(X),
        "explanation": est.explain(X),
        "importances": est.member_importances_,
        "diverged": est.diverged_,
        "best_epoch": est.best_epoch_,
        "n_iter": est.n_iter_,
        "n_gradients": est.n_gradient_evaluations_,
    }
    history = {f"history {key}": values for key, values in est.history_.items() if key != "dur"}
    return {name: np.array(value) for name, value in {**found, **history}.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name, strict=True)


def member_bits(est, members):
    """What ``bits`` tells of some members only."""
    found, K = bits(est), est.n_members
    own = ("weights", "statistics", "predictions", "importances", "diverged", "best_epoch")
    history = {name: value.T for name, value in found.items() if name.startswith("history member_")}
    assert all(len(value) == K for value in history.values())
    return {name: value[members] for name, value in {**{n: found[n] for n in own}, **history}.items()}


class AtEpochEnd(Callback):
    """Call ``act(net, epoch)`` at the end of every epoch."""

    def __init__(self, act):
        self.act = act

    def on_epoch_end(self, net, **kwargs):
        self.act(net, len(net.history))


def poison(member, after=1):
    """Make a member's weights NaN at the end of an epoch."""

    def act(net, epoch):
        if epoch == after:
            with torch.no_grad():
                net.module_.population[member] = float("nan")

    return AtEpochEnd(act)


def interrupt(after):
    """Press Ctrl-C at the end of an epoch, or, with None, never."""

    def act(net, epoch):
        if epoch == after:
            raise KeyboardInterrupt

    return AtEpochEnd(act)
