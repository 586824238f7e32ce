"""Whether training leads anywhere, and to the same place where it should."""

from __future__ import annotations

import torch

from flatcausal.optim import Recipe
from flatcausal.testing._claim import called, claim
from flatcausal.testing._population import Bowls, train
from flatcausal.testing._regression import Looks, Trial, network, rows


def trains_a_sequential(recipe: Recipe) -> None:
    """At its ``default_lr`` it beats the best constant on a linear target by a half."""
    trial, y = Trial(recipe), rows()[1]
    variance = y.var(unbiased=False).item()
    trial.train(150)
    looks = Looks()
    trial.step(looks)
    claim(
        looks.first_loss < 0.5 * variance,
        recipe,
        f"trains a small network to a loss of {looks.first_loss:.3g} in 150 steps at its default_lr, where "
        f"predicting the mean gives {variance:.3g}.",
    )


def descends_a_convex_bowl(recipe: Recipe) -> None:
    """At its ``default_lr`` it comes at least half-way down a convex quadratic."""
    if recipe.needs_layers:
        return
    bowls = Bowls([0, 1, 2])
    start, least = bowls.losses().clone(), bowls.least
    train(recipe, bowls, 200, weight_decay=0.0)
    left = ((bowls.losses() - least) / (start - least)).max().item()
    claim(left < 0.5, recipe, f"has {left:.0%} of a convex quadratic left to go down after 200 steps.")


def takes_bare_tensors(recipe: Recipe) -> None:
    """Bare tensors do as well as a module, unless the recipe has ``needs_layers`` and says so."""
    net = network()
    if recipe.needs_layers:
        try:
            recipe.build(net.parameters())
        except TypeError as error:
            claim("module" in str(error), recipe, f"does not say that it needs a module, but: {error}")
        else:
            claim(False, recipe, "has needs_layers, but build takes bare tensors without a TypeError.")
        return
    trial, bare = Trial(recipe), Trial(recipe)
    bare.optimizer = recipe.build(list(bare.net.parameters()), random_state=0)
    for t in (trial, bare):  # statistics are the layers' affair
        t.norm.track_running_stats = False
    trial.train(3)
    bare.train(3)
    same = torch.equal(trial.weights, bare.weights)
    claim(same, recipe, "trains bare tensors otherwise than the module that holds them.")


def takes_parameter_groups(recipe: Recipe) -> None:
    """Groups alike are as one, and a group's own learning rate counts."""
    if recipe.needs_layers:  # what it knows of tensors comes with the module
        return
    whole = Trial(recipe).train(3)
    halves = _grouped(recipe).train(3)
    claim(
        torch.allclose(halves.weights, whole.weights, rtol=0, atol=1e-10),
        recipe,
        "goes elsewhere when its parameters are split into two groups that are alike.",
    )
    if not torch.equal(Trial(recipe, lr=0.0).train(3).weights, Trial(recipe).weights):
        return  # noise moves weights whatever the learning rate
    still = _grouped(recipe, lr=0.0).train(3)
    (first, last), (old_first, old_last) = (
        [net.get_parameter(f"{i}.weight") for i in (0, 3)] for net in (still.net, network())
    )
    claim(torch.equal(first, old_first), recipe, "moves a parameter group whose learning rate is 0.")
    claim(not torch.equal(last, old_last), recipe, "lets one group's learning rate stop another.")


def _grouped(recipe: Recipe, **first: float) -> Trial:
    trial = Trial(recipe)
    layers = list(trial.net.children())
    groups = [{"params": list(layers[0].parameters()), **first}]
    groups.append({"params": [p for layer in layers[1:] for p in layer.parameters()]})
    trial.optimizer = recipe.build(groups, random_state=0)
    return trial


def train_alike(recipe: Recipe, limit: Recipe, other: Recipe) -> None:
    """``limit``, which is ``recipe`` at a limit, and ``other`` train alike bit for bit."""
    lr = other.default_lr
    same = Trial(limit, lr=lr).train(6).equals(Trial(other, lr=lr).train(6))
    claim(
        same,
        recipe,
        f"says in limiting_cases that {called(limit)} trains as {called(other)} does, but it does not.",
    )
