"""Where an optimizer ends, from many starting points at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._validation import check_integer, check_real
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._registry import get
from flatcausal.optim.landscapes._functions import Landscape

_STARTS, _NOISE = range(2)  # named streams of a random_state


@dataclass(frozen=True, eq=False)
class StationaryDistribution:
    """Minima in which an optimizer ended.

    Attributes
    ----------
    landscape : Landscape
        The function.
    starts : ndarray of shape (n, 2)
        Where each run began.
    ends : ndarray of shape (n, 2)
        Its last weights.
    reached : ndarray of shape (n,)
        Index of the minimum in whose basin they lie, -1 for none.
    """

    landscape: Landscape
    starts: np.ndarray
    ends: np.ndarray
    reached: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Runs that ended in each minimum, and in none, shape (m + 1,)."""
        m = len(self.landscape.minima)
        return np.bincount(np.where(self.reached < 0, m, self.reached), minlength=m + 1)

    @property
    def shares(self) -> np.ndarray:
        """Share of each minimum among all runs, shape (m,)."""
        return self.counts[:-1] / len(self.reached)

    @property
    def none_share(self) -> float:
        """Share of the runs that ended in no minimum: they diverged, or rest on a saddle."""
        return float(self.counts[-1] / len(self.reached))

    @property
    def expected_sharpness(self) -> float:
        """Mean trace of the Hessian over the runs that ended in a minimum; NaN without one."""
        found = self.reached[self.reached >= 0]
        return float(self.landscape.sharpness[found].mean()) if len(found) else np.nan

    def intervals(self, confidence: float = 0.95) -> np.ndarray:
        """Wilson's score intervals of the shares, shape (m, 2)."""
        confidence = check_real("confidence", confidence, low=0.0, high=1.0, open_low=True, open_high=True)
        n, p, z = len(self.reached), self.shares, stats.norm.ppf(0.5 + confidence / 2)
        center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        return np.stack([np.maximum(center - half, 0), np.minimum(center + half, 1)], axis=1)


class _Closure:
    """Value and gradient of every run at its own weights; no chance but the optimizer's."""

    def __init__(self, landscape: Landscape, weights: Tensor):
        self.landscape, self.weights = landscape, weights

    def __call__(self) -> Tensor:
        values = self.losses()
        (self.weights.grad,) = torch.autograd.grad(values.sum(), self.weights)
        return values.detach()

    def losses(self) -> Tensor:
        """Values (n,)."""
        return self.landscape.losses(self.weights)


def stationary_distribution(
    recipe: str | Recipe,
    landscape: Landscape,
    n_starts: int = 2000,
    n_steps: int = 1000,
    lr: float | None = None,
    random_state: RandomState = None,
) -> StationaryDistribution:
    """Run an optimizer from many points of a landscape, as one population with two weights each.

    Parameters
    ----------
    recipe : str or Recipe
        The optimizer.
    landscape : Landscape
        The function.
    n_starts : int, default=2000
        Runs; they start uniformly in the landscape's box.
    n_steps : int, default=1000
        Steps of each.
    lr : float, optional
        Learning rate; the recipe's default if None, which is meant for networks.
    random_state : int, SeedSequence, Generator or None
        Source of starts and noise. Runs k of two optimizers with one random state begin at one point.

    Returns
    -------
    StationaryDistribution
        Last weights, and the minima in whose basins they lie: steepest descent without noise leads there.

    Examples
    --------
    >>> from flatcausal.optim.landscapes import HIMMELBLAU, stationary_distribution
    >>> result = stationary_distribution("gd", HIMMELBLAU, n_starts=400, n_steps=99, lr=0.001, random_state=0)
    >>> result.none_share
    0.0
    >>> (abs(result.shares - HIMMELBLAU.basin_shares) < 0.07).all()
    np.True_
    """
    if not isinstance(landscape, Landscape):
        raise ParameterTypeError(f"landscape must be a Landscape such as HIMMELBLAU, got {landscape!r}.")
    seeds = seed_sequence(random_state)
    n_starts = check_integer("n_starts", n_starts, low=1)
    n_steps = check_integer("n_steps", n_steps, low=0)
    starts = landscape.starts(n_starts, np.random.default_rng(child(seeds, _STARTS)))
    weights = torch.tensor(starts, requires_grad=True)
    closure = _Closure(landscape, weights)
    optimizer: Optimizer = get(recipe).build(
        [weights], lr, n_members=n_starts, random_state=child(seeds, _NOISE)
    )
    for _ in range(n_steps):
        optimizer.step(closure)  # type: ignore[arg-type]
    ends = weights.detach().numpy()
    return StationaryDistribution(landscape, starts, ends, landscape.basins(ends))
