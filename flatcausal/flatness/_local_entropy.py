"""Local entropy: how much volume of low loss lies around a model's weights."""

from __future__ import annotations

import math
from typing import Any, Unpack

import torch

from flatcausal._validation import check_integer, check_real
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._quadrature import N_RUNS, N_STEPS, mean_and_error, quadrature
from flatcausal.flatness._result import FlatnessResult, Found

GAMMA = 10.0


def local_entropy(
    model: Any,
    X: Any,
    y: Any,
    *,
    gamma: float = GAMMA,
    n_runs: int = N_RUNS,
    n_steps: int = N_STEPS,
    **protocol: Unpack[Protocol],
) -> FlatnessResult:
    r"""Measure the log-volume of low loss around the weights; larger is flatter.

    .. math:: F(w; \gamma) = \log \int \exp\left(-n L(w') - \tfrac\gamma2 \lVert w - w' \rVert^2\right) dw'
              \approx -n L(w) - \tfrac12 \sum_i \log\left(1 + \tfrac{n \lambda_i^+}{\gamma}\right)
              + \tfrac P2 \log\tfrac{2\pi}{\gamma}

    for the loss on n rows (Chaudhari et al., 2017) and the eigenvalues of its Hessian, negative ones counted
    as 0: Laplace's approximation, whose sum is found by stochastic Lanczos quadrature. The value leaves out
    the last term, which is the same for all models with P numbers. Cost: ``n_runs * n_steps`` Hessian-vector
    products.

    What it cannot tell: the integral is approximated at w itself without its slope, so it means something at
    a minimum only (read ``gradient_norm``), and for a gamma at which the loss is a bowl within :math:`1 /
    \sqrt\gamma`. It is not invariant to a rescaling of weights. Sampling the integral is not offered: a few
    hundred draws from the Gaussian have an effective size of one.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    gamma : float, default=10.0
        Scope: how soon the surroundings cease to count.
    n_runs, n_steps : int, default=5, 40
        Of the quadrature: random start vectors, and nodes for each.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    FlatnessResult
        ``details["volume"]`` is the half sum, by which minima of one loss differ: smaller is flatter. The
        standard error is that over runs; it does not hold what few nodes of a run leave out.

    Raises
    ------
    FloatingPointError
        If a member with a finite gradient has no finite second derivatives; it names the first bad batch.

    References
    ----------
    P. Chaudhari et al., "Entropy-SGD: Biasing Gradient Descent Into Wide Valleys", ICLR 2017.

    Examples
    --------
    >>> import math, torch
    >>> from flatcausal.flatness import local_entropy
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # eigenvalues 1 and 4 of the mean over 2 rows
    >>> result = local_entropy(model, X, model(X).detach(), loss=torch.nn.MSELoss(), random_state=0)
    >>> math.isclose(result.value[0], -(math.log(1.2) + math.log(1.8)) / 2)
    True
    """
    gamma = check_real("gamma", gamma, low=0.0, open_low=True)
    n_runs = check_integer("n_runs", n_runs, low=2)
    n_steps = check_integer("n_steps", n_steps, low=2)
    with measuring(model, X, y, **protocol) as problem:
        products = Products(problem)
        found = entropy(products, gamma, n_runs, n_steps)
        return products.record("local_entropy", found, gamma=gamma, n_runs=n_runs, n_steps=n_steps)


def entropy(products: Products, gamma: float = GAMMA, n_runs: int = N_RUNS, n_steps: int = N_STEPS) -> Found:
    """Of each member, with the standard error over runs."""
    problem = products.problem
    nodes, weights = quadrature(products, n_runs, n_steps)
    logs = torch.log1p(problem.n_rows * nodes.clamp_min(0.0) / gamma)
    volume, error = mean_and_error(problem.n_parameters / 2 * (weights * logs).sum(2))
    losses, _ = problem.base
    constant = torch.full_like(volume, problem.n_parameters / 2 * math.log(2 * math.pi / gamma))
    return Found(
        -problem.n_rows * losses.double() - volume,
        standard_error=error,
        details={"volume": volume, "constant": constant},
    )
