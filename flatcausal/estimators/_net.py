"""The skorch net that trains a population."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor

from flatcausal._members import member_generators
from flatcausal._random import child
from flatcausal.estimators._batches import Batch, MemberBatches, RowBatches, Table, n_batches
from flatcausal.estimators._history import MemberHistory
from flatcausal.estimators._mid_fit import MidFit
from flatcausal.estimators._monitor import MemberMonitor
from flatcausal.exceptions import ParameterError
from flatcausal.nn import TabNet, backpropagate
from flatcausal.optim import Recipe
from flatcausal.optim.averaging import Average, AveragingRecipe

LR_SCHEDULES = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
}
ROWS_PER_PASS = 1024  # of evaluation: bounds memory
_KEPT = {  # what a network's weights belong to, and the estimator's parameters that decide it
    **{name: name for name in ("n_members", "n_d", "n_a", "n_steps", "n_shared", "n_independent")},
    "embeddings": "cat_emb_dim",
    "mask_type": "mask_type",
}
_WEIGHTS, _ORDER, _NOISE, _STATISTICS, VALIDATION = range(5)  # named streams of a random_state


class PopulationNet(NeuralNet):
    """A skorch net whose module predicts for K members at once.

    Callbacks that work by epochs work on it; ``predict`` takes float32 tensors and gives arrays of shape
    (n, K, n_outputs). Losses in the history are means over the members that have one.

    Parameters
    ----------
    module : type
        Network class; called with ``module__*``.
    recipe : Recipe, optional
        Builds the optimizer; a net without one can only predict.
    seeds : sequence of SeedSequence
        Sources of initial weights, order and noise; members are shared out among them evenly, in order.
        Those of a net that only predicts are not needed.
    weight_decay : float
        L2 penalty of the optimizer.
    lr_schedule : str or None
        Key of ``LR_SCHEDULES``; a factor of the learning rate as a function of the share of steps done.
    clip_norm : float or None
        Longest gradient of a member.
    lambda_sparse : float
        Weight of the masks' entropy in the loss.
    patience : int or None
        Epochs without improvement after which a member stops.
    averaging : AveragingRecipe, optional
        Average of the weights that members take when the fit ends.
    **kwargs
        Parameters of ``skorch.NeuralNet``.
    """

    module_: TabNet
    optimizer_: Any
    recipe: Any
    history: MemberHistory
    average_: Average | None
    mid_fit_: MidFit | None = None

    def __init__(
        self,
        module: Any,
        *,
        recipe: Recipe | None = None,
        seeds: Sequence[np.random.SeedSequence] = (),
        weight_decay: float = 0.0,
        lr_schedule: str | None = None,
        clip_norm: float | None = None,
        lambda_sparse: float = 1e-3,
        patience: int | None = None,
        averaging: AveragingRecipe | None = None,
        **kwargs: Any,
    ):
        self.recipe = recipe
        self.seeds = seeds
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.clip_norm = clip_norm
        self.lambda_sparse = lambda_sparse
        self.patience = patience
        self.averaging = averaging
        fixed: dict[str, Any] = {
            "dataset": Table,
            "iterator_train": MemberBatches,
            "iterator_valid": RowBatches,
            "train_split": None,
            "callbacks__train_loss": None,
            "callbacks__valid_loss": None,
        }
        super().__init__(module, **{**fixed, **kwargs})

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a fit alone has a use for: a callback's copy holds neither estimator nor rows."""
        return {name: value for name, value in super().__getstate__().items() if name != "mid_fit_"}

    def _generators(self, stream: int) -> list[torch.Generator]:
        """Fresh generators, one a member."""
        share = self.get_params_for("module")["n_members"] // len(self.seeds)
        return [g for seeds in self.seeds for g in member_generators(child(seeds, stream), share)]

    def initialize_module(self) -> PopulationNet:
        """Draw the members' initial weights."""
        generators = self._generators(_WEIGHTS) if self.seeds else None
        self.module_ = self.module(**self.get_params_for("module"), generators=generators)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> PopulationNet:
        """Build the optimizer from its recipe; a net without one can only predict."""
        self.average_ = None
        if self.recipe is None:
            return self
        self.optimizer_ = self.recipe.build(
            self.module_,
            lr=self.lr,
            weight_decay=self.weight_decay,
            n_members=self.module_.n_members,
            random_state=child(self.seeds[0], _NOISE),
        )
        if len(self.seeds) > 1 and hasattr(self.optimizer_, "generators"):
            self.optimizer_.generators = self._generators(_NOISE)
        if self.averaging is not None:
            self.average_ = self._new_average(self.module_)
        self.monitor_ = MemberMonitor(self.module_, self.patience)
        self.order_generators_ = self._generators(_ORDER)
        for group in self.optimizer_.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return self

    def _new_average(self, network: TabNet) -> Average:
        assert self.averaging is not None
        return self.averaging.build(network, n_epochs=self.max_epochs, n_members=network.n_members)

    def initialize_history(self) -> None:
        """Begin the record."""
        self.history = MemberHistory()

    def adopt(self, earlier: PopulationNet) -> None:
        """Start from an earlier net's weights."""
        ours, theirs = self.get_params_for("module"), earlier.get_params_for("module")
        theirs.setdefault("mask_type", "sparsemax")  # a file from before there was a choice
        for name, parameter in _KEPT.items():
            if ours[name] != theirs[name]:
                raise ParameterError(
                    f"{parameter} must stay as it was, to go on from fitted weights: the network has "
                    f"{name}={theirs[name]!r}, got {ours[name]!r}."
                )
        self.module_.load_state_dict(earlier.module_.state_dict())
        self.monitor_ = MemberMonitor(self.module_, self.patience)

    def continue_training(self, earlier: PopulationNet) -> None:
        """Go on where an earlier net stopped; its optimizer's state is of use to the same optimizer only."""
        if earlier.recipe is not None and earlier.method == self.method:
            self.load_training_state(earlier.training_state())
        else:
            self.history = earlier.history.copy()

    @property
    def method(self) -> str:
        """What an optimizer's state belongs to."""
        return f"{self.recipe!r} with weight_decay={self.weight_decay}"

    def settle(self, table: Table) -> None:
        """End a fit: members take the weights they keep, and statistics of their own on ``table``."""
        average, self.average_, self.mid_fit_ = self.average_, None, None
        lr = self.optimizer_.param_groups[0]["lr"] if self.recipe is not None else 0.0
        self.monitor_.settle(len(self.history), lr, average)
        self.reestimate_statistics(table)
        # Finite weights may overflow on the way to statistics: then to the best weights, then to the first.
        for _ in range(2):
            sick = ~self.module_.statistics.isfinite().all(1)
            if sick.any():
                self.monitor_.retreat(sick, len(self.history), lr)
                self.reestimate_statistics(table)
        self.module_.track_running_stats = True
        self.module_.eval()

    def twin(self, members: slice = slice(None)) -> PopulationNet:
        """A net with copies of some members and of their record, without optimizer and callbacks."""
        network = self.get_params_for("module")
        network["n_members"] = len(range(network["n_members"])[members])
        twin = PopulationNet(
            self.module,
            criterion=self.criterion,
            seeds=self.seeds[:1],
            batch_size=self.batch_size,
            device=self.device,
            callbacks__print_log=None,
            **{f"module__{name}": value for name, value in network.items()},
        ).initialize()
        twin.module_.load_state_dict({k: v[members] for k, v in self.module_.state_dict().items()})
        twin.monitor_ = MemberMonitor(twin.module_, self.patience)
        twin.monitor_.load_state_dict({k: v[members] for k, v in self.monitor_.state_dict().items()})
        if self.average_ is not None:
            twin.average_ = self._new_average(twin.module_)
            state = self.average_.state_dict()
            twin.average_.load_state_dict(
                {k: v[members] if isinstance(v, Tensor) else v for k, v in state.items()}
            )
        twin.history = self.history.of_members(members, int(twin.monitor_.last_epoch.max()))
        return twin

    def renew(self) -> None:
        """Make ready for an epoch on its own: the full learning rate, and members' records begun anew."""
        self.lr_schedule = None
        for group in self.optimizer_.param_groups:
            group["lr"] = group["initial_lr"] = self.lr
        self.monitor_ = MemberMonitor(self.module_, None)
        self.monitor_.best_epoch.fill_(len(self.history))

    def batches(self, table: Table) -> MemberBatches:
        """Return what :meth:`train_epoch` takes: the rows in a new order for each member and epoch.

        A full batch keeps the order of the first call.
        """
        return MemberBatches(
            table,
            self.batch_size,
            self._generators(_ORDER) if self.recipe.full_batch else self.order_generators_,
            batches_per_step=self.recipe.batches_per_step,
            full_batch=self.recipe.full_batch,
        )

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return len(self.history) >= self.max_epochs or not bool(self.monitor_.active.any())

    def train_epoch(self, batches: MemberBatches, valid: Table | None = None) -> None:
        """One pass over the data, and what the members' monitor makes of it.

        With ``valid``, members are judged by their loss there, at statistics re-estimated for their weights.
        """
        data = {"dataset_train": batches.dataset, "dataset_valid": valid}
        # Whoever needs statistics after the epoch re-estimates them; only callbacks look in between. They
        # must not change the fit, and rows of an unseen category train on the statistics.
        codes = batches.dataset.X[..., list(self.module_.embeddings.sizes)]
        self.module_.track_running_stats = bool(self.callbacks) and not bool((codes < 0).any())
        self.notify("on_epoch_begin", **data)
        held_out = None if valid is None else partial(self._held_out_losses, batches.dataset, valid)
        losses = self._train_pass(batches, held_out)
        self.history.record_members("train_loss", losses)
        if held_out is not None:
            losses = torch.where(losses.isfinite(), held_out(), torch.nan)
            self.history.record_members("valid_loss", losses)
        elif "valid_loss" in self.history.member_losses:  # of epochs before this one
            self.history.record_members("valid_loss", torch.full_like(losses, torch.nan))
        self.monitor_.observe(len(self.history), losses, self.optimizer_.param_groups[0]["lr"])
        if self.average_ is not None:
            self.average_.after_epoch()
            self.average_.active &= self.monitor_.active
        self.notify("on_epoch_end", **data)

    def _train_pass(self, batches: MemberBatches, held_out: Callable[[], Tensor] | None) -> Tensor:
        """Optimizer steps over all rows; returns each member's mean loss, shape (K,)."""
        glance = None if held_out is None else partial(self._between_steps, held_out)
        n_steps, n_done = len(batches), (len(self.history) - 1) * len(batches)
        total, n_rows = torch.zeros(self.module_.n_members, device=self.device), 0
        for i, group in enumerate(batches):
            self.notify("on_batch_begin", batch=group, training=True)
            self._schedule((n_done + i) / (n_steps * self.max_epochs))
            step = self.train_step(group)
            if self.average_ is not None:
                self.average_.after_step(glance)
            self.history.n_gradient_evaluations += step["n_calls"] * batches.gradients_per_batch
            rows = group[0].X.shape[-2]
            total += step["losses"] * rows
            n_rows += rows
            self.notify("on_batch_end", batch=group, training=True, **step)
        return total / n_rows

    def train_step(self, batch: list[Batch], **fit_params: Any) -> dict[str, Any]:
        """One optimizer step."""
        closure = StepClosure(self, batch)
        self._step_optimizer(closure)
        return closure.record()

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Gradients of the sum over members: a mean would make a member's gradient depend on K."""
        self._set_training(True)

        def penalised(output: Tensor, sparsity: Tensor, members: slice) -> Tensor:
            weight = None if batch.weight is None else batch.weight[members]
            return self._losses(output, batch.y[members], weight) - self.lambda_sparse * sparsity

        losses = backpropagate(self.module_, batch.X, penalised)
        gradient = self.module_.population.grad
        if self.clip_norm is not None and gradient is not None:
            gradient.mul_((self.clip_norm / gradient.norm(dim=1, keepdim=True)).clamp(max=1))
        return {"losses": losses, "y_pred": None}

    @torch.no_grad()
    def batch_losses(self, batch: Batch) -> Tensor:
        """Losses (K,) of a training pass that leaves gradients and running statistics alone."""
        self._set_training(True)
        tracked, self.module_.track_running_stats = self.module_.track_running_stats, False
        output, sparsity = self.module_(batch.X)
        self.module_.track_running_stats = tracked
        return self._losses(output, batch.y, batch.weight) - self.lambda_sparse * sparsity

    def _losses(self, output: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """Mean loss of each member, shape (K,)."""
        losses = self.criterion_(output, y)
        return (losses if weight is None else losses * weight).mean(1)

    @torch.no_grad()
    def _data_losses(self, table: Table) -> Tensor:
        """Loss of each member on a table, without penalty, shape (K,)."""
        self._set_training(False)
        total = torch.zeros(self.module_.n_members, device=self.device)
        for batch in RowBatches(table, ROWS_PER_PASS):
            total += self._losses(self.module_.predict(batch.X), batch.y, batch.weight) * batch.X.shape[-2]
        return total / len(table)

    def _held_out_losses(self, table: Table, valid: Table) -> Tensor:
        """Loss of each member on ``valid``, at statistics re-estimated on ``table``, shape (K,)."""
        self.reestimate_statistics(table)
        return self._data_losses(valid)

    def _between_steps(self, held_out: Callable[[], Tensor]) -> Tensor:
        """Losses that leave the running statistics to callbacks as they were."""
        running = self.module_.statistics.clone()
        losses = held_out()
        self.module_.statistics.copy_(running)
        return losses

    def reestimate_statistics(self, table: Table) -> None:
        """Let the running statistics be those of the present weights on all rows of ``table``."""
        self.module_.reestimate_statistics(rows for rows in self._one_pass(table))

    def _one_pass(self, table: Table) -> Iterator[Tensor]:
        """Every row once for each member, in batches as in training, in the same order at each call."""
        for group in MemberBatches(table, self.batch_size, self._generators(_STATISTICS)):
            yield group[0].X

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

    def training_state(self) -> dict[str, Any]:
        """All that decides how training goes on, in tensors and plain values of its own."""
        return {
            "method": self.method,
            "seeds": [(seeds.entropy, seeds.spawn_key) for seeds in self.seeds],
            "network": {name: tensor.clone() for name, tensor in self.module_.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer_.state_dict()),
            "orders": [generator.get_state() for generator in self.order_generators_],
            "monitor": self.monitor_.state_dict(),
            "average": None if self.average_ is None else self.average_.state_dict(),
            **self.history.state(),
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`training_state` was taken."""
        self.seeds = [np.random.SeedSequence(entropy, spawn_key=key) for entropy, key in state["seeds"]]
        self.module_.load_state_dict(state["network"])
        self.optimizer_.load_state_dict(copy.deepcopy(state["optimizer"]))
        for generator, order in zip(self.order_generators_, state["orders"], strict=True):
            generator.set_state(order)
        self.monitor_.load_state_dict(state["monitor"])
        average = state.get("average")  # None of a fit that has ended
        if average is None or self.average_ is None:
            self.average_ = None
        else:
            self.average_.load_state_dict(average)
        self.history = MemberHistory.from_state(state)


class StepClosure:
    """What an optimizer calls for gradients: one mini-batch of its step after another, round and round.

    Parameters
    ----------
    net : PopulationNet
        The net under training.
    batches : list of Batch
        The step's mini-batches.
    """

    def __init__(self, net: PopulationNet, batches: list[Batch]):
        self.net, self.batches = net, batches
        self.n_calls = 0
        self.first: dict[str, Any] = {}
        self.parts: list[StepClosure] = []

    @property
    def n_rows(self) -> int:
        """Rows of each mini-batch."""
        return self.batches[0].X.shape[-2]

    def __call__(self) -> Tensor:
        """Renew the gradients; returns each member's loss, shape (K,)."""
        batch = self.batches[self.n_calls % len(self.batches)]
        self.net._zero_grad_optimizer()
        step = self.net.train_step_single(batch)
        self.n_calls += 1
        self.first = self.first or step
        named = [("population", self.net.module_.population)]
        self.net.notify("on_grad_computed", named_parameters=named, batch=batch, training=True)
        return step["losses"]

    def losses(self) -> Tensor:
        """Losses (K,) on the first mini-batch, without gradients: to accept or reject by."""
        losses = self.net.batch_losses(self.batches[0])
        self.first = self.first or {"losses": losses, "y_pred": None}
        return losses

    def split(self, m: int) -> list[StepClosure]:
        """Closures for ``m`` rows each of the first mini-batch; together they count as this one.

        A last single row joins the rows before. Ghost batches are cut from each part on its own, as from a
        small batch: a part of at most ``virtual_batch_size`` rows is one. ``clip_norm`` acts on each part.
        """
        rows = Table(*self.batches[0])
        count = n_batches(self.n_rows, m)
        if count == 1:
            return [self]
        stops = [*range(m, m * count, m), self.n_rows]
        self.parts = [
            StepClosure(self.net, [rows[start:stop]]) for start, stop in zip([0, *stops], stops, strict=False)
        ]
        return self.parts

    def record(self) -> dict[str, Any]:
        """Losses at the weights before the step, which are the first ones, and passes over a mini-batch."""
        if not self.parts:
            return {**self.first, "n_calls": self.n_calls}
        losses = sum(part.first["losses"] * (part.n_rows / self.n_rows) for part in self.parts)
        return {"losses": losses, "y_pred": None, "n_calls": self.n_calls + self.parts[0].n_calls}
