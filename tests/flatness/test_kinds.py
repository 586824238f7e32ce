"""Kinds of sharpness against twins on flat vectors, closed forms, and rescalings."""

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal.flatness import sharpness
from flatcausal.flatness._lockstep import minimize_members
from tests.flatness.models import (
    KINDS,
    Quadratic,
    bowl_loss,
    bowl_rows,
    classifier,
    data,
    filled,
    flat_loss,
    labels,
    member_loss,
    mlp,
    normalized_net,
    regressor,
)
from tests.reference import sharpness as twin

BOWLS = torch.tensor([[[4.0, 1.0], [1.0, 2.0]], [[0.5, 0.0], [0.0, 3.0]]], dtype=torch.float64)
STARTS = torch.tensor([[0.3, -0.7], [1.0, 0.4]], dtype=torch.float64)
SURVIVE = [kind for kind in KINDS if kind.startswith("adaptive")]


def bowls(starts=STARTS, **settings):
    return Quadratic(starts, BOWLS, **settings)


def measured(module, kind, **settings):
    return sharpness(module, *bowl_rows(), kind, loss=bowl_loss, random_state=0, **settings)


def twin_scale(kind, w, is_weight):
    sizes = torch.where(is_weight, w.abs(), 0.0)
    return sizes if kind.startswith("adaptive") else torch.ones_like(w)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("kind", ["sam", "l2", "linf", "adaptive_l2", "adaptive_linf"])
def test_kinds_equal_their_twins_on_tabnet(kind, train):
    est = regressor()
    rho, bn = 0.02, "train" if train else "frozen"
    result = sharpness(est, *data(), kind, rho=rho, n_steps=4, n_restarts=1, bn=bn)
    loss, w, is_weight = member_loss(est, 1, *data(), train=train)
    if kind == "sam":
        expected = twin.sam(loss, w, rho)
    else:
        scale = twin_scale(kind, w, is_weight)
        expected = twin.ascent(loss, w, scale, rho, 4, boxed=kind.endswith("linf"))
    assert result.value[1] == pytest.approx(expected, rel=1e-8)
    assert result.loss[1] == pytest.approx(loss(w).item(), rel=1e-10)


def test_a_stack_of_bowls_has_its_closed_forms():
    slope = (BOWLS @ STARTS[..., None])[..., 0]
    rise = 0.05 * slope.norm(dim=1) + 0.05**2 / 2 * torch.stack(
        [(s @ h @ s) / (s @ s) for s, h in zip(slope, BOWLS, strict=True)]
    )
    np.testing.assert_allclose(measured(bowls(), "sam").value, rise, rtol=1e-10)
    trace = torch.stack([h.trace() for h in BOWLS])
    found = measured(bowls(), "average", n_draws=400)
    assert (np.abs(found.value - 0.05**2 / 2 * trace.numpy()) < 4 * found.standard_error).all()
    assert found.n_losses == 800


def test_at_the_bottom_the_worst_case_is_the_top_eigenvalue_and_one_step_is_nothing():
    bottom = bowls(torch.zeros(2, 2))
    top = torch.linalg.eigvalsh(BOWLS)[:, -1]
    result = measured(bottom, "l2", rho=0.1, n_steps=40)
    np.testing.assert_allclose(result.value, 0.1**2 / 2 * top, rtol=1e-6)
    assert result.converged.all()
    np.testing.assert_allclose(measured(bottom, "sam", rho=0.1).value, 0, atol=1e-12)


@pytest.mark.parametrize("kind", ["l2", "linf"])
def test_worst_cases_are_the_highest_points_of_a_grid(kind):
    result = measured(bowls(), kind, rho=0.3)
    for k in range(2):
        expected = twin.highest_in_disc(
            lambda w, k=k: w @ BOWLS[k] @ w / 2, STARTS[k], torch.ones(2), 0.3, boxed=kind == "linf"
        )
        assert result.value[k] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["adaptive_l2", "adaptive_linf"])
def test_adaptive_worst_cases_are_the_highest_points_of_a_grid(kind):
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.5, -0.4]]))
    X = torch.tensor([[1.0, 0.5], [-0.3, 2.0]], dtype=torch.float64)
    y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    loss, w, _ = flat_loss(model, nn.MSELoss(), X, y)
    found = sharpness(model, X, y, kind, rho=0.4, loss=nn.MSELoss(), random_state=0)
    expected = twin.highest_in_disc(loss, w, w.abs(), 0.4, boxed=kind.endswith("linf"))
    assert found.value[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("n_directions", "rel"), [(None, 1e-6), (2, 1e-6)])
def test_keskar_finds_the_corner_of_its_box(n_directions, rel):
    result = measured(bowls(), "keskar", rho=0.2, n_directions=n_directions)
    if n_directions is None:
        for k in range(2):
            box = 0.2 * (STARTS[k].abs() + 1)
            rise = twin.highest_in_disc(lambda w, k=k: w @ BOWLS[k] @ w / 2, STARTS[k], box, 1.0, boxed=True)
            base = result.loss[k]
            assert result.value[k] == pytest.approx(100 * rise / (1 + base), rel=rel)
    else:
        assert (result.value > 0).all()
    assert result.converged.all()


def test_minimisers_in_lockstep_go_as_one_after_another():
    rng = np.random.default_rng(0)
    centres, starts = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    calls = []

    def evaluate(points):
        calls.append(len(points))
        away = points - centres
        return (away**4).sum(1), 4 * away**3

    def alone(k):
        def one(points):
            away = points - centres[k]
            return (away**4).sum(1), 4 * away**3

        return minimize_members(one, starts[k : k + 1], np.full((1, 4), 3.0), maxiter=10 * (k + 1))[0]

    together = minimize_members(evaluate, starts, np.full((3, 4), 3.0), maxiter=10)
    np.testing.assert_array_equal(together[0].x, alone(0).x)
    assert len(calls) == max(r.nfev for r in together)


def test_an_error_in_lockstep_comes_out():
    def evaluate(points):
        raise FloatingPointError("here")

    with pytest.raises(FloatingPointError, match="here"):
        minimize_members(evaluate, np.zeros((3, 2)), np.ones((3, 2)))


def rescaled_layers(factor):
    """(A) The same function of a ReLU network whose second layer is scaled up and whose third down."""
    net = mlp()
    with torch.no_grad():
        net[2].weight.mul_(factor)
        net[2].bias.mul_(factor)
        net[4].weight.div_(factor)
    return net


def rescaled_before_norm(factor):
    """(B) The same function of a network with batch normalisation."""
    net = normalized_net()
    with torch.no_grad():
        net[0].weight.mul_(factor)
    return net


@pytest.mark.parametrize("bn", ["recalibrated", "train"])
@pytest.mark.parametrize("rescaled", [rescaled_layers, rescaled_before_norm])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_rescaling_changes(kind, rescaled, bn):
    X, y = (torch.as_tensor(a).double() for a in data(40))
    settings = {"n_draws": 10, "n_steps": 6, "loss": nn.MSELoss(), "bn": bn, "random_state": 0}
    if kind not in SURVIVE and rescaled is rescaled_before_norm:
        settings["params"] = lambda name: name == "0.weight"  # of many numbers, those that were rescaled
    before, after = (sharpness(rescaled(f), X, y[:, None], kind, **settings) for f in (1.0, 5.0))
    assert after.loss == pytest.approx(before.loss, rel=1e-12)
    ratio = after.value[0] / before.value[0]
    if kind == "adaptive":  # up to its eta
        assert ratio == pytest.approx(1, rel=0.25)
    elif kind in SURVIVE:
        assert ratio == pytest.approx(1, rel=1e-6)
    else:
        assert abs(ratio - 1) > 0.01


def test_a_mean_over_batches_is_the_mean_of_its_batches():
    est, (X, y) = regressor(), data()
    result = sharpness(est, X, y, "sam", m=25)
    parts = [sharpness(est, X[a:b], y[a:b], "sam").value for a, b in ((0, 25), (25, 50), (50, 60))]
    np.testing.assert_allclose(result.value, np.average(parts, axis=0, weights=[25, 25, 10]), rtol=1e-9)
    np.testing.assert_allclose(result.standard_error, np.std(parts, axis=0, ddof=1) / 3**0.5, rtol=1e-9)
    np.testing.assert_allclose(result.loss, sharpness(est, X, y).loss, rtol=0)


def test_normalised_logits_do_not_see_confidence():
    X, y = (torch.as_tensor(a) for a in labels())
    values = {flag: [] for flag in (False, True)}
    for factor in (1.0, 10.0):
        net = mlp(3, 3)
        with torch.no_grad():
            net[4].weight.mul_(factor)
            net[4].bias.mul_(factor)
        for flag, found in values.items():
            settings = {"loss": nn.CrossEntropyLoss(), "normalize_logits": flag, "random_state": 0}
            found.append(sharpness(net, X.double(), y, "adaptive_linf", **settings).value[0])
    assert values[True][1] == pytest.approx(values[True][0], rel=1e-6)
    assert values[False][1] / values[False][0] > 2


def test_normalised_logits_are_those_of_the_formula():
    net, (X, y) = mlp(3, 3), labels()
    X, y = torch.as_tensor(X).double(), torch.as_tensor(y)
    z = net(X).detach()
    z = z - z.mean(1, keepdim=True)
    expected = nn.functional.cross_entropy(z / z.norm(dim=1, keepdim=True), y).item()
    found = sharpness(net, X, y, loss=nn.CrossEntropyLoss(), normalize_logits=True)
    assert found.loss[0] == pytest.approx(expected, rel=1e-12)


def test_an_estimator_is_measured_with_normalised_logits():
    est = classifier()
    plain, normalised = (sharpness(est, *labels(), normalize_logits=flag) for flag in (False, True))
    assert normalised.loss.shape == (2,)
    assert (normalised.loss > 0.2).all()  # unit logits of three classes cannot be sure
    assert not np.allclose(plain.value, normalised.value)


def test_only_chosen_numbers_move():
    est = regressor()
    whole, weights = sharpness(est, *data(), "sam"), sharpness(est, *data(), "sam", params="weights")
    norms_only = sharpness(est, *data(), "sam", params=lambda name: name.startswith("norm."))
    assert weights.n_parameters + norms_only.n_parameters == whole.n_parameters
    np.testing.assert_allclose(
        weights.gradient_norm**2 + norms_only.gradient_norm**2, whole.gradient_norm**2, rtol=1e-9
    )
    net, (X, y) = filled(nn.Linear(3, 1)), data()
    of_bias = sharpness(net, X, y[:, None], "sam", params=lambda name: name == "bias", loss=nn.MSELoss())
    loss, w, _ = flat_loss(
        net, nn.MSELoss(), torch.as_tensor(X).double(), torch.as_tensor(y[:, None]).double()
    )
    bias = w[3:].clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(torch.cat([w[:3], bias])), bias)
    assert of_bias.gradient_norm[0] == pytest.approx(g.norm().item(), rel=1e-9)
    assert of_bias.n_parameters == 1
