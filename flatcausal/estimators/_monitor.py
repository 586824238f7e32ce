"""What becomes of each member during a fit: its best epoch, and when it stops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flatcausal.nn import TabNet
from flatcausal.optim.averaging import Average

_STATE = (
    "best_loss",
    "best_epoch",
    "misses",
    "active",
    "last_epoch",
    "diverged_epoch",
    "diverged_lr",
    "best_weights",
    "first_weights",
)


class MemberMonitor:
    """Remember each member's best weights, and stop members that diverge or no longer improve.

    A member that stopped takes no further part: what it keeps does not depend on how long others run.

    Parameters
    ----------
    network : TabNet
        The population under training.
    patience : int, optional
        Epochs without improvement after which a member stops; never if None.

    Attributes
    ----------
    best_epoch : Tensor of shape (K,)
        Epoch of the smallest loss; 0 before any.
    active : Tensor of bool, shape (K,)
        Members that still train.
    last_epoch : Tensor of shape (K,)
        Epoch after which a member stopped, or the last so far.
    diverged_epoch, diverged_lr : Tensor of shape (K,)
        When a member's loss or weights ceased to be finite, and the learning rate then; 0 for a healthy one.
    """

    def __init__(self, network: TabNet, patience: int | None):
        self.network = network
        self.patience = patience
        weights = network.population.detach()
        self.first_weights = weights.clone()
        self.best_weights = weights.clone()
        self.best_loss = weights.new_full((len(weights),), torch.inf)
        self.best_epoch = torch.zeros_like(self.best_loss, dtype=torch.int64)
        self.misses = torch.zeros_like(self.best_epoch)
        self.last_epoch = torch.zeros_like(self.best_epoch)
        self.diverged_epoch = torch.zeros_like(self.best_epoch)
        self.diverged_lr = torch.zeros_like(self.best_loss, dtype=torch.float64)
        self.active = torch.ones_like(self.best_epoch, dtype=torch.bool)
        self.averaged = torch.zeros_like(self.active)

    def observe(self, epoch: int, losses: Tensor, lr: float) -> None:
        """Take note of an epoch: ``losses`` (K,) are those that a member should lower."""
        weights = self.network.population.detach()
        self.last_epoch[self.active] = epoch
        finite = losses.isfinite() & weights.isfinite().all(1)
        self._note_divergence(finite, epoch, lr)
        better = self.active & (losses < self.best_loss)
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.best_epoch[better] = epoch
        self.best_weights = torch.where(better[:, None], weights, self.best_weights)
        self.misses = torch.where(better, 0, self.misses + 1)
        if self.patience is not None:
            self.active &= self.misses < self.patience

    @property
    def diverged(self) -> Tensor:
        """Members that diverged, bool of shape (K,)."""
        return self.diverged_epoch > 0

    def kept_epoch(self, n_epochs: int) -> Tensor:
        """Epoch whose weights each member keeps, of ``n_epochs``; a mean's last; 0 for initial weights."""
        kept = torch.where(self._returning, self.best_epoch, n_epochs)
        return torch.where(self.averaged & ~self.diverged, self.last_epoch, kept)

    @property
    def _returning(self) -> Tensor:
        """Members that go back to their best weights."""
        return torch.ones_like(self.active) if self.patience is not None else self.diverged

    @torch.no_grad()
    def settle(self, epoch: int, lr: float, average: Average | None = None) -> None:
        """End the fit: members take their best weights, all with patience, else those that diverged.

        Healthy members that have an average take that instead.
        """
        self._note_divergence(self.network.population.isfinite().all(1), epoch, lr)
        self._put(self._returning, self.best_weights)
        if average is not None:
            self.averaged = average.exists & ~self.diverged
            self._put(self.averaged, average.matrix())

    @torch.no_grad()
    def retreat(self, sick: Tensor, epoch: int, lr: float) -> None:
        """Count members as diverged that do not compute finite numbers, and take their weights back.

        To their best ones or, if they have those already, to the first ones.
        """
        again = sick & self.diverged
        self.diverged_epoch[sick & ~again] = epoch
        self.diverged_lr[sick & ~again] = lr
        self.active &= ~sick
        self.best_epoch[again] = 0
        self._put(sick & ~again, self.best_weights)
        self._put(again, self.first_weights)

    def _put(self, members: Tensor, weights: Tensor) -> None:
        population = self.network.population
        population.copy_(torch.where(members[:, None], weights, population))

    def _note_divergence(self, finite: Tensor, epoch: int, lr: float) -> None:
        diverging = self.active & ~finite
        self.diverged_epoch[diverging] = epoch
        self.diverged_lr[diverging] = lr
        self.active &= finite

    def state_dict(self) -> dict[str, Any]:
        """All that the next epoch needs."""
        return {name: getattr(self, name).clone() for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        for name in _STATE:
            setattr(self, name, state[name].to(getattr(self, name).device, copy=True))
