"""Means over the micro-batches of a step, weighted by their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flatcausal.exceptions import ParameterTypeError


def split(closure: Callable[[], Any], m: int) -> Sequence[Any]:
    """Closures for about ``m`` rows each, by ``closure.split``."""
    if not hasattr(closure, "split"):
        raise ParameterTypeError(
            f"m={m} needs a closure with a method split(m) that returns closures for m rows each, with their "
            f"number as n_rows, as the estimators of this package pass; add one, or pass m=None."
        )
    return closure.split(m)  # pyright: ignore[reportFunctionMemberAccess]


class MeanGradient:
    """Mean of the gradients that micro-batches leave in ``.grad``."""

    def __init__(self, params: list[Tensor]):
        self.params = params
        self.totals: list[Tensor | None] = [None] * len(params)

    def add(self, share: float) -> None:
        """Count the gradients at hand with weight ``share``."""
        found = [i for i, p in enumerate(self.params) if p.grad is not None]
        gradients: list[Any] = [self.params[i].grad for i in found]
        new = torch._foreach_mul(gradients, share) if gradients else []
        for i, gradient in zip(found, new, strict=True):
            total = self.totals[i]
            self.totals[i] = gradient if total is None else total.add_(gradient)

    def hand_over(self) -> None:
        """Put the means where an optimizer looks for them."""
        for p, total in zip(self.params, self.totals, strict=True):
            p.grad = total


class MeanStatistics:
    """Running statistics that move once: to the mean of where each micro-batch alone would move them.

    Parameters
    ----------
    layers : sequence of nn.Module
        Layers whose buffers are running statistics; counters advance by one.
    """

    def __init__(self, layers: Sequence[nn.Module]):
        self.buffers = [b for layer in layers for b in layer.buffers(recurse=False)]
        self.start = [b.clone() for b in self.buffers]
        self.end = [b.clone() for b in self.buffers]

    def add(self, share: float) -> None:
        """Count where the statistics are with weight ``share``; they go back to where they were."""
        for now, start, end in zip(self.buffers, self.start, self.end, strict=True):
            if now.is_floating_point():  # by what they moved: those that stand still do so bitwise
                end.add_(now - start, alpha=share)
            else:
                end.copy_(now)
            now.copy_(start)

    def hand_over(self) -> None:
        """Move the statistics."""
        for now, end in zip(self.buffers, self.end, strict=True):
            now.copy_(end)
