"""Losses of single rows, for every member."""

from __future__ import annotations

from torch import Tensor, nn


class SquaredError(nn.Module):
    """Squared error, a mean over targets."""

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        """Outputs (K, n, n_targets) and targets of the same shape, or (n, n_targets), give losses (K, n)."""
        return (output - y).square().mean(2)


class CrossEntropy(nn.Module):
    """Negative log-likelihood of the true class."""

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        """Logits (K, n, n_classes) and class codes (K, n) or (n,) give losses (K, n)."""
        return -output.log_softmax(2).gather(2, y.expand(output.shape[:2]).unsqueeze(2)).squeeze(2)
