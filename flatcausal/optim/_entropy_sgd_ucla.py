"""The steps of Entropy-SGD as its authors' PyTorch code has them; the recipe lists the departures."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from flatcausal._members import member_normal
from flatcausal.optim._entropy_sgd_paper import EntropySGDOptimizer, Walk


class ReleasedEntropySGDOptimizer(EntropySGDOptimizer):
    """The torch optimizer that :class:`EntropySGD` builds with ``variant="ucla"``.

    Parameters
    ----------
    target, L, defaults, seeds
        As in :class:`EntropySGDOptimizer`; ``L`` may be 0.
    """

    n_passes_before: ClassVar[int] = 1

    def _walk(self, group: dict[str, Any]) -> Walk:
        return _ReleasedWalk(group, self.state, walks=self.L > 0)


class _ReleasedWalk(Walk):
    """The inner walk of one parameter group and the outer step after it."""

    def __init__(self, group: dict[str, Any], state: dict[Tensor, Any], walks: bool):
        super().__init__(group)
        self.state = state
        self.walks = walks
        self.scope = group["scope"]
        self.first = self._slopes()
        self.inner: list[Tensor] = [torch.zeros_like(p) for p in self.params]

    def _slopes(self) -> list[Tensor]:
        """Gradients at hand, free to be written on."""
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.params]

    def advance(self, generators: list[torch.Generator]) -> None:
        """One inner step along the gradients at hand."""
        group, params = self.group, self.params
        if not params:
            return
        # Without Nesterov these are the buffers themselves, and keep what is added to them.
        slopes = self._with_momentum(self._slopes(), self.inner)
        pull = torch._foreach_sub(self.anchors, params)
        torch._foreach_add_(slopes, pull, alpha=-self.scope)
        if group["noise"]:
            noises = [member_normal(p, generators) for p in params]
            torch._foreach_add_(slopes, noises, alpha=group["noise"] / (0.5 * group["inner_lr"]) ** 0.5)
        torch._foreach_add_(params, slopes, alpha=-group["inner_lr"])
        torch._foreach_lerp_(self.means, params, 1 - group["alpha"])

    def _with_momentum(self, slopes: list[Tensor], buffers: list[Tensor]) -> list[Tensor]:
        """What SGD would step along, at the weights as they are."""
        group = self.group
        if group["weight_decay"]:
            torch._foreach_add_(slopes, self.params, alpha=group["weight_decay"])
        if not group["momentum"]:
            return slopes
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, slopes)
        if not group["nesterov"]:
            return buffers
        torch._foreach_add_(slopes, buffers, alpha=group["momentum"])
        return slopes

    def finish(self) -> None:
        """Step from the anchors along what the walk came to, or along the first gradient without a walk."""
        self.group["n_steps_taken"] += 1
        if not self.params:
            return
        slopes = self.first
        if self.walks:
            slopes = list(torch._foreach_sub(self.anchors, self.means))
            torch._foreach_copy_(self.params, self.anchors)
        buffers = self._outer_buffers() if self.group["momentum"] else []
        steps = self._with_momentum(slopes, buffers)
        torch._foreach_add_(self.params, steps, alpha=-float(self.group["lr"]))

    def _outer_buffers(self) -> list[Tensor]:
        for p, gradient in zip(self.params, self.first, strict=True):
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = gradient.clone()
        return [self.state[p]["momentum_buffer"] for p in self.params]
