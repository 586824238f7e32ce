"""Flatness measures that a user might write: one that keeps the contract, one for each way to break it."""

import copy
import random
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn


class Steep:
    """Mean square slope of the loss along random directions, in units of the weights."""

    @property
    def __name__(self):
        return type(self).__name__

    def __call__(
        self,
        model,
        X,
        y,
        *,
        loss,
        random_state=0,
        n_rows=None,
        batch_size=None,
        bn="frozen",
        dtype=None,
        n_threads=1,
    ):
        threads = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        try:
            model = self.private(model)
            X, y = self.converted(model, X[:n_rows], y[:n_rows], dtype)
            self.set_mode(model, X, bn)
            losses, gradients = self.slopes(model, X, y, loss, batch_size)
            self.check(losses)
            return self.result(self.value(model, losses, gradients, random_state))
        finally:
            torch.set_num_threads(threads)

    def private(self, model):
        model = copy.deepcopy(model)
        model.zero_grad()
        return model

    def converted(self, model, X, y, dtype):
        if dtype is not None:
            model.to(dtype)
            X, y = X.to(dtype), y.to(dtype)
        return X, y

    def set_mode(self, model, X, bn):
        model.eval()
        norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d)]
        if bn == "recalibrated" and norms:
            for layer in norms:
                layer.reset_running_stats()
                layer.momentum, layer.training = None, True
            with torch.no_grad():
                model(X)
        for layer in norms:
            layer.training = bn == "train"

    def slopes(self, model, X, y, loss, batch_size):
        total = 0.0
        for rows in torch.arange(len(X)).split(batch_size or len(X)):
            part = loss(model(X[rows]), y[rows]).reshape(-1) * self.share(len(rows), len(X))
            part.sum().backward()
            total = total + part.detach()
        return total, [p.grad for p in model.parameters() if p.requires_grad and p.dim() > 1]

    def share(self, n, n_rows):
        return n / n_rows

    def check(self, losses):
        if not losses.isfinite().any():
            raise FloatingPointError("the loss is not finite")

    def value(self, model, losses, gradients, random_state):
        weights = [p.detach() for p in model.parameters() if p.requires_grad and p.dim() > 1]
        return torch.stack(
            [
                self.of_member(k, weights, gradients, len(losses), self.generator(random_state, k))
                for k in range(len(losses))
            ]
        )

    def of_member(self, k, weights, gradients, n_members, generator):
        w, g = (torch.cat([a.reshape(n_members, -1)[k] for a in found]) for found in (weights, gradients))
        z = torch.randn(4, len(w), dtype=torch.float64, generator=generator)
        return (z * self.scaled(w, g)).sum(1).square().mean()

    def scaled(self, w, g):
        return w * g

    def generator(self, random_state, k):
        return torch.Generator().manual_seed(100 * random_state + k)

    def result(self, value):
        return SimpleNamespace(value=value.numpy())


# ---- values


class GivesNoRecord(Steep):
    def result(self, value):
        return value.numpy()


class GivesOneNumber(Steep):
    def result(self, value):
        return SimpleNamespace(value=value.sum().item())


class GivesWholeNumbers(Steep):
    def result(self, value):
        return SimpleNamespace(value=value.long().numpy())


class GivesGraphs(Steep):
    def result(self, value):
        return SimpleNamespace(value=value.requires_grad_())


class Blind(Steep):
    def value(self, model, losses, gradients, random_state):
        return torch.ones_like(losses)


class WeighsBatchesAlike(Steep):
    def slopes(self, model, X, y, loss, batch_size):
        self.n_batches = -(-len(X) // (batch_size or len(X)))
        return super().slopes(model, X, y, loss, batch_size)

    def share(self, n, n_rows):
        return 1 / self.n_batches


class LooksAtTheFirstRowsMore(Steep):
    def slopes(self, model, X, y, loss, batch_size):
        return super().slopes(
            model,
            X,
            y * torch.linspace(1, 2, len(y)).to(y).reshape(-1, *[1] * (y.dim() - 1)),
            loss,
            batch_size,
        )


class SumsOverRows(Steep):
    def share(self, n, n_rows):
        return float(n)


class TakesAllRows(Steep):
    def __call__(self, model, X, y, *, n_rows=None, **protocol):
        return super().__call__(model, X, y, **protocol)


class TakesOtherRowsEachTime(Steep):
    calls = 0

    def __call__(self, model, X, y, *, n_rows=None, **protocol):
        type(self).calls += 1
        X, y = (a.roll(self.calls, 0) for a in (X, y)) if n_rows else (X, y)
        return super().__call__(model, X, y, n_rows=n_rows, **protocol)


class ConvertsTooLate(Steep):
    def converted(self, model, X, y, dtype):
        return X, y

    def result(self, value):
        return SimpleNamespace(value=value.double().numpy())


class LetsNaNThrough(Steep):
    def check(self, losses):
        pass


class RaisesSomethingElse(Steep):
    def check(self, losses):
        if not losses.isfinite().any():
            raise ValueError("bad loss")


class InUnitsOfNothing(Steep):
    def scaled(self, w, g):
        return g


class RightForLayersOnly(Steep):
    """In units of the product of two norms: what one layer gains the other loses."""

    def of_member(self, k, weights, gradients, n_members, generator):
        first, last = weights[0], weights[-1]
        return (first.norm() * last.norm()).reshape(()) + 0 * super().of_member(
            k, weights, gradients, n_members, generator
        )


class Level(Steep):
    """A number that does not move since it is 0."""

    def value(self, model, losses, gradients, random_state):
        return torch.zeros_like(losses)


# ---- state


class WritesGradients(Steep):
    def private(self, model):
        return model


class LeavesEvaluationMode(Steep):
    def private(self, model):
        twin = super().private(model)
        model.eval()
        return twin


class MovesStatistics(Steep):
    def private(self, model):
        twin = super().private(model)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.num_batches_tracked += 1
        return twin


class RebindsParameters(Steep):
    def private(self, model):
        twin = super().private(model)
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight = nn.Parameter(layer.weight.detach().clone())
        return twin


class Unfreezes(Steep):
    def private(self, model):
        twin = super().private(model)
        for p in model.parameters():
            p.requires_grad_()
        return twin


class StandardisesRows(Steep):
    def converted(self, model, X, y, dtype):
        X -= X.mean(0)
        return super().converted(model, X, y, dtype)


class NeverRecalibrates(Steep):
    def set_mode(self, model, X, bn):
        super().set_mode(model, X, "train" if bn == "train" else "frozen")


class TreatsBatchesInTrainingAsRecalibrated(Steep):
    def set_mode(self, model, X, bn):
        super().set_mode(model, X, "frozen" if bn == "frozen" else "recalibrated")


class RecalibratesByTheFirstRows(Steep):
    def set_mode(self, model, X, bn):
        super().set_mode(model, X[:5], bn)


class LeavesAHook(Steep):
    def private(self, model):
        twin = super().private(model)
        model.register_forward_hook(lambda module, args, output: None)
        return twin


class MovesWeightsForAWhile(Steep):
    """In place, and back at the end; an error comes between."""

    def slopes(self, model, X, y, loss, batch_size):
        for original in self.originals:
            original.mul_(2.0)
        found = super().slopes(model, X, y, loss, batch_size)
        for original in self.originals:
            original.div_(2.0)
        return found

    def private(self, model):
        self.originals = [p.detach() for p in model.parameters()]
        return super().private(model)


class HidesErrors(Steep):
    def __call__(self, model, X, y, **protocol):
        try:
            return super().__call__(model, X, y, **protocol)
        except RuntimeError:
            return SimpleNamespace(value=np.zeros(1))


class DrawsAnew(Steep):
    dice = random.Random()

    def generator(self, random_state, k):
        return torch.Generator().manual_seed(self.dice.randrange(2**40))


class DrawsGlobally(Steep):
    def generator(self, random_state, k):
        return torch.Generator().manual_seed(torch.initial_seed() % 2**40 + int(torch.randint(2**40, ())))


class DrawsGloballyAndPutsBack(Steep):
    def generator(self, random_state, k):
        state = torch.get_rng_state()
        found = super().generator(int(torch.randint(2**20, ())), k)
        torch.set_rng_state(state)
        return found


class DropsOut(Steep):
    def private(self, model):
        self.training = model.training
        return super().private(model)

    def set_mode(self, model, X, bn):
        super().set_mode(model, X, bn)
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.training = self.training


class IgnoresItsThreads(Steep):
    def __call__(self, model, X, y, *, n_threads=1, **protocol):
        return super().__call__(model, X, y, n_threads=1, **protocol)


class KeepsItsThreads(Steep):
    def __call__(self, model, X, y, *, n_threads=1, **protocol):
        found = super().__call__(model, X, y, n_threads=n_threads, **protocol)
        torch.set_num_threads(n_threads)
        return found


# ---- members


class MeasuresAllAsOne(Steep):
    def value(self, model, losses, gradients, random_state):
        return super().value(model, losses, gradients, random_state).mean().reshape(1)


class GivesAllTheMean(Steep):
    def value(self, model, losses, gradients, random_state):
        found = super().value(model, losses, gradients, random_state)
        return found.mean().expand(len(found))


class DividesByTheNormOfAll(Steep):
    def value(self, model, losses, gradients, random_state):
        found = super().value(model, losses, gradients, random_state)
        return found / found.norm().clamp_min(1.0) if len(found) > 1 else found


class DrawsFromOneGenerator(Steep):
    def value(self, model, losses, gradients, random_state):
        self.shared = super().generator(random_state + len(losses), 0)
        return super().value(model, losses, gradients, random_state)

    def generator(self, random_state, k):
        return self.shared


class SickAlone(Steep):
    """Healthy numbers for a member that has none."""

    def value(self, model, losses, gradients, random_state):
        return super().value(model, losses, gradients, random_state).nan_to_num(0.0)


class SpreadsSickness(Steep):
    def value(self, model, losses, gradients, random_state):
        found = super().value(model, losses, gradients, random_state)
        return found + 0.0 * found.sum()


class WithoutKeywords(Steep):
    """Takes none but the loss."""

    def __call__(self, model, X, y, *, loss):
        return super().__call__(model, X, y, loss=loss)
