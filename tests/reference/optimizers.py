"""Optimizers written out in numpy, one weight vector at a time, for comparison in float64."""

from __future__ import annotations

import numpy as np


def sgd_rule(lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    buffer = None

    def update(w, g):
        nonlocal buffer
        g = g + weight_decay * w
        if momentum:
            buffer = g.copy() if buffer is None else momentum * buffer + g
            g = g + momentum * buffer if nesterov else buffer
        return w - lr * g

    return update


def adam_rule(lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    m = v = 0.0
    t = 0

    def update(w, g):
        nonlocal m, v, t
        g = g if decoupled else g + weight_decay * w
        t += 1
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        corrected = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        shrunk = (1 - lr * weight_decay) * w if decoupled else w
        return shrunk - lr * corrected[0] / (np.sqrt(corrected[1]) + eps)

    return update


def adagrad_rule(lr, eps=1e-10, weight_decay=0.0):
    total = 0.0

    def update(w, g):
        nonlocal total
        g = g + weight_decay * w
        total = total + g**2
        return w - lr * g / (np.sqrt(total) + eps)

    return update


def rmsprop_rule(lr, alpha=0.99, eps=1e-8, weight_decay=0.0):
    mean = 0.0

    def update(w, g):
        nonlocal mean
        g = g + weight_decay * w
        mean = alpha * mean + (1 - alpha) * g**2
        return w - lr * g / (np.sqrt(mean) + eps)

    return update


def descend(gradient, w, n_steps, rule):
    for _ in range(n_steps):
        w = rule(w, gradient(w))
    return w


def sam(gradient, w, n_steps, rule, rho):
    for _ in range(n_steps):
        g = gradient(w)
        climbed = w + rho * g / (np.sqrt((g**2).sum()) + 1e-12)
        w = rule(w, gradient(climbed))
    return w


def entropy_sgd(
    gradient, w, n_steps, lr, L, inner_lr, gamma0, gamma1, gamma_max, alpha, momentum, nesterov, weight_decay
):
    for t in range(n_steps):
        gamma = min(gamma0 * (1 + gamma1) ** t, gamma_max)
        walker, mean, buffer = w.copy(), w.copy(), None
        for _ in range(L):
            g = gradient(walker) + weight_decay * walker
            if momentum:
                buffer = g.copy() if buffer is None else momentum * buffer + g
                g = g + momentum * buffer if nesterov else buffer
            walker = walker - inner_lr * (g - gamma * (w - walker))
            mean = (1 - alpha) * mean + alpha * walker
        w = w - lr * (w - mean)
    return w


def released_entropy_sgd(
    gradient,
    w,
    n_steps,
    lr,
    L,
    inner_lr=0.1,
    gamma0=0.01,
    old=0.75,
    momentum=0.0,
    nesterov=True,
    weight_decay=0.0,
    noise=lambda: 0.0,
):
    """``noise()`` gives standard normal numbers times its size, a vector at a time."""
    outer = None
    for _ in range(n_steps):
        first = gradient(w)
        outer = first.copy() if outer is None else outer
        walker, mean, inner = w.copy(), w.copy(), np.zeros_like(w)
        for _ in range(L):
            slope = gradient(walker) + weight_decay * walker
            pushed = -gamma0 * (w - walker) + noise() / np.sqrt(inner_lr / 2)
            if momentum and nesterov:
                inner = momentum * inner + slope
                slope = slope + momentum * inner + pushed
            elif momentum:
                inner = momentum * inner + slope + pushed  # buffer and slope are one array there
                slope = inner
            else:
                slope = slope + pushed
            walker = walker - inner_lr * slope
            mean = old * mean + (1 - old) * walker
        slope = (w - mean if L else first) + weight_decay * w
        if momentum:
            outer = momentum * outer + slope
            slope = slope + momentum * outer if nesterov else outer
        w = w - lr * slope
    return w
