"""How parents act on a node: functions of shape (n_parents, n) -> (n,), fixed once drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Mechanism(Protocol):
    """A picklable function of the parents' values."""

    def __call__(self, parents: Array, /) -> Array:
        """Map values of shape (n_parents, n) to (n,)."""
        ...


@dataclass(frozen=True, eq=False)
class Linear:
    """f(x) = w . x with weights in ±[0.5, 1.5]."""

    weights: Array

    @classmethod
    def draw(cls, n_parents: int, rng: np.random.Generator) -> Linear:
        """Draw the weights."""
        return cls(rng.choice([-1.0, 1.0], n_parents) * rng.uniform(0.5, 1.5, n_parents))

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        return self.weights @ parents


@dataclass(frozen=True, eq=False)
class MLP:
    """f(x) = v . tanh(W x + b), one hidden layer of 10 to 32 units, W ~ N(0, 4 / n_parents)."""

    hidden: Array
    bias: Array
    output: Array

    @classmethod
    def draw(cls, n_parents: int, rng: np.random.Generator) -> MLP:
        """Draw width and weights."""
        width = int(rng.integers(10, 33))
        return cls(
            hidden=rng.normal(scale=2.0 / np.sqrt(n_parents), size=(width, n_parents)),
            bias=rng.normal(size=(width, 1)),
            output=rng.normal(size=width),
        )

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        return self.output @ np.tanh(self.hidden @ parents + self.bias)


MECHANISMS: dict[str, Callable[[int, np.random.Generator], Mechanism]] = {
    "linear": Linear.draw,
    "mlp": MLP.draw,
}
