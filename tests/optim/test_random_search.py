"""Random search: twin, what never rises, and what it costs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flatcausal.exceptions import DesignError, ParameterTypeError
from flatcausal.optim import SAM, RandomSearch
from flatcausal.study import StudyDesign
from tests.optim.problems import Quadratics, closure_for, flat, module, train
from tests.optim.test_basin_hopping import Valleys, loss_of
from tests.optim.test_noise_enabled import as_numpy
from tests.reference import noise_enabled as twin


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("normalized", [True, False])
def test_twenty_steps_equal_the_numpy_twin(batch_norm, normalized):
    net, other = module(batch_norm), module(batch_norm)
    noise = as_numpy(net, 1.0, "sphere" if normalized else "gaussian")
    lr = 0.5 if normalized else 0.05
    expected = twin.random_search(loss_of(other), flat(net).numpy(), 20, lr, 7, noise)
    start = flat(net).numpy()
    train(net, RandomSearch(7, normalized).build(net, lr=lr, random_state=0), 20)
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-12)
    assert abs(expected - start).max() > 0.01


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.booleans(), st.floats(0.0, 10.0))
def test_no_loss_ever_rises(n_dirs, normalized, lr):
    path = Valleys(6).run(RandomSearch(n_dirs, normalized), 10, lr=lr)
    assert (path.diff(dim=0) <= 0).all()
    assert lr > 0 or (path.diff(dim=0) == 0).all()


def test_only_the_order_of_losses_counts():
    valleys, curved = Valleys(6), Valleys(6)
    curved.losses = lambda: curved.values().exp()
    for each in (valleys, curved):
        each.run(RandomSearch(4), 10, lr=0.3)
    assert torch.equal(valleys.w, curved.w)


def test_a_closure_is_asked_for_losses_alone_where_it_offers_them():
    offering, plain = Valleys(3), Valleys(3, with_losses=False)
    recipe = RandomSearch(n_dirs=4)
    offering.run(recipe, 5, lr=0.1)
    plain.run(recipe, 5, lr=0.1)
    assert offering.calls == recipe.gradients_per_step == 0
    assert offering.w.grad is None
    assert plain.calls == 5 * (4 + 1)
    assert torch.equal(offering.w, plain.w)


@pytest.mark.parametrize("d", [64, 400])
def test_the_gain_of_a_direction_falls_with_the_root_of_the_dimension(d):
    """On a slope of length 1, the best of J directions of length 1 gains m_J / sqrt(d)."""
    w = torch.zeros(4000, d, dtype=torch.float64, requires_grad=True)

    class Slope:
        def losses(self):
            return w[:, 0]

        def __call__(self):
            raise AssertionError("no gradient is needed")

    RandomSearch(10, normalized=True).build([w], lr=1.0, n_members=4000, random_state=0).step(Slope())
    gain = -w[:, 0].mean().item() * d**0.5
    assert gain == pytest.approx(1.5388, rel=0.08)  # the mean of the largest of ten normal numbers


def test_an_interrupt_leaves_the_weights_of_the_last_step():
    net = module()
    optimizer = RandomSearch().build(net, lr=0.05, random_state=0)
    train(net, optimizer, 2)
    before = flat(net)
    closure = closure_for(net, optimizer)
    looks = []

    def fails():
        looks.append(None)
        if len(looks) == 5:
            raise KeyboardInterrupt
        return value()

    value, closure.losses = closure.losses, fails
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert torch.equal(flat(net), before)
    assert net[1].track_running_stats


def test_a_member_without_a_loss_stays_and_the_others_go_on_bitwise():
    healthy, sick = Valleys(3), Valleys(3)
    with torch.no_grad():
        sick.w[0] = torch.nan
    healthy.run(RandomSearch(), 10, lr=0.1)
    sick.run(RandomSearch(), 10, lr=0.1)
    assert torch.equal(healthy.w[1:], sick.w[1:])


def test_the_penalty_of_the_weight_decay_is_part_of_the_loss():
    problem = Quadratics(0, 1)
    problem.h.zero_()
    start = problem.w.detach().norm(dim=1)
    problem.train(RandomSearch().build([problem.w], 0.1, weight_decay=1.0, n_members=2, random_state=0), 50)
    assert (problem.w.norm(dim=1) < 0.5 * start).all()


def test_it_is_no_base_for_sam():
    with pytest.raises(ParameterTypeError, match="one gradient per step"):
        SAM(base=RandomSearch()).build(module())


def test_a_study_refuses_what_takes_no_gradients():
    with pytest.raises(DesignError, match=r"optimizers\.random_search takes no gradients"):
        StudyDesign(optimizers=["sgd", "random_search"])
