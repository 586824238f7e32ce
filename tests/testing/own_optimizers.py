"""Optimizers that a user might write: two that keep the contract, and one for each way to break it."""

import random
import types

import torch
from torch.optim import Optimizer

from flatcausal._members import member_generators, member_normal, member_norms, per_member
from flatcausal.optim import SGD, Recipe, frozen_statistics


class Own(Recipe):
    """Builds one of the optimizers below, by its name."""

    default_lr = 0.05

    def __init__(self, kind="Plain"):
        self.kind = kind

    @property
    def _made(self):
        return globals()[self.kind]

    @property
    def gradients_per_step(self):
        return self._made.gradients

    @property
    def needs_closure(self):
        return self._made.asks

    def _build(self, target, lr, weight_decay, seeds):
        return self._made(target, lr, weight_decay, seeds)


class Plain(Optimizer):
    """Gradient descent with momentum."""

    gradients, asks = 1, False

    def __init__(self, target, lr, weight_decay, seeds):
        super().__init__(target.params, {"lr": lr, "weight_decay": weight_decay})
        self.target = target
        self.prepare(seeds)

    def prepare(self, seeds):
        pass

    def __getstate__(self):
        return {**super().__getstate__(), "target": self.target}

    @property
    def params(self):
        return [p for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        self.descend()
        return loss

    def descend(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    slope = p.grad.add(p, alpha=group["weight_decay"])
                    p.add_(self.smoothed(p, slope), alpha=-group["lr"])

    def smoothed(self, p, slope):
        buffer = self.state[p].setdefault("buffer", torch.zeros_like(p))
        return buffer.mul_(0.5).add_(slope).clone()


class Climbing(Plain):
    """SAM, in short."""

    gradients, asks = 2, True

    @torch.no_grad()
    def step(self, closure=None):
        if closure is None:
            raise TypeError("step needs a closure.")
        loss = torch.enable_grad()(closure)()
        weights = [p.clone() for p in self.params]
        try:
            self.climb([p for p in self.params if p.grad is not None])
            with frozen_statistics(self.target.normalizations):
                torch.enable_grad()(closure)()
        finally:
            self.come_back(weights)
        self.descend()
        return loss

    def climb(self, params):
        norms = member_norms([p.grad for p in params], self.target.n_members)
        norms = torch.where(norms.isfinite() & (norms > 0), norms, torch.inf)
        for p in params:
            up = 0.05 * p.grad / per_member(norms, p, self.target.n_members)
            p.add_(torch.where(up.isfinite(), up, 0.0))

    def come_back(self, weights):
        torch._foreach_copy_(self.params, weights)


# ---- training


class Uphill(Plain):
    def smoothed(self, p, slope):
        return -slope


class FirstGroupOnly(Plain):
    @property
    def params(self):
        return self.param_groups[0]["params"]

    def descend(self):
        for p in self.params:
            if p.grad is not None:
                p.sub_(self.param_groups[0]["lr"] * p.grad)


class OneRateForAll(Plain):
    def descend(self):
        for p in self.params:
            if p.grad is not None:
                p.sub_(self.param_groups[-1]["lr"] * p.grad)


class OtherPathForTensors(Plain):
    def smoothed(self, p, slope):
        return slope if self.target.layers else 0.5 * slope


# ---- a step


class Miscounting(Plain):
    gradients = 2


class Silent(Plain):
    def step(self, closure=None):
        super().step(closure)


class SaysTheLossUphill(Climbing):
    def step(self, closure=None):
        losses = []

        def listening():
            losses.append(closure())
            return losses[-1]

        super().step(closure and listening)
        return losses[-1]


class MovesStatisticsTwice(Plain):
    gradients, asks = 2, True

    def step(self, closure=None):
        if closure is None:
            raise TypeError("step needs a closure.")
        loss = closure()
        super().step(closure)
        return loss


class MovesStatisticsUphill(Climbing):
    @torch.no_grad()
    def step(self, closure=None):
        if closure is None:
            raise TypeError("step needs a closure.")
        with frozen_statistics(self.target.normalizations):
            loss = torch.enable_grad()(closure)()
        weights = [p.clone() for p in self.params]
        try:
            self.climb([p for p in self.params if p.grad is not None])
            torch.enable_grad()(closure)()
        finally:
            self.come_back(weights)
        self.descend()
        return loss


class LeavesFrozen(Climbing):
    def descend(self):
        super().descend()
        for layer in self.target.normalizations:
            layer.track_running_stats = False


class DeniesItsClosure(Climbing):
    asks = False


class ClaimsAClosure(Plain):
    asks = True


class Curt(Climbing):
    def step(self, closure=None):
        if closure is None:
            raise TypeError("No.")
        return super().step(closure)


class StaysUphill(Climbing):
    @torch.no_grad()
    def step(self, closure=None):
        if closure is None:
            raise TypeError("step needs a closure.")
        loss = torch.enable_grad()(closure)()
        weights = [p.clone() for p in self.params]
        self.climb([p for p in self.params if p.grad is not None])
        with frozen_statistics(self.target.normalizations):
            torch.enable_grad()(closure)()
        self.come_back(weights)
        self.descend()
        return loss


class FreezesForGood(Climbing):
    @torch.no_grad()
    def step(self, closure=None):
        if closure is None:
            raise TypeError("step needs a closure.")
        loss = torch.enable_grad()(closure)()
        weights = [p.clone() for p in self.params]
        layers = self.target.normalizations
        for layer in layers:
            layer.track_running_stats = False
        try:
            self.climb([p for p in self.params if p.grad is not None])
            torch.enable_grad()(closure)()
        finally:
            self.come_back(weights)
        for layer in layers:
            layer.track_running_stats = True
        self.descend()
        return loss


class HidesErrors(Plain):
    def step(self, closure=None):
        try:
            return super().step(closure)
        except KeyboardInterrupt:
            return None


class DividesByZero(Plain):
    def smoothed(self, p, slope):
        return slope / member_norms([slope], self.target.n_members).reshape(-1, *[1] * (p.dim() - 1))[:1]


class DriftsByRounding(Climbing):
    def climb(self, params):
        before = [p.clone() for p in self.params]
        super().climb(params)
        self.steps = [p - b for p, b in zip(self.params, before, strict=True)]

    def come_back(self, weights):
        for p, step, weight in zip(self.params, self.steps, weights, strict=True):
            gone = p.clone().sub_(step)
            p.copy_(torch.where(p == weight, weight, gone))


class RebindsStorage(Climbing):
    def come_back(self, weights):
        for p, weight in zip(self.params, weights, strict=True):
            p.data = weight


class RaisesOnNaN(Plain):
    def smoothed(self, p, slope):
        if not slope.isfinite().all():
            raise FloatingPointError("no finite gradient")
        return slope


class NeedsAllGradients(Plain):
    def descend(self):
        for p in self.params:
            p.sub_(self.param_groups[0]["lr"] * p.grad)


class DecaysUnused(Plain):
    def descend(self):
        super().descend()
        for p in self.params:
            p.mul_(0.999)


# ---- state


class Forgetful(Plain):
    def prepare(self, seeds):
        self.buffers = {}

    def __getstate__(self):
        return {**super().__getstate__(), "buffers": self.buffers}

    def smoothed(self, p, slope):
        buffer = self.buffers.setdefault(p, torch.zeros_like(p))
        return buffer.mul_(0.5).add_(slope)


class CannotBePickled(Plain):
    def prepare(self, seeds):
        self.scale = 1.0

    def smoothed(self, p, slope):
        return self.scale * super().smoothed(p, slope)


class CopiesItsWrappedStep(Plain):
    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


class CopiesHalf(Plain):
    def prepare(self, seeds):
        self.n_steps = 0

    def __getstate__(self):
        return {**super().__getstate__(), "n_steps": self.n_steps}

    def state_dict(self):
        return {**super().state_dict(), "n_steps": self.n_steps}

    def load_state_dict(self, state_dict):
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "n_steps"})
        self.n_steps = state_dict["n_steps"]

    def __deepcopy__(self, memo):
        import copy

        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy({**self.__getstate__(), "n_steps": 0}, memo))
        return twin

    def descend(self):
        super().descend()
        self.n_steps += 1

    def smoothed(self, p, slope):
        return slope / (1 + 0.1 * self.n_steps)


class RemembersItsRate(Plain):
    def prepare(self, seeds):
        self.lr = self.param_groups[0]["lr"]

    def __getstate__(self):
        return {**super().__getstate__(), "lr": self.lr}

    def descend(self):
        for p in self.params:
            if p.grad is not None:
                p.sub_(self.lr * p.grad)

    def state_dict(self):
        return {**super().state_dict(), "rate": self.lr}

    def load_state_dict(self, state_dict):
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "rate"})
        self.lr = state_dict["rate"]


class HoldsOldGroups(Plain):
    def prepare(self, seeds):
        self.held = self.param_groups

    def __getstate__(self):
        return {**super().__getstate__(), "held": self.held}

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for held, group in zip(self.held, self.param_groups, strict=True):
            held["lr"] = group["lr"]

    def descend(self):
        for group in self.held:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(group["lr"] * p.grad)


class DrawsGlobally(Plain):
    def smoothed(self, p, slope):
        return slope + 1e-3 * torch.randn(p.shape).to(p)


class DrawsAnew(Plain):
    def prepare(self, seeds):
        self.dice = random.Random()

    def __getstate__(self):
        return {**super().__getstate__(), "dice": self.dice}

    def state_dict(self):
        return {**super().state_dict(), "dice": self.dice.getstate()}

    def load_state_dict(self, state_dict):
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "dice"})
        self.dice.setstate(state_dict["dice"])

    def smoothed(self, p, slope):
        return slope * (1 + 1e-3 * self.dice.random())


# ---- members


class GlobalNorm(Plain):
    def smoothed(self, p, slope):
        return slope / (1 + slope.norm())


class SkipsForAll(Plain):
    def descend(self):
        if all(p.grad is None or bool(p.grad.isfinite().all()) for p in self.params):
            super().descend()


class MasksByMultiplying(Plain):
    def smoothed(self, p, slope):
        sum_of_all = slope.sum(0, keepdim=True) if self.target.n_members > 1 else slope
        return slope + 0.0 * sum_of_all


class OneGeneratorForAll(Plain):
    def prepare(self, seeds):
        self.generators = member_generators(seeds, 1)

    def __getstate__(self):
        return {**super().__getstate__(), "generators": self.generators}

    def state_dict(self):
        return {**super().state_dict(), "noise": self.generators[0].get_state()}

    def load_state_dict(self, state_dict):
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "noise"})
        self.generators[0].set_state(state_dict["noise"])

    def smoothed(self, p, slope):
        return slope + 1e-3 * member_normal(p, self.generators)


# ---- recipes


class TakesWhatItRefuses(Own):
    @property
    def needs_layers(self):
        return True


class RefusesWhatItTakes(Own):
    def _build(self, target, lr, weight_decay, seeds):
        if not target.layers:
            raise TypeError("a module is needed")
        return super()._build(target, lr, weight_decay, seeds)


class Changing(Own):
    def _build(self, target, lr, weight_decay, seeds):
        self.built = True
        return super()._build(target, lr, weight_decay, seeds)


class Converting(Own):
    def __init__(self, kind="Plain", scale=1):
        super().__init__(kind)
        self.scale = types.SimpleNamespace(value=scale)


class WrongLimit(Own):
    def limiting_cases(self):
        yield Own("Plain"), SGD(momentum=0.4)


class RightLimit(Own):
    def limiting_cases(self):
        yield Own("Plain"), SGD(momentum=0.5)
