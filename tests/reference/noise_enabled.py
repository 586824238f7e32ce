"""Noise-enabled optimizers in numpy, one weight vector at a time, fed with noise from outside."""

from __future__ import annotations

import math


def noise_in_model(gradient, w, n_steps, rule, noise):
    for _ in range(n_steps):
        w = w + noise()
        w = rule(w, gradient(w))
    return w


def noise_in_gradient(gradient, w, n_steps, rule, noise):
    for _ in range(n_steps):
        w = rule(w, gradient(w) + noise())
    return w


def basin_hopping(loss, gradient, w, n_hops, rule, noise, ls_steps, perturb, chance):
    """``rule()`` gives a fresh rule, without momentum; ``chance(rise)`` says whether a rise is taken."""
    accepted = []
    for _ in range(n_hops):
        y = w + noise() if perturb == "model" else rule(w, gradient(w) + noise())
        for _ in range(ls_steps):
            y = rule(y, gradient(y))
        rise = loss(y) - loss(w)
        accepted.append(chance(rise))
        if accepted[-1]:
            w = y
    return w, accepted


def random_search(loss, w, n_steps, lr, n_dirs, noise):
    for _ in range(n_steps):
        trials = [w + lr * noise() for _ in range(n_dirs)]
        values = [loss(trial) for trial in trials]
        best = min(range(n_dirs), key=values.__getitem__)
        if values[best] < loss(w):
            w = trials[best]
    return w


def metropolis(temperature, pairs):
    """Accept a rise with the chance exp(-rise / T), by a uniform number of a normal pair (Box-Muller)."""

    def chance(rise):
        a, b = pairs()
        return rise < 0 or math.exp(-(a * a + b * b) / 2) < math.exp(-rise / temperature)

    return chance
