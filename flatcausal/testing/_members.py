"""Members of a population do not meet."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from flatcausal._threads import pinned_threads
from flatcausal.optim import Recipe
from flatcausal.testing._claim import claim
from flatcausal.testing._population import N_MEMBERS, Bowls, Population, TabNets, train

EVERYONE = list(range(N_MEMBERS))
COMPANIES = ([0, 1], [5, 6], [2, 6, 1])
WIDE = 20_011  # weights, beside multiples of a vector, which are shared out to threads
PER_MEMBER = "take norms and all decisions per member, over all but the first axis"


def goes_alone_as_in_company(recipe: Recipe) -> None:
    """A population of one goes as a member of several, but for rounding."""
    make, n_steps = (TabNets, 5) if recipe.needs_layers else (Bowls, 50)
    together = train(recipe, make([0, 1, 2]), n_steps)[:1]
    alone = train(recipe, make([0]), n_steps)
    gap = (together - alone).abs().max().item()
    claim(gap <= 1e-10, recipe, f"leads a member {gap:.1e} away from where it goes alone; {PER_MEMBER}.")


def takes_members_in_any_company(recipe: Recipe) -> None:
    """In any company of two or more a member goes the same way, bit for bit, on one thread and on two."""
    if recipe.needs_layers:
        return
    for width in (5, 37):
        _same_in_companies(recipe, partial(Bowls, width=width, dtype=torch.float32), 2, f"{width} weights")
    ends = []
    for members in (EVERYONE, [5, 6]):
        for n_threads in (1, 2):
            with pinned_threads(n_threads):
                ends.append(train(recipe, Bowls(members, WIDE, torch.float32), 2)[-2:])
    claim(
        all(torch.equal(ends[0], end) for end in ends[1:]),
        recipe,
        f"takes a member of {WIDE} weights elsewhere on two threads or in other company; {PER_MEMBER}.",
    )


def takes_tabnets_in_any_company(recipe: Recipe) -> None:
    """As of quadratics, of networks with BatchNorm."""
    _same_in_companies(recipe, TabNets, 3, "a TabNet")


def _same_in_companies(
    recipe: Recipe, make: Callable[[list[int]], Population], n_steps: int, what: str
) -> None:
    everyone = train(recipe, make(EVERYONE), n_steps)
    for members in COMPANIES:
        claim(
            torch.equal(train(recipe, make(members), n_steps), everyone[members]),
            recipe,
            f"lets a member of {what} depend on its neighbours or its place; {PER_MEMBER}, and draw noise "
            "from a generator for each member, kept in the optimizer's list generators.",
        )


def keeps_sick_members_apart(recipe: Recipe) -> None:
    """A member whose gradient is NaN or infinite leaves the others as they are, bit for bit."""
    for make, n_steps in ((TabNets, 3), *([] if recipe.needs_layers else [(Bowls, 10)])):
        healthy = train(recipe, make([0, 1, 2]), n_steps)[1:]
        for bad in (math.nan, math.inf, 0.0):
            others = train(recipe, make([0, 1, 2], spoil=bad), n_steps)[1:]
            claim(
                torch.equal(others, healthy),
                recipe,
                f"lets a member whose gradient is {bad} change the others; {PER_MEMBER}, and choose by "
                "torch.where, since 0 * NaN is NaN.",
            )
