"""The skorch net that trains a population."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor

from flatcausal.estimators._batches import Batch, MemberBatches, RowBatches, Table
from flatcausal.nn import TabNet
from flatcausal.optim import Recipe

LR_SCHEDULES = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
}


class PopulationNet(NeuralNet):
    """A skorch net whose module predicts for K members at once.

    Callbacks that work by epochs work on it; ``predict`` takes float32 tensors and gives arrays of shape
    (n, K, n_outputs). Losses in the history are means over the members that have one.

    Parameters
    ----------
    module : type
        Network class; called with ``module__*``.
    recipe : Recipe
        Builds the optimizer.
    weight_decay : float
        L2 penalty of the optimizer.
    lr_schedule : str or None
        Key of ``LR_SCHEDULES``; a factor of the learning rate as a function of the share of steps done.
    lambda_sparse : float
        Weight of the masks' entropy in the loss.
    noise_seed : SeedSequence
        Source of the optimizer's noise.
    **kwargs
        Parameters of ``skorch.NeuralNet``.
    """

    module_: TabNet
    optimizer_: torch.optim.Optimizer

    def __init__(
        self,
        module: Any,
        *,
        recipe: Recipe,
        weight_decay: float,
        lr_schedule: str | None,
        lambda_sparse: float,
        noise_seed: np.random.SeedSequence,
        **kwargs: Any,
    ):
        self.recipe = recipe
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.lambda_sparse = lambda_sparse
        self.noise_seed = noise_seed
        fixed: dict[str, Any] = {
            "criterion": torch.nn.MSELoss,
            "criterion__reduction": "none",
            "dataset": Table,
            "iterator_train": MemberBatches,
            "iterator_valid": RowBatches,
            "train_split": None,
            "callbacks__train_loss": None,
            "callbacks__valid_loss": None,
        }
        super().__init__(module, **{**fixed, **kwargs})

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> PopulationNet:
        """Build the optimizer from its recipe."""
        self.optimizer_ = self.recipe.build(
            self.module_,
            lr=self.lr,
            weight_decay=self.weight_decay,
            n_members=self.module_.n_members,
            random_state=self.noise_seed,
        )
        self.n_gradient_evaluations_ = 0
        for group in self.optimizer_.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return self

    def get_loss(self, y_pred: Any, y_true: Tensor, X: Any = None, training: bool = False) -> Tensor:
        """Sum over members of their batch means: a mean would make a member's gradient depend on K."""
        output, sparsity = y_pred
        losses = self.criterion_(output, y_true.expand_as(output)).mean((1, 2))
        penalised = losses - self.lambda_sparse * sparsity
        self.member_losses_ = penalised.detach()
        return penalised.sum()

    def train_step(self, batch: list[Batch], **fit_params: Any) -> dict[str, Any]:
        """One optimizer step; its closure takes one mini-batch of the list after another, round and round."""
        steps: list[dict[str, Any]] = []

        def closure() -> Tensor:
            part = batch[len(steps) % len(batch)]
            self._zero_grad_optimizer()
            step = self.train_step_single(part, **fit_params)
            steps.append({"loss": step["loss"].detach(), "y_pred": None, "losses": self.member_losses_})
            self.notify(
                "on_grad_computed",
                named_parameters=list(self.get_all_learnable_params()),
                batch=part,
                training=True,
            )
            return step["loss"]

        self._step_optimizer(closure)
        return {**steps[0], "n_calls": len(steps)}  # the first loss is the one at the weights before the step

    def run_single_epoch(self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any):
        """One pass over the data; the history gets the epoch's mean loss, not a row for each batch."""
        if iterator is None:
            return
        n_steps, n_done = len(iterator), (len(self.history) - 1) * len(iterator)
        total_losses, total_rows = torch.zeros(self.module_.n_members, device=self.device), 0
        for i, batch in enumerate(iterator):
            self.notify("on_batch_begin", batch=batch, training=training)
            self._schedule((n_done + i) / (n_steps * self.max_epochs))
            step = step_fn(batch, **fit_params)
            self.n_gradient_evaluations_ += step["n_calls"] * iterator.gradients_per_batch
            n_rows = batch[0][0].shape[-2]
            total_losses += step["losses"] * n_rows
            total_rows += n_rows
            self.notify("on_batch_end", batch=batch, training=training, **step)
        # A member that diverged does not blind what watches the others.
        self.history.record(prefix + "_loss", (total_losses / total_rows).nanmean().item())

    def one_pass(self, table: Table) -> Iterator[Batch]:
        """Every row once for each member, in batches as in training."""
        settings = {**self.get_params_for("iterator_train"), "batches_per_step": 1}
        for group in MemberBatches(table, self.batch_size, **settings):
            yield from group

    def evaluation_step(self, batch: Batch, training: bool = False) -> Tensor:
        """Predictions of shape (rows, K, n_outputs), rows first so that batches concatenate."""
        self._set_training(training)
        with torch.set_grad_enabled(training):
            return self.infer(batch[0])[0].transpose(0, 1)

    def _schedule(self, progress: float) -> None:
        if self.lr_schedule is None:
            return
        factor = LR_SCHEDULES[self.lr_schedule](min(progress, 1.0))
        for group in self.optimizer_.param_groups:
            group["lr"] = group["initial_lr"] * factor
