"""Sharpness written out for one flat weight vector, in float64."""

from __future__ import annotations

import torch


def adaptive(loss, w, is_weight, rho, eta=0.01):
    w = w.clone().requires_grad_()
    value = loss(w)
    (g,) = torch.autograd.grad(value, w)
    t = torch.where(is_weight, w.detach().abs() + eta, torch.ones_like(w))
    step = rho * t * t * g / (t * g).norm()
    return (loss(w.detach() + step) - value).item()


def adaptive_average(loss, w, is_weight, rho, n_draws, generator):
    """Mean and standard error by independent draws, without antithetic pairs."""
    rises = torch.stack(
        [
            loss(
                w
                + rho
                * torch.where(is_weight, w.abs(), 0.0)
                * torch.randn(w.shape, dtype=w.dtype, generator=generator)
            )
            for _ in range(n_draws)
        ]
    ) - loss(w)
    return rises.mean().item(), (rises.std() / n_draws**0.5).item()
