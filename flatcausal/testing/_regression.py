"""One small network in training, and a closure that watches what an optimizer asks of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flatcausal.optim import Recipe

N_ROWS = 12


def network() -> nn.Sequential:
    """A network with BatchNorm in float64, always the same."""
    layers = [nn.utils.skip_init(nn.Linear, *sizes, dtype=torch.float64) for sizes in ((3, 6), (6, 1))]
    generator = torch.Generator().manual_seed(0)
    for param in (p for layer in layers for p in layer.parameters()):
        nn.init.normal_(param, std=0.5, generator=generator)
    return nn.Sequential(layers[0], nn.BatchNorm1d(6, dtype=torch.float64), nn.Tanh(), layers[1])


def rows(n: int = N_ROWS) -> tuple[Tensor, Tensor]:
    """Inputs (n, 3) and a target (n, 1) that is linear in them but for a little noise."""
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, 3, dtype=torch.float64, generator=generator)
    noise = torch.randn(n, 1, dtype=torch.float64, generator=generator)
    return X, X @ torch.tensor([[1.0], [-1.0], [0.5]], dtype=torch.float64) + 0.1 * noise


class Looks:
    """What an optimizer asked for in a step.

    Attributes
    ----------
    count : int
        Losses asked for, with gradients or without.
    n_rows : int
        Rows whose gradients were asked for.
    first : list of tuple
        Number of rows, loss and input of BatchNorm, when each closure was first asked.
    """

    def __init__(self, fail_at: int | None = None, error: type[BaseException] = RuntimeError):
        self.fail_at, self.error = fail_at, error
        self.count, self.n_rows = 0, 0
        self.first: list[tuple[int, Tensor, Tensor]] = []

    def arrive(self) -> None:
        """Count one look; raises if it is the one that is to fail."""
        self.count += 1
        if self.count - 1 == self.fail_at:
            raise self.error("raised by the closure, as the check means it to")

    @property
    def first_loss(self) -> float:
        """Mean first loss of all rows."""
        return sum(n * loss.item() for n, loss, _ in self.first) / sum(n for n, _, _ in self.first)


class Closure:
    """A closure over some rows, with all that the estimators' closures offer.

    ``losses()`` gives the loss without gradients, ``split(m)`` closures for ``m`` rows each, and ``n_rows``
    their number.
    """

    def __init__(self, net: nn.Module, X: Tensor, y: Tensor, looks: Looks, spoil: float | None = None):
        self.net, self.X, self.y, self.looks, self.spoil = net, X, y, looks, spoil
        self.n_rows = len(X)
        self.asked = False

    def __call__(self) -> Tensor:
        """Renew the gradients; returns the loss."""
        self.looks.arrive()
        self.net.zero_grad()
        loss = self._loss()
        loss.backward()
        self.looks.n_rows += self.n_rows
        for param in self.net.parameters():
            if self.spoil is not None and param.grad is not None:
                param.grad.fill_(self.spoil)
        return loss

    def losses(self) -> Tensor:
        """Loss without gradients."""
        self.looks.arrive()
        with torch.no_grad():
            return self._loss()

    def split(self, m: int) -> list[Closure]:
        """Closures for ``m`` rows each."""
        m = min(m, self.n_rows)
        parts = zip(self.X.split(m), self.y.split(m), strict=True)
        return [Closure(self.net, X, y, self.looks, self.spoil) for X, y in parts]

    def _loss(self) -> Tensor:
        seen: list[Tensor] = []
        norm = next(layer for layer in self.net.modules() if isinstance(layer, nn.BatchNorm1d))
        hook = norm.register_forward_pre_hook(lambda layer, args: seen.append(args[0].detach().clone()))
        try:
            loss = (self.net(self.X) - self.y).square().mean()
        finally:
            hook.remove()
        if not self.asked:
            self.asked = True
            self.looks.first.append((self.n_rows, loss.detach().clone(), seen[0]))
        return loss


class Trial:
    """A network and the optimizer that trains it."""

    def __init__(self, recipe: Recipe, net: nn.Module | None = None, random_state: int = 0, **build: Any):
        self.net = network() if net is None else net
        self.optimizer = recipe.build(self.net, random_state=random_state, **build)

    def step(self, looks: Looks | None = None, spoil: float | None = None) -> Any:
        """One step on all rows; returns what the optimizer returns."""
        return self.optimizer.step(Closure(self.net, *rows(), looks or Looks(), spoil))  # pyright: ignore

    def train(self, n_steps: int) -> Trial:
        """Take some steps."""
        for _ in range(n_steps):
            self.step()
        return self

    @property
    def norm(self) -> nn.BatchNorm1d:
        """The network's BatchNorm."""
        return next(layer for layer in self.net.modules() if isinstance(layer, nn.BatchNorm1d))

    @property
    def weights(self) -> Tensor:
        """Copy of all weights, one after another."""
        return torch.cat([p.detach().reshape(-1) for p in self.net.parameters()])

    def equals(self, other: Trial) -> bool:
        """Whether both networks agree bit for bit, in weights and running statistics."""
        pairs = zip(self.net.state_dict().values(), other.net.state_dict().values(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)
