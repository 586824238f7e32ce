"""The weights that a training passes."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import EarlyStopping

from flatcausal.callbacks import WeightsRecorder
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.flatness import loss_surface
from tests.callbacks.nets import rows, stock_regressor
from tests.estimators.fits import AtEpochEnd, interrupt, regressor, table


def recorded(recorder, **params):
    return regressor(**{"max_epochs": 5, **params}, callbacks=[("weights", recorder)]).fit(*table())


@pytest.mark.parametrize("averaging", [None, "ema"])
def test_estimator(averaging):
    seen = []

    def look(net, epoch):
        seen.append(net.module_.population.detach().clone())

    recorder = WeightsRecorder(every=2)
    params = {"max_epochs": 5, "averaging": averaging}
    est = regressor(**params, callbacks=[recorder, AtEpochEnd(look)]).fit(*table())
    assert recorder.epochs_ == [0, 2, 4]
    assert [list(checkpoint) for checkpoint in recorder.checkpoints_] == [["population"]] * 3
    for epoch, checkpoint in zip(recorder.epochs_[1:], recorder.checkpoints_[1:], strict=True):
        assert torch.equal(checkpoint["population"], seen[epoch - 1])
    first = regressor(max_epochs=1, lr=0.0).fit(*table()).net_.module_.population
    assert torch.equal(recorder.checkpoints_[0]["population"], first)
    assert torch.equal(seen[-1], est.net_.module_.population) == (averaging is None)


def test_copies_belong_to_nobody():
    recorder = WeightsRecorder()
    est = recorded(recorder)
    last = recorder.checkpoints_[-1]["population"]
    assert last.device.type == "cpu"
    assert last.dtype == torch.float32
    assert not last.requires_grad
    before = last.clone()
    with torch.no_grad():
        est.net_.module_.population.zero_()
    assert torch.equal(last, before)


def test_stock_net():
    recorder = WeightsRecorder()
    net = stock_regressor([recorder]).fit(*rows())
    assert recorder.epochs_ == [0, 1, 2, 3, 4]
    for name, p in net.module_.named_parameters():
        assert torch.equal(recorder.checkpoints_[-1][name], p)
    assert recorder.checkpoints_[0].keys() == dict(net.module_.named_parameters()).keys()
    net.set_params(warm_start=True, max_epochs=1).fit(*rows())
    assert recorder.epochs_ == [0, 1, 2, 3, 4, 5]
    net.set_params(warm_start=False).fit(*rows())
    assert recorder.epochs_ == [0, 1]


def test_a_surface_shows_the_path_of_a_stock_net():
    recorder = WeightsRecorder()
    net = stock_regressor([recorder]).fit(*rows())
    surface = loss_surface(
        net, *rows(), 3, directions="trajectory", trajectory=recorder.checkpoints_, bn="recalibrated"
    )
    assert surface.path.shape == (1, 5, 2)
    assert surface.path[0, -1].tolist() == [0, 0]  # the last copy is the model
    assert surface.explained.sum() > 0.9


def test_early_stopping():
    recorder = WeightsRecorder(every=2)
    est = regressor(max_epochs=9, callbacks=[recorder, EarlyStopping("train_loss", threshold=10, patience=3)])
    est.fit(*table())
    assert recorder.epochs_ == list(range(0, len(est.net_.history) + 1, 2))
    recorder = WeightsRecorder()
    est = recorded(recorder, early_stopping=True)
    best = est.best_epoch_
    for k, epoch in enumerate(best):
        assert torch.equal(recorder.checkpoints_[epoch]["population"][k], est.net_.module_.population[k])


def test_new_fit_begins_a_list_and_partial_fit_goes_on():
    recorder = WeightsRecorder(every=2)
    est = recorded(recorder)
    est.fit(*table())
    assert recorder.epochs_ == [0, 2, 4]
    est.partial_fit(*table())
    assert recorder.epochs_ == [0, 2, 4, 6]
    assert torch.equal(recorder.checkpoints_[-1]["population"], est.net_.module_.population)
    est.set_params(warm_start=True).fit(*table())
    assert recorder.epochs_ == [0, 2, 4]


def test_resumed_fit_has_no_epoch_twice(tmp_path):
    whole = WeightsRecorder()
    recorded(whole)
    recorder = WeightsRecorder()
    est = regressor(max_epochs=5, checkpoint_dir=tmp_path, callbacks=[recorder, interrupt(3)])
    with pytest.raises(KeyboardInterrupt):
        est.fit(*table())
    assert recorder.epochs_ == [0, 1, 2, 3]
    est.set_params(callbacks=[recorder]).fit(*table())
    assert recorder.epochs_ == whole.epochs_
    for one, other in zip(recorder.checkpoints_, whole.checkpoints_, strict=True):
        assert torch.equal(one["population"], other["population"])


def test_clone_and_pickle():
    recorder = WeightsRecorder(every=2)
    est = recorded(recorder)
    assert not vars(clone(recorder)).keys() - {"every"}
    read = dict(pickle.loads(pickle.dumps(est)).callbacks)["weights"]
    assert read.epochs_ == recorder.epochs_
    assert torch.equal(read.checkpoints_[-1]["population"], recorder.checkpoints_[-1]["population"])
    search = GridSearchCV(est, {"lr": [0.01, 0.02]}, cv=2, error_score="raise").fit(*table())
    best = dict(search.best_estimator_.callbacks)["weights"]
    assert best is not recorder
    assert best.epochs_ == [0, 2, 4]
    np.testing.assert_array_equal(recorder.epochs_, [0, 2, 4])


@pytest.mark.parametrize(("every", "error"), [(0, ParameterError), (1.5, ParameterTypeError)])
def test_bad_rhythm(every, error):
    with pytest.raises(error, match=r"^every must be"):
        recorded(WeightsRecorder(every))
