"""Recovery metrics straight from their definitions, by loops."""

from __future__ import annotations

from functools import cache
from itertools import combinations


def auroc(values, truth):
    """Count the pairs that are in order."""
    wins, pairs = 0.0, 0
    for i, true in enumerate(truth):
        for j, other in enumerate(truth):
            if true and not other:
                pairs += 1
                wins += 1.0 if values[i] > values[j] else 0.5 if values[i] == values[j] else 0.0
    return wins / pairs


def average_precision(values, truth):
    """Walk down the distinct values; tied features enter together."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(values), reverse=True):
        taken = [true for value, true in zip(values, truth, strict=True) if value >= threshold]
        recall = sum(taken) / sum(truth)
        total += (recall - recall_before) * sum(taken) / len(taken)
        recall_before = recall
    return total


@cache
def expected_average_precision(n_features, n_true):
    """Average precision averaged over every place that the true features can take in an order."""
    places = list(combinations(range(1, n_features + 1), n_true))
    return sum(sum(i / place for i, place in enumerate(at, 1)) / n_true for at in places) / len(places)


def causal_mass(values, truth):
    """Share of the positive part."""
    positive = [value if value > 0 else 0.0 for value in values]
    return sum(v for v, true in zip(positive, truth, strict=True) if true) / sum(positive)
