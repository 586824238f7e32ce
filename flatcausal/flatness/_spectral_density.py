"""How the eigenvalues of the Hessian are distributed."""

from __future__ import annotations

import math
from typing import Any, Unpack

import torch
from torch import Tensor

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.flatness._eigenthings import lanczos_quadrature
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._quadrature import N_RUNS, N_STEPS, mean_and_error, quadrature
from flatcausal.flatness._result import FlatnessResult, Found

_N_MOMENTS = 4
_PADDING = 0.1  # of the range, at both ends of the grid
_ENGINES = {"flatcausal": quadrature, "hessian-eigenthings": lanczos_quadrature}


def spectral_density(
    model: Any,
    X: Any,
    y: Any,
    *,
    n_runs: int = N_RUNS,
    n_steps: int = N_STEPS,
    sigma: float | None = None,
    n_points: int = 1000,
    engine: str = "flatcausal",
    **protocol: Unpack[Protocol],
) -> FlatnessResult:
    r"""Measure how many eigenvalues of the Hessian lie where.

    .. math:: \phi(t) = \frac1P \sum_{i=1}^P \delta(t - \lambda_i), \qquad
              \phi_\sigma(t) \approx \frac1R \sum_{r=1}^R \sum_{j=1}^m w_{rj}\,
              \mathcal N(t; \theta_{rj}, \sigma^2)

    by stochastic Lanczos quadrature with full reorthogonalisation [1]_ [2]_. Cost: ``n_runs * n_steps``
    Hessian-vector products.

    What it cannot tell: where single eigenvalues lie, but for the outermost; the many near 0 are one peak of
    width sigma, and a group of r eigenvalues has height r / P with the standard error of a few runs. Like
    :func:`hessian_top_eigenvalues` it is not invariant to a rescaling of weights.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    n_runs : int, default=5
        Random start vectors.
    n_steps : int, default=40
        Nodes of a run; as many as numbers that move, if there are fewer.
    sigma : float, optional
        Width of each node's normal curve; the nodes' range over ``n_steps`` if None.
    n_points : int, default=1000
        Points of the grid, which reaches a tenth of the range beyond the nodes.
    engine : {"flatcausal", "hessian-eigenthings"}, default="flatcausal"
        Whose iteration. The optional package's takes one member after another, each in passes of all.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    FlatnessResult
        ``value``, shape (K, n_points), is the density over ``details["grid"]`` of the same shape, and
        ``standard_error`` that over runs. ``details["nodes"]`` and ``details["weights"]``, shape (K, R, m),
        are the quadrature; ``details["moments"]``, shape (K, 4), the means of :math:`\lambda` to
        :math:`\lambda^4`, free of sigma, with ``details["moments_error"]``; ``details["sigma"]`` the width.

    Raises
    ------
    ImportError
        If hessian-eigenthings is asked for and not installed.
    FloatingPointError
        If a member with a finite gradient has no finite second derivatives; it names the first bad batch.

    References
    ----------
    .. [1] S. Ubaru, J. Chen and Y. Saad, "Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature",
       SIAM Journal on Matrix Analysis and Applications 38, 2017.
    .. [2] B. Ghorbani, S. Krishnan and Y. Xiao, "An Investigation into Neural Net Optimization via Hessian
       Eigenvalue Density", ICML 2019.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import spectral_density
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # eigenvalues 1 and 4
    >>> result = spectral_density(model, X, torch.zeros(2, 1), loss=torch.nn.MSELoss(), random_state=0)
    >>> result.details["moments"].round(6).tolist()  # (1 + 4^p) / 2
    [[2.5, 8.5, 32.5, 128.5]]
    """
    n_runs = check_integer("n_runs", n_runs, low=2)
    n_steps = check_integer("n_steps", n_steps, low=2)
    n_points = check_integer("n_points", n_points, low=2)
    sigma = None if sigma is None else check_real("sigma", sigma, low=0.0, open_low=True)
    engine = check_choice("engine", engine, _ENGINES)
    with measuring(model, X, y, **protocol) as problem:
        products = Products(problem)
        nodes, weights = _ENGINES[engine](products, n_runs, min(n_steps, problem.n_parameters))
        found = _density(nodes, weights, sigma, n_points)
        return products.record("spectral_density", found, n_runs=n_runs, n_steps=n_steps, engine=engine)


def _density(nodes: Tensor, weights: Tensor, sigma: float | None, n_points: int) -> Found:
    low, high = nodes.amin((1, 2)), nodes.amax((1, 2))
    # One eigenvalue alone has no range.
    width = (high - low).maximum(1e-3 * nodes.abs().amax((1, 2))).clamp_min(torch.finfo(nodes.dtype).tiny)
    widths = width / nodes.shape[2] if sigma is None else torch.full_like(width, sigma)
    margin = _PADDING * width if sigma is None else (_PADDING * width).clamp_min(4 * sigma)
    line = torch.linspace(0, 1, n_points, dtype=nodes.dtype, device=nodes.device)
    grid = (low - margin)[:, None] + line * (high - low + 2 * margin)[:, None]
    runs = []
    for r in range(nodes.shape[1]):
        distances = (grid[:, None] - nodes[:, r, :, None]) / widths[:, None, None]
        curves = torch.exp(-distances.square() / 2) / (widths[:, None, None] * math.sqrt(2 * math.pi))
        runs.append((weights[:, r, :, None] * curves).sum(1))
    value, error = mean_and_error(torch.stack(runs, dim=1))
    powers = torch.stack([(weights * nodes**p).sum(2) for p in range(1, _N_MOMENTS + 1)], dim=2)
    moments, moments_error = mean_and_error(powers)
    details = {
        "grid": grid,
        "moments": moments,
        "moments_error": moments_error,
        "nodes": nodes,
        "weights": weights,
        "sigma": widths,
    }
    return Found(value, standard_error=error, details=details)
