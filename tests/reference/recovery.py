"""Recovery metrics straight from their definitions, by loops."""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise, permutations
from math import log2, sqrt


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


def orders(values):
    """Every order of the features, most important first, that the values allow."""
    places = permutations(range(len(values)))
    return [o for o in places if all(values[a] >= values[b] for a, b in pairwise(o))]


def mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def hits_at_k(values, truth, k):
    """Count the true features among the first k, averaged over every order that ties allow."""
    return mean(sum(truth[j] for j in order[:k]) for order in orders(values))


def ndcg(values, effects, k):
    """Average the discounted gain over every order that ties allow; the best order is one of all."""

    def gain(order):
        return sum(abs(effects[j]) / log2(rank + 1) for rank, j in enumerate(order[:k], 1))

    return mean(map(gain, orders(values))) / max(map(gain, permutations(range(len(values)))))


def rank_correlation(left, right):
    """Correlate ranks, where tied numbers share the mean of their ranks."""

    def ranks(numbers):
        return [sum(a < b for a in numbers) + (sum(a == b for a in numbers) + 1) / 2 for b in numbers]

    a, b = ranks(left), ranks(right)
    covariance = mean(x * y for x, y in zip(a, b, strict=True)) - mean(a) * mean(b)
    spread = [mean(x * x for x in side) - mean(side) ** 2 for side in (a, b)]
    return covariance / sqrt(spread[0] * spread[1])


def rbo(left, right, p, depth):
    """Average the overlap of lists over every pair of orders that ties allow."""

    def overlap(a, b):
        shared = [len(set(a[:d]) & set(b[:d])) / d for d in range(1, depth + 1)]
        series = sum(x * p**d for d, x in enumerate(shared, 1))
        return shared[-1] * p**depth + (1 - p) / p * series

    return mean(overlap(a, b) for a in orders(left) for b in orders(right))


def median_rates(values, relevant):
    """Split at the median by hand: false negatives among the relevant, false positives among the rest."""
    ordered = sorted(values)
    half = len(values) // 2
    middle = ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
    missed = mean(v <= middle for v, r in zip(values, relevant, strict=True) if r)
    return missed, mean(v > middle for v, r in zip(values, relevant, strict=True) if not r)


def stability(runs):
    """One minus the mean unbiased variance of each feature's selection over the same under chance."""
    n_runs, n_features = len(runs), len(runs[0])
    observed = 0.0
    for feature in range(n_features):
        share = mean(run[feature] for run in runs)
        observed += sum((run[feature] - share) ** 2 for run in runs) / (n_runs - 1) / n_features
    share = mean(mean(run) for run in runs)
    return 1 - observed / (share * (1 - share))


def jackknife_variance(runs):
    """Variance of the stability from leaving out one run at a time."""
    left_out = [stability(runs[:i] + runs[i + 1 :]) for i in range(len(runs))]
    centre = mean(left_out)
    return (len(runs) - 1) * mean((value - centre) ** 2 for value in left_out)
