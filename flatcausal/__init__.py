"""Do flat minima rely on causes? Estimators, optimizers, data with a truth, and studies."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flatcausal.datasets import SyntheticDAGDataset
    from flatcausal.estimators import FlatMinimaTabNetClassifier, FlatMinimaTabNetRegressor

__version__ = "0.1.0"
__all__ = ["FlatMinimaTabNetClassifier", "FlatMinimaTabNetRegressor", "SyntheticDAGDataset", "__version__"]

_HOMES = {
    "FlatMinimaTabNetClassifier": "flatcausal.estimators",
    "FlatMinimaTabNetRegressor": "flatcausal.estimators",
    "SyntheticDAGDataset": "flatcausal.datasets",
}


def __getattr__(name: str):
    # Names are resolved on first use, so that the data half never loads torch.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'flatcausal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
