"""Contracts that users can run on their own optimizers and flatness measures."""

from flatcausal.testing._checker import check_optimizer, optimizer_checks
from flatcausal.testing._measures import check_measure, measure_checks

__all__ = ["check_measure", "check_optimizer", "measure_checks", "optimizer_checks"]
