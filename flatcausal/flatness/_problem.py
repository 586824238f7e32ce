"""A private copy of a model whose weights can be moved, and its loss."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.nn import TabNet


class Problem:
    """Loss of each member as a function of weights that belong to nobody else.

    The model is copied, so that measuring can change nothing of the caller's, whatever happens. The copy
    is in evaluation mode (running statistics as the model holds them, no dropout) and in float64.

    Parameters
    ----------
    model : estimator, skorch net or nn.Module
        See :func:`flatcausal.flatness.sharpness`.
    X, y : array-like or Tensor
        Rows to measure on.
    loss : callable, optional
        ``loss(output, y)`` for an ``nn.Module``.
    """

    def __init__(self, model: Any, X: Any, y: Any, loss: Callable[[Any, Tensor], Tensor] | None):
        module, self._losses = _resolve(model, X, y, loss)
        self.module = copy.deepcopy(module).to(torch.float64).eval()
        self.params: list[Tensor] = [p for p in self.module.parameters() if p.requires_grad]
        if not self.params:
            raise ParameterError("model has no trainable parameters: there is nothing to move.")

    @cached_property
    def n_members(self) -> int:
        """Number of losses."""
        with torch.no_grad():
            return self.losses().numel()

    def losses(self) -> Tensor:
        """Loss of each member at the present weights, shape (K,)."""
        return self._losses(self.module).reshape(-1)

    def gradients(self) -> tuple[Tensor, list[Tensor]]:
        """Losses, and their gradients for each parameter; members do not meet in the sum."""
        losses = self.losses()
        found = torch.autograd.grad(losses.sum(), self.params, allow_unused=True)
        pairs = zip(self.params, found, strict=True)
        return losses.detach(), [torch.zeros_like(p) if g is None else g for p, g in pairs]

    def weights(self) -> list[Tensor]:
        """Copies of the present weights."""
        return [p.detach().clone() for p in self.params]

    @torch.no_grad()
    def losses_at(self, weights: list[Tensor]) -> Tensor:
        """Losses at other weights."""
        torch._foreach_copy_(self.params, weights)
        return self.losses()

    def scaled(self) -> list[Tensor]:
        """For each parameter a mask of the numbers that are weights, not biases or normalisation.

        A population's layout knows; elsewhere tensors of two and more dimensions are weights.
        """
        if isinstance(self.module, TabNet):
            return [self.module.layout.mask("weight", "embedding").to(self.params[0].device)]
        own_axes = 2 + (self.n_members > 1)  # the first axis of a stack is its members
        return [torch.full_like(p, p.dim() >= own_axes, dtype=torch.bool) for p in self.params]


def _resolve(
    model: Any, X: Any, y: Any, loss: Callable[[Any, Tensor], Tensor] | None
) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    if hasattr(model, "data_loss"):
        function = model.data_loss(X, y)  # first: it says so if the model is not fitted
        return model.net_.module_, function
    if hasattr(model, "module_") and hasattr(model, "get_loss"):
        return _resolve_net(model, X, y, loss)
    if not isinstance(model, nn.Module):
        raise ParameterTypeError(
            f"model must be a fitted flatcausal estimator, a skorch net or an nn.Module, "
            f"got {type(model).__name__}."
        )
    if loss is None:
        raise ParameterError(
            "loss is needed with an nn.Module: pass a function of (output, y), such as nn.MSELoss()."
        )
    device = next(model.parameters()).device
    inputs, target = (_as_float64(values, device) for values in (X, y))
    return model, lambda module: loss(module(inputs), target)


def _resolve_net(
    net: Any, X: Any, y: Any, loss: Callable[[Any, Tensor], Tensor] | None
) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    if isinstance(net.module_, TabNet):
        raise ParameterTypeError("model is the net of an estimator: pass the estimator itself.")
    if loss is not None:
        return _resolve(net.module_, X, y, loss)
    # skorch may do more than call the criterion, such as the logarithm before NLLLoss.
    net = copy.deepcopy(net)
    net.criterion_.to(torch.float64)
    inputs, target = (_as_float64(values, next(net.module_.parameters()).device) for values in (X, y))
    return net.module_, lambda module: net.get_loss(module(inputs), target, X=inputs, training=False)


def _as_float64(values: Any, device: torch.device) -> Tensor:
    tensor = torch.as_tensor(values, device=device)
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor
