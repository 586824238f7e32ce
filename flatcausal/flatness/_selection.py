"""Which of a model's numbers move, and which of them are weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flatcausal.exceptions import ParameterError
from flatcausal.flatness._stack import Weights
from flatcausal.nn import TabNet


def moving(
    module: nn.Module, params: str | Callable[[str], bool], n_members: int
) -> tuple[Weights, Tensor | None]:
    """Parameters that move, and for a population the columns of its matrix that do; None if all."""
    named: dict[str, Tensor] = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if params == "all":
        return [*named.values()], None
    if isinstance(module, TabNet):
        if callable(params):
            chosen = [torch.full((block.size,), bool(params(block.name))) for block in module.layout]
            mask = torch.cat(chosen)
        else:
            mask = module.layout.mask("weight", "embedding")
        found, nothing = [*named.values()], not mask.any()
        mask = mask.to(found[0].device)
        names = [block.name for block in module.layout]
    else:
        keep = params if callable(params) else lambda name: _is_weight(named[name], n_members)
        found, mask = [p for name, p in named.items() if keep(name)], None
        nothing, names = not found, list(named)
    if nothing:
        raise ParameterError(f"params chooses nothing to move; the model has {', '.join(names[:10])}.")
    return found, mask


def weights(module: nn.Module, params: Weights, mask: Tensor | None, n_members: int) -> list[Tensor]:
    """For each parameter a mask of the moving numbers that are weights, not biases or normalisation.

    A population's layout knows; elsewhere tensors of two and more dimensions are weights.
    """
    if isinstance(module, TabNet):
        found = module.layout.mask("weight", "embedding").to(params[0].device)
        return [found if mask is None else found & mask]
    return [torch.full_like(p, _is_weight(p, n_members), dtype=torch.bool) for p in params]


def _is_weight(p: Tensor, n_members: int) -> bool:
    return p.dim() >= 2 + (n_members > 1)  # the first axis of a stack is its members
