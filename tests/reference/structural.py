"""A structural model evaluated one number at a time, and its exact law where it is linear and Gaussian."""

from __future__ import annotations

import math

import numpy as np

from tests.reference import noise_laws


def evaluate_row(model, noise_row, changes=None, held=None):
    """Values of all nodes for one row of noise, in plain Python floats.

    ``changes`` has (shift, scale, factor) of nodes: u -> scale * u + shift, and the factor of the signal;
    ``held`` has the values of nodes that are set.
    """
    values = []
    for node, (assignment, u) in enumerate(zip(model.assignments, noise_row, strict=True)):
        shift, scale, factor = (changes or {}).get(node, (0.0, 1.0, 1.0))
        inputs = [values[parent] for parent in assignment.parents]
        value = _value(assignment, inputs, scale * float(u) + shift, factor)
        values.append((held or {}).get(node, value))
    return values


def _value(assignment, parents, u, factor=1.0):
    kind = type(assignment).__name__
    if kind == "Categorised":
        latent = _value(assignment.inner, parents, u, factor)
        return float(assignment.levels[sum(latent > threshold for threshold in assignment.thresholds)])
    if kind == "NoisyLabel":
        law, share = noise_laws.LAWS[assignment.noise.name], assignment.label_noise
        rank = law.cdf(u)
        if rank < share or rank > 1 - share:
            return float(assignment.inner.levels[int(rank > 0.5)])
        return _value(assignment.inner, parents, float(law.ppf((rank - share) / (1 - 2 * share))), factor)
    if kind == "Transformed":
        inner = _value(assignment.inner, parents, assignment.gain * u, factor)
        return assignment.scale * (link(assignment.link, inner) - assignment.center)
    if kind == "Functional":
        return function(assignment.mechanism, [*(factor * parent for parent in parents), u])
    assert kind == "LocationScale"
    if assignment.mechanism is None:
        return assignment.noise_scale * u
    signal = function(assignment.mechanism, parents)
    width = 1.0 if assignment.spread is None else function(assignment.spread, parents)
    centred = factor * assignment.signal_scale * (signal - assignment.center)
    return centred + assignment.noise_scale * width * u


def link(drawn, t):
    """One of the links, on one number."""
    if drawn is None:
        return t
    a = drawn.slope
    return {
        "tanh": lambda: math.tanh(a * t) / a,
        "asinh": lambda: math.asinh(a * t) / a,
        "cbrt": lambda: math.cbrt(t),
    }[drawn.name]()


def function(drawn, x):
    """One of the families, on the parents of one row."""
    return _FAMILIES[type(drawn).__name__](drawn, x)


def _dot(weights, x):
    return sum(float(w) * z for w, z in zip(weights, x, strict=True))


def _mlp(drawn, x):
    units = zip(drawn.output, drawn.hidden, drawn.bias[:, 0], strict=True)
    return sum(v * math.tanh(_dot(row, x) + b) for v, row, b in units)


def _fourier(drawn, x):
    waves = [
        math.cos(2 * math.pi * (_dot(row, x) + phase))
        for row, phase in zip(drawn.frequencies, drawn.phases[:, 0], strict=True)
    ]
    m = len(waves) // 2
    return sum(drawn.weights[i, j] * waves[i] * waves[m + j] for i in range(m) for j in range(m))


def _polynomial(drawn, x):
    hermite = [lambda z: z, lambda z: z**2 - 1, lambda z: z**3 - 3 * z]
    total = 0.0
    for i, direction in enumerate(drawn.directions):
        z = min(3.0, max(-3.0, _dot(direction, x)))
        for d in range(3):
            total += drawn.coefficients[d, i] * hermite[d](z) / math.sqrt(math.factorial(d + 1))
    return total


def _tree(drawn, x):
    split = 0
    while split < len(drawn.directions):
        split = 2 * split + (2 if _dot(drawn.directions[split], x) > drawn.thresholds[split, 0] else 1)
    return drawn.leaves[split - len(drawn.directions)]


_FAMILIES = {
    "Linear": lambda drawn, x: _dot(drawn.weights, x),
    "MLP": _mlp,
    "FourierFeatures": _fourier,
    "Polynomial": _polynomial,
    "Tree": _tree,
    "Mixture": lambda drawn, x: sum(
        w * function(term, [z]) for w, term, z in zip(drawn.weights, drawn.terms, x, strict=True)
    ),
    "Spread": lambda drawn, x: 0.1 + abs(_mlp(drawn.net, x)) / math.sqrt(len(drawn.net.output)),
    "Unscaled": lambda drawn, x: function(
        drawn.inner,
        [m + s * z for m, s, z in zip(drawn.means[:, 0], drawn.sds[:, 0], x, strict=True)],
    ),
}


def linear_weights(model):
    """Matrix B of x = B' x + constants + noise, row -> column."""
    weights = np.zeros((model.n_nodes, model.n_nodes))
    for node, assignment in enumerate(model.assignments):
        if assignment.mechanism is not None:
            drawn, sds = assignment.mechanism, 1.0
            if hasattr(drawn, "inner"):
                drawn, sds = drawn.inner, drawn.sds[:, 0]
            weights[list(assignment.parents), node] = assignment.signal_scale * drawn.weights * sds
    return weights


def linear_covariance(model):
    """Sigma = (I - B)^-T Omega (I - B)^-1."""
    inverse = np.linalg.inv(np.eye(model.n_nodes) - linear_weights(model))
    omega = np.diag([assignment.noise_scale**2 for assignment in model.assignments])
    return inverse.T @ omega @ inverse


def total_effects(model):
    """Change of the column node when the row node is moved by one: (I - B)^-1."""
    return np.linalg.inv(np.eye(model.n_nodes) - linear_weights(model))
