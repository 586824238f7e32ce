"""Members of a population do not meet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flatcausal.testing._measures._fingerprint import left_alone
from flatcausal.testing._measures._subject import Measure, agree
from flatcausal.testing._population import TabNets

PER_MEMBER = "take norms, sums and decisions per member, over all but the first axis of each parameter"


def _losses(output: Any, y: Tensor) -> Tensor:
    return (output[0][..., 0] - y).square().mean(1)


def _measured(measure: Measure, population: TabNets) -> np.ndarray:
    X = population.X
    with left_alone(measure, population.net):
        value = measure(population.net, X, X[:, 0] * X[:, 1], loss=_losses)
    n = len(population.members)
    measure.claim(
        value.ndim >= 1 and len(value) == n,
        f"gives a value of shape {value.shape} for {n} members, not a row each.",
    )
    return value


def measures_members_apart(measure: Measure) -> None:
    """The first member of a population of TabNets has the same value in any company, and alone.

    The first, since chance may depend on a member's place.
    """
    everyone = _measured(measure, TabNets([0, 1, 2]))
    measure.claim(
        not np.array_equal(everyone[0], everyone[1]),
        f"gives two members of other weights the same value {everyone[0]}; {PER_MEMBER}.",
    )
    for members, rtol in (([0, 1], 1e-9), ([0, 2], 1e-9), ([0], 1e-6)):
        found = _measured(measure, TabNets(members))[0]
        measure.claim(
            agree(found, everyone[0], rtol),
            f"gives a member {found} {'beside another' if members[1:] else 'alone'} and {everyone[0]} beside "
            f"two others; {PER_MEMBER}.",
        )


def loses_sick_members_only(measure: Measure) -> None:
    """A member whose weights are NaN has the value NaN, and the others have theirs, bit for bit."""
    healthy, sick = TabNets([0, 1, 2]), TabNets([0, 1, 2])
    with torch.no_grad():
        sick.net.population[1] = math.nan
    expected, found = _measured(measure, healthy), _measured(measure, sick)
    measure.claim(
        bool(np.isnan(found[1]).all()), f"gives {found[1]} for a member whose weights are NaN: give it NaN."
    )
    measure.claim(
        np.array_equal(found[[0, 2]], expected[[0, 2]]),
        f"lets a member whose weights are NaN change the others; {PER_MEMBER}, and choose by torch.where, "
        "since 0 * NaN is NaN.",
    )
