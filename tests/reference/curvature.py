"""Second derivatives written out for one flat weight vector, in float64."""

from __future__ import annotations

import math

import torch


def hessian(loss, w):
    """Row by row."""
    return torch.autograd.functional.hessian(loss, w)


def hessian_by_differences(loss, w, step=1e-6):
    """Central differences of the gradient, column by column."""

    def gradient(v):
        v = v.clone().requires_grad_()
        return torch.autograd.grad(loss(v), v)[0]

    columns = []
    for i in range(len(w)):
        e = torch.zeros_like(w)
        e[i] = step
        columns.append((gradient(w + e) - gradient(w - e)) / (2 * step))
    return torch.stack(columns, dim=1)


def log_volume(eigenvalues, n_rows, gamma):
    """Of Laplace's approximation of the local entropy."""
    return 0.5 * sum(math.log(1 + n_rows * max(value, 0.0) / gamma) for value in eigenvalues.tolist())


def density(eigenvalues, t, sigma):
    """A normal curve for each eigenvalue."""
    curves = torch.exp(-((t[:, None] - eigenvalues) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    return curves.mean(1)
