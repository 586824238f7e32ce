"""A training is bitwise the same whether it is watched or not."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch.callbacks import Callback

from flatcausal.callbacks import SharpnessMonitor, WeightsRecorder
from flatcausal.flatness import sharpness
from flatcausal.optim import SAM, Adam
from tests.callbacks.nets import rows, stock_regressor
from tests.estimators.fits import assert_same, bits, classes, classifier, interrupt, regressor, table


def watchers():
    return [
        ("sharpness", SharpnessMonitor(["adaptive", partial(sharpness, kind="average", n_draws=2)], every=2)),
        ("weights", WeightsRecorder()),
    ]


class Streams(Callback):
    """Take note of all that the next epoch depends on."""

    def __init__(self):
        self.seen_ = []

    def on_epoch_begin(self, net, **kwargs):
        state = net.training_state()
        self.seen_.append(
            {
                "weights": state["network"]["population"].numpy(),
                "running": state["network"]["statistics"].numpy(),
                "orders": torch.stack(state["orders"]).numpy(),
                "training": np.array(net.module_.training),
                "n_gradients": np.array(net.history.n_gradient_evaluations),
                "torch": torch.get_rng_state().numpy(),
            }
        )


def words(name):
    return name.removeprefix("history ").removeprefix("member_").split("_")


def without_records(found):
    return {name: value for name, value in found.items() if not {"adaptive", "sharpness"} & {*words(name)}}


FITS = {
    "adam": {"optimizer": "adam"},
    "sam": {"optimizer": "sam"},
    "noise": {"optimizer": "nim_sgd"},
    "foof": {"optimizer": "foof"},
    "entropy": {"optimizer": "entropy_sgd", "max_epochs": 2},
    "averaged": {"averaging": "ema"},
    "swad": {"averaging": "swad"},
    "stopped": {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 6},
    "warm": {"warm_start": True},
}


@pytest.mark.parametrize("name", FITS)
def test_estimator(name):
    found = []
    for watched in (False, True):
        streams = Streams()
        callbacks = [*(watchers() if watched else []), streams]
        est = regressor(**{"max_epochs": 4, **FITS[name]}, callbacks=callbacks).fit(*table())
        found.append((est, streams.seen_))
    (plain, seen), (watched, seen_watched) = found
    assert_same(bits(plain), without_records(bits(watched)))
    assert len(seen) == len(seen_watched) > 1
    for one, other in zip(seen, seen_watched, strict=True):
        assert_same(one, other)
    # Nor does it matter to be without any callback.
    assert_same(
        bits(regressor(**{"max_epochs": 4, **FITS[name]}).fit(*table())), without_records(bits(watched))
    )


@settings(max_examples=6)
@given(
    every=st.integers(1, 4),
    n_members=st.integers(1, 3),
    rho=st.sampled_from([0.0, 0.05]),
    weighted=st.booleans(),
)
def test_any_estimator(every, n_members, rho, weighted):
    weight = np.arange(70.0) % 3 if weighted else None
    params = {"optimizer": SAM(rho=rho, base=Adam()), "n_members": n_members}
    X, y = classes()
    plain = classifier(**params).fit(X, y, weight)
    watched = classifier(**params, callbacks=[SharpnessMonitor(every=every), WeightsRecorder(every)])
    assert_same(bits(plain), without_records(bits(watched.fit(X, y, weight))))


def test_resumed(tmp_path):
    def monitor():
        return SharpnessMonitor(every=2, random_state=0)

    whole = regressor(max_epochs=5, callbacks=[monitor()]).fit(*table())
    est = regressor(max_epochs=5, checkpoint_dir=tmp_path, callbacks=[monitor(), interrupt(4)])
    with pytest.raises(KeyboardInterrupt):
        est.fit(*table())
    recorder = WeightsRecorder()
    est.set_params(callbacks=[monitor(), recorder]).fit(*table())
    assert_same(bits(whole), bits(est))
    assert recorder.epochs_ == [3, 4, 5]


def test_partial_fit():
    plain, watched = regressor(), regressor(callbacks=watchers())
    for _ in range(3):
        plain.partial_fit(*table())
        watched.partial_fit(*table())
    assert_same(bits(plain), without_records(bits(watched)))


def test_partial_fit_with_unseen_categories():
    X, y = table()
    coded = pd.DataFrame(X).assign(kind=np.where(X[:, 0] > 0, "a", "b"))
    unseen = coded.assign(kind=np.where(X[:, 1] > 0, "a", "new"))
    coded.columns = unseen.columns = coded.columns.astype(str)
    fits = []
    for callbacks in (None, watchers()):
        est = regressor(callbacks=callbacks, categorical_features=["kind"])
        fits.append(bits(est.partial_fit(coded, y).partial_fit(unseen, y), coded))
    assert_same(fits[0], without_records(fits[1]))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, SAM(rho=0.05).build], ids=["sgd", "sam"])
def test_stock_net_with_dropout(optimizer):
    found = []
    for callbacks in ([], watchers()):
        net = stock_regressor(callbacks, optimizer=optimizer).fit(*rows())
        state = {name: tensor.numpy() for name, tensor in net.module_.state_dict().items()}
        losses = np.array(net.history[:, "train_loss"])
        found.append({**state, "losses": losses, "rng": torch.get_rng_state().numpy()})
    assert_same(*found)
