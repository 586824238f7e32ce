"""Measures that are no rise of the loss, against brute force and closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal._members import member_generators, member_normal
from flatcausal._random import seed_sequence
from flatcausal.flatness import (
    fisher_rao_norm,
    gradient_norm,
    local_energy,
    pac_bayes_sigma,
    relative_flatness,
    sharpness,
)
from tests.flatness.models import (
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

CROSS_ENTROPY = nn.CrossEntropyLoss()


def digit_net():
    return mlp(3, 3), *(torch.as_tensor(a) for a in labels())


def member_draws(est, member, n):
    """The directions that the library draws for one member."""
    population = est.net_.module_.population.double()
    generators = member_generators(seed_sequence(0), len(population))
    return [member_normal(population, generators)[member] for _ in range(n)]


def error_of(est, member, X, y):
    loss, w, is_weight = member_loss(est, member, X, y)
    network = loss.__closure__  # of_row closes over the network it moves
    network = next(c.cell_contents for c in network if isinstance(c.cell_contents, nn.Module))
    codes = torch.as_tensor(np.searchsorted(est.classes_, y))

    def error(vector):
        loss(vector)
        logits = network(torch.as_tensor(X).double())[0][member]
        return (logits.argmax(1) != codes).double().mean().item()

    return error, w, is_weight


def test_local_energy_is_the_mean_error_over_its_draws():
    est, (X, y) = classifier(), labels()
    result = local_energy(est, X, y, sigmas=[0.2, 0.5], n_draws=3, random_state=0)
    error, w, is_weight = error_of(est, 1, X, y)
    scale = torch.where(is_weight, w.abs(), 0.0)
    curve = []
    for sigma in (0.2, 0.5):
        pairs = [
            (error(w + sigma * scale * z) + error(w - sigma * scale * z)) / 2 - error(w)
            for z in member_draws(est, 1, 3)
        ]
        curve.append(np.mean(pairs))
    np.testing.assert_allclose(result.details["curve"][1], curve, atol=1e-12)
    area = 0.2 * curve[0] / 2 + 0.3 * (curve[0] + curve[1]) / 2
    assert result.value[1] == pytest.approx(area / 0.5, abs=1e-12)
    assert result.settings["of"] == "error"
    assert result.n_losses == 1 + 2 * 3 * 2


def test_local_energy_of_a_regressor_counts_its_loss():
    result = local_energy(regressor(), *data(), n_draws=2, random_state=0)
    assert result.settings["of"] == "loss"
    assert (result.value > 0).all()


def test_local_energy_does_not_change_with_the_scale_before_a_normalisation():
    X, y = (torch.as_tensor(a) for a in labels())
    values = []
    for factor in (1.0, 5.0):
        net = normalized_net()
        net[3] = filled(nn.Linear(8, 3), seed=1)
        with torch.no_grad():
            net[1].weight.fill_(1.0)
            net[0].weight.mul_(factor)
        settings = {"loss": CROSS_ENTROPY, "bn": "recalibrated", "random_state": 0}
        values.append(local_energy(net, X.double(), y, **settings).value)
    np.testing.assert_allclose(*values, rtol=1e-9)
    assert values[0] > 0


@pytest.mark.parametrize("aware", [False, True])
def test_pac_bayes_sigma_is_where_the_error_passes(aware):
    est, (X, y) = classifier(), labels()
    result = pac_bayes_sigma(est, X, y, magnitude_aware=aware, n_draws=4, random_state=0)
    error, w, _ = error_of(est, 1, X, y)

    def spread(sigma):
        return (sigma**2 * w**2 + 1e-6).sqrt() if aware else torch.full_like(w, sigma)

    sigma = twin.largest_noise(error, w, member_draws(est, 1, 4), spread, error(w) + 0.1)
    assert result.details["sigma"][1] == pytest.approx(sigma, rel=1e-4)
    assert result.value[1] == pytest.approx(sigma**-2, rel=2e-4)
    assert result.converged[1]


@pytest.mark.parametrize("aware", [False, True])
def test_pac_bayes_sigma_of_a_bowl_has_its_closed_form(aware):
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(3.0)
    X = torch.ones(4, 1)
    result = pac_bayes_sigma(
        model, X, 3 * X, magnitude_aware=aware, n_draws=200, deviation=0.4, loss=nn.MSELoss(), random_state=0
    )
    expected = (9 if aware else 1) / 0.4
    assert abs(result.value[0] - expected) < 4 * result.standard_error[0]
    assert result.standard_error[0] == pytest.approx(expected * (2 / 200) ** 0.5, rel=0.3)


def test_a_sigma_at_an_end_of_its_range_has_not_converged():
    model = filled(nn.Linear(1, 1, bias=False), scale=0.0)
    settings = {"loss": nn.MSELoss(), "n_draws": 3, "random_state": 0, "magnitude_aware": False}
    level = pac_bayes_sigma(model, torch.zeros(4, 1), torch.zeros(4, 1), **settings)  # nothing matters
    assert not level.converged[0]
    steep = pac_bayes_sigma(model, 1e8 * torch.ones(4, 1), torch.zeros(4, 1), **settings)
    assert not steep.converged[0]


def test_noise_under_which_the_loss_overflows_is_too_much():
    model = filled(nn.Linear(1, 1, bias=False), scale=0.0)

    def walled(output, y):  # infinite beyond |w| = 1
        return -torch.log(1 - output.square()).mean()

    settings = {"n_draws": 20, "loss": walled, "random_state": 0, "magnitude_aware": False, "deviation": 5.0}
    found = pac_bayes_sigma(model, torch.ones(4, 1), torch.ones(4, 1), **settings)
    assert 0.1 < found.details["sigma"][0] < 1
    assert found.converged[0]


def test_relative_flatness_is_that_of_the_explicit_hessian():
    net, X, y = digit_net()
    loss, w, _ = flat_loss(net, CROSS_ENTROPY, X.double(), y)
    head = torch.arange(len(w))[-21:-3].view(3, 6)  # the last layer's weights, before its biases
    found = relative_flatness(net, X, y, loss=CROSS_ENTROPY, batch_size=13)
    assert found.value[0] == pytest.approx(twin.relative_flatness(loss, w, head), rel=1e-9)
    middle = torch.arange(24, 60).view(6, 6)
    found = relative_flatness(net, X, y, layer="2", loss=CROSS_ENTROPY)
    assert found.value[0] == pytest.approx(twin.relative_flatness(loss, w, middle), rel=1e-9)


@pytest.mark.parametrize("bn", ["frozen", "train"])
@pytest.mark.parametrize("of_classes", [False, True])
def test_relative_flatness_of_tabnet_is_that_of_its_output_layer(of_classes, bn):
    est, rows = (classifier(), labels()) if of_classes else (regressor(), data())
    loss, w, _ = member_loss(est, 1, *rows, train=bn == "train")
    layout = est.net_.module_.layout
    columns = torch.arange(layout.n_parameters)[layout.columns()["output"]]
    neurons = columns.view(next(b.shape for b in layout if b.name == "output"))
    head = w[columns].clone()
    local = torch.arange(len(columns)).view(neurons.shape)

    def of_head(values):
        whole = w.clone()
        whole[columns] = values
        return loss(whole)

    found = relative_flatness(est, *rows, bn=bn)
    assert found.value[1] == pytest.approx(twin.relative_flatness(of_head, head, local), rel=1e-9)


def test_relative_flatness_of_squared_error_has_its_closed_form():
    net, (X, y) = mlp(), (torch.as_tensor(a).double() for a in data())
    phi = net[:4](X)
    expected = 2 * net[4].weight.square().sum() * phi.square().sum(1).mean()
    found = relative_flatness(net, X, y[:, None], loss=nn.MSELoss())
    assert found.value[0] == pytest.approx(expected.item(), rel=1e-12)


def test_relative_flatness_survives_a_rescaling_of_layers():
    values = []
    for factor in (1.0, 5.0):
        net, X, y = digit_net()
        with torch.no_grad():
            net[2].weight.mul_(factor)
            net[2].bias.mul_(factor)
            net[4].weight.div_(factor)
        values.append(relative_flatness(net, X, y, loss=CROSS_ENTROPY).value)
    np.testing.assert_allclose(*values, rtol=1e-9)


def test_fisher_rao_is_one_gradient_a_row():
    net, X, y = digit_net()
    rows, w, _ = flat_loss(net, nn.CrossEntropyLoss(reduction="none"), X.double(), y)
    found = fisher_rao_norm(net, X, y, loss=CROSS_ENTROPY, batch_size=7)
    assert found.value[0] == pytest.approx(twin.fisher_rao(rows, w), rel=1e-9)
    assert found.standard_error[0] > 0


def test_fisher_rao_of_a_homogeneous_network_has_its_closed_form():
    net, X, y = digit_net()
    for layer in (0, 2, 4):
        net[layer].bias = None
    z = net(X.double()).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(nn.functional.cross_entropy(z, y, reduction="sum"), z)
    expected = 9 * (slopes * z).sum(1).square().mean()
    found = fisher_rao_norm(net, X, y, loss=CROSS_ENTROPY)
    assert found.value[0] == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("bn", ["frozen", "train"])
def test_fisher_rao_of_tabnet_is_one_gradient_a_row(bn):
    est, (X, y) = classifier(), labels(24)
    found = fisher_rao_norm(est, X, y, bn=bn)
    loss, w, _ = member_loss(est, 1, X, y, train=bn == "train")
    network = next(c.cell_contents for c in loss.__closure__ if isinstance(c.cell_contents, nn.Module))

    def rows(vector):
        loss(vector)
        return nn.functional.cross_entropy(
            network(torch.as_tensor(X).double())[0][1], torch.as_tensor(y), reduction="none"
        )

    assert found.value[1] == pytest.approx(twin.fisher_rao(rows, w), rel=1e-8)


def test_gradient_norm_and_the_terms_of_the_bound():
    est, (X, y) = regressor(), data()
    initial = regressor(max_epochs=1)
    found = gradient_norm(est, X, y, rho=0.1, initial=initial)
    loss, w, _ = member_loss(est, 2, X, y)
    (g,) = torch.autograd.grad(loss(w.requires_grad_()), w)
    assert found.value[2] == pytest.approx(g.norm().item(), rel=1e-9)
    assert found.details["first_order_rise"][2] == pytest.approx(0.1 * g.norm().item(), rel=1e-9)
    away = est.net_.module_.population[2] - initial.net_.module_.population[2]
    assert found.details["distance"][2] == pytest.approx(away.norm().item(), rel=1e-5)
    n, p, length = 60, len(w), w.detach().norm().item()
    inner = p * np.log(1 + (length / 0.1) ** 2 * (1 + np.sqrt(np.log(n) / p)) ** 2)
    inner += 4 * np.log(n / 0.05) + 8 * np.log(6 * n + 3 * p)
    assert found.details["bound_term"][2] == pytest.approx(np.sqrt(inner / (n - 1)), rel=1e-9)


@pytest.mark.parametrize("length", [1e-3, 1.0, 10.0])
@pytest.mark.parametrize(("n", "p"), [(4, 1), (50, 3), (40, 2000), (4, 100_000), (1500, 10)])
def test_the_bound_is_no_less_than_what_its_proof_adds_up(n, p, length):
    model = nn.Linear(p, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(length / p**0.5)
    found = gradient_norm(
        model, torch.zeros(n, p), torch.zeros(n, 1), rho=0.1, loss=nn.MSELoss(), n_rows=None
    )
    assert found.details["bound_term"][0] >= min(1.0, twin.sam_bound(length, 0.1, n, p, 0.05))


@pytest.mark.parametrize(
    "measure",
    [
        lambda est: local_energy(est, *labels(), sigmas=[0.3], n_draws=2, random_state=0),
        lambda est: pac_bayes_sigma(est, *labels(), n_draws=2, random_state=0),
        lambda est: relative_flatness(est, *labels()),
        lambda est: fisher_rao_norm(est, *labels()),
        lambda est: gradient_norm(est, *labels()),
    ],
)
def test_members_do_not_meet(measure):
    two, three = (measure(classifier(k, max_epochs=2)).value for k in (2, 3))
    np.testing.assert_array_equal(two, three[:2])


def test_one_member_is_measured_as_one_of_several():
    one, two = classifier(1, max_epochs=2), classifier(2, max_epochs=2)
    np.testing.assert_allclose(
        one.net_.module_.population.detach()[0], two.net_.module_.population.detach()[0], rtol=1e-3, atol=1e-4
    )
    two.net_.module_.load_state_dict(
        {
            k: torch.cat([v, w[1:]])
            for (k, v), w in zip(
                one.net_.module_.state_dict().items(), two.net_.module_.state_dict().values(), strict=True
            )
        }
    )
    for measure in (relative_flatness, fisher_rao_norm, sharpness):
        np.testing.assert_allclose(
            measure(one, *labels()).value, measure(two, *labels()).value[:1], rtol=1e-9
        )
