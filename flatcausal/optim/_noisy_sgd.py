"""What noise-enabled gradient descent has in common."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from flatcausal._validation import check_choice, check_real
from flatcausal.optim._noise import NOISES, DrawsNoise
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._sgd import SGD, check_inertia
from flatcausal.optim._target import Target


class NoisyRecipe(SGD):
    """Hyper-parameters of SGD and of a noise."""

    def __init__(self, sigma: float, noise: str, momentum: float, nesterov: bool):
        super().__init__(momentum, nesterov)
        self.sigma = sigma
        self.noise = noise

    def _hyper(self, lr: float, weight_decay: float) -> dict[str, Any]:
        """Check what :class:`NoisySGD` takes."""
        return {
            "noise": check_choice("noise", self.noise, NOISES),
            "sigma": check_real("sigma", self.sigma, low=0.0),
            "lr": lr,
            "weight_decay": weight_decay,
            **check_inertia(self.momentum, self.nesterov),
        }

    def limiting_cases(self) -> Iterator[tuple[Recipe, Recipe]]:
        """Without noise it is SGD."""
        yield self._at(sigma=0.0), SGD(self.momentum, self.nesterov)


class NoisySGD(DrawsNoise, torch.optim.SGD):
    """torch's SGD with a source of noise; parameter groups have a ``"sigma"``.

    Parameters
    ----------
    target : Target
        What is trained.
    seeds : SeedSequence
        Source of the noise; a generator for each member.
    noise : str
        Kind of noise.
    sigma : float
        Size of the noise, for parameter groups without one of their own.
    **hyper
        Parameters of ``torch.optim.SGD``.
    """

    def __init__(self, target: Target, seeds, noise: str, sigma: float, **hyper: Any):
        super().__init__(target.params, **hyper)
        self.defaults["sigma"] = sigma
        for group in self.param_groups:
            group.setdefault("sigma", sigma)
        self._take_noise(target, noise, seeds)

    @property
    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _shake_weights(self) -> None:
        self._shake([(p, group["sigma"]) for group in self.param_groups for p in group["params"]])

    def _shake_gradients(self) -> None:
        groups = self.param_groups
        self._shake([(p.grad, g["sigma"]) for g in groups for p in g["params"] if p.grad is not None])

    def _shake(self, tensors: list[tuple[Tensor, float]]) -> None:
        shaken = [(tensor, sigma) for tensor, sigma in tensors if sigma]
        if shaken:
            noises = self.noise.like([tensor for tensor, _ in shaken])
            torch._foreach_mul_(noises, [sigma for _, sigma in shaken])
            torch._foreach_add_([tensor for tensor, _ in shaken], noises)

    def _return_unused(self, weights: Sequence[Tensor]) -> None:
        """Take back the noise of tensors that turned out to have no gradient."""
        for p, weight in zip(self._params, weights, strict=True):
            if p.grad is None:
                p.copy_(weight)

    def _descend(self) -> None:
        """SGD's own update along the gradients at hand; the hooks of a step run around the whole step."""
        inspect.unwrap(torch.optim.SGD.step)(self)
