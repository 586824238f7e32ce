"""Shares of variance by nested sampling, without the estimator that calibrates the models."""

from __future__ import annotations

import numpy as np

from flatcausal.datasets._noise import NOISE


def unexplained(model, node, values, rng, n_noise=64):
    """E Var(x | parents) / Var x: many draws of the noise at each row of the parents."""
    assignment = model.assignments[node]
    inputs = np.repeat(values[list(assignment.parents)], n_noise, axis=1)
    drawn = assignment(inputs, NOISE[model.noise](rng, (inputs.shape[1],))).reshape(-1, n_noise)
    return drawn.var(axis=1, ddof=1).mean() / drawn.var()


def smallest_parent_share(model, node, values, noise, explained):
    """Smallest share, of the explained variance, that one parent moves when it alone is drawn anew."""
    assignment = model.assignments[node]
    inputs = values[list(assignment.parents)]
    half = inputs.shape[1] // 2
    here, u = inputs[:, :half], noise[node, :half]
    base = assignment(here, u)
    shares = []
    for parent in range(len(inputs)):
        other = here.copy()
        other[parent] = inputs[parent, half : 2 * half]  # rows of their own, not shifted ones
        shares.append(((base - assignment(other, u)) ** 2).mean() / 2 / (explained * values[node].var()))
    return min(shares)
