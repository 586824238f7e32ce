"""A node's equation: from its parents' values and its own noise to its value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._mechanisms import MLP, Mechanism

Array = NDArray[np.float64]


class Assignment(Protocol):
    """A frozen and picklable equation; one may hold another and act on its result."""

    @property
    def parents(self) -> tuple[int, ...]:
        """Nodes that the equation reads, in the order of its inputs."""
        ...

    @property
    def has_noise(self) -> bool:
        """Whether its own noise moves the node."""
        ...

    def __call__(self, inputs: Array, noise: Array, /) -> Array:
        """Value of the node, from its parents' values (n_parents, n) and its own noise (n,)."""
        ...

    def softened(self, factor: float) -> Assignment:
        """Return the equation with the signal of its parents multiplied, its noise as it is."""
        ...


@dataclass(frozen=True, eq=False)
class LocationScale:
    r"""The equation :math:`x = a\,(f(x_{pa}) - \mu) + s\, h(x_{pa})\, u`; a root has no mechanism.

    Without ``spread``, h is 1: additive noise. With the mechanism itself as spread, noise is
    multiplicative: :math:`x = f(x_{pa})\,(a + s u) - a \mu`.
    """

    parents: tuple[int, ...]
    mechanism: Mechanism | None
    center: float = 0.0
    signal_scale: float = 1.0
    noise_scale: float = 1.0
    spread: Mechanism | None = None

    @property
    def has_noise(self) -> bool:
        """Whether its own noise moves the node."""
        return self.noise_scale > 0.0

    def __call__(self, inputs: Array, noise: Array, /) -> Array:
        """Evaluate the equation."""
        if self.mechanism is None:
            return self.noise_scale * noise
        return self.combine(self.mechanism(inputs), inputs, noise)

    def combine(self, signal: Array, inputs: Array, noise: Array) -> Array:
        """Evaluate the equation where f has been evaluated."""
        own = self.noise_scale * noise
        if self.spread is not None:
            own *= signal if self.spread is self.mechanism else self.spread(inputs)
        return self.signal_scale * (signal - self.center) + own

    def softened(self, factor: float) -> LocationScale:
        """Return the equation with the signal of its parents multiplied, its noise as it is."""
        return replace(self, signal_scale=self.signal_scale * factor)

    def standardised(self, mean: float, sd: float) -> LocationScale:
        """Return the equation of (x - mean) / sd."""
        return replace(
            self,
            center=self.center + mean / self.signal_scale,
            signal_scale=self.signal_scale / sd,
            noise_scale=self.noise_scale / sd,
        )


@dataclass(frozen=True, eq=False)
class Functional:
    """The equation x = f(x_pa, u): noise is one more input of the mechanism."""

    parents: tuple[int, ...]
    mechanism: Mechanism

    @property
    def has_noise(self) -> bool:
        """Whether its own noise moves the node."""
        return True

    def __call__(self, inputs: Array, noise: Array, /) -> Array:
        """Evaluate the equation."""
        return self.mechanism(np.concatenate([inputs, noise[None]]))

    def softened(self, factor: float) -> Functional:
        """Return the equation of multiplied parents: here signal and noise cannot be told apart."""
        scales = np.tile([0.0, factor], (len(self.parents), 1))
        return replace(self, mechanism=Unscaled.of(self.mechanism, scales, len(self.parents) + 1))


@dataclass(frozen=True, eq=False)
class Transformed:
    r"""The equation :math:`x = b\,(\phi(g(x_{pa}, c u)) - \mu)` around another, g."""

    inner: LocationScale | Functional
    link: Mechanism | None = None
    gain: float = 1.0
    center: float = 0.0
    scale: float = 1.0

    @property
    def parents(self) -> tuple[int, ...]:
        """Nodes that the equation reads."""
        return self.inner.parents

    @property
    def has_noise(self) -> bool:
        """Whether its own noise moves the node."""
        return self.inner.has_noise

    def __call__(self, inputs: Array, noise: Array, /) -> Array:
        """Evaluate the equation."""
        values = self.inner(inputs, self.gain * noise)
        if self.link is not None:
            values = self.link(values)
        return self.scale * (values - self.center)

    def softened(self, factor: float) -> Transformed:
        """Return the equation with the signal of its parents multiplied before the link."""
        return replace(self, inner=self.inner.softened(factor))

    def standardised(self, mean: float, sd: float) -> Transformed:
        """Return the equation of (x - mean) / sd."""
        return replace(self, center=self.center + mean / self.scale, scale=self.scale / sd)


# ---- functions that only occur inside an equation


@dataclass(frozen=True, eq=False)
class Spread:
    """h(x) = 0.1 + |net(x)| / sqrt(width): how wide heteroscedastic noise is, never zero."""

    net: MLP

    @classmethod
    def draw(cls, n_parents: int, rng: np.random.Generator) -> Spread:
        """Draw the network."""
        return cls(MLP.draw(n_parents, rng))

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        return 0.1 + np.abs(self.net(parents)) / np.sqrt(len(self.net.output))


@dataclass(frozen=True, eq=False)
class Unscaled:
    """f of the parents' raw values, given standardised ones; further inputs pass as they are."""

    inner: Mechanism
    means: Array
    sds: Array

    @classmethod
    def of(cls, inner: Mechanism, raw: Array, n_inputs: int) -> Unscaled:
        """Undo the scaling of the first inputs; ``raw`` has their means and sds as columns."""
        padded = np.tile([0.0, 1.0], (n_inputs, 1))
        padded[: len(raw)] = raw
        return cls(inner, padded[:, :1], padded[:, 1:])

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        return self.inner(parents * self.sds + self.means)
