"""Models to measure, and their losses as functions of one flat vector."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from flatcausal import FlatMinimaTabNetClassifier, FlatMinimaTabNetRegressor

KINDS = [
    "adaptive",
    "adaptive_l2",
    "adaptive_linf",
    "adaptive_average",
    "sam",
    "l2",
    "linf",
    "average",
    "keskar",
]


def data(n=60, p=3):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)).astype(np.float32)
    return X, X[:, 0] ** 2 + X[:, 1]


def labels(n=60):
    X, y = data(n)
    return X, np.digitize(y, [0.3, 1.2])


def regressor(n_members=3, **params):
    small = {"optimizer": "adam", "n_d": 4, "n_a": 4, "n_steps": 2, "max_epochs": 20, "batch_size": 30}
    return FlatMinimaTabNetRegressor(n_members=n_members, **{**small, "random_state": 0, **params}).fit(
        *data()
    )


def classifier(n_members=2, **params):
    small = {"optimizer": "adam", "n_d": 4, "n_a": 4, "n_steps": 1, "max_epochs": 20, "batch_size": 30}
    return FlatMinimaTabNetClassifier(n_members=n_members, **{**small, "random_state": 0, **params}).fit(
        *labels()
    )


def filled(module, seed=0, scale=0.5):
    """The module in float64 with weights that do not come from a global random state."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.double().parameters():
            p.copy_(scale * torch.randn(p.shape, dtype=torch.float64, generator=generator))
    return module


def mlp(n_inputs=3, n_outputs=1, width=6):
    """Two hidden ReLU layers."""
    return filled(
        nn.Sequential(
            nn.Linear(n_inputs, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, n_outputs),
        )
    )


def normalized_net(width=8):
    """A layer that a batch normalisation follows, as good as without its epsilon."""
    net = filled(
        nn.Sequential(nn.Linear(3, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 1))
    )
    net[1].eps = 1e-30  # it must be positive
    return net


class Quadratic(nn.Module):
    """K bowls ``w H w / 2 + s w``; each row adds noise to s that cancels over an even number of rows."""

    def __init__(self, starts, hessians, slopes=None):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(starts, dtype=torch.float64))
        self.hessians = torch.as_tensor(hessians, dtype=torch.float64)
        self.slopes = torch.zeros_like(self.w) if slopes is None else torch.as_tensor(slopes).double()

    def forward(self, X):
        w = self.w
        bowl = (w * (self.hessians @ w[..., None])[..., 0]).sum(-1) / 2 + (self.slopes * w).sum(-1)
        return bowl[..., None] + (w.sum(-1, keepdim=True) * X[:, 0])


def bowl_rows(n=8):
    X = torch.tensor([[0.1], [-0.1]], dtype=torch.float64).repeat(n // 2, 1)
    return X, torch.zeros(n)


def bowl_loss(output, y):
    return output.mean(-1)


def flat_loss(module, loss, X, y, forward=None):
    """The loss of a module as a function of one flat vector, the vector, and which numbers are weights."""
    module = copy.deepcopy(module).double()
    params = list(module.parameters())
    w = torch.cat([p.detach().reshape(-1) for p in params])
    is_weight = torch.cat([torch.full((p.numel(),), p.dim() > 1) for p in params])
    names = [name for name, _ in module.named_parameters()]

    def of(vector):
        parts = vector.split([p.numel() for p in params])
        values = {name: part.view(p.shape) for name, part, p in zip(names, parts, params, strict=True)}
        return loss(torch.func.functional_call(module, values, (X,)), y)

    return of, w, is_weight


def member_loss(est, member, X, y, train=False):
    """The loss of one member as a function of its row of the population, and which numbers are weights."""
    network = copy.deepcopy(est.net_.module_).double().train(train)
    network.track_running_stats = False
    loss = est.data_loss(X, y)
    rows = network.population.detach().clone()
    del network.population

    def of_row(w):
        network.population = torch.cat([rows[:member], w[None], rows[member + 1 :]])
        network.parameters = lambda: iter([network.population])
        return loss(network)[member]

    is_weight = torch.zeros(network.layout.n_parameters, dtype=torch.bool)
    for name, columns in network.layout.columns().items():
        is_weight[columns] = not name.startswith("norm.")
    return of_row, rows[member], is_weight


def tensors():
    X, y = data()
    return torch.as_tensor(X).double(), torch.as_tensor(y).double()[:, None]


def awkward():
    """A network in training mode with dropout, frozen parts and gradients at hand."""
    net = normalized_net()
    net.append(nn.Dropout(0.5))
    net[1].eps = 1e-5
    net[1].bias.requires_grad_(False)
    net[3].weight.grad = torch.ones_like(net[3].weight)
    net[2].eval()
    return net
