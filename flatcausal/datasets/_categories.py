"""Nodes whose value is a category: a latent value that frozen thresholds cut."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._assignments import Assignment
from flatcausal.datasets._noise_laws import NoiseLaw

Array = NDArray[np.float64]

CATEGORICAL_TYPES = ("binary", "ordinal", "nominal")

_N_CATEGORIES = (3, 6)
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Categorised:
    """The equation of a node that takes one value for each interval of another equation's.

    ``levels`` are what the node's children see, one for each interval: of the latent value they tell the
    category and nothing else. ``codes`` are what a table shows.
    """

    inner: Assignment
    kind: str
    thresholds: Array
    levels: Array
    codes: Array

    @property
    def parents(self) -> tuple[int, ...]:
        """Nodes that the equation reads."""
        return self.inner.parents

    @property
    def has_noise(self) -> bool:
        """Whether its own noise moves the node."""
        return self.inner.has_noise

    @property
    def n_categories(self) -> int:
        """Number of categories."""
        return len(self.levels)

    def __call__(self, inputs: Array, noise: Array, /) -> Array:
        """Evaluate the equation."""
        return self.cut(self.inner(inputs, noise))

    def softened(self, factor: float) -> Categorised:
        """Return the equation with the signal of its parents multiplied before it is cut."""
        return replace(self, inner=self.inner.softened(factor))

    def cut(self, latent: float | Array) -> Array:
        """Levels of latent values; an interval holds its upper end."""
        return self.levels[np.searchsorted(self.thresholds, latent)]

    def shown(self, values: Array) -> Array:
        """Codes of levels."""
        return self.codes[np.searchsorted(self.levels, values)]

    def latent(self, codes: float | Array) -> Any:
        """Latent values that are cut to these codes."""
        uppermost = np.append(self.thresholds, np.inf)
        return uppermost[np.argsort(self.codes)][np.asarray(codes, dtype=np.intp)]


@dataclass(frozen=True, eq=False)
class NoisyLabel:
    r"""A binary node that is turned around with probability :math:`\varepsilon`, whatever its parents say.

    The noise itself decides: its lowest and highest share :math:`\varepsilon` force the lower and the upper
    category, and what lies between is stretched to the whole law,
    :math:`u \mapsto F^{-1}((F(u) - \varepsilon) / (1 - 2 \varepsilon))`. Given the parents that is the same
    as a flip, :math:`P(y = 1 | x_{pa}) = \varepsilon + (1 - 2 \varepsilon) P_0(y = 1 | x_{pa})`, and no
    second source of randomness is needed.
    """

    inner: Categorised
    noise: NoiseLaw
    label_noise: float

    kind = "binary"

    @property
    def parents(self) -> tuple[int, ...]:
        """Nodes that the equation reads."""
        return self.inner.parents

    @property
    def has_noise(self) -> bool:
        """Whether its own noise moves the node."""
        return True

    @property
    def codes(self) -> Array:
        """What a table shows."""
        return self.inner.codes

    @property
    def n_categories(self) -> int:
        """Number of categories."""
        return 2

    def __call__(self, inputs: Array, noise: Array, /) -> Array:
        """Evaluate the equation."""
        rank = self.noise.cdf(noise)
        kept = np.clip((rank - self.label_noise) / (1.0 - 2.0 * self.label_noise), _TINY, 1.0 - _TINY)
        values = self.inner(inputs, self.noise.quantile(kept))
        low, high = self.inner.levels
        return np.where(rank < self.label_noise, low, np.where(rank > 1.0 - self.label_noise, high, values))

    def softened(self, factor: float) -> NoisyLabel:
        """Return the equation with the signal of its parents multiplied before it is cut."""
        return replace(self, inner=self.inner.softened(factor))

    def cut(self, latent: float | Array) -> Array:
        """Levels of latent values."""
        return self.inner.cut(latent)

    def shown(self, values: Array) -> Array:
        """Codes of levels."""
        return self.inner.shown(values)

    def latent(self, codes: float | Array) -> Any:
        """Latent values that are cut to these codes."""
        return self.inner.latent(codes)


Categorical = Categorised | NoisyLabel
#: The same, for isinstance.
CATEGORICAL = (Categorised, NoisyLabel)


@dataclass(frozen=True)
class CategoryLaw:
    """How many of the features are categories, and of which types."""

    fraction: float
    types: tuple[str, ...]

    def draw(self, features: NDArray[np.intp], rng: np.random.Generator) -> dict[int, str]:
        """Type of each node that is to be categorical; at least one node, unless the fraction is 0."""
        if not self.fraction:
            return {}
        chosen = rng.choice(features, max(1, round(self.fraction * len(features))), replace=False)
        return {
            int(node): str(kind)
            for node, kind in zip(chosen, rng.choice(self.types, len(chosen)), strict=True)
        }


def draw_categorised(kind: str, inner: Assignment, latent: Array, rng: np.random.Generator) -> Categorised:
    """Cut a node into categories of random shares, none below half of an equal share.

    Levels are the mean latent values of the categories, brought to the mean and sd of the latent value. The
    codes of a nominal node are in random order, so that they say nothing of it.
    """
    count = 2 if kind == "binary" else int(rng.integers(_N_CATEGORIES[0], _N_CATEGORIES[1] + 1))
    shares = 0.5 / count + 0.5 * rng.dirichlet(np.ones(count))
    thresholds = _thresholds(latent, np.cumsum(shares)[:-1])
    interval = np.searchsorted(thresholds, latent)
    size = np.bincount(interval)
    means = np.bincount(interval, latent) / size
    variance = float(np.average((means - latent.mean()) ** 2, weights=size))
    levels = latent.mean() + (means - latent.mean()) * (latent.std() / math.sqrt(variance))
    codes = rng.permutation(len(levels)) if kind == "nominal" else np.arange(len(levels))
    return Categorised(inner, kind, thresholds, levels, codes.astype(np.float64))


@dataclass(frozen=True)
class LabelLaw:
    """How often a binary target is 1, and how often it is turned around."""

    prevalence: float
    label_noise: float

    def draw(self, noise: str, inner: Assignment, latent: Array, rng: np.random.Generator) -> Categorical:
        """Cut the target in two; its levels are the standardised classes on the latent value's scale."""
        share = (self.prevalence - self.label_noise) / (1.0 - 2.0 * self.label_noise)
        thresholds = _thresholds(latent, np.array([1.0 - share]))
        odds = math.sqrt(self.prevalence / (1.0 - self.prevalence))
        levels = latent.mean() + latent.std() * np.array([-odds, 1.0 / odds])
        label = Categorised(inner, "binary", thresholds, levels, np.array([0.0, 1.0]))
        return NoisyLabel(label, NoiseLaw(noise), self.label_noise) if self.label_noise else label


def _thresholds(latent: Array, shares: Array) -> Array:
    """Quantiles, in the middle between two values that occur, so that no interval is empty or ends on one.

    Where the latent value is discrete, intervals take their shares as nearly as its values allow.
    """
    values = np.unique(latent)
    below = np.searchsorted(values, np.quantile(latent, shares, method="lower"))
    below = np.unique(np.minimum(below, len(values) - 2))
    return 0.5 * (values[below] + values[below + 1])
