"""What both directions need before they begin."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from flatcausal.exceptions import ParameterError


def tab_model() -> Any:
    """Import pytorch_tabnet's models, now that they are needed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it imports from scipy.sparse.base
            from pytorch_tabnet import tab_model
    except ImportError as error:
        raise ImportError(
            "flatcausal.interop needs pytorch_tabnet: pip install pytorch-tabnet==4.1.0",
            name="pytorch_tabnet",
        ) from error
    return tab_model


def refuse_one_class(classes: np.ndarray) -> None:
    """One side has one output for one class, the other two."""
    if len(classes) < 2:
        raise ParameterError(
            f"The only class is {classes[0]!r}, so there is nothing to predict: fit on two classes or more."
        )
