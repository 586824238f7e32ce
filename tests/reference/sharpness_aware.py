"""Sharpness-aware optimizers written out in numpy, one weight vector at a time, for comparison in float64."""

from __future__ import annotations

import numpy as np


def climb(w, g, rho, scale=1.0, chosen=True):
    """Weights a step of length ``rho`` uphill, measured by ``scale``, in the numbers ``chosen``."""
    g = np.where(chosen, g, 0.0)
    return w + rho * scale**2 * g / (np.sqrt(((scale * g) ** 2).sum()) + 1e-12)


def sam(gradient, w, n_steps, rule, rho, chosen=True):
    for _ in range(n_steps):
        w = rule(w, gradient(climb(w, gradient(w), rho, chosen=chosen)))
    return w


def asam(gradient, w, n_steps, rule, rho, eta, adaptive=True, chosen=True):
    for _ in range(n_steps):
        scale = np.where(adaptive, np.abs(w) + eta, 1.0)
        w = rule(w, gradient(climb(w, gradient(w), rho, scale, chosen)))
    return w


def surrogate(first, uphill, alpha):
    parallel = (first @ uphill) / (uphill @ uphill) * uphill
    return uphill - alpha * (first - parallel)


def gsam(gradient, w, n_steps, rule, rho, alpha):
    """``rho(t)`` is the length in step t."""
    for t in range(n_steps):
        first = gradient(w)
        w = rule(w, surrogate(first, gradient(climb(w, first, rho(t))), alpha))
    return w


def m_sam(gradients, shares, w, n_steps, rule, rho):
    """``gradients`` are those of the micro-batches, ``shares`` their shares of the rows."""
    for _ in range(n_steps):
        uphill = [share * g(climb(w, g(w), rho)) for g, share in zip(gradients, shares, strict=True)]
        w = rule(w, sum(uphill))
    return w
