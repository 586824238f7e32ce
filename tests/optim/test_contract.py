"""What every optimizer promises, over all recipes and their variants."""

import pytest
import torch
from skorch import NeuralNetRegressor
from torch import nn

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.nn import TabNet
from flatcausal.optim import (
    ASAM,
    FOOF,
    GSAM,
    SAM,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    BasinHopping,
    EntropySGD,
    Momentum,
    Nesterov,
    NiGGD,
    NiGSGD,
    NiMSGD,
    RandomSearch,
    RMSprop,
    frozen_statistics,
    get,
    names,
)
from flatcausal.testing import optimizer_checks
from tests.optim.problems import Quadratics, closure_for, module, train

VARIANTS = [
    SGD(momentum=0.9, nesterov=True),
    SAM(rho=0.1, base=Momentum()),
    SAM(rho=0.1, base=Nesterov()),
    SAM(rho=0.1, base=Adagrad()),
    SAM(rho=0.1, base=RMSprop()),
    SAM(rho=0.1, base=Adam()),
    SAM(rho=0.1, base=AdamW()),
    SAM(base=FOOF()),
    SAM(rho=0.1, base=NiGSGD(sigma=0.1)),
    SAM(rho=0.1, m=5),
    SAM(rho=0.1, perturb="norm"),
    SAM(rho=0.1, perturb="norm", base=Adam()),
    SAM(rho=0.1, perturb="weights"),
    SAM(rho=0.1, perturb="no_norm"),
    ASAM(m=4, base=Momentum()),
    ASAM(perturb="norm"),
    ASAM(rho=0.3, adaptive_params="all"),
    ASAM(rho=0.3, adaptive_params="all", base=Adam()),
    GSAM(rho=0.1, rho_min=0.05, base=Momentum()),
    GSAM(rho=0.1, perturb="weights"),
    GSAM(rho=0.1, m=5, base=AdamW()),
    EntropySGD(L=0),
    EntropySGD(L=1),
    EntropySGD(L=3, noise=0.1, nesterov=False),
    EntropySGD(L=3, gamma0=0.5, gamma1=0.1, momentum=0.0),
    EntropySGD(L=0, variant="ucla"),
    EntropySGD(L=3, variant="ucla"),
    EntropySGD(L=3, variant="ucla", noise=0.1, nesterov=False),
    EntropySGD(L=3, variant="ucla", gamma0=0.5, momentum=0.0),
    NiMSGD(sigma=0.01, noise="sphere", momentum=0.9),
    NiGSGD(sigma=0.1, noise="ball", momentum=0.9, nesterov=True),
    *(
        BasinHopping(perturb, accept, ls_steps=2, noise=noise, momentum=0.5)
        for perturb, accept, noise in [
            ("model", "monotonic", "ball"),
            ("model", "metropolis", "gaussian"),
            ("grad", "always", "sphere"),
            ("grad", "monotonic", "gaussian"),
            ("grad", "metropolis", "ball"),
        ]
    ),
    RandomSearch(normalized=True),
]
RECIPES = [*map(get, names()), *VARIANTS]

# Those that take bare tensors, and a closure without split.
BARE = [recipe for recipe in RECIPES if not recipe.needs_layers and getattr(recipe, "m", None) is None]

PLAIN = [get(name) for name in names() if not get(name).needs_layers]


def name_of(recipe):
    return " ".join(repr(recipe).split())


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name_of(recipe)}-{name}")
        for recipe in RECIPES
        for name, check in optimizer_checks(recipe)
    ],
)
def test_keeps_the_contract(check):
    check()


@pytest.mark.parametrize("recipe", BARE, ids=name_of)
def test_a_group_without_rate_and_noise_stands_still(recipe):
    net = module()
    still = {"params": net[0].parameters(), "lr": 0.0, "sigma": 0.0}
    first, last = net[0].weight.detach().clone(), net[3].weight.detach().clone()
    train(net, recipe.build([still, {"params": net[3].parameters()}], lr=0.05, random_state=0), 3)
    assert torch.equal(net[0].weight, first)
    assert not torch.equal(net[3].weight, last)


@pytest.mark.parametrize("recipe", [*PLAIN, ASAM(rho=0.3, adaptive_params="all")], ids=name_of)
def test_trains_a_stock_skorch_net(recipe):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(64, 3, generator=generator).numpy()
    net = NeuralNetRegressor(
        module(dtype=torch.float32),
        optimizer=recipe.build,
        lr=0.05,
        max_epochs=15,
        train_split=None,
        iterator_train__shuffle=False,
        verbose=0,
    )
    net.fit(X, X[:, :1] * 2)
    losses = net.history[:, "train_loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_sam_takes_a_plain_step_where_the_ascent_has_no_direction():
    calls = []

    def spoil_first_pass(gradient):
        calls.append(None)
        if len(calls) == 1:
            gradient[0] = float("inf")

    sam, plain = Quadratics(0, 1), Quadratics(0, 1)
    sam.train(SAM(rho=0.3).build([sam.w], lr=0.1, n_members=2), 1, spoil_first_pass)
    plain.train(SGD().build([plain.w], lr=0.1, n_members=2), 1)
    assert torch.equal(sam.w[0], plain.w[0])
    assert not torch.equal(sam.w[1], plain.w[1])


def test_dropout_masks_agree_between_the_passes_of_sam():
    net = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5))
    masks = []
    net[1].register_forward_hook(lambda layer, args, output: masks.append(output == 0))
    X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    optimizer = SAM(rho=0.0).build(net)
    with torch.random.fork_rng():
        optimizer.step(closure_for(net, optimizer, X, X[:, :1]))
    assert torch.equal(*masks)


@pytest.mark.parametrize(
    "recipe",
    [
        RandomSearch(n_dirs=4),
        BasinHopping(accept="monotonic", ls_steps=3),
        BasinHopping(perturb="grad", accept="metropolis", ls_steps=3),
    ],
    ids=name_of,
)
def test_losses_that_are_compared_have_the_same_dropout_masks(recipe):
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 1, dtype=torch.float64))
    optimizer, masks, judged = recipe.build(net, random_state=0), [], []
    net[0].register_forward_hook(lambda layer, args, output: masks.append(output == 0))
    closure = closure_for(net, optimizer)
    judge = closure.losses
    closure.losses = lambda: (judged.append(len(masks)), judge())[1]
    with torch.random.fork_rng():
        for _ in range(2):
            start = len(masks)
            judged.clear()
            optimizer.step(closure)
            assert all(torch.equal(masks[i], masks[start]) for i in judged)
    assert not any(torch.equal(masks[start], mask) for mask in masks[:start])  # a step draws its own


@pytest.mark.parametrize(("kind", "sizes"), [(nn.LSTM, (3, 3, 2)), (nn.MultiheadAttention, (3, 1))])
def test_dropout_within_a_layer_agrees_between_the_passes_of_sam(kind, sizes):
    X = torch.randn(10, 4, 3, generator=torch.Generator().manual_seed(0))
    losses = []

    def closure():
        optimizer.zero_grad()
        output = layer(X)[0] if kind is nn.LSTM else layer(X, X, X)[0]
        losses.append(output.square().mean())
        losses[-1].backward()
        return losses[-1]

    with torch.random.fork_rng():
        layer = kind(*sizes, dropout=0.5)
        optimizer = SAM(rho=0.0).build(layer)
        optimizer.step(closure)
    assert torch.equal(*losses)


@pytest.mark.parametrize("recipe", [SAM(0.5), ASAM(0.5, 0.0, "all"), GSAM(0.5)], ids=name_of)
@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("slope", [0.0, 1e-5, 300.0])
def test_the_ascent_takes_numbers_of_half_precision(recipe, n_members, slope):
    w = torch.full((2, 400), 0.5, dtype=torch.float16, requires_grad=True)
    optimizer, seen = recipe.build([w], lr=0.0, n_members=n_members), []

    def closure():
        seen.append(w.detach().float())
        w.grad = torch.full_like(w, slope)

    optimizer.step(closure)
    lengths = (seen[1] - seen[0]).reshape(n_members, -1).norm(dim=1)
    length = 0.5 * (slope > 0) * (0.5 if isinstance(recipe, ASAM) else 1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, length), rtol=0.02, atol=0)


def test_a_model_whose_tensors_are_all_frozen_stays():
    net = module().requires_grad_(False)
    for name in names():
        if not get(name).needs_layers:
            loss = torch.ones((), dtype=torch.float64)
            get(name).build(net, random_state=0).step(lambda loss=loss: loss)
    assert torch.equal(net[0].weight, module()[0].weight)


def state_of(name, n_members):
    return get(name).build([torch.ones(n_members, 2)], n_members=n_members, random_state=0).state_dict()


@pytest.mark.parametrize("name", ["nig_sgd", "nim_sgd", "bh", "random_search", "entropy_sgd"])
def test_a_state_of_another_optimizer_or_of_other_members_is_refused(name):
    optimizer = get(name).build([torch.ones(1, 2)], random_state=0)
    with pytest.raises(ParameterError, match="without noise of its own"):
        optimizer.load_state_dict(state_of("sgd", 1))
    with pytest.raises(ParameterError, match="optimizer of 1 members, got one of 3"):
        optimizer.load_state_dict(state_of(name, 3))


@pytest.mark.parametrize("recipe", BARE, ids=name_of)
def test_named_parameters_train_as_unnamed_ones(recipe):
    nets = module(batch_norm=False), module(batch_norm=False)
    for net, params in zip(nets, (nets[0].named_parameters(), nets[1].parameters()), strict=True):
        train(net, recipe.build(params, random_state=0), 2)
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in nets), strict=True))


def test_a_default_base_can_be_set_by_its_parameters():
    assert SAM().set_params(base__momentum=0.5, rho=0.2).base.momentum == 0.5


def test_rho_of_a_group_scales_its_share_of_one_common_direction():
    a = torch.ones(2, dtype=torch.float64, requires_grad=True)
    b = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = SAM(rho=0.1).build([{"params": [a], "rho": 0.0}, {"params": [b]}], lr=0.0)
    seen = []

    def closure():
        a.grad = b.grad = None
        seen.append((a.detach().clone(), b.detach().clone()))
        loss = (a.square().sum() + b.square().sum()) / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    (a0, b0), (a1, b1) = seen
    assert torch.equal(a0, a1)
    torch.testing.assert_close((b1 - b0).norm().item(), 0.1 * 2**0.5 / 2)
    assert torch.equal(b, b0)


def test_frozen_statistics_come_back_after_an_error():
    layer = nn.BatchNorm1d(2)

    def fail():
        with frozen_statistics([layer]):
            assert not layer.track_running_stats
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert layer.track_running_stats


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: get("sma"), ParameterError, "'sam'.*got 'sma'"),
        (lambda: get(3), ParameterTypeError, "recipe"),
        (lambda: SAM(rho=-1).build(module()), ParameterError, "rho"),
        (lambda: SAM(base=SAM()).build(module()), ParameterTypeError, "one gradient per step"),
        (lambda: SAM(base=3).build(module()), ParameterTypeError, "base must be a recipe"),
        (lambda: SAM(base="adma").build(module()), ParameterError, "base must be one of .*'adam'"),
        (lambda: EntropySGD(L="5").gradients_per_step, ParameterTypeError, "L must be an integer"),
        (lambda: SGD(momentum=1.0).build(module()), ParameterError, "momentum"),
        (lambda: SGD().build(module(), lr=float("nan")), ParameterError, "lr"),
        (lambda: SGD(nesterov="yes").build(module()), ParameterTypeError, "nesterov must be True or False"),
        (lambda: NiMSGD(nesterov=2).build(module()), ParameterTypeError, "nesterov must be True or False"),
        (lambda: EntropySGD(nesterov=2).build(module()), ParameterTypeError, "nesterov must be True or"),
        (lambda: EntropySGD(momentum=1.0).build(module()), ParameterError, "momentum"),
        (lambda: BasinHopping(momentum=-0.1).build(module()), ParameterError, "momentum"),
        (lambda: Adam(betas=(0.9,)).build(module()), ParameterError, "betas"),
        (lambda: Adam(betas=0.9).build(module()), ParameterError, "betas must be two numbers.*got 0.9"),
        (lambda: AdamW(betas=0.9).build(module()), ParameterError, "betas must be two numbers.*got 0.9"),
        (lambda: AdamW(betas=(0.9, 1.0)).build(module()), ParameterError, "betas"),
        (lambda: Nesterov(momentum=-0.1).build(module()), ParameterError, "momentum"),
        (lambda: Adam(eps=0.0).build(module()), ParameterError, "eps must be .* greater than 0"),
        (lambda: SAM().build([torch.ones(4, 3)], n_members=2), ParameterError, r"n_members=2.*\(4, 3\)"),
        (lambda: SGD().build([torch.ones(())], n_members=2), ParameterError, r"n_members=2.*shape \(\)"),
        (lambda: SGD().build([{"params": [torch.ones(3)]}], n_members=2), ParameterError, "n_members=2"),
        (lambda: SAM().build(TabNet(2, n_members=3)), ParameterError, "holds 3 members.*n_members=3"),
        (lambda: FOOF().build(TabNet(2, n_members=3)), ParameterError, "holds 3 members.*n_members=3"),
        (lambda: Adagrad(eps=0.0).build(module()), ParameterError, "eps"),
        (lambda: RMSprop(alpha=1.0).build(module()), ParameterError, "alpha"),
        (lambda: RMSprop(eps=0).build(module()), ParameterError, "eps"),
        (lambda: NiMSGD(sigma=-1).build(module()), ParameterError, "sigma"),
        (lambda: NiGGD(noise="pink").build(module()), ParameterError, "noise must be.*'pink'"),
        (lambda: BasinHopping(perturb="loss").build(module()), ParameterError, "perturb must be"),
        (lambda: BasinHopping(accept="never").build(module()), ParameterError, "accept must be"),
        (lambda: BasinHopping(ls_steps=0).build(module()), ParameterError, "ls_steps"),
        (
            lambda: BasinHopping(accept="metropolis", temperature=-1.0).build(module()),
            ParameterError,
            "temperature",
        ),
        (lambda: RandomSearch(n_dirs=0).build(module()), ParameterError, "n_dirs"),
        (lambda: RandomSearch(normalized=1).build(module()), ParameterTypeError, "normalized"),
        (lambda: EntropySGD(L=-1).build(module()), ParameterError, "L must be"),
        (lambda: EntropySGD(alpha=2.0).build(module()), ParameterError, "alpha"),
        (lambda: SGD().build([]), ParameterError, "no parameters"),
        (lambda: SGD().build(torch.ones(2, 3)), ParameterTypeError, "module_or_params must be.*Tensor"),
        (lambda: SGD().build(None), ParameterTypeError, "module_or_params must be.*NoneType"),
        (lambda: SGD().build("net"), ParameterTypeError, "module_or_params must be.*str"),
        (lambda: SGD().build(module(), weight_decay=-1), ParameterError, "weight_decay"),
    ],
)
def test_bad_hyper_parameters_are_named(make, error, match):
    with pytest.raises(error, match=match):
        make()
