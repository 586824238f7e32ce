"""A private copy of a model whose weights can be moved, and its loss."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flatcausal._members import member_generators
from flatcausal._random import child
from flatcausal.exceptions import ParameterError
from flatcausal.flatness import _selection as selection
from flatcausal.flatness._inspection import Inspection
from flatcausal.flatness._normalization import (
    CALIBRATION_ROWS,
    private_copy,
    recalibrate,
    rows_meet,
    set_mode,
)
from flatcausal.flatness._output import Output
from flatcausal.flatness._rows import cut
from flatcausal.flatness._source import Losses, Source
from flatcausal.flatness._stack import Stack, Weights
from flatcausal.nn import TabNet

_DOUBLE_BELOW = 100_000  # numbers of a member


class Problem(Stack):
    """Loss of each member as a function of weights that belong to nobody else; see :func:`measuring`.

    Members are stacked on the first axis of every parameter if there are several. Sums over members never
    mix them: a gradient of the sum is each member's own.

    Attributes
    ----------
    module : nn.Module
        The copy, which no caller sees.
    labels : ndarray or None
        Classes of the rows.
    n_rows, batch_size : int
        Rows measured on, and those of one pass.
    holds_all : bool
        Whether the graphs of all passes may be in memory at once.
    rows : slice
        Which of them: all, or a group's.
    stacked : bool
        Whether outputs have an axis of members before that of rows.
    """

    def __init__(
        self,
        source: Source,
        *,
        params: Any,
        batch_size: int | None,
        bn: str,
        dtype: torch.dtype | None,
        include_regularizer: bool,
        normalize_logits: bool,
        seeds: np.random.SeedSequence,
    ):
        self.source, self.bn, self.seeds = source, bn, seeds
        self.labels, self.n_rows = source.labels, source.n_rows
        self.module = private_copy(source.module)
        self.module.to(dtype or _precision(self.module))
        set_mode(self.module, bn)
        self.output = Output(self.module, normalize_logits, source.sparsity_weight, include_regularizer)
        self._losses_on = source.bind(self.module)
        self._buffers = [(b, b.detach().clone()) for b in self.module.buffers()] if bn == "train" else []
        together = rows_meet(self.module, bn)
        seen = Inspection(self.module, self._batch, source, batch_size, together=together)
        self.output.check(self.labels)
        super().__init__(*selection.moving(self.module, params, seen.n_members), seen.n_members)
        self.scaled = selection.weights(self.module, self.params, self.mask, self.n_members)
        self.stacked = self.n_members > 1 or isinstance(self.module, TabNet)
        self.batch_size, self.holds_all = seen.batch_size, seen.holds_all
        self._once_only = seen.once_only
        self._passes: Counter[str] = Counter()
        self.rows = slice(0, self.n_rows)
        if bn == "recalibrated":
            self.recalibrate()

    def generators(self, *key: int) -> list[torch.Generator]:
        """Fresh generators, one a member; the same for the same key."""
        return member_generators(child(self.seeds, *key) if key else self.seeds, self.n_members)

    def sizes(self, factor: float) -> Weights:
        """Sizes of the weights times a factor; 0 for biases, normalisation and what does not move."""
        pairs = zip(self.scaled, self.start, strict=True)
        return [torch.where(mask, factor * w.abs(), 0.0) for mask, w in pairs]

    def ones(self, factor: float) -> Weights:
        """A factor for each number that moves, 0 for the others."""
        return self.restrict([torch.full_like(w, factor) for w in self.start])

    # ---- losses

    def batch_losses(self, kind: str, *, overflow: bool = False) -> Iterator[Tensor]:
        """Of each batch the losses (K,) times its share of the rows, with their graph; they add up to L.

        Differentiate each before the next is asked for: so memory holds one batch. ``kind`` is what the pass
        counts as: "losses", "gradients" or "products". With ``overflow`` no member's loss need be finite.
        """
        n_rows, alive = self.rows.stop - self.rows.start, None
        self.count(kind)
        for i, (rows, run) in enumerate(self._batches):
            losses = self.output.penalised(run().reshape(-1))
            finite = losses.detach().isfinite()
            alive = finite if alive is None else alive & finite
            if not (overflow or alive.any()):
                raise FloatingPointError(
                    f"The loss of every member is not finite in batch {i} (rows {rows.start} to "
                    f"{rows.stop - 1} of those measured): look for extreme values in X or y, "
                    f"or pass a smaller radius."
                )
            share = (rows.stop - rows.start) / n_rows
            yield losses if share == 1 else losses * share
        self.output.forget()

    @torch.no_grad()
    def losses(self, weights: Weights | None = None, *, overflow: bool = False) -> Tensor:
        """Loss of each member at ``weights``, or where the copy is, shape (K,)."""
        if weights is not None:
            self.move_to(weights)
        return _total(self.batch_losses("losses", overflow=overflow))

    def gradients(self, weights: Weights | None = None) -> tuple[Tensor, Weights]:
        """Losses, and their gradients for each parameter, zero where nothing moves."""
        if weights is not None:
            self.move_to(weights)
        losses, total = [], None
        for part in self.batch_losses("gradients"):
            found = torch.autograd.grad(part.sum(), self.params, allow_unused=True)
            pairs = zip(self.params, found, strict=True)
            found = [torch.zeros_like(p) if g is None else g for p, g in pairs]
            total = found if total is None else torch._foreach_add(total, found)
            losses.append(part.detach())
        assert total is not None
        return _total(losses), self.restrict(total)

    @torch.no_grad()
    def errors(self, weights: Weights) -> Tensor:
        """Share of rows that each member puts in a wrong class at ``weights``, shape (K,); NaN is wrong."""
        if self.labels is None:
            raise ParameterError("of='error' needs classes, and y holds numbers: pass of='loss'.")
        self.move_to(weights)
        self.count("losses")
        total: Any = 0.0
        for rows, run in self._batches:
            run()
            total = total + self.output.wrong(self.labels[rows], self.n_members)
        self.output.forget()
        return total / (self.rows.stop - self.rows.start)

    @cached_property
    def base(self) -> tuple[Tensor, Weights]:
        """Losses and gradients at the first weights."""
        losses, gradients = self.gradients(self.start)
        if not (losses + self.norms(gradients)).isfinite().any():
            raise FloatingPointError(
                "The gradient of every member is not finite: look for extreme values in X or y, or for an "
                "operation without a derivative."
            )
        return losses, gradients

    def require_second_derivatives(self) -> None:
        """Refuse what torch would leave out of them in silence."""
        if self._once_only:
            raise ParameterError(
                f"model or loss uses {self._once_only}, whose backward is once_differentiable: second "
                f"derivatives would leave it out in silence; write it in operations of torch."
            )

    def recalibrate(self) -> None:
        """Give normalisation layers the statistics of the weights where the copy is."""
        batches = [
            (rows.stop - rows.start, self._batch(rows)) for rows in cut(0, self.n_rows, CALIBRATION_ROWS)
        ]
        recalibrate(self.module, batches)

    def count(self, kind: str) -> None:
        """Note that the rows were used once more."""
        self._passes[kind] += self.rows.stop - self.rows.start

    def passes(self, kind: str) -> int:
        """How many passes over the rows counted as ``kind``."""
        return round(self._passes[kind] / self.n_rows)

    # ---- rows

    @cached_property
    def _batches(self) -> list[tuple[slice, Losses]]:
        return [(rows, self._batch(rows)) for rows in cut(self.rows.start, self.rows.stop, self.batch_size)]

    def _batch(self, rows: slice | np.ndarray) -> Losses:
        run = self._losses_on(np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows)

        def from_the_same_statistics() -> Tensor:
            with torch.no_grad():
                for buffer, value in self._buffers:
                    buffer.copy_(value)
            return run()

        return from_the_same_statistics if self._buffers else run

    def groups(self, m: int) -> Iterator[Problem]:
        """The same problem on ``m`` rows after another; all share one copy of the model."""
        start = self.start
        for rows in cut(0, self.n_rows, m):
            group = copy.copy(self)
            for name in ("base", "_batches"):
                vars(group).pop(name, None)
            group.rows = rows
            self.move_to(start)
            yield group


def _precision(module: nn.Module) -> torch.dtype:
    """Double where it is cheap and the device has it."""
    first = next(module.parameters())
    members = module.n_members if isinstance(module, TabNet) else 1
    n = sum(p.numel() for p in module.parameters()) // members
    return torch.float64 if n < _DOUBLE_BELOW and first.device.type != "mps" else first.dtype


def _total(parts: Any) -> Tensor:
    first, *rest = parts
    for part in rest:
        first = first + part
    return first
