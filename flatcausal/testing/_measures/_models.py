"""Small networks to measure, always the same, their rows and their losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

N_ROWS = 24


def rows() -> tuple[Tensor, Tensor]:
    """Inputs (n, 3) and a target (n, 1) whose numbers differ."""
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(N_ROWS, 3, dtype=torch.float64, generator=generator)
    return X, X[:, :1].square() + X[:, 1:2]


def mse(output: Tensor, y: Tensor) -> Tensor:
    """Mean over rows."""
    return (output - y).square().mean()


def _linear(n_in: int, n_out: int, bias: bool = True) -> nn.Module:
    return nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias, dtype=torch.float64)


def _filled(net: nn.Sequential, seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    for param in net.parameters():
        nn.init.normal_(param, std=0.5, generator=generator)
    return net


def relu_net(seed: int = 0) -> nn.Sequential:
    """Two layers."""
    return _filled(nn.Sequential(_linear(3, 6), nn.ReLU(), _linear(6, 1)), seed)


def awkward_net() -> nn.Sequential:
    """A network in training mode with dropout, a hook, frozen parts and gradients at hand."""
    norm = nn.BatchNorm1d(6, dtype=torch.float64)
    net = _filled(nn.Sequential(_linear(3, 6), norm, nn.ReLU(), nn.Dropout(0.5), _linear(6, 1)))
    norm.bias.requires_grad_(False)
    last: Any = net[4]
    last.weight.grad = torch.ones_like(last.weight)
    net[2].eval()
    net[0].register_forward_hook(_look_away)
    return net


def _look_away(module: nn.Module, args: Any, output: Any) -> None:
    """A hook of the caller's."""


class _DropoutInFunction(nn.Module):
    def forward(self, X: Tensor) -> Tensor:
        return nn.functional.dropout(X, 0.5, self.training)


def dropout_net() -> nn.Sequential:
    """Dropout as a layer and as a function; nothing else has modes."""
    layers = _linear(3, 6), nn.ReLU(), nn.Dropout(0.5), _DropoutInFunction(), _linear(6, 1)
    return _filled(nn.Sequential(*layers))


def normalized_net(factor: float = 1.0) -> nn.Sequential:
    """Weights times ``factor`` before a normalisation that takes it out again."""
    norm = nn.BatchNorm1d(6, dtype=torch.float64)
    norm.eps = 1e-30  # it must be positive
    net = _filled(nn.Sequential(_linear(3, 6, bias=False), norm, nn.ReLU(), _linear(6, 1)))
    with torch.no_grad():
        first: Any = net[0]
        first.weight.mul_(factor)
        hidden = first(rows()[0])
        norm.running_mean = hidden.mean(0)
        norm.running_var = hidden.var(0)
    return net


def rescaled_net(factor: float) -> nn.Sequential:
    """The function of :func:`relu_net`, its first layer times ``factor`` and its second divided by it."""
    net = relu_net()
    first: Any = net[0]
    last: Any = net[2]
    with torch.no_grad():
        first.weight.mul_(factor)
        first.bias.mul_(factor)
        last.weight.div_(factor)
    return net


class WatchedLoss:
    """A mean over rows that notes what it is given, and may fail.

    Parameters
    ----------
    fail_after : int, optional
        Calls that go well, if not all do.
    error : type of exception
        What it then raises.

    Attributes
    ----------
    failed : bool
        Whether it has raised.
    targets : set of float
        Those of all rows that it was given.
    n_threads : set of int
        Those that torch had.
    """

    def __init__(self, fail_after: int | None = None, error: type[BaseException] = RuntimeError):
        self.fail_after, self.error = fail_after, error
        self.count, self.failed = 0, False
        self.targets: set[float] = set()
        self.n_threads: set[int] = set()

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        """Loss of a batch."""
        if self.count == self.fail_after:
            self.failed = True
            raise self.error("raised by the loss, as the check means it to")
        self.count += 1
        self.targets.update(y.flatten().tolist())
        self.n_threads.add(torch.get_num_threads())
        return mse(output, y)
