"""Recovery metrics straight from their definitions, by loops."""

from __future__ import annotations


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


def causal_mass(values, truth):
    """Share of the positive part."""
    positive = [value if value > 0 else 0.0 for value in values]
    return sum(v for v, true in zip(positive, truth, strict=True) if true) / sum(positive)
