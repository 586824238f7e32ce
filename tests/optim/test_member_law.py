"""Members of a population where the contract's checks do not look: parameter groups, and many numbers."""

import pytest
import torch

from flatcausal.optim import GD, SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, RMSprop

CLASSICAL = [GD(), SGD(), Momentum(), Nesterov(), Adagrad(), RMSprop(), Adam(), AdamW()]
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
