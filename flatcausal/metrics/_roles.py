"""What a metric must know of a graph: the features' names and one mask for each truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from flatcausal.exceptions import ParameterTypeError


@runtime_checkable
class Roles(Protocol):
    """Roles of the features relative to one target, as ``flatcausal.datasets.FeatureRoles`` keeps them."""

    @property
    def feature_names(self) -> Sequence[str]:
        """Names of the features, in column order."""
        ...

    def mask(self, truth: str, /) -> NDArray[np.bool_]:
        """Which features belong to ``truth``, shape (n_features,)."""
        ...


def check_roles(roles: object) -> Roles:
    """Return ``roles`` if it is an object with names and masks; an array is refused with the reason."""
    if isinstance(roles, Roles):
        return roles
    raise ParameterTypeError(
        f"roles must be an object with feature_names and mask(truth), such as FeatureRoles, "
        f"got {type(roles).__name__}: a bare array would be sliced by cross-validation "
        "where n_features == n_samples, and could not be aligned by name."
    )
