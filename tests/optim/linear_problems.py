"""Linear layers whose solution is known, and a step on them."""

import torch
from torch import nn


def linear(weight, bias=None):
    layer = nn.utils.skip_init(
        nn.Linear, len(weight[0]), len(weight), bias=bias is not None, dtype=torch.float64
    )
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.as_tensor(bias))
    return layer


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def half_mse(net, X, y):
    return 0.5 * (net(X) - y).square().sum(1).mean()


def step(net, X, y, recipe, lr, n_steps=1, loss=half_mse):
    """Train on one batch; returns the optimizer."""
    optimizer = recipe.build(net, lr=lr)

    def closure():
        optimizer.zero_grad()
        value = loss(net, X, y)
        value.backward()
        return value

    for _ in range(n_steps):
        optimizer.step(closure)
    return optimizer


def outer(x):
    return x.detach().T @ x.detach()
