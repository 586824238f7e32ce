"""Scores of E[y | parents] for a linear Gaussian target whose parents explain a share rho, in closed form.

The latent value is L = sqrt(rho) s + sqrt(1 - rho) u with s, u ~ N(0, 1), and y = [L > b].
"""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import cumulative_trapezoid, trapezoid
from scipy.special import entr
from scipy.stats import norm


def balanced(rho):
    """Orthant probabilities of two normals give all but the log loss where b = 0."""
    return {
        "roc_auc": 0.5 + 2 / math.pi * math.asin(math.sqrt(rho / 2)),
        "accuracy": 0.5 + math.asin(math.sqrt(rho)) / math.pi,
        "r2": 2 * math.asin(rho) / math.pi,
    }


def by_quadrature(rho, prevalence, label_noise):
    """Integrals over s; the area under the ROC curve is one over two levels of s."""
    share = (prevalence - label_noise) / (1 - 2 * label_noise)
    b = norm.ppf(1 - share)
    s = np.linspace(-9, 9, 20_001)
    kept = norm.cdf((math.sqrt(rho) * s - b) / math.sqrt(1 - rho))
    eta = label_noise + (1 - 2 * label_noise) * kept

    def mean(values):
        return trapezoid(values * norm.pdf(s), s)

    negatives_below = cumulative_trapezoid((1 - eta) * norm.pdf(s), s, initial=0)
    return {
        "roc_auc": mean(eta * negatives_below) / (prevalence * (1 - prevalence)),
        "accuracy": mean(np.maximum(eta, 1 - eta)),
        "log_loss": mean(entr(eta) + entr(1 - eta)),
        "r2": mean((eta - prevalence) ** 2) / (prevalence * (1 - prevalence)),
    }
