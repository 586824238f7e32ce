"""A member's bits do not depend on its neighbours: odd widths, float32, one thread and two."""

import pytest
import torch

from flatcausal._threads import pinned_threads
from flatcausal.optim import GD, SAM, SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, RMSprop

CLASSICAL = [GD(), SGD(), Momentum(), Nesterov(), Adagrad(), RMSprop(), Adam(), AdamW()]
WIDTHS = [5, 37, 5405, 20_011]  # beside multiples of a vector; the last is shared out to threads
COMPANIES = [[0, 1], [5, 6], [6, 3], [2, 6, 1]]


def walk(recipe, weights, gradients, members, grouped=False):
    """Weights after as many steps as there are gradients, for some of the members."""
    w = weights[members].clone().requires_grad_()
    params = [{"params": [w]}] if grouped else [w]
    optimizer = recipe.build(params, lr=0.02, weight_decay=0.1, n_members=len(members))
    for gradient in gradients:
        w.grad = gradient[members].clone()
        optimizer.step(lambda: None)
    return w.detach()


@pytest.mark.parametrize("recipe", [*CLASSICAL, SAM(base=AdamW())], ids=repr)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_member_goes_its_way_in_any_company(recipe, width, n_threads):
    generator = torch.Generator().manual_seed(width)
    weights = torch.randn(7, width, generator=generator)
    gradients = torch.randn(5, 7, width, generator=generator)
    with pinned_threads(n_threads):
        everyone = walk(recipe, weights, gradients, list(range(7)))
        for members in COMPANIES:
            assert torch.equal(walk(recipe, weights, gradients, members), everyone[members])


@pytest.mark.parametrize("recipe", CLASSICAL, ids=repr)
def test_the_law_holds_for_parameter_groups(recipe):
    generator = torch.Generator().manual_seed(0)
    weights, gradients = torch.randn(7, 37, generator=generator), torch.randn(5, 7, 37, generator=generator)
    everyone = walk(recipe, weights, gradients, list(range(7)), grouped=True)
    for members in COMPANIES:
        assert torch.equal(walk(recipe, weights, gradients, members, grouped=True), everyone[members])


@pytest.mark.parametrize("recipe", CLASSICAL, ids=repr)
def test_a_member_of_many_goes_as_it_would_alone(recipe):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 37, dtype=torch.float64, generator=generator)
    gradients = torch.randn(20, 3, 37, dtype=torch.float64, generator=generator)
    alone = [walk(recipe, weights, gradients, [k]) for k in range(3)]
    torch.testing.assert_close(
        walk(recipe, weights, gradients, [0, 1, 2]), torch.cat(alone), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("recipe", CLASSICAL, ids=repr)
def test_one_thread_and_two_give_the_same_bits(recipe):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(7, 20_011, generator=generator)
    gradients = torch.randn(5, 7, 20_011, generator=generator)
    found = []
    for n_threads in (1, 2):
        with pinned_threads(n_threads):
            found.append(walk(recipe, weights, gradients, list(range(7))))
    assert torch.equal(*found)
