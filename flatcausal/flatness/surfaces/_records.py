"""What slices and paths give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How losses were measured, in the words of :class:`flatcausal.flatness.FlatnessResult`."""

    n_losses: int
    n_gradients: int
    n_products: int = 0
    n_parameters: int
    n_rows: int
    rows_hash: str
    bn: str
    dtype: str
    seed: np.random.SeedSequence
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LossSlice(Measured):
    """Losses of each member along a line through its weights.

    Attributes
    ----------
    alphas : ndarray of shape (K, R)
        Places on the line: the weights there are ``w + alpha * direction``.
    losses : ndarray of shape (K, R)
        Losses there; inf or NaN where one is not finite.
    direction : {"filter", "hessian", "given"}
        Which kind.
    vector : mapping of str to ndarray
        The direction by names of parameters; pass it as ``direction`` to look along it again.
    length : ndarray of shape (K,)
        Euclidean length of the direction, so that ``alpha * length`` is a distance.
    eigenvalue : ndarray of shape (K,) or None
        Of the Hessian along its eigenvector.
    converged : ndarray of bool, shape (K,)
        Whether the eigenvector did; True without one.
    loss, gradient_norm, weight_norm : ndarray of shape (K,)
        At the weights themselves.
    n_losses, n_gradients, n_products, n_parameters, n_rows, rows_hash, bn, dtype, seed, settings
        As in :class:`FlatnessResult`. The passes of a recalibration do not count as losses.
    """

    alphas: np.ndarray
    losses: np.ndarray
    direction: str
    vector: Mapping[str, np.ndarray]
    length: np.ndarray
    eigenvalue: np.ndarray | None
    converged: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    weight_norm: np.ndarray


@dataclass(frozen=True, kw_only=True)
class LossSurface(Measured):
    """Losses of each member on a plane through its weights.

    Attributes
    ----------
    alphas, betas : ndarray of shape (K, R)
        Places along the first and second direction: the weights there are ``w + alpha * d1 + beta * d2``.
    losses : ndarray of shape (K, R, R)
        ``losses[k, i, j]`` is member k's at ``alphas[k, i]`` and ``betas[k, j]``; inf or NaN where it is not
        finite.
    directions : {"filter", "hessian", "trajectory", "given"}
        Which kind.
    vectors : pair of mappings of str to ndarray
        The directions by names of parameters; pass them as ``directions`` to look at the same plane again.
    lengths : ndarray of shape (K, 2)
        Euclidean lengths of the directions.
    eigenvalues : ndarray of shape (K, 2) or None
        Of the Hessian along its eigenvectors.
    extremes : ndarray of shape (K, 2) or None
        The smallest and the largest eigenvalue of the Hessian at the weights, if they were asked for.
    converged : ndarray of bool, shape (K,)
        Whether all eigenvalues did; True without any.
    path : ndarray of shape (K, T, 2) or None
        The trajectory's nearest points on the plane, in units of the directions; it leads to (0, 0).
    explained : ndarray of shape (K, 2) or None
        Shares of the trajectory's squared distances from the weights that the first direction holds, and
        that the second adds.
    off_plane : ndarray of shape (K, T) or None
        Of each checkpoint the distance from the plane over the distance from the weights: where it is near
        1, the picture's point says little about it.
    loss, gradient_norm, weight_norm : ndarray of shape (K,)
        At the weights themselves.
    n_losses, n_gradients, n_products, n_parameters, n_rows, rows_hash, bn, dtype, seed, settings
        As in :class:`FlatnessResult`. The passes of a recalibration do not count as losses.
    """

    alphas: np.ndarray
    betas: np.ndarray
    losses: np.ndarray
    directions: str
    vectors: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
    lengths: np.ndarray
    eigenvalues: np.ndarray | None
    extremes: np.ndarray | None
    converged: np.ndarray
    path: np.ndarray | None
    explained: np.ndarray | None
    off_plane: np.ndarray | None
    loss: np.ndarray
    gradient_norm: np.ndarray
    weight_norm: np.ndarray

    @property
    def convexity(self) -> np.ndarray | None:
        """How far from convex the loss is at the weights.

        The size of the most negative eigenvalue over the largest; 0 if none is negative. Near 0 a picture
        without hollows is to be believed (Li et al., 2018, section 6); near 1 as much curves down as up,
        whatever the plane shows.
        """
        if self.extremes is None:
            return None
        low, high = self.extremes.T
        return np.abs(np.minimum(low, 0) / high)


@dataclass(frozen=True, kw_only=True)
class LossPath(Measured):
    """Losses of each member on the way from one model to another.

    Attributes
    ----------
    kind : {"linear", "bezier"}
        Which way.
    t : ndarray of shape (n_points,)
        Places on it, from 0 at the first model to 1 at the second.
    losses : ndarray of shape (K, n_points)
        Losses there; inf or NaN where one is not finite.
    barrier : ndarray of shape (K,)
        Most that the loss rises above the straight line between its two ends; 0 if it never does.
    distance : ndarray of shape (K,)
        Euclidean distance between the two models' weights.
    theta : mapping of str to ndarray, or None
        The point by which a curve bends, by names of parameters.
    n_losses, n_gradients, n_products, n_parameters, n_rows, rows_hash, bn, dtype, seed, settings
        As in :class:`FlatnessResult`. The passes of a recalibration do not count as losses.
    """

    kind: str
    t: np.ndarray
    losses: np.ndarray
    barrier: np.ndarray
    distance: np.ndarray
    theta: Mapping[str, np.ndarray] | None
