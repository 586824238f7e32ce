"""Small problems to train on: with and without BatchNorm, one model or a population."""

from __future__ import annotations

import torch
from torch import nn


def module(batch_norm=True, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle = [nn.BatchNorm1d(6)] if batch_norm else []
        return nn.Sequential(nn.Linear(3, 6), *middle, nn.Tanh(), nn.Linear(6, 1)).to(dtype)


def data(n=12, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, 3, dtype=dtype, generator=generator)
    return X, X[:, :1] * X[:, 1:2] + 0.1 * torch.randn(n, 1, dtype=dtype, generator=generator)


def closure_for(net, optimizer, X=None, y=None):
    if X is None:
        X, y = data(dtype=next(net.parameters()).dtype)

    def closure():
        optimizer.zero_grad()
        loss = (net(X) - y).square().mean()
        loss.backward()
        closure.calls += 1
        return loss

    def losses():
        return (net(X) - y).square().mean()

    closure.calls, closure.losses = 0, losses
    return closure


def train(net, optimizer, n_steps):
    closure = closure_for(net, optimizer)
    return [optimizer.step(closure).item() for _ in range(n_steps)]


def flat(net):
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


def gradient_of(net):
    """Gradient as a function of the flat weight vector, in numpy; running statistics play no part."""
    X, y = data()

    def gradient(w):
        torch.nn.utils.vector_to_parameters(torch.as_tensor(w), net.parameters())
        loss = (net(X) - y).square().mean()
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(net.parameters()))]).numpy()

    return gradient


class Quadratics:
    """K quadratics ``w' H w / 2`` in a matrix of shape (K, 4), each row with a start of its own."""

    def __init__(self, *rows, dtype=torch.float64):
        generator = torch.Generator().manual_seed(2)
        starts = torch.randn(8, 4, dtype=torch.float64, generator=generator)[list(rows)]
        self.w = starts.to(dtype).requires_grad_()
        self.h = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=dtype)

    def losses(self):
        return (0.5 * self.h * self.w.square()).sum(1)

    def train(self, optimizer, n_steps, gradient_hook=None):
        def closure():
            self.w.grad = None
            losses = self.losses()
            losses.sum().backward()
            if gradient_hook:
                gradient_hook(self.w.grad)
            return losses.detach()

        for _ in range(n_steps):
            optimizer.step(closure)
        return self.w.detach()
