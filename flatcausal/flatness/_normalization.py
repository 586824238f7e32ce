"""How batch normalisation takes part in a measure; the modules here are private copies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from flatcausal.exceptions import ParameterTypeError
from flatcausal.nn import TabNet

CALIBRATION_ROWS = 256


def private_copy(module: nn.Module) -> nn.Module:
    """A copy that shares nothing with ``module``; an optimizer's observers stay behind."""
    observers = {id(net.input_observer): None for net in module.modules() if isinstance(net, TabNet)}
    try:
        return copy.deepcopy(module, memo=observers)
    except RuntimeError as error:
        raise ParameterTypeError(
            f"model cannot be copied, and is not measured in place: {error} Keep tensors that were computed "
            f"out of the module's attributes."
        ) from error


def set_mode(module: nn.Module, bn: str) -> None:
    """Evaluation mode; with ``"train"`` the normalisation layers, and they alone, look at the batch.

    Dropout in functions, which asks its layer's mode, is off too.
    """
    module.eval()
    for layer in _normalizations(module):
        layer.training = bn == "train"
        if isinstance(layer, TabNet):
            layer.track_running_stats = False


def rows_meet(module: nn.Module, bn: str) -> bool:
    """Whether a row's output depends on the rows around it."""
    instance_norm = nn.modules.instancenorm._InstanceNorm
    return bn == "train" or any(
        not isinstance(layer, (TabNet, instance_norm)) and getattr(layer, "running_mean", None) is None
        for layer in _normalizations(module)
    )


@torch.no_grad()
def recalibrate(module: nn.Module, passes: Sequence[tuple[int, Callable[[], Any]]]) -> None:
    """Replace all running statistics by row-weighted means over batches.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    passes : sequence of (int, callable)
        For each batch its number of rows, and what sends them through the module.
    """
    for layer in _normalizations(module):
        if isinstance(layer, TabNet):
            layer.reestimate_statistics(_inputs_of(layer, passes))
    layers: list[Any] = [
        layer
        for layer in _normalizations(module)
        if not isinstance(layer, TabNet) and getattr(layer, "running_mean", None) is not None
    ]
    if not layers:
        return
    kept = [(layer.momentum, layer.training) for layer in layers]
    totals = [[torch.zeros_like(b) for b in (layer.running_mean, layer.running_var)] for layer in layers]
    n_rows = sum(n for n, _ in passes)
    for n, run in passes:
        for layer in layers:
            # Without momentum a layer takes the mean over its calls: of ghost batches, if it has some.
            layer.reset_running_stats()
            layer.momentum, layer.training = None, True
        run()
        for layer, (mean, variance) in zip(layers, totals, strict=True):
            mean.add_(layer.running_mean, alpha=n / n_rows)
            variance.add_(layer.running_var, alpha=n / n_rows)
    for layer, (mean, variance), (momentum, training) in zip(layers, totals, kept, strict=True):
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
        layer.momentum, layer.training = momentum, training


def _normalizations(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if hasattr(layer, "track_running_stats")]


def _inputs_of(layer: TabNet, passes: Sequence[tuple[int, Callable[[], Any]]]) -> list[Tensor]:
    found: list[Tensor] = []
    with ExitStack() as stack:
        handle = layer.register_forward_pre_hook(lambda _, args: found.append(args[0]))
        stack.callback(handle.remove)
        for _, run in passes:
            run()
    return found
