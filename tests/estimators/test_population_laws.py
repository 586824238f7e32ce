"""The laws of the population, for every optimizer that has a name: members do not meet."""

import random
import warnings

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from flatcausal.optim import names
from tests.estimators.fits import (
    AtEpochEnd,
    assert_same,
    bits,
    classifier,
    member_bits,
    poison,
    regressor,
    table,
)

every_optimizer = pytest.mark.parametrize("optimizer", names())


@pytest.fixture
def two_threads():
    ambient = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(ambient)


@every_optimizer
def test_a_member_is_bitwise_the_same_whatever_its_neighbours(optimizer):
    two, three, five = (regressor(optimizer=optimizer, n_members=k).fit(*table()) for k in (2, 3, 5))
    assert_same(member_bits(two, [0, 1]), member_bits(three, [0, 1]))
    assert_same(member_bits(three, [0, 1, 2]), member_bits(five, [0, 1, 2]))


@every_optimizer
def test_one_member_alone_is_member_0_up_to_rounding(optimizer):
    one, two = (regressor(optimizer=optimizer, n_members=k).fit(*table()) for k in (1, 2))
    X, _ = table()
    np.testing.assert_allclose(one.predict_members(X)[0], two.predict_members(X)[0], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(one.member_importances_[0], two.member_importances_[0], atol=2e-3)
    assert abs(two.predict_members(X)[1] - one.predict_members(X)[0]).max() > 0.1


@every_optimizer
def test_a_member_that_turns_nan_stops_and_leaves_the_others_bitwise_unchanged(optimizer):
    params = {"optimizer": optimizer, "n_members": 3, "lr_schedule": None}
    healthy, one_epoch = (regressor(**params, max_epochs=n).fit(*table()) for n in (3, 1))
    lr = healthy.net_.optimizer_.param_groups[0]["lr"]
    message = f"1 of 3 members.*member 1 in epoch 2 at lr={lr:.3g}[;,]"
    with pytest.warns(ConvergenceWarning, match=message):
        sick = regressor(**params, callbacks=[poison(member=1)]).fit(*table())
    assert_same(member_bits(sick, [0, 2]), member_bits(healthy, [0, 2]))

    assert sick.diverged_.tolist() == [False, True, False]
    assert sick.best_epoch_.tolist() == [3, 1, 3]
    kept, expected = member_bits(sick, [1]), member_bits(one_epoch, [1])
    for name in ("weights", "statistics", "predictions"):
        np.testing.assert_array_equal(kept[name], expected[name], err_msg=name)

    X, _ = table()
    np.testing.assert_allclose(sick.predict(X), sick.predict_members(X)[[0, 2]].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(sick.causal_importances_, healthy.member_importances_[[0, 2]].mean(0))
    np.testing.assert_array_equal(sick.causal_importances_std_, healthy.member_importances_[[0, 2]].std(0))
    assert np.isnan(sick.member_importances_[1]).all()
    assert np.isfinite(sick.history_["train_loss"]).all()


def test_a_member_whose_loss_overflows_does_not_blind_the_history():
    def overflow(net, epoch):
        output = net.module_.layout.columns()["output"]
        with torch.no_grad():
            net.module_.population[0, output] = 1e30

    with pytest.warns(ConvergenceWarning, match="member 0 in epoch 2"):
        est = regressor(optimizer="gd", callbacks=[AtEpochEnd(overflow)]).fit(*table())
    assert np.isfinite(est.history_["train_loss"]).all()
    assert not np.isfinite(est.history_["member_train_loss"]).all()


@every_optimizer
def test_same_seed_same_bits_in_any_order_and_thread(optimizer, two_threads):
    tasks = [("sgd", 1), (optimizer, 0), ("adam", 2), (optimizer, 0)]
    parallel = Parallel(n_jobs=2, backend="threading")
    fits = parallel(delayed(regressor(optimizer=o, random_state=s).fit)(*table()) for o, s in tasks)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    alone = bits(regressor(optimizer=optimizer).fit(*table()))
    assert_same(bits(fits[1]), alone)
    assert_same(bits(fits[3]), alone)


def test_threads_around_a_fit_change_no_bit(two_threads):
    # Sums over so many rows are split over threads where there are several.
    params = {"optimizer": "sgd", "n_members": 1, "batch_size": 70_000, "virtual_batch_size": 70_000}
    fits = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        fits.append(bits(regressor(**params).fit(*table(70_000))))
    assert_same(*fits)


def test_other_seeds_give_other_members_and_generators_are_advanced():
    zero, one = (regressor(random_state=s).fit(*table()) for s in (0, 1))
    assert not np.array_equal(bits(zero)["weights"], bits(one)["weights"])
    rng = np.random.default_rng(0)
    first, second = (regressor(random_state=rng).fit(*table()) for _ in range(2))
    assert not np.array_equal(bits(first)["weights"], bits(second)["weights"])
    again = regressor(random_state=np.random.default_rng(0)).fit(*table())
    assert_same(bits(again), bits(first))


def global_state():
    rng = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": (rng[0], rng[1].tolist(), *rng[2:]),
        "random": random.getstate(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "filters": list(warnings.filters),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "errors": np.geterr(),
    }


@pytest.mark.parametrize("make", [regressor, classifier])
@every_optimizer
def test_no_global_state_is_touched(optimizer, make, two_threads):
    X, y = table()
    y = y if make is regressor else y > 4
    before = global_state()
    est = make(optimizer=optimizer, early_stopping=True).fit(X, y)
    est.predict(X)
    est.explain(X)
    est.set_params(early_stopping=False).partial_fit(X, y)
    with pytest.raises(FloatingPointError):
        make(optimizer=optimizer, callbacks=[poison(slice(None))]).fit(X, y)
    assert global_state() == before


def test_the_warning_points_to_the_line_of_the_caller():
    with pytest.warns(ConvergenceWarning) as caught:
        est = regressor(callbacks=[poison(0)]).fit(*table())
    with pytest.warns(ConvergenceWarning) as caught_partial:
        est.set_params(callbacks=[poison(0, after=4)]).partial_fit(*table())
    assert {warning.filename for warning in (*caught, *caught_partial)} == {__file__}
