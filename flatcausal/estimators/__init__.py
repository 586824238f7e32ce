"""TabNet in scikit-learn's style, trained by any of the optimizers."""

from flatcausal.estimators._batches import n_batches
from flatcausal.estimators._regressor import FlatMinimaTabNetRegressor

__all__ = ["FlatMinimaTabNetRegressor", "n_batches"]
