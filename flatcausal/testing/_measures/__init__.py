"""The contract of a flatness measure."""

from flatcausal.testing._measures._checker import check_measure, measure_checks

__all__ = ["check_measure", "measure_checks"]
