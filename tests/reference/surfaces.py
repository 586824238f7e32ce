"""Slices and paths written out for one flat weight vector, in float64."""

from __future__ import annotations

import math

import numpy as np
import torch


def filter_pair(w, tensors, draws):
    """Two random directions; ``tensors`` gives of each weight tensor its first position and its shape.

    Each filter by itself: orthogonal first, then of the weights' length.
    """
    found = np.zeros((2, len(w)))
    for first, shape in tensors:
        size = math.prod(shape[1:])
        for j in range(shape[0]):
            own = slice(first + j * size, first + (j + 1) * size)
            length, (a, b) = np.linalg.norm(w[own]), (z[own] for z in draws)
            found[0, own] = a * length / np.linalg.norm(a)
            if size > 1:
                b = b - (a @ b) / (a @ a) * a
                found[1, own] = b * length / np.linalg.norm(b)
    return found


def plane(loss, w, d1, d2, alphas, betas):
    """One point after another."""
    return np.array([[float(loss(w + a * d1 + b * d2)) for b in betas] for a in alphas])


def path(loss, w1, w2, ts):
    """On the straight line."""
    return np.array([float(loss((1 - t) * w1 + t * w2)) for t in ts])


def barrier(losses, ts):
    """By comparing each place with the straight line between the ends."""
    return max(value - ((1 - t) * losses[0] + t * losses[-1]) for t, value in zip(ts, losses, strict=True))


def principal(steps):
    """The two right singular vectors of the largest singular values, and shares of the squares."""
    _, values, rows = np.linalg.svd(np.asarray(steps), full_matrices=False)
    return rows[:2], values[:2] ** 2 / (values**2).sum()


def nearest(steps, d1, d2):
    """Least squares for each step, and how far it stays off."""
    basis = np.stack([d1, d2], axis=1)
    places = [np.linalg.lstsq(basis, step, rcond=None)[0] for step in steps]
    off = [np.linalg.norm(s - basis @ c) / np.linalg.norm(s) for s, c in zip(steps, places, strict=True)]
    return np.array(places), np.array(off)


def bezier(losses, w1, w2, ts, lr):
    """The bend after one step of Adam for each t; ``losses`` gives the loss of a step."""
    theta, m, v = (w1 + w2) / 2, torch.zeros_like(w1), torch.zeros_like(w1)
    for i, t in enumerate(ts):
        bend = theta.clone().requires_grad_()
        place = (1 - t) ** 2 * w1 + 2 * t * (1 - t) * bend + t**2 * w2
        (g,) = torch.autograd.grad(losses(i)(place), bend)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        rate = lr * (1 + math.cos(math.pi * i / len(ts))) / 2
        step = (m / (1 - 0.9 ** (i + 1))) / ((v / (1 - 0.999 ** (i + 1))).sqrt() + 1e-8)
        theta = theta - rate * step
    return theta
