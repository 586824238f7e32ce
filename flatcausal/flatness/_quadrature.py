"""Stochastic Lanczos quadrature: the eigenvalues' distribution as a few weighted points."""

from __future__ import annotations

import torch
from torch import Tensor

from flatcausal.flatness._krylov import Krylov
from flatcausal.flatness._probes import seeded_generators, signs
from flatcausal.flatness._products import Products

N_RUNS, N_STEPS = 5, 40


def quadrature(products: Products, n_runs: int, n_steps: int) -> tuple[Tensor, Tensor]:
    r"""Nodes and weights, shape (K, n_runs, m): :math:`\sum_j w_j f(\theta_j)` estimates the mean of f.

    From a start vector of random signs, m steps of Lanczos's iteration; the eigenvalues of its projected
    matrix are nodes, the squared first entries of its eigenvectors weights, which add up to 1 (Ubaru, Chen &
    Saad, 2017).
    """
    problem = products.problem
    generators, found = seeded_generators(problem), []
    n_steps = min(n_steps, problem.n_parameters)
    for _ in range(n_runs):
        krylov = Krylov(products, signs(problem, generators), n_steps)
        for _ in range(n_steps):
            krylov.grow()
        nodes, vectors = krylov.eigen()
        found.append((nodes, vectors[:, 0].square()))
    nodes, weights = zip(*found, strict=True)
    return torch.stack(nodes, dim=1), torch.stack(weights, dim=1)


def mean_and_error(of_runs: Tensor) -> tuple[Tensor, Tensor]:
    """Over runs, which are on axis 1."""
    return of_runs.mean(1), of_runs.std(1) / of_runs.shape[1] ** 0.5
