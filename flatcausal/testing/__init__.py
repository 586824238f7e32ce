"""Contracts that users can run on their own optimizers."""

from flatcausal.testing._checker import check_optimizer, optimizer_checks

__all__ = ["check_optimizer", "optimizer_checks"]
