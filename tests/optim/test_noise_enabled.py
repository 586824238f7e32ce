"""Noise in the model and in the gradient: twins, limits, laws of the noise."""

import copy
import math

import numpy as np
import pytest
import torch

from flatcausal._members import member_generators
from flatcausal._random import seed_sequence
from flatcausal.optim import SAM, SGD, NiGGD, NiGSGD, NiMGD, NiMSGD
from flatcausal.optim._noise import MemberNoise
from tests.optim.problems import flat, gradient_of, module, train
from tests.reference import noise_enabled as twin
from tests.reference.optimizers import sgd_rule


def stream(kind="gaussian", n_members=1, seed=0):
    return MemberNoise(member_generators(seed_sequence(seed), n_members), kind)


def as_numpy(net, sigma, kind="gaussian"):
    """The noise that a recipe built with random_state=0 draws for ``net``, a vector at a time."""
    noise, params = stream(kind), list(net.parameters())
    return lambda: sigma * torch.cat([part.reshape(-1) for part in noise.like(params)]).numpy()


@pytest.mark.parametrize("kind", ["gaussian", "sphere", "ball"])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize(
    ("make", "run"),
    [(NiMSGD, twin.noise_in_model), (NiGSGD, twin.noise_in_gradient)],
    ids=["model", "gradient"],
)
def test_twenty_steps_equal_the_numpy_twin(make, run, kind, batch_norm):
    net, other = module(batch_norm), module(batch_norm)
    rule = sgd_rule(0.1, 0.9, True, 0.01)
    expected = run(gradient_of(other), flat(net).numpy(), 20, rule, as_numpy(net, 0.2, kind))
    recipe = make(sigma=0.2, noise=kind, momentum=0.9, nesterov=True)
    train(net, recipe.build(net, lr=0.1, weight_decay=0.01, random_state=0), 20)
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("make", [NiMSGD, NiGSGD, NiMGD, NiGGD])
def test_without_noise_it_is_sgd_bitwise(make, momentum):
    plain, noisy = module(), module()
    train(plain, SGD(momentum=momentum).build(plain, lr=0.05, weight_decay=0.01), 10)
    train(noisy, make(sigma=0.0, momentum=momentum).build(noisy, lr=0.05, weight_decay=0.01), 10)
    pairs = zip(plain.state_dict().values(), noisy.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_full_batch_twins_say_so():
    assert NiMGD().full_batch
    assert NiGGD().full_batch
    assert not NiMSGD().full_batch
    assert not NiGSGD().full_batch


def test_noise_in_the_gradient_is_a_step_and_then_noise_times_the_rate():
    noisy, plain = module(), module()
    train(noisy, NiGSGD(sigma=0.3).build(noisy, lr=0.05, random_state=0), 1)
    train(plain, SGD().build(plain, lr=0.05), 1)
    expected = flat(plain).numpy() - 0.05 * as_numpy(plain, 0.3)()
    np.testing.assert_allclose(flat(noisy).numpy(), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("lr", "curvature", "sigma"), [(0.1, 1.0, 0.5), (0.4, 2.0, 0.2), (0.05, 3.0, 1.0)])
@pytest.mark.parametrize("make", [NiMGD, NiGGD])
def test_stationary_variance_of_a_population_of_scalars(make, lr, curvature, sigma):
    w = torch.zeros(20_000, 1, dtype=torch.float64, requires_grad=True)
    optimizer = make(sigma=sigma).build([w], lr=lr, n_members=20_000, random_state=0)

    def closure():
        w.grad = curvature * w.detach()
        return w.sum()

    for _ in range(150):
        optimizer.step(closure)
    keep = (1 - lr * curvature) ** 2
    expected = (keep if make is NiMGD else lr**2) * sigma**2 / (1 - keep)
    assert w.var().item() == pytest.approx(expected, rel=0.04)  # a standard error is 1 %
    assert abs(w.mean().item()) < 5 * math.sqrt(expected / 20_000)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_noise_kinds_have_their_laws(n):
    shapes = [torch.zeros(20_000, n, dtype=torch.float64)]
    (gaussian,), (sphere,), (ball,) = (stream(k, 20_000).like(shapes) for k in ("gaussian", "sphere", "ball"))
    assert gaussian.var().item() == pytest.approx(1.0, rel=0.03)
    torch.testing.assert_close(sphere.norm(dim=1), torch.ones(20_000, dtype=torch.float64))
    for noise in (gaussian, sphere, ball):
        assert noise.mean(0).abs().max() < 5 / math.sqrt(20_000)
    # The radius to the power n is uniform in the ball.
    volume = (ball.norm(dim=1) ** n).sort().values
    uniform = (torch.arange(20_000) + 0.5) / 20_000
    assert (volume - uniform).abs().max() < 1.95 / math.sqrt(20_000)  # Kolmogorov-Smirnov, p = 0.001


def test_the_sphere_is_that_of_all_tensors_of_a_member():
    tensors = [torch.zeros(3, 2, 2), torch.zeros(3, 5)]
    parts = stream("sphere", 3).like(tensors)
    assert [part.shape for part in parts] == [tensor.shape for tensor in tensors]
    lengths = sum(part.reshape(3, -1).square().sum(1) for part in parts)
    torch.testing.assert_close(lengths, torch.ones(3))


def test_numbers_drawn_ahead_are_used_once_and_are_part_of_the_state():
    noise, blocks = stream(n_members=2), []
    for _ in range(300):
        blocks.append(noise.normal(3, torch.float64))
    assert len(torch.cat(blocks, dim=1).unique()) == 2 * 900
    state = copy.deepcopy(noise.state_dict())
    expected = [noise.normal(3, torch.float64) for _ in range(200)]
    other = stream(n_members=2, seed=9)
    other.load_state_dict(state)
    assert all(torch.equal(other.normal(3, torch.float64), e) for e in expected)


def test_a_group_has_a_sigma_of_its_own():
    a, b = torch.zeros(2, 2, requires_grad=True), torch.zeros(2, 2, requires_grad=True)
    groups = [{"params": [a], "sigma": 0.0}, {"params": [b]}]
    optimizer = NiMSGD(sigma=0.5).build(groups, lr=0.0, n_members=2, random_state=0)

    def closure():
        a.grad, b.grad = torch.zeros_like(a), torch.zeros_like(b)
        return torch.zeros(2)

    optimizer.step(closure)
    assert (a == 0).all()
    assert (b != 0).all()


@pytest.mark.parametrize("recipe", [NiMSGD(sigma=0.1), NiGSGD(sigma=0.1)], ids=repr)
def test_hooks_of_a_step_run_once(recipe):
    torch.optim.SGD([torch.zeros(1)], lr=1.0)  # from now on torch runs hooks around SGD's own step
    net, seen = module(), []
    optimizer = recipe.build(net, random_state=0)
    optimizer.register_step_post_hook(lambda *args: seen.append(None))
    train(net, optimizer, 3)
    assert len(seen) == 3


def test_an_interrupted_step_takes_its_noise_back():
    net = module()
    optimizer = NiMSGD(sigma=0.5).build(net, random_state=0)
    before = flat(net)

    def fails():
        assert not torch.equal(flat(net), before)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(fails)
    assert torch.equal(flat(net), before)


def test_noise_in_the_gradient_serves_as_the_base_of_sam():
    net, plain = module(), module()
    train(net, SAM(rho=0.1, base=NiGSGD(sigma=0.0)).build(net, lr=0.05), 5)
    train(plain, SAM(rho=0.1).build(plain, lr=0.05), 5)
    assert torch.equal(flat(net), flat(plain))
