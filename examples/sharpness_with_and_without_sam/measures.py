"""What is measured of a network, always on the same rows and in the same way."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from flatcausal.flatness import (
    LossSurface,
    gradient_norm,
    hessian_top_eigenvalues,
    hessian_trace,
    loss_surface,
    sharpness,
)
from flatcausal.optim.averaging import update_batch_norm
from sharpness_with_and_without_sam.images import Split
from sharpness_with_and_without_sam.training import accuracy, passes

FLATNESS = {
    "lambda_max": "largest eigenvalue of the Hessian",
    "trace": "trace of the Hessian",
    "sam": "rise of the loss after SAM's step, rho 0.05",
    "asam": "rise after ASAM's step, rho 0.5",
    "adaptive_linf": "largest rise where each weight moves by 0.1 % of its size",
    "adaptive_linf_logits": "the same, logits centred and divided by their norm",
}
OTHERS = {
    "test_accuracy": "share of test images in their class",
    "train_loss": "loss on the training rows that flatness is measured on",
    "weight_norm": "length of the weights",
}
MEASURES = {**OTHERS, **FLATNESS}

# What 200 networks can be given in a few minutes. So small a box is nearly searched by its first corner.
_ASCENT = {"n_steps": 4, "n_restarts": 1}
_PROBES = {"tol": 0.1, "max_products": 30}
_EIGENVALUE = {"tol": 1e-2, "max_products": 40}
_SPAN = 0.5  # of the surfaces; at 1 random directions are as long as the weights


class Measure:
    """Measures of networks on one split.

    Parameters
    ----------
    split : Split
        Training and test rows; the training labels are those that the networks learned from.
    n_rows : int
        How many training rows to measure on: the first ones.
    seed : int
        Of random directions, other ones for each split: an error that all share would look like an effect.
    """

    def __init__(self, split: Split, n_rows: int, seed: int):
        self._split = split
        self._rows = split.X[:n_rows], split.y[:n_rows]
        self._protocol: Any = {
            "loss": nn.CrossEntropyLoss(),
            "bn": "recalibrated",
            "dtype": torch.float32,
            "n_rows": None,
            "random_state": seed,
        }

    def loss(self, module: nn.Module) -> float:
        """The training loss of the others, which none compares without."""
        return float(gradient_norm(module, *self._rows, **self._protocol).loss[0])

    def all(self, module: nn.Module) -> dict[str, float]:
        """Of ``MEASURES`` each."""
        rows, protocol = self._rows, self._protocol
        sam = sharpness(module, *rows, "sam", **protocol)
        found = {
            "sam": sam,
            "asam": sharpness(module, *rows, "adaptive", **protocol),
            "adaptive_linf": sharpness(module, *rows, "adaptive_linf", **_ASCENT, **protocol),
            "adaptive_linf_logits": sharpness(
                module, *rows, "adaptive_linf", normalize_logits=True, **_ASCENT, **protocol
            ),
            "lambda_max": hessian_top_eigenvalues(module, *rows, **_EIGENVALUE, **protocol),
            "trace": hessian_trace(module, *rows, **_PROBES, **protocol),
        }
        values = {name: float(result.value.ravel()[0]) for name, result in found.items()}
        predictor = self.calibrated(module)
        return {
            "test_accuracy": accuracy(predictor, self._split.X_test, self._split.y_test),
            "train_loss": float(sam.loss[0]),
            "weight_norm": float(sam.weight_norm[0]),
            **{name: values[name] for name in FLATNESS},
        }

    def calibrated(self, module: nn.Module) -> nn.Module:
        """A copy whose BatchNorm has the statistics of all training rows."""
        twin = copy.deepcopy(module)
        update_batch_norm(twin, passes(twin, self._split.X))
        return twin

    def surface(self, module: nn.Module, resolution: int) -> LossSurface:
        """The loss around the network, its statistics held as in the measures of sharpness."""
        protocol = {**self._protocol, "bn": "frozen"}
        return loss_surface(self.calibrated(module), *self._rows, resolution, span=_SPAN, **protocol)


def nothing() -> dict[str, float]:
    """What a run that diverged has."""
    return dict.fromkeys(MEASURES, np.nan)
