"""TabNet in scikit-learn's style, trained by any of the optimizers."""

from flatcausal.estimators._batches import n_batches
from flatcausal.estimators._classifier import FlatMinimaTabNetClassifier
from flatcausal.estimators._regressor import FlatMinimaTabNetRegressor
from flatcausal.estimators._sweep import lr_batch_sweep
from flatcausal.estimators._together import fit_together

__all__ = [
    "FlatMinimaTabNetClassifier",
    "FlatMinimaTabNetRegressor",
    "fit_together",
    "lr_batch_sweep",
    "n_batches",
]
