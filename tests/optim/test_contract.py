"""What every optimizer promises, over all recipes."""

import copy
import pickle

import pytest
import torch
from skorch import NeuralNetRegressor
from torch import nn

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.optim import (
    ASAM,
    GD,
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
    NiMGD,
    NiMSGD,
    RandomSearch,
    Recipe,
    RMSprop,
    frozen_statistics,
    get,
    names,
)
from tests.optim.problems import Quadratics, closure_for, flat, module, train

RECIPES = [
    GD(),
    SGD(),
    Momentum(),
    SGD(momentum=0.9, nesterov=True),
    Nesterov(),
    Adagrad(),
    RMSprop(),
    Adam(),
    AdamW(),
    SAM(rho=0.1),
    SAM(rho=0.1, base=Momentum()),
    SAM(rho=0.1, base=Nesterov()),
    SAM(rho=0.1, base=Adagrad()),
    SAM(rho=0.1, base=RMSprop()),
    SAM(rho=0.1, base=Adam()),
    SAM(rho=0.1, base=AdamW()),
    ASAM(rho=0.3, adaptive_params="all"),  # of bare tensors too; by kind in test_sharpness_aware
    ASAM(rho=0.3, adaptive_params="all", base=Adam()),
    GSAM(rho=0.1),
    GSAM(rho=0.1, rho_min=0.05, base=Momentum()),
    EntropySGD(L=3, noise=0.1),
    NiMGD(),
    NiMSGD(sigma=0.01, noise="sphere", momentum=0.9),
    NiGGD(sigma=0.1),
    NiGSGD(sigma=0.1, noise="ball", momentum=0.9, nesterov=True),
    BasinHopping(ls_steps=3),
    BasinHopping(ls_steps=2, perturb="grad", sigma=0.1, momentum=0.5),
    BasinHopping(ls_steps=3, accept="monotonic", noise="ball"),
    BasinHopping(ls_steps=3, perturb="grad", accept="metropolis"),
    RandomSearch(n_dirs=20),
    RandomSearch(n_dirs=20, normalized=True),
]
SEVERAL_GRADIENTS = [recipe for recipe in RECIPES if recipe.gradients_per_step > 1]
NEEDS_CLOSURE = [*SEVERAL_GRADIENTS, NiMSGD(), BasinHopping(ls_steps=1), RandomSearch()]
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=repr)


def shakes_weights(recipe):
    """Whether a step moves the weights by noise, whatever the learning rate."""
    return isinstance(recipe, NiMSGD) or getattr(recipe, "perturb", None) == "model"


def first_looks_at_shaken_weights(recipe):
    return shakes_weights(recipe) and getattr(recipe, "accept", "always") == "always"


def build(recipe, net, lr=0.05, **kwargs):
    return recipe.build(net, lr=lr, random_state=0, **kwargs)


@every_recipe
def test_one_step_takes_the_promised_gradients_and_moves_statistics_once(recipe):
    net, once = module(), module()
    optimizer = build(recipe, net)
    closure = closure_for(net, optimizer)
    optimizer.step(closure)
    assert closure.calls == recipe.gradients_per_step
    closure_for(once, torch.optim.SGD(once.parameters()))()
    slack = 0.01 if first_looks_at_shaken_weights(recipe) else 0.0
    torch.testing.assert_close(net[1].running_mean, once[1].running_mean, rtol=0, atol=slack)
    torch.testing.assert_close(net[1].running_var, once[1].running_var, rtol=0, atol=slack)
    assert net[1].num_batches_tracked == 1
    assert net[1].track_running_stats


@every_recipe
def test_returns_the_loss_before_the_step_and_lowers_it(recipe):
    net = module()
    losses = train(net, build(recipe, net), 60)
    fresh = module()
    before = closure_for(fresh, torch.optim.SGD(fresh.parameters()))().item()
    assert losses[0] == pytest.approx(before, rel=0.1 if first_looks_at_shaken_weights(recipe) else None)
    assert losses[-1] < 0.6 * losses[0]


@every_recipe
def test_resuming_equals_an_uninterrupted_run_bitwise(recipe):
    straight = module()
    train(straight, build(recipe, straight), 8)
    first = module()
    optimizer = build(recipe, first)
    train(first, optimizer, 4)
    state = pickle.loads(pickle.dumps((first.state_dict(), optimizer.state_dict())))
    second = module()
    second.load_state_dict(state[0])
    resumed = recipe.build(second, lr=0.9, random_state=7)
    resumed.load_state_dict(state[1])
    train(second, resumed, 4)
    assert torch.equal(flat(straight), flat(second))


@every_recipe
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_as_the_original(recipe, duplicate):
    net = module()
    optimizer = build(recipe, net)
    train(net, optimizer, 3)
    twin, twin_optimizer = duplicate((net, optimizer))
    train(net, optimizer, 3)
    train(twin, twin_optimizer, 3)
    assert torch.equal(flat(net), flat(twin))


@pytest.mark.parametrize("recipe", [r for r in RECIPES if not shakes_weights(r)], ids=repr)
def test_a_scheduler_reaches_the_step_before_and_after_loading(recipe):
    net = module()
    optimizer = build(recipe, net)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.0)
    train(net, optimizer, 1)
    optimizer.load_state_dict(optimizer.state_dict())
    scheduler.step()
    before = flat(net)
    train(net, optimizer, 2)
    assert torch.equal(flat(net), before)


@pytest.mark.parametrize("recipe", SEVERAL_GRADIENTS, ids=repr)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_step_leaves_the_weights_of_the_last_one(recipe, error):
    net = module()
    optimizer = build(recipe, net)
    train(net, optimizer, 2)
    before = flat(net)
    closure = closure_for(net, optimizer)

    def breaks_at_the_second_pass():
        if closure.calls == 1:
            raise error
        return closure()

    with pytest.raises(error):
        optimizer.step(breaks_at_the_second_pass)
    assert torch.equal(flat(net), before)
    assert net[1].track_running_stats


@pytest.mark.parametrize("recipe", NEEDS_CLOSURE, ids=repr)
def test_a_step_without_a_closure_says_what_to_pass(recipe):
    net = module()
    with pytest.raises(ParameterTypeError, match=r"step\(closure\)"):
        build(recipe, net).step()


@every_recipe
def test_members_do_not_meet(recipe):
    together = Quadratics(0, 1, 2, 3)
    together.train(build(recipe, [together.w], n_members=4), 50)
    pair = Quadratics(0, 1)
    pair.train(build(recipe, [pair.w], n_members=2), 50)
    alone = Quadratics(0)
    alone.train(build(recipe, [alone.w], n_members=1), 50)
    assert torch.equal(together.w[:2], pair.w)
    torch.testing.assert_close(together.w[:1], alone.w, rtol=0, atol=1e-10)


@every_recipe
def test_permuting_members_permutes_results(recipe):
    one, other = Quadratics(0, 1, 2), Quadratics(2, 0, 1)
    one.train(build(recipe, [one.w], n_members=3), 20)
    optimizer = build(recipe, [other.w], n_members=3)
    if hasattr(optimizer, "generators"):  # a member takes its noise along
        optimizer.generators = [optimizer.generators[i] for i in (2, 0, 1)]
    other.train(optimizer, 20)
    assert torch.equal(one.w[[2, 0, 1]], other.w)


@every_recipe
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_sick_member_leaves_the_others_bitwise_unchanged(recipe, bad):
    def spoil(gradient):
        gradient[0] = bad

    healthy, sick = Quadratics(0, 1, 2), Quadratics(0, 1, 2)
    healthy.train(build(recipe, [healthy.w], n_members=3), 10)
    sick.train(build(recipe, [sick.w], n_members=3), 10, spoil)
    assert torch.equal(healthy.w[1:], sick.w[1:])


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


@every_recipe
def test_a_zero_gradient_moves_nothing_to_nan(recipe):
    problem = Quadratics(0, 1)
    problem.train(build(recipe, [problem.w], n_members=2), 2, lambda gradient: gradient.zero_())
    assert problem.w.isfinite().all()


@every_recipe
def test_groups_and_unused_parameters(recipe):
    net = module()
    unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    still = {"params": net[0].parameters(), "lr": 0.0, "sigma": 0.0}
    groups = [still, {"params": [*net[3].parameters(), unused]}]
    first, last = net[0].weight.detach().clone(), net[3].weight.detach().clone()
    train(net, build(recipe, groups), 3)
    assert torch.equal(net[0].weight, first)
    assert not torch.equal(net[3].weight, last)
    if recipe.gradients_per_step:  # without gradients nothing tells that it is unused
        assert torch.equal(unused, torch.ones(2, dtype=torch.float64))


@every_recipe
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


def test_dropout_masks_agree_between_the_passes_of_sam():
    net = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5))
    masks = []
    net[1].register_forward_hook(lambda layer, args, output: masks.append(output == 0))
    X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    optimizer = SAM(rho=0.0).build(net)
    with torch.random.fork_rng():
        optimizer.step(closure_for(net, optimizer, X, X[:, :1]))
    assert torch.equal(*masks)


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


def test_names_are_sorted_and_each_gives_a_recipe():
    assert names() == sorted(names())
    assert {"gd", "sgd", "momentum", "adam", "sam", "entropy_sgd"} <= set(names())
    for name in names():
        assert isinstance(get(name), Recipe)
        assert get(name) is not get(name)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: get("sma"), ParameterError, "'sam'.*got 'sma'"),
        (lambda: get(3), ParameterTypeError, "recipe"),
        (lambda: SAM(rho=-1).build(module()), ParameterError, "rho"),
        (lambda: SAM(base=SAM()).build(module()), ParameterTypeError, "one gradient per step"),
        (lambda: SAM(base="adam").build(module()), ParameterTypeError, "base must be a recipe"),
        (lambda: EntropySGD(L="5").gradients_per_step, ParameterTypeError, "L must be an integer"),
        (lambda: SGD(momentum=1.0).build(module()), ParameterError, "momentum"),
        (lambda: SGD().build(module(), lr=float("nan")), ParameterError, "lr"),
        (lambda: Adam(betas=(0.9,)).build(module()), ParameterError, "betas"),
        (lambda: AdamW(betas=(0.9, 1.0)).build(module()), ParameterError, "betas"),
        (lambda: Nesterov(momentum=-0.1).build(module()), ParameterError, "momentum"),
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
        (lambda: SGD().build(module(), weight_decay=-1), ParameterError, "weight_decay"),
    ],
)
def test_bad_hyper_parameters_are_named(make, error, match):
    with pytest.raises(error, match=match):
        make()
