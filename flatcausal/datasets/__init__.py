"""Data with a truth: random structural causal models to sample, intervene on and score against."""

from __future__ import annotations

from flatcausal.datasets._edges import read_edges
from flatcausal.datasets._environments import Environment
from flatcausal.datasets._make import make_dag_classification, make_dag_regression
from flatcausal.datasets._roles import FeatureRoles
from flatcausal.datasets._sampling import Sample
from flatcausal.datasets._synthetic import SyntheticDAGDataset

__all__ = [
    "Environment",
    "FeatureRoles",
    "Sample",
    "SyntheticDAGDataset",
    "make_dag_classification",
    "make_dag_regression",
    "read_edges",
]
