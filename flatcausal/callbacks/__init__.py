"""Watch a training: callbacks for this package's estimators and for any skorch net."""

from flatcausal.callbacks._sharpness_monitor import SharpnessMonitor
from flatcausal.callbacks._weights_recorder import WeightsRecorder

__all__ = ["SharpnessMonitor", "WeightsRecorder"]
