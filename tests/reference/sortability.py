"""Sortability by walking over all pairs and path lengths, and R² by one regression a node."""

from __future__ import annotations

import numpy as np


def path_sortability(adjacency, scores):
    """Count each (pair, length) for which a path exists once; a tie is half right."""
    n = len(adjacency)
    right = total = 0.0
    for start in range(n):
        reached = {start}
        for _ in range(n):
            reached = {j for i in reached for j in range(n) if adjacency[i][j]}
            for end in reached:
                total += 1
                right += 1.0 if scores[start] < scores[end] else 0.5 if scores[start] == scores[end] else 0.0
    return right / total


def r2(values):
    """R² of each column on all others, by least squares with an intercept."""
    scores = []
    for column in range(values.shape[1]):
        design = np.column_stack([np.ones(len(values)), np.delete(values, column, axis=1)])
        residual = values[:, column] - design @ np.linalg.lstsq(design, values[:, column])[0]
        scores.append(1 - residual.var() / values[:, column].var())
    return np.array(scores)
