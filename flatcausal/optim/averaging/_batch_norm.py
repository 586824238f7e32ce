"""BatchNorm's running statistics, estimated anew for weights that no training step has seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flatcausal.exceptions import DataError
from flatcausal.optim._target import frozen_statistics


@torch.no_grad()
def update_batch_norm(module: nn.Module, batches: Iterable[Any]) -> None:
    r"""Replace BatchNorm's running statistics by those of the rows that pass.

    Each layer's mean and unbiased variance are those of all its inputs together: rows count alike whatever
    batch they are in, and the variance holds what batch means differ by,

    .. math:: (n - 1)\, \sigma^2 = \sum_b \Big( \sum_{i \in b} (x_i - \mu_b)^2 + n_b\, (\mu_b - \mu)^2 \Big)

    The rows pass in training mode, so that a layer's inputs are normalised by their own batch in the layers
    before it, and without dropout. Modes, momenta and everything else stay as they were, also after an error,
    which leaves the statistics as they were, too. A module without BatchNorm is left alone; one that has a
    method ``reestimate_statistics``, as :class:`flatcausal.nn.TabNet` has, is asked to do it by itself.

    Parameters
    ----------
    module : nn.Module
        The model, with the weights that it shall keep.
    batches : iterable of Tensor, or of tuples that begin with one
        Inputs, in large batches and any order, as a ``DataLoader`` gives them. A row alone, which has no
        variance, joins the batch before it.

    Raises
    ------
    DataError
        If there are less than two rows.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.optim.averaging import update_batch_norm
    >>> layer = torch.nn.BatchNorm1d(1)
    >>> update_batch_norm(layer, torch.arange(6.0).reshape(6, 1).split(4))
    >>> layer.running_mean, layer.running_var
    (tensor([2.5000]), tensor([3.5000]))
    """
    inputs = (batch[0] if isinstance(batch, (tuple, list)) else batch for batch in batches)
    reestimate = getattr(module, "reestimate_statistics", None)
    if reestimate is not None:
        reestimate(_without_single_rows(inputs))
        return
    layers: list[Any] = [layer for layer in module.modules() if _keeps_statistics(layer)]
    if not layers:
        return
    totals = [_Moments() for _ in layers]
    n_batches = 0
    with ExitStack() as stack:
        stack.enter_context(_training_mode_of(module, layers))
        stack.enter_context(frozen_statistics(layers))
        for layer, total in zip(layers, totals, strict=True):
            stack.callback(layer.register_forward_pre_hook(total.add).remove)
        for rows in _without_single_rows(inputs):
            module(rows)
            n_batches += 1
    for layer, total in zip(layers, totals, strict=True):
        if total.n > 1:  # else no input came by
            layer.running_mean.copy_(total.mean)
            layer.running_var.copy_(total.squares / (total.n - 1))
            layer.num_batches_tracked.fill_(n_batches)


def _keeps_statistics(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None


class _Moments:
    """Mean and sum of squared deviations of all inputs of a layer, by channel, in double precision."""

    def __init__(self):
        self.n = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Add a batch (n, C, ...), as a hook before the layer's pass (Chan et al., 1979)."""
        x = inputs[0].transpose(0, 1).flatten(1)
        x = x if x.device.type == "mps" else x.double()  # which has no double precision
        n = x.shape[1]
        mean = x.mean(1)
        gap = mean - self.mean
        self.squares = (
            self.squares + (x - mean[:, None]).square().sum(1) + gap**2 * (self.n * n / (self.n + n))
        )
        self.mean = self.mean + gap * (n / (self.n + n))
        self.n += n


@contextmanager
def _training_mode_of(module: nn.Module, layers: list[nn.Module]) -> Iterator[None]:
    """Let these layers alone be in training mode."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        for layer in layers:
            layer.training = True
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _without_single_rows(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The same rows, where a row alone joins the batch before it, or the first one that after it."""
    held: Tensor | None = None
    for rows in batches:
        if held is None:
            held = rows
        elif len(rows) == 1 or len(held) == 1:
            held = torch.cat([held, rows])
        else:
            yield held
            held = rows
    if held is None or len(held) == 1:
        raise DataError("batches must hold two rows or more, for one has no variance: pass more rows.")
    yield held
