"""The measure under check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from flatcausal.testing._measures._models import mse

KEYWORDS = ("random_state", "n_rows", "batch_size", "bn", "dtype", "n_threads")
BN_MODES = ("frozen", "recalibrated", "train")


@dataclass(frozen=True)
class Measure:
    """A measure, and which of the common keywords it does not take.

    Parameters
    ----------
    function : callable
        What is checked.
    without : frozenset of str
        Keywords that it is never called with.
    """

    function: Callable[..., Any]
    without: frozenset[str]

    def __call__(self, model: Any, X: Any, y: Any, *, loss: Any = mse, **protocol: Any) -> np.ndarray:
        """The values of the model's members."""
        told = {"random_state": 0, **protocol}
        taken = {name: value for name, value in told.items() if name not in self.without}
        result = self.function(model, X, y, loss=loss, **taken)
        self.claim(
            hasattr(result, "value"),
            f"returns {type(result).__name__} without an attribute value: return a record that has one.",
        )
        return np.asarray(result.value)

    def modes(self) -> list[dict[str, str]]:
        """Arguments for each way to normalise batches; one without any, if it knows none."""
        return [{}] if "bn" in self.without else [{"bn": mode} for mode in BN_MODES]

    def claim(self, holds: bool, fault: str) -> None:
        """Raise an AssertionError that says of the measure what is wrong, unless it ``holds``."""
        if not holds:
            raise AssertionError(f"{self.name} {fault}")

    @property
    def name(self) -> str:
        """What the measure is called."""
        function = self.function
        while isinstance(function, partial):
            function = function.func
        return getattr(function, "__name__", type(function).__name__)


def agree(a: np.ndarray, b: np.ndarray, rtol: float = 1e-6) -> bool:
    """Whether two values are the same but for rounding."""
    return a.shape == b.shape and np.allclose(a, b, rtol=rtol, atol=1e-12)
