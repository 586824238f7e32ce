"""A structural model evaluated one number at a time, and its exact law where it is linear and Gaussian."""

from __future__ import annotations

import math

import numpy as np


def evaluate_row(model, noise_row):
    """Values of all nodes for one row of noise, in plain Python floats."""
    values = []
    for assignment, u in zip(model.assignments, noise_row, strict=True):
        if assignment.mechanism is None:
            values.append(assignment.noise_scale * u)
            continue
        signal = _signal(assignment.mechanism, [values[parent] for parent in assignment.parents])
        values.append(assignment.signal_scale * (signal - assignment.center) + assignment.noise_scale * u)
    return values


def _signal(mechanism, parents):
    if hasattr(mechanism, "weights"):
        return sum(w * x for w, x in zip(mechanism.weights, parents, strict=True))
    total = 0.0
    for row, bias, output in zip(mechanism.hidden, mechanism.bias[:, 0], mechanism.output, strict=True):
        total += output * math.tanh(sum(w * x for w, x in zip(row, parents, strict=True)) + bias)
    return total


def linear_weights(model):
    """Matrix B of x = B' x + constants + noise, row -> column."""
    weights = np.zeros((model.n_nodes, model.n_nodes))
    for node, assignment in enumerate(model.assignments):
        if assignment.mechanism is not None:
            weights[list(assignment.parents), node] = assignment.signal_scale * assignment.mechanism.weights
    return weights


def linear_covariance(model):
    """Sigma = (I - B)^-T Omega (I - B)^-1."""
    inverse = np.linalg.inv(np.eye(model.n_nodes) - linear_weights(model))
    omega = np.diag([assignment.noise_scale**2 for assignment in model.assignments])
    return inverse.T @ omega @ inverse


def total_effects(model):
    """Change of the column node when the row node is moved by one: (I - B)^-1."""
    return np.linalg.inv(np.eye(model.n_nodes) - linear_weights(model))
