"""Fit a drawn mechanism into a node's equation, so that its parents explain the share that they should."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root_scalar

from flatcausal.datasets._assignments import Functional, LocationScale, Spread, Transformed
from flatcausal.datasets._mechanisms import Link, Mechanism
from flatcausal.datasets._shares import moved_by, unexplained_share
from flatcausal.exceptions import GraphError

Array = NDArray[np.float64]
# An equation and the node's values on the calibration rows.
Fitted = tuple[LocationScale | Transformed, Array]

# A parent must move 2 % of the variance; the rest is room for the error of the estimate.
_MIN_SHARE = 0.025
MAX_DRAWS = 500
_SCREENING_ROWS = 4000
_LOG_GAINS = (-math.log(64.0), math.log(64.0))
_MISSED = 0.1  # of the share, or of the rest


def required_share(n_parents: int) -> float:
    """Share of the variance that parents explain which each of them must move."""
    return min(_MIN_SHARE, 0.2 / n_parents)


def no_mechanism(node: int, n_parents: int) -> GraphError:
    """Say that no draw let each parent move its share."""
    return GraphError(
        f"none of {MAX_DRAWS} mechanisms lets each of a node's {n_parents} parents move "
        f"{required_share(n_parents):.1%} of its variance (node {node} in causal order); "
        "draw a sparser graph, for example with a smaller expected_degree."
    )


@dataclass(frozen=True, eq=False)
class Fit:
    """One node's parents, and the calibration rows that its equation is fitted to.

    ``rho`` is the share of the variance that parents shall explain; None leaves the raw scale, with noise of
    variance 1. ``screened`` refuses mechanisms that let a parent do next to nothing.
    """

    parents: tuple[int, ...]
    inputs: Array
    noise: Array
    noise_mode: str
    rho: float | None
    screened: bool

    def of(self, mechanism: Mechanism, link: Link | None, rng: np.random.Generator) -> Fitted | None:
        """Return the equation, or None where the mechanism will not do."""
        if self.noise_mode == "functional":
            return self._inside(Functional(self.parents, mechanism), link)
        signal = mechanism(self.inputs)
        if np.ptp(signal) == 0.0:
            return None
        sd = float(signal.std())
        if link is None and not self._all_act(mechanism, signal, sd**2):
            return None
        spread, rms = self._spread(mechanism, signal, rng)
        if link is not None:
            inner = LocationScale(self.parents, mechanism, float(signal.mean()), 1 / sd, 1 / rms, spread)
            return self._inside(inner, link)
        assignment = LocationScale(self.parents, mechanism, noise_scale=1 / rms, spread=spread)
        if self.rho is not None:
            assignment = replace(
                assignment,
                center=float(signal.mean()),
                signal_scale=math.sqrt(self.rho) / sd,
                noise_scale=math.sqrt(1.0 - self.rho) / rms,
            )
        return assignment, assignment.combine(signal, self.inputs, self.noise)

    def _spread(
        self, mechanism: Mechanism, signal: Array, rng: np.random.Generator
    ) -> tuple[Mechanism | None, float]:
        """Return what multiplies the noise, and its root mean square."""
        if self.noise_mode == "additive":
            return None, 1.0
        if self.noise_mode == "multiplicative":
            return mechanism, math.sqrt(np.mean(signal**2))
        spread = Spread.draw(len(self.parents), rng)
        return spread, math.sqrt(np.mean(spread(self.inputs) ** 2))

    def _inside(self, inner: LocationScale | Functional, link: Link | None) -> Fitted | None:
        """Let noise enter a function, with the gain that leaves parents their share."""
        gain = 1.0 if self.rho is None else self._solve_gain(inner, link, 1.0 - self.rho)
        if gain is None:
            return None
        assignment = Transformed(inner, link, gain)
        values = assignment(self.inputs, self.noise)
        mean, sd = float(values.mean()), float(values.std())
        noise, inputs = self.noise[:_SCREENING_ROWS], self.inputs[:, :_SCREENING_ROWS]
        explained = 1.0 - unexplained_share(lambda u: assignment(inputs, u), noise)
        if not self._all_act(lambda x: assignment(x, noise[: x.shape[1]]), values, explained * sd**2):
            return None
        if self.rho is None:
            return assignment, values
        return assignment.standardised(mean, sd), (values - mean) / sd

    def _solve_gain(self, inner: LocationScale | Functional, link: Link | None, share: float) -> float | None:
        """Find the gain of the noise at which it moves this share, or None where there is none."""
        evaluate = partial(inner, self.inputs)
        if isinstance(inner, LocationScale):  # affine in the noise, so f is evaluated once for all gains
            location = evaluate(np.zeros_like(self.noise))
            width = evaluate(np.ones_like(self.noise)) - location
            evaluate = partial(_affine, location, width)

        def excess(log_gain: float) -> float:
            gain = math.exp(log_gain)
            return unexplained_share(lambda u: _linked(link, evaluate(gain * u)), self.noise) - share

        if not excess(_LOG_GAINS[0]) < 0.0 < excess(_LOG_GAINS[1]):
            return None
        log_gain = root_scalar(excess, bracket=_LOG_GAINS, xtol=0.003).root
        # A step function may jump past the share, and be next to constant on one side of the jump.
        return math.exp(log_gain) if abs(excess(log_gain)) < _MISSED * min(share, 1.0 - share) else None

    def _all_act(self, function: Mechanism, values: Array, variance: float) -> bool:
        """Whether each parent moves its share of ``variance``; an only parent moves all of it."""
        if not self.screened:
            return True
        if len(self.parents) == 1:
            return variance > 0.0
        required = required_share(len(self.parents)) * variance
        return all(self._acts(parent, function, values, required) for parent in range(len(self.parents)))

    def _acts(self, parent: int, function: Mechanism, values: Array, required: float) -> bool:
        """Whether a parent moves ``required``; a quarter of the rows decides the clear cases."""
        for n_rows, doubtful in ((_SCREENING_ROWS // 4, 3.0), (_SCREENING_ROWS, 1.0)):
            moved = moved_by(parent, function, self.inputs[:, :n_rows], values[:n_rows])
            if moved >= required * doubtful:
                return True
            if moved < required / doubtful:
                break
        return False


def _affine(location: Array, width: Array, noise: Array) -> Array:
    return location + width * noise


def _linked(link: Link | None, values: Array) -> Array:
    return values if link is None else link(values)
