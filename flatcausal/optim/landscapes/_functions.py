"""The functions, and what is known about their minima."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LONGEST_STEP = 0.05  # of the descent that decides on basins: far less than they are wide
N_STEPS = 1000
CLOSE = 1e-3


@dataclass(frozen=True, eq=False)
class Landscape:
    """A function of two variables with known minima.

    Attributes
    ----------
    name : str
        What it is called.
    function : callable
        Its value at x and y, two tensors of one shape.
    box : tuple of float
        Lowest x, highest x, lowest y, highest y of the usual starting points.
    minima : ndarray of shape (m, 2)
        Where they are.
    values : ndarray of shape (m,)
        How deep.
    hessians : ndarray of shape (m, 2, 2)
        How curved.
    basin_shares : ndarray of shape (m,)
        Share of the box from which steepest descent in small steps leads to each, to about 0.005.

    Examples
    --------
    >>> from flatcausal.optim.landscapes import HIMMELBLAU
    >>> HIMMELBLAU.minima[HIMMELBLAU.sharpness.argmin()]
    array([3., 2.])
    """

    name: str
    function: Callable[[Tensor, Tensor], Tensor]
    box: tuple[float, float, float, float]
    minima: np.ndarray
    values: np.ndarray
    hessians: np.ndarray
    basin_shares: np.ndarray

    @property
    def sharpness(self) -> np.ndarray:
        """Trace of each minimum's Hessian, shape (m,)."""
        return np.trace(self.hessians, axis1=1, axis2=2)

    def starts(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Points that are uniform in the box, shape (n, 2)."""
        low_x, high_x, low_y, high_y = self.box
        return generator.uniform((low_x, low_y), (high_x, high_y), size=(n, 2))

    def losses(self, points: Tensor) -> Tensor:
        """Values at points of shape (n, 2)."""
        x, y = points.unbind(1)
        return self.function(x, y)

    def basins(self, points: np.ndarray) -> np.ndarray:
        """Index of the minimum to which steepest descent leads from each point, -1 for none, shape (n,).

        Steps are so small, at most 0.05 long, that the path is that of the gradient's flow.
        """
        w = torch.tensor(points, dtype=torch.float64, requires_grad=True)
        rate = 0.5 / np.linalg.eigvalsh(self.hessians).max()
        for _ in range(N_STEPS):
            (gradient,) = torch.autograd.grad(self.losses(w).sum(), w)
            step = rate * gradient
            lengths = step.norm(dim=1, keepdim=True)
            w = (w - step * (LONGEST_STEP / lengths).clamp(max=1)).detach().requires_grad_()
        gaps = np.linalg.norm(w.detach().numpy()[:, None] - self.minima, axis=2)
        return np.where((gaps < CLOSE).any(axis=1), gaps.argmin(axis=1), -1)


def _himmelblau(x: Tensor, y: Tensor) -> Tensor:
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def _three_hump_camel(x: Tensor, y: Tensor) -> Tensor:
    return 2 * x**2 - 1.05 * x**4 + x**6 / 6 + x * y + y**2


def _six_hump_camel(x: Tensor, y: Tensor) -> Tensor:
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2


HIMMELBLAU = Landscape(
    "Himmelblau",  # four minima of equal depth: flatness alone tells them apart
    _himmelblau,
    (-5.0, 5.0, -5.0, 5.0),
    np.array(
        [
            [3.584428340330, -1.848126526964],
            [3.0, 2.0],
            [-2.805118086953, 3.131312518251],
            [-3.779310253378, -3.283185991286],
        ]
    ),
    np.zeros(4),
    np.array(
        [
            [[104.785012216, 6.945207253], [6.945207253, 29.324573277]],
            [[74.0, 20.0], [20.0, 34.0]],
            [[64.949499854, 1.304777725], [1.304777725, 80.440944696]],
            [[116.265487930, -28.249984979], [-28.249984979, 88.234482027]],
        ]
    ),
    np.array([0.247, 0.255, 0.260, 0.238]),
)

THREE_HUMP_CAMEL = Landscape(
    "three-hump camel",  # the deepest minimum is the flattest
    _three_hump_camel,
    (-5.0, 5.0, -5.0, 5.0),
    np.array([[0.0, 0.0], [1.747552345830, -0.873776172915], [-1.747552345830, 0.873776172915]]),
    np.array([0.0, 0.298638442237, 0.298638442237]),
    np.array([[[4.0, 1.0], [1.0, 2.0]], *[[[12.153089292, 1.0], [1.0, 2.0]]] * 2]),
    np.array([0.341, 0.330, 0.330]),
)

SIX_HUMP_CAMEL = Landscape(
    "six-hump camel",  # the flattest minima are the least deep
    _six_hump_camel,
    (-3.0, 3.0, -2.0, 2.0),
    np.array(
        [
            [0.089842013100, -0.712656403021],
            [-0.089842013100, 0.712656403021],
            [1.703606714970, -0.796083568673],
            [-1.703606714970, 0.796083568673],
            [1.607104752920, 0.568651454884],
            [-1.607104752920, -0.568651454884],
        ]
    ),
    np.array([-1.031628453490] * 2 + [-0.215463824384] * 2 + [2.104250310311] * 2),
    np.array(
        [
            *[[[7.797247505, 1.0], [1.0, 16.378199141]]] * 2,
            *[[[19.094699323, 1.0], [1.0, 22.419954319]]] * 2,
            *[[[9.621619734, 1.0], [1.0, 7.521494903]]] * 2,
        ]
    ),
    np.array([0.199, 0.199, 0.175, 0.175, 0.126, 0.126]),
)
