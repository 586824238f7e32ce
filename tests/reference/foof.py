"""FOOF written out in numpy, with explicit inputs and explicit inverses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """Where a linear layer's numbers are in a flat weight vector; the bias may be empty."""

    weight: slice
    bias: slice
    n_outputs: int

    def matrix(self, flat):
        """Weights with the bias as the last column."""
        return np.column_stack(
            [flat[self.weight].reshape(self.n_outputs, -1), *[flat[self.bias]] * self.has_bias]
        )

    def write(self, flat, matrix):
        """Inverse of ``matrix``."""
        n_inputs = matrix.shape[1] - self.has_bias
        flat[self.weight] = matrix[:, :n_inputs].ravel()
        if self.has_bias:
            flat[self.bias] = matrix[:, -1]

    @property
    def has_bias(self):
        return self.bias.stop > self.bias.start


def perceptron(batch_norm):
    """Layers of ``tests.optim.problems.module``, and the inputs of each as a function of the weights."""
    after = 24 + 12 * batch_norm
    layers = [
        Layer(slice(0, 18), slice(18, 24), 6),
        Layer(slice(after, after + 6), slice(after + 6, after + 7), 1),
    ]

    def inputs(w, X):
        first = np.column_stack([X, np.ones(len(X))])
        hidden = first @ layers[0].matrix(w).T
        if batch_norm:
            scale, shift = w[24:30], w[30:36]
            hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5) * scale + shift
        return [first, np.column_stack([np.tanh(hidden), np.ones(len(X))])]

    return layers, inputs


def foof(
    gradient,
    inputs,
    layers,
    w,
    n_steps,
    lr,
    damping,
    ema=0.95,
    T=1,
    momentum=0.0,
    weight_decay=0.0,
    norm_match=False,
):
    """Weights after some steps; numbers of no layer go by SGD with the same momentum.

    ``inputs(w)`` gives each layer's inputs, a row a sample.
    """
    w = w.copy()
    averages = [0.0] * len(layers)
    inverses, buffers, rest_buffer = [None] * len(layers), [0.0] * len(layers), 0.0
    rest = np.ones(len(w), dtype=bool)
    for layer in layers:
        rest[layer.weight] = rest[layer.bias] = False
    for t in range(n_steps):
        g = gradient(w)
        changes = []
        for i, (layer, A) in enumerate(zip(layers, inputs(w), strict=True)):
            averages[i] = ema * averages[i] + (1 - ema) * A.T @ A / len(A)
            if t % T == 0:
                corrected = averages[i] / (1 - ema ** (t + 1))
                inverses[i] = np.linalg.inv(corrected + damping * np.eye(len(corrected)))
            buffers[i] = momentum * buffers[i] + layer.matrix(g)
            changes.append(buffers[i] @ inverses[i])
        if norm_match:
            lengths = [np.sqrt(sum((part**2).sum() for part in parts)) for parts in (buffers, changes)]
            changes = [change * lengths[0] / lengths[1] for change in changes]
        new = w.copy()
        for layer, change in zip(layers, changes, strict=True):
            layer.write(new, (1 - lr * weight_decay) * layer.matrix(w) - lr * change)
        rest_buffer = momentum * rest_buffer + g[rest] + weight_decay * w[rest]
        new[rest] = w[rest] - lr * rest_buffer
        w = new
    return w
