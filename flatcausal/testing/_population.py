"""Populations to train: quadratics, and TabNets."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from flatcausal.nn import TabNet
from flatcausal.optim import Recipe

N_MEMBERS = 7  # that there are; a population holds some of them


class Population(Protocol):
    """Some members, what an optimizer is built for, and the closure that it is given."""

    members: list[int]
    target: Any

    @property
    def weights(self) -> Tensor:
        """Weights, a row a member."""
        ...

    def __call__(self) -> Tensor:
        """Renew the gradients; returns each member's loss."""
        ...

    def everyone(self) -> Population:
        """A population of all members."""
        ...


class Bowls:
    """Members on quadratics ``h w² / 2 + s w``, each with a start and a slope of its own.

    Parameters
    ----------
    members : list of int
        Which of the members.
    width : int, default=4
        Weights of each.
    dtype : torch.dtype, default=torch.float64
        Of the weights.
    spoil : float, optional
        What takes the place of the first member's gradient.
    """

    n_rows = 12

    def __init__(
        self,
        members: list[int],
        width: int = 4,
        dtype: torch.dtype = torch.float64,
        spoil: float | None = None,
    ):
        generator = torch.Generator().manual_seed(width)
        starts, slopes = torch.randn(2, N_MEMBERS, width, dtype=dtype, generator=generator)
        self.w = starts[members].requires_grad_()
        self.h = torch.linspace(1.0, 3.0, width, dtype=dtype)
        self.s = slopes[members]
        self.members, self.spoil, self.target = members, spoil, [self.w]

    @property
    def weights(self) -> Tensor:
        """Weights, a row a member."""
        return self.w.detach()

    @property
    def least(self) -> Tensor:
        """Least losses."""
        return torch.stack([-(s * s / self.h / 2).sum() for s in self.s])

    def losses(self) -> Tensor:
        """Losses of the members, each summed on its own."""
        pairs = zip(self.weights, self.s, strict=True)
        return torch.stack([(w * (self.h * w / 2 + s)).sum() for w, s in pairs])

    def __call__(self) -> Tensor:
        """Renew the gradients; returns each member's loss."""
        self.w.grad = self.h * self.weights + self.s
        if self.spoil is not None:
            self.w.grad[0] = self.spoil
        return self.losses()

    def everyone(self) -> Bowls:
        """A population of all members."""
        return Bowls(list(range(N_MEMBERS)))

    def split(self, m: int) -> list[Bowls]:
        """Closures for ``m`` rows each, whose slopes differ and have the whole's as their mean."""
        parts = []
        for start in range(0, self.n_rows, min(m, self.n_rows)):
            part = Bowls.__new__(Bowls)
            vars(part).update(vars(self))
            part.n_rows = min(m, self.n_rows - start)
            middle = start + part.n_rows / 2
            part.s = self.s * (0.5 + middle / self.n_rows)
            parts.append(part)
        return parts


class TabNets:
    """Members that are small TabNets with starts of their own.

    Parameters
    ----------
    members : list of int
        Which of the members.
    spoil : float, optional
        What takes the place of the first member's gradient.
    """

    def __init__(self, members: list[int], spoil: float | None = None):
        generators = [torch.Generator().manual_seed(k) for k in members]
        sizes: Any = {
            "n_d": 2,
            "n_a": 2,
            "n_steps": 2,
            "n_shared": 1,
            "n_independent": 1,
            "virtual_batch_size": 8,
        }
        self.net = TabNet(4, n_members=len(members), **sizes, generators=generators).double()
        self.X = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        self.members, self.spoil, self.target = members, spoil, self.net

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.X)

    @property
    def weights(self) -> Tensor:
        """Weights, a row a member."""
        return self.net.population.detach()

    def losses(self) -> Tensor:
        """Losses of the members, without gradients."""
        with torch.no_grad():
            return self._losses()

    def __call__(self) -> Tensor:
        """Renew the gradients; returns each member's loss."""
        self.net.zero_grad()
        losses = self._losses()
        losses.sum().backward()
        gradient = self.net.population.grad
        if self.spoil is not None and gradient is not None:
            gradient[0] = self.spoil
        return losses.detach()

    def _losses(self) -> Tensor:
        output, sparsity = self.net(self.X)
        return (output[..., 0] - self.X[:, 0] * self.X[:, 1]).square().mean(1) - 1e-3 * sparsity

    def everyone(self) -> TabNets:
        """A population of all members."""
        return TabNets(list(range(N_MEMBERS)))

    def split(self, m: int) -> list[TabNets]:
        """Closures for ``m`` rows each."""
        parts = []
        for X in self.X.split(min(m, self.n_rows)):
            part = TabNets.__new__(TabNets)
            vars(part).update(vars(self), X=X)
            parts.append(part)
        return parts


def train(recipe: Recipe, population: Population, n_steps: int, weight_decay: float = 0.1) -> Tensor:
    """Weights after some steps; noise goes with its member."""
    members = population.members
    build = {"n_members": len(members), "weight_decay": weight_decay, "random_state": 0}
    optimizer: Any = recipe.build(population.target, **build)
    if hasattr(optimizer, "generators") and members != list(range(len(members))):
        everyone = population.everyone()
        source: Any = recipe.build(everyone.target, **{**build, "n_members": N_MEMBERS})
        optimizer.generators = [source.generators[k] for k in members]
    for _ in range(n_steps):
        optimizer.step(population)
    return population.weights
