"""Whether a measure survives what leaves a network's function as it is (Dinh et al., 2017)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from flatcausal.testing._measures._models import normalized_net, rescaled_net, rows
from flatcausal.testing._measures._subject import Measure

_FACTOR = 5.0
_RTOL = 1e-6


def survives_rescaled_layers(measure: Measure) -> None:
    """A layer before a ReLU times 5, the layer behind it divided by 5."""
    _survives(measure, rescaled_net, "a layer before a ReLU is times 5 and the next divided by 5")


def survives_rescaled_weights_before_normalisation(measure: Measure) -> None:
    """Weights before a BatchNorm times 5."""
    _survives(measure, normalized_net, "the weights before a BatchNorm are times 5")


def _survives(measure: Measure, net: Callable[[float], nn.Module], what: str) -> None:
    for mode in measure.modes():
        before, after = (measure(net(factor), *rows(), **mode) for factor in (1.0, _FACTOR))
        how = "".join(f" at {name}={value!r}" for name, value in mode.items())
        measure.claim(
            bool((before != 0).all()), f"is 0 before anything is rescaled{how}, which shows nothing."
        )
        ratio = after / before
        measure.claim(
            bool((np.abs(ratio - 1) <= _RTOL).all()),
            f"changes by a factor of {ratio} where {what}{how}, which leaves the function as it is: measure "
            "in units of the weights, or do not claim survives_rescaling.",
        )
