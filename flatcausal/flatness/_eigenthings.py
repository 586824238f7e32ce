"""Estimators of the package hessian-eigenthings on this package's products."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from flatcausal._random import child, integer_seed
from flatcausal.flatness._products import Products

_STREAM = 4  # of its seeds


def hutch_plus_plus(products: Products, n_products: int) -> tuple[Tensor, Tensor]:
    """Traces and standard errors of each member, shape (K,)."""
    he = _package()
    found = []
    for k in range(products.problem.n_members):
        if products.alive[k]:
            operator, seed = _operator(he, products, k)
            result = he.hutch_plus_plus(operator, num_matvecs=n_products, seed=seed)
            found.append((result.estimate, result.stderr))
        else:
            found.append((float("nan"), float("nan")))
    mean, error = torch.tensor(found, dtype=torch.float64).to(products.alive.device).T
    return mean, error


def lanczos_quadrature(products: Products, n_runs: int, n_steps: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of each member and run, shape (K, n_runs, n_steps)."""
    he = _package()
    nodes = torch.zeros(products.problem.n_members, n_runs, n_steps, dtype=torch.float64)
    weights = torch.zeros_like(nodes)
    for k in range(products.problem.n_members):
        if products.alive[k]:
            operator, seed = _operator(he, products, k)
            result = he.spectral_density(
                operator, num_runs=n_runs, lanczos_steps=n_steps, num_grid_points=2, seed=seed
            )
            n = result.raw_eigenvalues.shape[1]  # fewer than asked where the span is used up
            nodes[k, :, :n] = result.raw_eigenvalues.nan_to_num(nan=0.0)
            weights[k, :, :n] = result.raw_weights
    return nodes, weights


def _operator(he: Any, products: Products, member: int) -> tuple[Any, int]:
    """One member's Hessian in the numbers that move, and a seed."""
    problem = products.problem
    ones = problem.flat(problem.ones(1.0))
    columns = ones[member].nonzero()[:, 0]

    def product(v: Tensor) -> Tensor:
        whole = torch.zeros_like(ones)
        whole[member, columns] = v
        return products(whole)[member, columns]

    operator = he.LambdaOperator(product, len(columns), device=ones.device, dtype=ones.dtype)
    return operator, integer_seed(child(problem.seeds, _STREAM, member))


def _package() -> Any:
    try:
        return import_module("hessian_eigenthings")
    except ImportError as error:
        raise ImportError(
            "This estimator is that of hessian-eigenthings, which is not installed: "
            "pip install 'flatcausal[curvature]'."
        ) from error
