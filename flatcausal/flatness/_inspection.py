"""A look at a model on a few rows: that it takes them, how many losses it has, how much it holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from flatcausal.exceptions import DataError, FlatCausalError, ParameterError
from flatcausal.flatness._once import once_only
from flatcausal.flatness._source import Losses, Source

_FEW = 16  # rows to look at
_RTOL, _ATOL = 1e-4, 1e-8
_HELD_BYTES = 2**27  # that differentiation may hold of a member
_MOST_ROWS = 1024  # of a pass: the tensors of several members outgrow the caches with more


class Inspection:
    """What the first rows tell.

    Parameters
    ----------
    module : nn.Module
        Private copy, ready to measure.
    batch : callable
        ``batch(rows)()`` is the loss on rows of these indices.
    source : Source
        What is measured.
    wanted : int or None
        Rows of a pass, if the caller says.
    together : bool
        Whether rows depend on each other, so that all must go in one pass.

    Attributes
    ----------
    n_members, batch_size : int
        Members, and rows of a pass.
    holds_all : bool
        Whether differentiation may hold all rows at once.
    once_only : str or None
        An operation without second derivatives that torch would leave out.
    """

    def __init__(
        self,
        module: nn.Module,
        batch: Callable[[np.ndarray], Losses],
        source: Source,
        wanted: int | None,
        *,
        together: bool,
    ):
        self.batch, self.n_rows = batch, source.n_rows
        self.few = np.arange(min(_FEW, source.n_rows))
        held = _Held(module)
        try:
            with held:
                losses = batch(self.few)()
        except FlatCausalError:
            raise
        except (RuntimeError, IndexError, ValueError) as error:
            like = next(module.parameters())
            raise DataError(
                f"X and y do not go through the model and its loss (in {like.dtype}; dtype= sets another): "
                f"{error}"
            ) from error
        self.n_members = _members(losses, module)
        self.once_only = once_only(losses)
        row_bytes = max(held.total / self.n_members / len(self.few), 1.0)
        self.batch_size = self._batch_size(wanted, row_bytes, together)
        fits = wanted is None and source.n_rows * row_bytes <= _HELD_BYTES
        self.holds_all = fits or self.batch_size == source.n_rows
        # An estimator's loss is known to be a mean.
        if source.sparsity_weight is None and losses.isfinite().all():
            self._check_mean(losses.detach().reshape(-1))

    def _batch_size(self, wanted: int | None, row_bytes: float, together: bool) -> int:
        """By what one member holds alone, so that its sums do not depend on its neighbours."""
        if together:
            if wanted is not None and wanted < self.n_rows:
                raise ParameterError(
                    f"batch_size={wanted} would change the loss: the model's rows normalise each other, so "
                    f"all {self.n_rows} go in one pass; pass None."
                )
            return self.n_rows
        return min(self.n_rows, wanted or min(max(int(_HELD_BYTES / row_bytes), 1), _MOST_ROWS))

    @torch.no_grad()
    def _check_mean(self, losses: Tensor) -> None:
        """A mean of the same rows twice is the same; one that is taken in batches is the mean of theirs."""
        twice = self.batch(np.concatenate([self.few, self.few]))().reshape(-1)
        if not torch.allclose(twice, losses, rtol=_RTOL, atol=_ATOL):
            raise ParameterError(
                "loss must be a mean over rows, but takes another value on the same rows twice: pass one "
                "with reduction='mean'."
            )
        if self.batch_size == self.n_rows:
            return
        parts = np.split(self.few, [max(len(self.few) // 3, 1)])
        means = [self.batch(rows)().reshape(-1) * (len(rows) / len(self.few)) for rows in parts if len(rows)]
        if not torch.allclose(torch.stack(means).sum(0), losses, rtol=_RTOL, atol=_ATOL):
            raise ParameterError(
                f"loss must be a mean in which each row counts the same, as rows go in batches of "
                f"{self.batch_size}; drop its class weights, or pass batch_size={self.n_rows}."
            )


def _members(losses: Tensor, module: nn.Module) -> int:
    n = losses.numel()
    first_axes = {p.shape[0] if p.dim() else 1 for p in module.parameters() if p.requires_grad}
    if n > 1 and first_axes != {n}:
        raise ParameterError(
            f"loss must be a mean over rows: it gave {n} values, which are no members, for the first axis of "
            f"the model's parameters is {min(first_axes)}; pass one with reduction='mean'."
        )
    return n


class _Held:
    """Count the bytes that autograd keeps for the way back, parameters left out."""

    def __init__(self, module: nn.Module):
        self._known = {p.untyped_storage().data_ptr() for p in module.parameters()}
        self.total = 0
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def __enter__(self) -> _Held:
        self._hooks.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.__exit__(*exception)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self.total += storage.nbytes()
        return tensor
