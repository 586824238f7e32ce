"""One run: a plain skorch classifier, trained by a recipe of ``flatcausal.optim``."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, LRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from flatcausal.optim import Recipe

N_CHECKPOINTS = 10
PASS_ROWS = 256
_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Schedule:
    """What a pair of runs with and without SAM has in common, but for the weights that they start from."""

    lr: float
    weight_decay: float
    batch_size: int
    seed: int


@dataclass
class Run:
    """A trained network and how it came about.

    Attributes
    ----------
    module : nn.Module
        As it is at the end.
    checkpoints : list of dict
        States at the start and after epochs, evenly spaced and the last among them.
    epochs : list of int
        After which they were kept.
    n_gradients : int
        Gradient evaluations, each on one batch.
    batches : str
        Hash of the rows of all batches in order, each counted once.
    diverged : bool
        Whether the loss of an epoch was not finite.
    """

    module: nn.Module
    checkpoints: list[dict[str, Tensor]]
    epochs: list[int]
    n_gradients: int
    batches: str
    diverged: bool

    def at(self, checkpoint: int) -> nn.Module:
        """The network as it was then."""
        former = copy.deepcopy(self.module)
        former.load_state_dict(self.checkpoints[checkpoint])
        return former


def train(
    module: nn.Module, recipe: Recipe, X: np.ndarray, y: np.ndarray, schedule: Schedule, n_epochs: int
) -> Run:
    """Train ``module`` itself, with a learning rate that falls to 0 along a cosine."""
    watch = Watch(n_epochs)
    n_steps = len(y) // schedule.batch_size * n_epochs
    net = NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        # Built from the module, not from its tensors, so that BatchNorm sees each batch once with SAM too.
        optimizer=lambda params, lr: recipe.build(module, lr=lr, weight_decay=schedule.weight_decay),
        lr=schedule.lr,
        max_epochs=n_epochs,
        batch_size=schedule.batch_size,
        iterator_train__shuffle=True,
        iterator_train__drop_last=True,
        iterator_train__generator=torch.Generator().manual_seed(schedule.seed),
        train_split=None,
        callbacks=[
            ("lr", LRScheduler(CosineAnnealingLR, T_max=n_steps, step_every="batch")),
            ("watch", watch),
        ],
        callbacks__print_log=None,
        verbose=0,
        device=_DEVICE,
    )
    net.fit(X, y)
    losses = np.array(net.history[:, "train_loss"])
    diverged = not np.isfinite(losses).all()
    return Run(
        module.eval(), watch.checkpoints, watch.epochs, watch.n_gradients, watch.rows.hexdigest(), diverged
    )


@dataclass
class Watch(Callback):
    """Count gradients, note the order of rows, keep checkpoints."""

    n_epochs: int
    n_gradients: int = 0
    rows: Any = field(default_factory=hashlib.sha256)
    checkpoints: list[dict[str, Tensor]] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    def on_train_begin(self, net: NeuralNetClassifier, *args: Any, **kwargs: Any) -> None:
        """Keep the start."""
        self._keep(net, 0)

    def on_batch_begin(self, net: NeuralNetClassifier, batch: Any = (), **kwargs: Any) -> None:
        """Note the rows."""
        for tensor in batch:
            self.rows.update(tensor.numpy().tobytes())

    def on_grad_computed(self, net: NeuralNetClassifier, *args: Any, **kwargs: Any) -> None:
        """Count one."""
        self.n_gradients += 1

    def on_epoch_end(self, net: NeuralNetClassifier, *args: Any, **kwargs: Any) -> None:
        """Keep the state, if it is its turn."""
        every = -(-self.n_epochs // N_CHECKPOINTS)
        done = len(net.history)
        if done == self.n_epochs or done % every == 0:
            self._keep(net, done)

    def _keep(self, net: NeuralNetClassifier, done: int) -> None:
        self.epochs.append(done)
        state = net.module_.state_dict()
        self.checkpoints.append({name: value.detach().cpu().clone() for name, value in state.items()})


def passes(module: nn.Module, X: np.ndarray) -> Iterator[Tensor]:
    """Batches of rows where the network is."""
    device = next(module.parameters()).device
    return (rows.to(device) for rows in torch.as_tensor(X).split(PASS_ROWS))


@torch.no_grad()
def accuracy(module: nn.Module, X: np.ndarray, y: np.ndarray) -> float:
    """Share of rows in the right class."""
    classes = torch.cat([module(rows).argmax(1) for rows in passes(module, X)])
    return float((classes.cpu().numpy() == y).mean())
