"""Give a node another function of the same family, on the scale of the old one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._assignments import Assignment, Functional, LocationScale, Transformed, Unscaled
from flatcausal.datasets._categories import CATEGORICAL
from flatcausal.datasets._fit import MAX_DRAWS, no_mechanism
from flatcausal.datasets._mechanisms import Mechanism
from flatcausal.datasets._published import Elementwise, UntrainedNet, draw_function
from flatcausal.datasets._scm import StructuralModel

Array = NDArray[np.float64]

_ROWS = 4096
# A function that gives nearly the values of the old one is no change.
_MAX_CORRELATION = 0.9


def is_redrawable(assignment: Assignment) -> bool:
    """Whether the equation has a function of a family that can be drawn from."""
    while isinstance(assignment, (*CATEGORICAL, Transformed)):
        assignment = assignment.inner
    if not assignment.parents or not isinstance(assignment, (LocationScale, Functional)):
        return False
    function = assignment.mechanism
    return hasattr(function.inner if isinstance(function, Unscaled) else function, "draw") or isinstance(
        function, Elementwise
    )


def redrawn_equations(model: StructuralModel, seeds: dict[int, int]) -> dict[int, Assignment]:
    """Redraw the functions of some nodes, each from its own seed.

    All are brought to scale on the same undisturbed rows: one node's change does not depend on another's.
    """
    if not seeds:
        return {}
    noise = model.draw_noise(_ROWS, np.random.default_rng(0))
    values = model.evaluate(noise)
    return {
        node: _redrawn(node, model.assignments[node], values, noise[node], np.random.default_rng(seed))
        for node, seed in seeds.items()
    }


def _redrawn(
    node: int, assignment: Assignment, values: Array, noise: Array, rng: np.random.Generator
) -> Assignment:
    if isinstance(assignment, CATEGORICAL):  # the old thresholds cut the new function
        return replace(assignment, inner=_redrawn(node, assignment.inner, values, noise, rng))
    inputs = values[list(assignment.parents)]
    for _ in range(MAX_DRAWS):
        drawn = _draw(assignment, inputs, noise, rng)
        if drawn is not None:
            silence = np.zeros_like(noise)
            related = np.corrcoef(assignment(inputs, silence), drawn(inputs, silence))
            if related[0, 1] < _MAX_CORRELATION:
                return drawn
    raise no_mechanism(node, len(inputs))


def _draw(assignment: Assignment, inputs: Array, noise: Array, rng: np.random.Generator) -> Assignment | None:
    """One draw with the mean and sd of the old signal, or None where it is constant."""
    if isinstance(assignment, LocationScale):
        return _draw_signal(assignment, inputs, rng)
    assert isinstance(assignment, Transformed)
    inner = assignment.inner
    if isinstance(inner, Functional):
        drawn = replace(inner, mechanism=_same_family(inner.mechanism, len(inputs) + 1, rng))
    else:
        drawn = _draw_signal(inner, inputs, rng)
        if drawn is None:
            return None
    other = replace(assignment, inner=drawn)
    old, new = assignment(inputs, noise), other(inputs, noise)
    if np.ptp(new) == 0.0:
        return None
    centred = other.standardised(float(new.mean()), float(new.std()))
    return centred.standardised(-float(old.mean() / old.std()), 1.0 / float(old.std()))


def _draw_signal(old: LocationScale, inputs: Array, rng: np.random.Generator) -> LocationScale | None:
    assert old.mechanism is not None
    function = _same_family(old.mechanism, len(inputs), rng)
    before, after = old.mechanism(inputs), function(inputs)
    if np.ptp(after) == 0.0 or np.ptp(before) == 0.0:
        return None
    signal_scale = old.signal_scale * float(before.std() / after.std())
    mean = old.signal_scale * (float(before.mean()) - old.center)
    drawn = replace(
        old, mechanism=function, center=float(after.mean()) - mean / signal_scale, signal_scale=signal_scale
    )
    if old.spread is not old.mechanism:
        return drawn
    rms = float(np.sqrt(np.mean(before**2) / np.mean(after**2)))  # multiplicative noise keeps its width
    return replace(drawn, spread=function, noise_scale=old.noise_scale * rms)


def _same_family(function: Mechanism, n_inputs: int, rng: np.random.Generator) -> Mechanism:
    if isinstance(function, Unscaled):
        return replace(function, inner=_same_family(function.inner, n_inputs, rng))
    if isinstance(function, (Elementwise, UntrainedNet)):
        return draw_function(n_inputs, rng)
    return type(function).draw(n_inputs, rng)  # pyright: ignore[reportAttributeAccessIssue]
