"""What optimizers that accept or reject by the loss have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from flatcausal._members import member_norms
from flatcausal.exceptions import ParameterTypeError


def judge_of(closure: Callable[[], Any]) -> Callable[[], Any]:
    """What gives the losses to accept by: ``closure.losses()`` if there is one, else the closure itself."""
    return getattr(closure, "losses", None) or torch.enable_grad()(closure)


def objective(loss: Any, groups: Iterable[dict[str, Any]], n_members: int) -> Tensor:
    """Loss of each member with the penalty whose gradient is the weight decay, shape (K,)."""
    losses = torch.as_tensor(loss).detach().clone()  # it may be a view of weights that move on
    if losses.numel() != n_members:
        raise ParameterTypeError(
            f"closure must return each member's loss, shape ({n_members},), to accept or reject members by; "
            f"got shape {tuple(losses.shape)}."
        )
    losses = losses.reshape(n_members)
    for group in groups:
        if group["weight_decay"]:
            norms = member_norms([p.detach() for p in group["params"]], n_members)
            losses = losses + 0.5 * group["weight_decay"] * norms.square().to(losses)
    return losses
