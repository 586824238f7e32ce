"""Averages of weights: what they are means of, for each member by itself, and that training never notices."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from flatcausal._threads import pinned_threads
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.nn import TabNet
from flatcausal.optim import SAM, SGD, averaging
from flatcausal.optim.averaging import EMA, LAWA, SWA, SWAD
from tests.optim import problems
from tests.reference import averaging as reference

EPOCHS, STEPS = 12, 3  # steps of an epoch
RECIPES = [
    SWA(start=0.4),
    SWA(start=0.0, freq=3),
    EMA(decay=0.8),
    LAWA(k=4),
    SWAD(freq=2, tolerance_ratio=0.1),
]
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=repr)


def trajectory(shape=(7, 5), seed=0, dtype=torch.float64):
    """Weights after every step, and a loss of every member there."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(EPOCHS * STEPS, *shape, generator=generator, dtype=dtype)
    return weights, torch.rand(EPOCHS * STEPS, shape[0], generator=generator, dtype=dtype)


def walk(average, live, weights, losses, first=0):
    """Lead the live weights along the trajectory from step ``first`` on, and tell the average."""
    for i in range(first, len(weights)):
        live.copy_(weights[i])
        average.after_step(lambda i=i: losses[i])
        if (i + 1) % STEPS == 0:
            average.after_epoch()
    return average


def averaged(recipe, weights, losses, members=slice(None)):
    weights, losses = weights[:, members], losses[:, members]
    live = torch.zeros_like(weights[0])
    average = recipe.build([live], n_epochs=EPOCHS, n_members=len(live))
    return walk(average, live, weights, losses).matrix()


# What each is a mean of

TWINS = {
    "swa": (SWA(start=0.4), lambda steps, _: reference.swa(steps[STEPS - 1 :: STEPS], 0.4)),
    "swa, sparse": (SWA(0.29, freq=3), lambda steps, _: reference.swa(steps[STEPS - 1 :: STEPS], 0.29, 3)),
    "ema": (EMA(decay=0.8), lambda steps, _: reference.ema(steps, 0.8)),
    "ema, slow": (EMA(), lambda steps, _: reference.ema(steps, 0.999)),
    "lawa": (LAWA(k=4), lambda steps, _: reference.lawa(steps[STEPS - 1 :: STEPS], 4)),
    "swad": (SWAD(freq=2), lambda steps, losses: reference.swad(steps, losses[1::2], 2)),
    "swad, odd": (
        SWAD(freq=5, n_converge=2, n_tolerance=1),
        lambda steps, losses: reference.swad(steps, losses[4::5], 5, 2, 1),
    ),
}


@pytest.mark.parametrize(("recipe", "twin"), TWINS.values(), ids=TWINS)
def test_agrees_with_the_twin_for_each_member(recipe, twin):
    weights, losses = trajectory()
    found = averaged(recipe, weights, losses)
    for k in range(7):
        expected = twin(weights[:, k].numpy(), losses[:, k].numpy())
        np.testing.assert_allclose(found[k], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("start", "n_epochs", "first"),
    [(0.75, 4, 4), (0.75, 200, 151), (0.0, 3, 1), (0.29, 100, 30), (0.999, 5, 5), (0.75, 1, 1), (0.5, 3, 2)],
)
def test_swa_starts_after_its_share_of_the_epochs(start, n_epochs, first):
    live = torch.zeros(1)
    average = SWA(start=start).build([live], n_epochs=n_epochs)
    for epoch in range(1, n_epochs + 1):
        live.fill_(float(epoch))
        average.after_epoch()
        assert bool(average.exists) == (epoch >= first)
    assert average.matrix().item() == pytest.approx((first + n_epochs) / 2)


def test_agrees_with_torch():
    weights, losses = trajectory((1, 5))
    live = nn.Linear(5, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        live.weight.copy_(weights[0])
    equal, exponential = AveragedModel(live), AveragedModel(live, multi_avg_fn=get_ema_multi_avg_fn(0.8))
    for step in weights:
        with torch.no_grad():
            live.weight.copy_(step)
        exponential.update_parameters(live)
        equal.update_parameters(live)
    every_step = averaged(EMA(decay=1 - 1e-12), weights, losses)
    torch.testing.assert_close(every_step, equal.module.weight.detach(), rtol=0, atol=1e-9)
    # torch starts at the first weights, to which it gives the share that nothing has yet.
    left = 0.8 ** len(weights)
    started = (1 - left) * averaged(EMA(decay=0.8), weights, losses) + left * weights[0]
    torch.testing.assert_close(started, exponential.module.weight.detach(), rtol=0, atol=1e-14)


def test_limiting_cases_are_exact():
    weights, losses = trajectory(dtype=torch.float32)
    for last in (EMA(decay=0.0), LAWA(k=1), SWA(start=0.99)):
        assert torch.equal(averaged(last, weights, losses), weights[-1])
    epoch_ends = weights[STEPS - 1 :: STEPS]
    for k in (EPOCHS, 10**6):
        everything = averaged(LAWA(k=k), weights, losses)
        assert torch.equal(everything, averaged(SWA(start=0.0), weights, losses))
        torch.testing.assert_close(everything, epoch_ends.mean(0), rtol=0, atol=1e-6)


@every_recipe
def test_constant_weights_are_their_own_average(recipe):
    weights, losses = trajectory(dtype=torch.float32)
    constant = weights[:1].expand_as(weights)
    assert torch.equal(averaged(recipe, constant, losses), constant[0])


@every_recipe
def test_of_a_linear_model_the_average_predicts_the_average(recipe):
    weights, losses = trajectory((1, 5))
    X = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    predictions = weights @ X.T
    one = averaged(recipe, weights, losses) @ X.T
    torch.testing.assert_close(one, averaged(recipe, predictions, losses), rtol=0, atol=1e-14)


# SWAD

SCRIPTS = [  # losses, segments of the average, and how often the authors' code takes each
    ([3, 2, 1, 1.1, 1.2, 1.2, 1.2, 1.2], [2, 3, 4, 5, 6, 7], {2: 1, 3: 2, 4: 1, 5: 1, 6: 1, 7: 1}),
    ([3, 2, 1, 1.1, 1.2, 1.2, 1.2, *[9] * 8], [2, 3, 4, 5, 6], {2: 1, 3: 2, 4: 1, 5: 1, 6: 1}),
    (
        [5, 4, 3, 2.5, 2, 1.5, 1, 1.1, 1.2, 1.15, 1.1, *[9] * 7],
        [6, 7, 8, 9, 10],
        {6: 1, 7: 1, 8: 1, 9: 1, 10: 1},
    ),
    (
        [5, 4, 3, 2.5, 2, 1.2, 1, 1.1, 1.2, 1.15, 1.1, *[9] * 7],
        [5, 6, 7, 8, 9, 10],
        {6: 2, 7: 1, 8: 1, 9: 1, 10: 1},
    ),
]


def segments_of(losses, **params):
    """Segments that an average is the mean of, if it takes each once: weights tell one from the other."""
    n = len(losses)
    live = torch.zeros(n, dtype=torch.float64)
    average = SWAD(freq=1, **params).build([live])
    for i, loss in enumerate(losses):
        live.zero_()[i] = 1.0
        average.after_step(lambda loss=loss: loss)
    shares = average.matrix()[0]
    taken = shares.nonzero()[:, 0].tolist()
    torch.testing.assert_close(shares[taken], torch.full_like(shares[taken], 1 / len(taken)))
    return taken


@pytest.mark.parametrize(("losses", "segments", "released"), SCRIPTS)
def test_swad_on_scripted_losses(losses, segments, released):
    assert segments_of(losses) == segments
    assert reference.swad_segments(losses) == segments
    assert reference.released_swad_counts(losses) == released


@pytest.mark.parametrize(
    ("losses", "segments"),
    [
        ([5, 4, 3, 2, 1], [4]),  # never starts: the last segment
        ([5, 4], [1]),
        ([1, 1, 1, 1], [0, 1, 2, 3]),  # of equal losses the oldest is the lowest
        ([1, 1.1, 1.2, 9, 9, 1.3, 9], [0, 1, 2, 3, 4, 5]),  # high losses within the valley belong to it
        ([-2, -1.9, -1.8, -1.5, -1, -1, -1], [0, 1, 2, 3]),  # the threshold lies above negative losses, too
        ([1, np.nan, 2, 1, 1.1, np.inf, 1, 1.2, 1.1], [6, 7, 8]),  # none begins where a loss is not finite
    ],
)
def test_swad_where_the_valley_is_odd(losses, segments):
    assert segments_of(losses) == segments


@given(
    st.lists(st.sampled_from([0.5, 0.8, 1.0, 1.05, 1.2, 1.3, 1.5, 2.0, 4.0]), min_size=1, max_size=25),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.1, 0.3, 1.0]),
)
def test_swad_takes_the_segments_of_the_twin(losses, n_converge, n_tolerance, tolerance_ratio):
    rule = n_converge, n_tolerance, tolerance_ratio
    names = ("n_converge", "n_tolerance", "tolerance_ratio")
    expected = reference.swad_segments(losses, *rule)
    assert segments_of(losses, **dict(zip(names, rule, strict=True))) == expected


def test_swad_asks_for_a_loss_at_the_end_of_a_segment_only():
    asked = []
    average = SWAD(freq=4).build([torch.zeros(1)])
    for step in range(1, 13):
        average.after_step(lambda step=step: asked.append(step) or 1.0)
    assert asked == [4, 8, 12]


# Members


@every_recipe
@pytest.mark.parametrize(("width", "n_threads"), [(5, 1), (37, 1), (1009, 1), (5003, 2)])
def test_a_member_is_bitwise_the_same_in_any_company(recipe, width, n_threads):
    # Widths beside multiples of a vector; the last is shared out to threads.
    weights, losses = (of_steps[:24] for of_steps in trajectory((7, width), dtype=torch.float32))
    with pinned_threads(n_threads):
        everyone = averaged(recipe, weights, losses)
        for members in ([3], [0, 1], [2, 6, 1]):
            assert torch.equal(averaged(recipe, weights, losses, members), everyone[members])


@every_recipe
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_member_that_diverges_keeps_the_average_until_then_and_leaves_the_others_alone(recipe, value):
    weights, losses = trajectory()
    healthy = averaged(recipe, weights, losses)
    sick, until = weights.clone(), 17
    sick[until:, 2, 3] = value
    losses[until:, 2] = torch.nan
    found = averaged(recipe, sick, losses)
    others = [0, 1, 3, 4, 5, 6]
    assert torch.equal(found[others], healthy[others])
    live = torch.zeros_like(weights[0])
    average = recipe.build([live], n_epochs=EPOCHS, n_members=7)
    assert torch.equal(found[2], walk(average, live, weights[:until], losses[:until]).matrix()[2])
    assert not torch.equal(found[2], healthy[2])


@every_recipe
def test_an_average_that_was_ended_stands_still(recipe):
    weights, losses = trajectory()
    live = torch.zeros_like(weights[0])
    average = recipe.build([live], n_epochs=EPOCHS, n_members=7)
    walk(average, live, weights[:15], losses[:15])
    before = average.matrix()
    average.active[4] = False
    walk(average, live, weights, losses, first=15)
    changed = (average.matrix() != before).any(1)
    assert not changed[4]
    assert changed.sum() >= 5


@every_recipe
def test_without_an_average_there_are_the_present_weights(recipe):
    live = torch.full((2, 3), 5.0)
    average = recipe.build([live], n_epochs=EPOCHS, n_members=2)
    assert not average.exists.any()
    assert torch.equal(average.matrix(), live)
    assert average.matrix().data_ptr() != live.data_ptr()


@every_recipe
def test_tensors_of_all_shapes_are_one_vector_a_member(recipe):
    weights, losses = trajectory((2, 12))
    shapes = [(2, 3), (2, 2, 4), (2,)]

    def apart(rows):
        return [part.reshape(shape) for part, shape in zip(rows.split([3, 8, 1], dim=1), shapes, strict=True)]

    live = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    average = recipe.build([{"params": live[:2]}, {"params": live[2]}], n_epochs=EPOCHS, n_members=2)
    for i, step in enumerate(weights):
        for tensor, part in zip(live, apart(step), strict=True):
            tensor.copy_(part)
        average.after_step(lambda i=i: losses[i])
        if (i + 1) % STEPS == 0:
            average.after_epoch()
    expected = averaged(recipe, weights, losses)
    assert torch.equal(average.matrix(), expected)
    average.copy_to(live)
    for tensor, part in zip(live, apart(expected), strict=True):
        assert torch.equal(tensor, part)


# State


@every_recipe
@pytest.mark.parametrize("stop", range(0, EPOCHS * STEPS + 1, 5))
def test_resumed_is_uninterrupted(recipe, stop):
    weights, losses = trajectory(dtype=torch.float32)
    live = torch.zeros_like(weights[0])
    first = walk(recipe.build([live], EPOCHS, 7), live, weights[:stop], losses[:stop])
    state = pickle.loads(pickle.dumps(first.state_dict()))
    walk(first, live, weights, losses, first=stop)  # the state is its own
    other = torch.zeros_like(live)
    resumed = recipe.build([other], EPOCHS, 7)
    resumed.load_state_dict(state)
    walk(resumed, other, weights, losses, first=stop)
    expected = averaged(recipe, weights, losses)
    assert torch.equal(resumed.matrix(), expected)
    assert torch.equal(first.matrix(), expected)


@every_recipe
@pytest.mark.parametrize("through", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_alike(recipe, through):
    weights, losses = trajectory()
    live = torch.zeros_like(weights[0])
    pair = walk(recipe.build([live], EPOCHS, 7), live, weights[:20], losses[:20]), live
    average, twin = (walk(*p, weights, losses, first=20) for p in (through(pair), pair))
    assert torch.equal(average.matrix(), twin.matrix())


@every_recipe
def test_members_of_a_state_are_a_state(recipe):
    weights, losses = trajectory()
    live = torch.zeros_like(weights[0])
    whole = walk(recipe.build([live], EPOCHS, 7), live, weights[:20], losses[:20])
    part = torch.zeros_like(weights[0, 2:5])
    average = recipe.build([part], EPOCHS, 3)
    state = whole.state_dict()
    average.load_state_dict({k: v[2:5] if isinstance(v, torch.Tensor) else v for k, v in state.items()})
    walk(average, part, weights[:, 2:5], losses[:, 2:5], first=20)
    assert torch.equal(average.matrix(), averaged(recipe, weights, losses)[2:5])


# With an optimizer


@every_recipe
@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), SAM(rho=0.1)], ids=repr)
def test_training_does_not_notice(recipe, optimizer):
    def train(average_it):
        net = problems.module()
        opt = optimizer.build(net, lr=0.1)
        closure = problems.closure_for(net, opt)
        average = recipe.build(net, n_epochs=EPOCHS) if average_it else None
        losses = []
        for step in range(EPOCHS * STEPS):
            losses.append(opt.step(closure).item())
            if average is not None:
                average.after_step(lambda: closure.losses())
                if (step + 1) % STEPS == 0:
                    average.after_epoch()
        return losses, net, average

    losses, net, average = train(True)
    expected, plain, _ = train(False)
    assert losses == expected
    assert torch.equal(problems.flat(net), problems.flat(plain))
    assert bool(average.exists)
    assert not torch.equal(average.matrix()[0], problems.flat(net))
    other = copy.deepcopy(net)
    average.copy_to(other)
    assert torch.equal(problems.flat(net), problems.flat(plain))
    assert torch.equal(problems.flat(other), average.matrix()[0])
    average.copy_to(net.parameters())
    assert torch.equal(problems.flat(net), problems.flat(other))
    assert all(p.requires_grad for p in net.parameters())


def test_half_precision_is_averaged_in_single():
    live = torch.ones(1, dtype=torch.bfloat16)
    average = EMA(decay=0.999).build([live])
    for value in [1.0] * 1000 + [2.0] * 1000:
        live.fill_(value)
        average.after_step()
    expected = reference.ema(np.repeat([1.0, 2.0], 1000), 0.999)
    assert average.matrix().item() == pytest.approx(expected, abs=1e-4)
    average.copy_to([live])
    assert live.dtype is torch.bfloat16
    assert live.item() == pytest.approx(expected, abs=1e-2)


# Names and parameters


def test_named_tensors_and_groups_are_averaged_as_tensors():
    net = nn.Linear(2, 1)
    groups = [{"params": net.parameters()}]
    for held in (net, net.parameters(), net.named_parameters(), groups):
        assert torch.equal(EMA().build(held).matrix(), EMA().build(net).matrix())
    assert len(torch.optim.SGD(groups).param_groups[0]["params"]) == 2  # not used up


def test_names_and_recipes():
    assert averaging.names() == ["ema", "lawa", "swa", "swad"]
    assert [type(averaging.get(name)) for name in averaging.names()] == [EMA, LAWA, SWA, SWAD]
    recipe = EMA(decay=0.9)
    assert averaging.get(recipe) is recipe
    assert clone(recipe).set_params(decay=0.5).get_params() == {"decay": 0.5}
    assert [name for name in averaging.names() if averaging.get(name).needs_validation] == ["swad"]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (SWA(start=1.0), "start"),
        (SWA(start=-0.1), "start"),
        (SWA(freq=0), "freq"),
        (EMA(decay=1.0), "decay"),
        (EMA(decay="slow"), "decay"),
        (LAWA(k=0), "k must"),
        (LAWA(k=2.0), "k must"),
        (SWAD(freq=0), "freq"),
        (SWAD(n_converge=0), "n_converge"),
        (SWAD(n_tolerance=0), "n_tolerance"),
        (SWAD(tolerance_ratio=-0.1), "tolerance_ratio"),
    ],
    ids=repr,
)
def test_parameters_out_of_their_range_are_named(recipe, message):
    with pytest.raises((ParameterError, ParameterTypeError), match=message):
        recipe.build([torch.zeros(2)], n_epochs=3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: averaging.get("sma"), ParameterError, "averaging.*'sma'"),
        (lambda: averaging.get(SAM()), ParameterTypeError, "averaging.*SAM"),
        (lambda: SWA().build([torch.zeros(2)]), ParameterError, "n_epochs"),
        (lambda: SWA().build([torch.zeros(2)], n_epochs=0), ParameterError, "n_epochs"),
        (lambda: EMA().build([torch.zeros(2, 3)], n_members=3), ParameterError, r"n_members=3.*\(2, 3\)"),
        (lambda: EMA().build([]), ParameterError, "module_or_params"),
        (lambda: SWAD().build([torch.zeros(2)]).after_step(), ParameterError, "validation_loss"),
        (
            lambda: SWAD(freq=1).build([torch.zeros(2)], n_members=2).after_step(lambda: 1.0),
            ParameterError,
            "validation_loss.*2 members",
        ),
        (
            lambda: EMA().build(TabNet(2, n_members=3)),
            ParameterError,
            "holds 3 members.*n_members=3",
        ),
        (
            lambda: EMA().build([torch.zeros(2)]).copy_to([torch.zeros(3)]),
            ParameterError,
            r"module_or_params.*\(2,\).*\(3,\)",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
