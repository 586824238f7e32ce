"""Risks over environments straight from their definitions, by loops."""

from __future__ import annotations

from math import log, sqrt


def mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def cvar(risks, tail):
    """Rockafellar and Uryasev's minimum over thresholds, which one of the risks attains."""
    return min(t + mean(max(risk - t, 0.0) for risk in risks) / tail for t in risks)


def invariance_gap(residuals):
    """Largest mean and largest log variance ratio over lists of residuals."""
    variances = [mean((r - mean(group)) ** 2 for r in group) for group in residuals]
    scale = mean(variances)
    largest_mean = max(abs(mean(group)) for group in residuals) / sqrt(scale)
    return largest_mean + max(abs(log(variance / scale)) for variance in variances)
