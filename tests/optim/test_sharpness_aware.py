"""The sharpness-aware family: twins, closed forms and what each member of it leaves unchanged."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from torch import nn

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.nn import TabNet
from flatcausal.optim import ASAM, GSAM, SAM, SGD, Adam, AdamW, BasinHopping, EntropySGD, Momentum, NiMSGD
from flatcausal.optim._gsam import orthogonal_parts
from tests.optim.problems import Quadratics, closure_for, data, flat, gradient_of, module, train
from tests.reference import optimizers as rules
from tests.reference import sharpness_aware as twin

PERTURB = ["all", "norm", "weights", "no_norm"]
BY_KIND = [
    ASAM(rho=0.3),
    ASAM(rho=0.3, base=Momentum()),
    ASAM(rho=0.3, perturb="norm"),
    *(SAM(rho=0.1, perturb=perturb) for perturb in PERTURB[1:]),
    SAM(rho=0.1, perturb="norm", base=Adam()),
    GSAM(rho=0.1, perturb="weights"),
]
OF_ALL = [SAM(rho=0.1), ASAM(rho=0.3, adaptive_params="all"), GSAM(rho=0.1), GSAM(rho=0.1, rho_min=0.01)]
FAMILY = [*BY_KIND, *OF_ALL]
family = pytest.mark.parametrize("recipe", FAMILY, ids=repr)


def kinds(batch_norm):
    """Kind of each number of ``module(batch_norm)``, in the order of ``flat``."""
    middle = ["norm"] * 12 if batch_norm else []
    return np.array(["weight"] * 18 + ["bias"] * 6 + middle + ["weight"] * 6 + ["bias"])


def chosen(perturb, batch_norm):
    kind = kinds(batch_norm)
    return {
        "all": kind != "",
        "norm": kind == "norm",
        "weights": kind == "weight",
        "no_norm": kind != "norm",
    }[perturb]


def plain_rule():
    return rules.sgd_rule(0.1, weight_decay=0.01)


def momentum_rule():
    return rules.sgd_rule(0.1, 0.9, weight_decay=0.01)


def adamw_rule():
    return rules.adam_rule(0.1, eps=1e-2, weight_decay=0.01, decoupled=True)


TWINS = {
    "asam": (ASAM(), lambda g, w, b: twin.asam(g, w, 20, plain_rule(), 0.5, 0.01, chosen("weights", b))),
    "asam, other rho and eta": (
        ASAM(rho=0.2, eta=0.3, base=Momentum()),
        lambda g, w, b: twin.asam(g, w, 20, momentum_rule(), 0.2, 0.3, chosen("weights", b)),
    ),
    "asam of all": (
        ASAM(eta=0.0, adaptive_params="all"),
        lambda g, w, b: twin.asam(g, w, 20, plain_rule(), 0.5, 0.0),
    ),
    "asam of all on the weights": (
        ASAM(adaptive_params="all", perturb="weights"),
        lambda g, w, b: twin.asam(g, w, 20, plain_rule(), 0.5, 0.01, chosen=chosen("weights", b)),
    ),
    "asam over adam": (
        ASAM(base=AdamW(eps=1e-2)),
        lambda g, w, b: twin.asam(g, w, 20, adamw_rule(), 0.5, 0.01, chosen("weights", b)),
    ),
    "gsam": (GSAM(rho=0.3), lambda g, w, b: twin.gsam(g, w, 20, plain_rule(), lambda t: 0.3, 0.4)),
    "gsam over momentum": (
        GSAM(rho=0.3, alpha=0.1, base=Momentum()),
        lambda g, w, b: twin.gsam(g, w, 20, momentum_rule(), lambda t: 0.3, 0.1),
    ),
    **{
        f"sam, perturb={perturb}": (
            SAM(rho=0.3, perturb=perturb, base=Momentum()),
            lambda g, w, b, perturb=perturb: twin.sam(g, w, 20, momentum_rule(), 0.3, chosen(perturb, b)),
        )
        for perturb in PERTURB
    },
}  # fmt: skip


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("name", TWINS)
def test_twenty_steps_equal_the_numpy_twin(name, batch_norm):
    recipe, run = TWINS[name]
    if recipe.perturb == "norm" and not batch_norm:
        pytest.skip("nothing to perturb")
    net = module(batch_norm)
    expected = run(gradient_of(module(batch_norm)), flat(net).numpy(), batch_norm)
    train(net, recipe.build(net, lr=0.1, weight_decay=0.01), 20)
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_radius_of_gsam_follows_a_schedule(batch_norm):
    net, factors = module(batch_norm), [1 - 0.1 * t for t in range(8)]
    step = iter(factors)

    def rule(w, g):
        return w - 0.1 * next(step) * g

    start = flat(net).numpy()
    expected = twin.gsam(
        gradient_of(module(batch_norm)), start, 8, rule, lambda t: 0.05 + 0.25 * factors[t], 0.4
    )
    optimizer = GSAM(rho=0.3, rho_min=0.05).build(net, lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - 0.1 * t)
    for _ in range(8):
        train(net, optimizer, 1)
        scheduler.step()
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-12)


# What each step leaves as it is.


@pytest.mark.parametrize("recipe", FAMILY, ids=repr)
@pytest.mark.parametrize("base", [SGD(), Momentum(), Adam()], ids=repr)
def test_without_radius_it_is_its_base_bitwise(recipe, base):
    plain, sharp = module(), module()
    recipe = copy.deepcopy(recipe).set_params(rho=0.0, base=base)
    if isinstance(recipe, GSAM):
        recipe.set_params(rho_min=None)
    train(plain, base.build(plain, lr=0.05, weight_decay=0.01), 10)
    train(sharp, recipe.build(sharp, lr=0.05, weight_decay=0.01), 10)
    for a, b in zip(plain.state_dict().values(), sharp.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@family
def test_without_a_learning_rate_weights_stay_bitwise_in_their_place(recipe):
    net = module()
    before, places = flat(net), [p.data_ptr() for p in net.parameters()]
    train(net, recipe.build(net, lr=0.0, weight_decay=0.1), 30)
    assert torch.equal(flat(net), before)
    assert [p.data_ptr() for p in net.parameters()] == places


@pytest.mark.parametrize("base", [SGD(), Momentum(), Adam()], ids=repr)
def test_gsam_without_alpha_is_sam_bitwise(base):
    ends = []
    for recipe in (SAM(rho=0.2, base=base), GSAM(rho=0.2, alpha=0.0, base=base)):
        net = module()
        train(net, recipe.build(net, lr=0.05), 10)
        ends.append(flat(net))
    assert torch.equal(*ends)
    net = module()
    train(net, GSAM(rho=0.2, base=base).build(net, lr=0.05), 10)
    assert not torch.equal(flat(net), ends[0])


@pytest.mark.parametrize(
    "recipe", [SAM(rho=5.0), ASAM(rho=5.0, adaptive_params="all"), GSAM(rho=5.0)], ids=repr
)
def test_on_a_linear_loss_it_is_sgd(recipe):
    w = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64, requires_grad=True)
    start = w.detach().clone()
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    optimizer = recipe.build([w], lr=0.1)

    def closure():
        w.grad = slope.clone()
        return (slope * w).sum()

    optimizer.step(closure)
    torch.testing.assert_close(w.detach(), start - 0.1 * slope, rtol=0, atol=1e-15)


def climbed_from(optimizer, net, closure):
    """Steps uphill in the closure's second pass, one tensor for each parameter."""
    seen = []

    def watched():
        seen.append([p.detach().clone() for p in net.parameters()])
        return closure()

    optimizer.step(watched)
    return [after - before for before, after in zip(*seen, strict=True)]


@pytest.mark.parametrize("perturb", PERTURB)
def test_the_ascent_has_length_rho_and_moves_what_it_should(perturb):
    net = module()
    optimizer = SAM(rho=0.3, perturb=perturb).build(net, lr=0.1)
    epsilon = torch.cat([e.reshape(-1) for e in climbed_from(optimizer, net, closure_for(net, optimizer))])
    assert epsilon.norm().item() == pytest.approx(0.3, rel=1e-9)
    assert not epsilon[torch.from_numpy(~chosen(perturb, True))].any()


@pytest.mark.parametrize("perturb", PERTURB)
@pytest.mark.parametrize("adaptive", ["weights", "all"])
def test_the_adaptive_ascent_has_length_rho_in_its_own_metric(perturb, adaptive):
    net = module()
    recipe = ASAM(rho=0.3, eta=0.1, adaptive_params=adaptive, perturb=perturb)
    sizes = flat(net).abs() + 0.1
    if adaptive == "weights":
        sizes[torch.from_numpy(~chosen("weights", True))] = 1.0
    optimizer = recipe.build(net, lr=0.1)
    epsilon = torch.cat([e.reshape(-1) for e in climbed_from(optimizer, net, closure_for(net, optimizer))])
    assert (epsilon / sizes).norm().item() == pytest.approx(0.3, rel=1e-9)
    assert not epsilon[torch.from_numpy(~chosen(perturb, True))].any()


def relu_net(factor):
    """A net without biases, whose layers are rescaled so that its function stays."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 6, bias=False), nn.ReLU(), nn.Linear(6, 1, bias=False)).double()
    with torch.no_grad():
        net[0].weight.mul_(factor)
        net[2].weight.div_(factor)
    return net


def uphill_outputs(recipe, factor):
    net = relu_net(factor)
    outputs = []
    net[2].register_forward_hook(lambda layer, args, output: outputs.append(output.detach()))
    optimizer = recipe.build(net, lr=0.1)
    optimizer.step(closure_for(net, optimizer))
    return outputs[1]


@pytest.mark.parametrize("adaptive", ["weights", "all"])
def test_the_adaptive_ascent_does_not_see_a_rescaling_of_layers(adaptive):
    recipe = ASAM(rho=0.5, eta=0.0, adaptive_params=adaptive)
    one, other = (uphill_outputs(recipe, factor) for factor in (1.0, 7.0))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-13)
    one, other = (uphill_outputs(SAM(rho=0.5), factor) for factor in (1.0, 7.0))
    assert (one - other).abs().max() > 1e-2


def test_asam_with_all_weights_of_one_size_is_sam():
    def one_step(recipe):
        w = torch.tensor([0.7, -0.7, 0.7], dtype=torch.float64, requires_grad=True)
        h = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        optimizer = recipe.build([w], lr=0.1)

        def closure():
            w.grad = h * w.detach()
            return (h * w * w).sum() / 2

        optimizer.step(closure)
        return w.detach()

    adaptive = one_step(ASAM(rho=0.5, eta=0.0, adaptive_params="all"))
    torch.testing.assert_close(adaptive, one_step(SAM(rho=0.5 * 0.7)), rtol=0, atol=1e-12)


def test_asam_and_gsam_on_a_quadratic_have_their_closed_forms():
    problem = Quadratics(0, 1)
    w, h = problem.w.detach().clone(), problem.h
    g, size = h * w, w.abs() + 0.01
    climbed = w + 0.5 * size**2 * g / (size * g).norm(dim=1, keepdim=True)
    recipe = ASAM(adaptive_params="all")
    after = problem.train(recipe.build([problem.w], lr=0.1, n_members=2), 1)
    torch.testing.assert_close(after, w - 0.1 * h * climbed, rtol=0, atol=1e-12)

    problem = Quadratics(0, 1)
    uphill = h * (w + 0.3 * g / g.norm(dim=1, keepdim=True))
    along = (g * uphill).sum(1, keepdim=True) / uphill.square().sum(1, keepdim=True)
    after = problem.train(GSAM(rho=0.3).build([problem.w], lr=0.1, n_members=2), 1)
    expected = w - 0.1 * (uphill - 0.4 * (g - along * uphill))
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_the_residual_is_orthogonal_and_the_rest_parallel(seed, n_members):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n_members, 4), (n_members, 2, 3)]
    firsts, uphill = (
        [torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes] for _ in range(2)
    )
    residual = orthogonal_parts(firsts, uphill, n_members)
    r, f, u = (torch.cat([t.reshape(n_members, -1) for t in ts], 1) for ts in (residual, firsts, uphill))
    torch.testing.assert_close((r * u).sum(1), torch.zeros(n_members).double(), rtol=0, atol=1e-12)
    factor = (f * u).sum(1, keepdim=True) / u.square().sum(1, keepdim=True)
    torch.testing.assert_close(f - r, factor * u, rtol=0, atol=1e-12)


def test_a_vanished_or_sick_gradient_leaves_no_nan_in_the_residual():
    firsts = [torch.tensor([[1.0, 2.0], [float("inf"), 1.0], [1.0, 1.0]])]
    uphill = [torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])]
    expected = torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 1.0]])
    assert torch.equal(orthogonal_parts(firsts, uphill, 3)[0], expected)


# Options that need to know what a tensor is.


@pytest.mark.parametrize(
    ("recipe", "cure"),
    [(ASAM(), "adaptive_params"), (SAM(perturb="norm"), "perturb"), (GSAM(perturb="weights"), "perturb")],
)
def test_bare_tensors_cannot_tell_what_they_are(recipe, cure):
    net = module()
    with pytest.raises(ParameterTypeError, match=rf"bare tensors.*pass the model itself.*{cure}='all'"):
        recipe.build(net.parameters())
    optimizer = recipe.build(net)
    with pytest.raises(ParameterTypeError, match="bare tensors"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert len(optimizer.param_groups) == 1


def test_layers_tell_weights_biases_and_normalisation_apart():
    class Scale(nn.LayerNorm):
        """A normalisation layer of a user's own."""

    net = nn.ModuleDict({
        "embed": nn.Embedding(3, 4), "lstm": nn.LSTM(4, 2), "group": nn.GroupNorm(1, 2), "scale": Scale(2),
        "rms": nn.RMSNorm(2), "attend": nn.MultiheadAttention(2, 1), "out": nn.Linear(2, 1),
    })  # fmt: skip
    optimizer = SAM(perturb="norm").build(net)
    names = {name for name, p in net.named_parameters() if optimizer.perturb.mask(p)}
    assert names == {"group.weight", "group.bias", "scale.weight", "scale.bias", "rms.weight"}
    optimizer = SAM(perturb="weights").build(net)
    names = {name for name, p in net.named_parameters() if optimizer.perturb.mask(p)}
    assert names == {
        "embed.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "attend.in_proj_weight",
        "attend.out_proj.weight", "out.weight",
    }  # fmt: skip


@pytest.mark.parametrize("recipe", [ASAM(rho=0.3, adaptive_params="all"), GSAM(rho=0.3)], ids=repr)
def test_a_groups_rho_scales_its_share(recipe):
    net = module(batch_norm=False)
    groups = [{"params": net[0].parameters(), "rho": 0.0}, {"params": net[2].parameters()}]
    scaled, whole = recipe.build(groups, lr=0.0), recipe.build(net.parameters(), lr=0.0)
    some = climbed_from(scaled, net, closure_for(net, scaled))
    every = climbed_from(whole, net, closure_for(net, whole))
    assert not any(e.any() for e in some[:2])
    assert all(torch.equal(a, b) for a, b in zip(some[2:], every[2:], strict=True))


@pytest.mark.parametrize("recipe", [SAM(0.3), GSAM(0.3, rho_min=0.1)], ids=repr)
def test_goes_on_from_a_state_of_its_base(recipe):
    plain = Quadratics(0)
    base = recipe.base or SGD()
    saved = base.build([plain.w], lr=0.05).state_dict()
    ends = []
    for state in (None, saved):
        problem = Quadratics(0)
        optimizer = recipe.build([problem.w], lr=0.05)
        if state:
            optimizer.load_state_dict(state)
        ends.append(problem.train(optimizer, 3))
    assert torch.equal(*ends)


def test_a_group_without_rho_takes_the_common_one():
    optimizer = GSAM(rho=0.3).build([nn.Parameter(torch.ones(2))], lr=0.1)
    optimizer.add_param_group({"params": nn.Parameter(torch.ones(3)), "lr": 0.7})
    assert [group["rho"] for group in optimizer.param_groups] == [0.3, 0.3]
    assert [group["full_lr"] for group in optimizer.param_groups] == [0.1, 0.7]


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: ASAM(eta=-0.1).build(module()), ParameterError, "eta"),
        (lambda: ASAM(adaptive_params="norm").build(module()), ParameterError, "adaptive_params must be"),
        (lambda: GSAM(alpha=-1).build(module()), ParameterError, "alpha"),
        (lambda: GSAM(rho=0.1, rho_min=0.2).build(module()), ParameterError, "rho_min must be"),
        (lambda: SAM(m=0).build(module()), ParameterError, "m must be at least 1"),
        (lambda: SAM(perturb="bias").build(module()), ParameterError, "perturb must be one of"),
        (lambda: SAM(perturb="norm").build(module(False)), ParameterError, "names no number of this model"),
        (lambda: SAM(base=NiMSGD()).build(module()), ParameterTypeError, "base must be a recipe"),
        (lambda: SAM(base=EntropySGD(L=1)).build(module()), ParameterTypeError, "base must be a recipe"),
        (lambda: GSAM(base=BasinHopping(ls_steps=1)).build(module()), ParameterTypeError, "base must be"),
        (lambda: ASAM(base=GSAM()).build(module()), ParameterTypeError, "one gradient per step"),
    ],
)  # fmt: skip
def test_bad_hyper_parameters_are_named(make, error, match):
    with pytest.raises(error, match=match):
        make()


# Populations of TabNets.

X = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def tabnets(*members):
    generators = [torch.Generator().manual_seed(k) for k in members]
    sizes = {"n_d": 4, "n_a": 4, "n_steps": 2, "n_shared": 1, "n_independent": 1, "virtual_batch_size": 8}
    return TabNet(5, n_members=len(members), **sizes, generators=generators).double()


def tabnet_closure(net, spoil=lambda gradient: None):
    def closure():
        net.population.grad = None
        output, sparsity = net(X)
        losses = (output[..., 0] - X[:, 0] * X[:, 1]).square().mean(1) - 1e-3 * sparsity
        losses.sum().backward()
        spoil(net.population.grad)
        return losses.detach()

    return closure


def trained(recipe, members, n_steps=8, spoil=lambda gradient: None):
    net = tabnets(*members)
    optimizer = recipe.build(net, lr=0.05, n_members=len(members))
    for _ in range(n_steps):
        optimizer.step(tabnet_closure(net, spoil))
    return net


@family
def test_tabnet_members_do_not_meet(recipe):
    triple, pair, alone = (trained(recipe, members).population for members in ([0, 1, 2], [0, 1], [0]))
    assert torch.equal(triple[:2], pair)
    torch.testing.assert_close(pair[:1], alone, rtol=0, atol=1e-10)


@family
@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_a_sick_or_idle_tabnet_leaves_the_others_bitwise_unchanged(recipe, bad):
    def spoil(gradient):
        gradient[0] = bad

    sick, healthy = (trained(recipe, [0, 1, 2], 4, *spoils).population for spoils in ([spoil], []))
    assert torch.equal(sick[1:], healthy[1:])
    assert bad != 0 or torch.equal(sick[0], tabnets(0).population[0])


@pytest.mark.parametrize("perturb", PERTURB)
def test_a_layout_tells_which_columns_climb(perturb):
    net = tabnets(0, 1, 2)
    optimizer = SAM(rho=0.3, perturb=perturb).build(net, lr=0.1, n_members=3)
    (epsilon,) = climbed_from(optimizer, net, tabnet_closure(net))
    for block, part in zip(net.layout, epsilon.split(net.layout.sizes, 1), strict=True):
        climbs = perturb in ("all", "norm") if block.name.startswith("norm.") else perturb != "norm"
        assert climbs or not part.any()
    torch.testing.assert_close(
        epsilon.norm(dim=1), torch.full((3,), 0.3, dtype=torch.float64), rtol=1e-9, atol=0
    )


def test_embeddings_count_as_weights():
    net = TabNet(3, n_members=2, embeddings={1: (4, 2)})
    mask = SAM(perturb="weights").build(net, n_members=2).perturb.mask(net.population)
    assert torch.equal(mask, ~net.layout.mask("norm"))
    assert net.layout.mask("embedding").any()


# Micro-batches.


def split_closure(net, optimizer, n_rows=12):
    """A closure over the first rows that can be split, and counts what is asked of its parts."""
    X, y = data()

    def part(start, stop):
        closure = closure_for(net, optimizer, X[start:stop], y[start:stop])
        closure.n_rows = stop - start
        return closure

    def split(m):
        whole.parts = [part(i, min(i + m, n_rows)) for i in range(0, n_rows, m)]
        return whole.parts

    whole = part(0, n_rows)
    whole.split, whole.parts = split, []
    return whole


def gradient_on(net, rows):
    X, y = data()

    def gradient(w):
        nn.utils.vector_to_parameters(torch.as_tensor(w), net.parameters())
        loss = (net(X[rows]) - y[rows]).square().mean()
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(net.parameters()))]).numpy()

    return gradient


@pytest.mark.parametrize("batch_norm", [True, False])
def test_micro_batches_equal_the_numpy_twin(batch_norm):
    net = module(batch_norm)
    model = module(batch_norm)
    gradients = [gradient_on(model, rows) for rows in (slice(0, 5), slice(5, 10), slice(10, 12))]
    expected = twin.m_sam(gradients, [5 / 12, 5 / 12, 2 / 12], flat(net).numpy(), 15, momentum_rule(), 0.3)
    optimizer = SAM(rho=0.3, m=5, base=Momentum()).build(net, lr=0.1, weight_decay=0.01)
    for _ in range(15):
        optimizer.step(split_closure(net, optimizer))
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-12)


@family
@pytest.mark.parametrize("m", [12, 100])
def test_a_micro_batch_as_large_as_the_batch_changes_nothing_bitwise(recipe, m):
    ends = []
    for variant in (recipe, copy.deepcopy(recipe).set_params(m=m)):
        net = module()
        optimizer = variant.build(net, lr=0.05)
        losses = [optimizer.step(split_closure(net, optimizer)).item() for _ in range(5)]
        ends.append((losses, net.state_dict()))
    assert ends[0][0] == ends[1][0]
    for a, b in zip(ends[0][1].values(), ends[1][1].values(), strict=True):
        assert torch.equal(a, b)


def test_micro_batches_move_statistics_once_and_pass_twice():
    net, X = module(), data()[0]
    optimizer = SAM(m=4).build(net, lr=0.1)
    hidden = net[0](X).detach()
    parts = [[t[i : i + 4] for t in data()] for i in (0, 4, 8)]
    expected_losses = [closure_for(module(), optimizer, *part)().item() for part in parts]
    closure = split_closure(net, optimizer)
    loss = optimizer.step(closure)
    assert [part.calls for part in closure.parts] == [2, 2, 2]
    assert closure.calls == 0
    assert loss.item() == pytest.approx(sum(expected_losses) / 3)
    layer = net[1]
    assert layer.num_batches_tracked == 1
    means, variances = hidden.reshape(3, 4, 6).mean(1), hidden.reshape(3, 4, 6).var(1)
    torch.testing.assert_close(layer.running_mean, 0.1 * means.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * variances.mean(0), rtol=0, atol=1e-12)


def test_micro_batches_leave_statistics_that_stand_still_bitwise_alone():
    net = module()
    train(net, SGD().build(net, lr=0.1), 3)
    before = net[1].running_mean.clone()
    net[1].track_running_stats = False
    optimizer = SAM(m=5).build(net, lr=0.1)
    optimizer.step(split_closure(net, optimizer))
    assert torch.equal(net[1].running_mean, before)
    assert not net[1].track_running_stats


def test_an_interrupt_between_micro_batches_leaves_the_weights_of_the_last_step():
    net = module()
    optimizer = SAM(m=4).build(net, lr=0.1)
    before = flat(net)
    closure = split_closure(net, optimizer)
    parts = closure.split(4)

    def interrupted():
        if interrupted.calls:
            raise KeyboardInterrupt
        interrupted.calls += 1
        return parts[1]()

    interrupted.calls, interrupted.n_rows = 0, 4
    closure.split = lambda m: [parts[0], interrupted, parts[2]]
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert torch.equal(flat(net), before)


def test_a_closure_that_cannot_be_split_is_told_how():
    net = module()
    optimizer = SAM(m=4).build(net)
    with pytest.raises(ParameterTypeError, match=r"m=4 needs a closure with a method split\(m\).*m=None"):
        optimizer.step(closure_for(net, optimizer))


def test_parameters_unused_in_all_micro_batches_stay_unused():
    net = module()
    unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = SAM(m=5, base=Momentum()).build([*net.parameters(), unused], lr=0.1, weight_decay=0.1)
    optimizer.step(split_closure(net, optimizer))
    assert unused.grad is None
    assert torch.equal(unused, torch.ones(2, dtype=torch.float64))


def test_a_base_may_be_named():
    assert SAM(base="adam").default_lr == Adam().default_lr
    assert SAM(base="foof").needs_layers
    recipe = clone(SAM(base="adam")).set_params(base__betas=(0.5, 0.9))
    assert recipe.base.betas == (0.5, 0.9)
    ends = []
    for base in ("momentum", Momentum()):
        net = module()
        train(net, SAM(base=base).build(net, lr=0.05), 3)
        ends.append([p.detach().clone() for p in net.parameters()])
    assert all(map(torch.equal, *ends))
