"""The steps of Entropy-SGD as its paper has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._members import member_generators, member_normal
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._noise import part_of, resume_generators
from flatcausal.optim._target import Target, frozen_statistics


class EntropySGDOptimizer(Optimizer):
    """The torch optimizer that :class:`EntropySGD` builds.

    Parameters
    ----------
    target : Target
        What is trained.
    L : int
        Inner steps.
    defaults : dict
        Hyper-parameters of a parameter group.
    seeds : SeedSequence
        Source of the Langevin noise; a generator for each member.
    """

    n_passes_before: ClassVar[int] = 0  # whose gradients the walk does not follow

    def __init__(self, target: Target, L: int, defaults: dict[str, Any], seeds):
        super().__init__(target.params, {**defaults, "n_steps_taken": 0})
        self.target = target
        self.L = L
        self.generators = member_generators(seeds, target.n_members)

    def state_dict(self) -> dict[str, Any]:
        """Groups, and where the noise generators stand."""
        return {**super().state_dict(), "generators": [g.get_state() for g in self.generators]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        positions = part_of(state_dict, "generators")
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "generators"})
        resume_generators(self.generators, positions)

    def __getstate__(self) -> dict[str, Any]:
        own = {"target": self.target, "L": self.L, "generators": self.generators}
        return {**super().__getstate__(), **own}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the loss at the weights before it.

        Running statistics move in the first pass only; the weights of the
        last completed step come back when the closure raises.
        """
        if closure is None:
            raise ParameterTypeError("Entropy-SGD needs step(closure): it computes its gradients itself.")
        closure = torch.enable_grad()(closure)
        params = [p for group in self.param_groups for p in group["params"]]
        anchors = [p.clone() for p in params]
        try:
            loss = closure()
            walks = [self._walk(group) for group in self.param_groups]
            with frozen_statistics(self.target.normalizations):
                for i in range(self.L):
                    if i or self.n_passes_before:
                        closure()
                    for walk in walks:
                        walk.advance(self.generators)
        except BaseException:
            torch._foreach_copy_(params, anchors)
            raise
        for walk in walks:
            walk.finish()
        return loss

    def _walk(self, group: dict[str, Any]) -> Walk:
        return Walk(group)


class Walk:
    """The inner walk of one parameter group within one step; tensors without a gradient take no part."""

    def __init__(self, group: dict[str, Any]):
        self.group = group
        self.params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
        self.anchors = [p.clone() for p in self.params]
        self.means = [p.clone() for p in self.params]
        self.buffers: list[Tensor] | None = None
        growth = group["n_steps_taken"] * math.log1p(group["scope_growth"])
        grown = group["scope"] * math.exp(min(growth, 700.0))  # of which a power overflows on long runs
        self.scope = min(grown, group["scope_max"])

    def advance(self, generators: list[torch.Generator]) -> None:
        """One inner step along the gradients at hand."""
        group, params = self.group, self.params
        if not params:
            return
        slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
        if group["weight_decay"]:
            slopes = list(torch._foreach_add(slopes, params, alpha=group["weight_decay"]))
        if group["momentum"]:
            if self.buffers is None:
                self.buffers = [slope.clone() for slope in slopes]
            else:
                torch._foreach_mul_(self.buffers, group["momentum"])
                torch._foreach_add_(self.buffers, slopes)
            if group["nesterov"]:
                slopes = list(torch._foreach_add(slopes, self.buffers, alpha=group["momentum"]))
            else:
                slopes = self.buffers
        pull = torch._foreach_sub(self.anchors, params)
        torch._foreach_add_(params, slopes, alpha=-group["inner_lr"])
        torch._foreach_add_(params, pull, alpha=group["inner_lr"] * self.scope)
        if group["noise"]:
            noises = [member_normal(p, generators) for p in params]
            torch._foreach_add_(params, noises, alpha=group["inner_lr"] ** 0.5 * group["noise"])
        torch._foreach_lerp_(self.means, params, group["alpha"])

    def finish(self) -> None:
        """Relax from the anchors towards the means."""
        if self.params:
            torch._foreach_lerp_(self.anchors, self.means, float(self.group["lr"]))
            torch._foreach_copy_(self.params, self.anchors)
        self.group["n_steps_taken"] += 1
