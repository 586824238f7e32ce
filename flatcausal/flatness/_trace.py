"""The trace of the Hessian."""

from __future__ import annotations

from typing import Any, Unpack

import torch

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.flatness._eigenthings import hutch_plus_plus
from flatcausal.flatness._probes import seeded_generators, signs
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import FlatnessResult, Found

METHODS = ("hutchinson", "hutch++")
TOL, MOST_PROBES = 0.02, 300
_FEWEST = 30  # probes whose spread can be believed


def hessian_trace(
    model: Any,
    X: Any,
    y: Any,
    *,
    method: str = "hutchinson",
    tol: float = TOL,
    max_products: int = MOST_PROBES,
    **protocol: Unpack[Protocol],
) -> FlatnessResult:
    r"""Measure the curvature summed over all directions.

    .. math:: \operatorname{tr} H = \mathbb E_z\, z^\top H z, \qquad z_i = \pm 1

    (Hutchinson, 1989), by as many random z as make the standard error of each member less than ``tol`` of its
    trace, at least 30. Cost: a Hessian-vector product for each. ``"hutch++"`` (Meyer et al., 2021) takes
    ``max_products``, a third of them to find the largest eigenvalues, whose share is then exact; it needs the
    optional package hessian-eigenthings, and K times as many passes for K members.

    What it cannot tell: like :func:`hessian_top_eigenvalues` it is not invariant to a rescaling of weights,
    and with batch normalisation it can be moved at will. Negative eigenvalues hide positive ones.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    method : {"hutchinson", "hutch++"}, default="hutchinson"
        Estimator. At few products Hutch++ is the sharper one.
    tol : float, default=0.02
        Relative standard error that counts as converged.
    max_products : int, default=300
        Most products; all of them with ``"hutch++"``.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    FlatnessResult
        ``standard_error`` is that of the mean; with ``"hutch++"`` of the rest that is estimated, and errors
        of twice its size happen. ``details["n_probes"]``, shape (K,), counts each member's z.

    Raises
    ------
    ImportError
        If ``method="hutch++"`` and hessian-eigenthings is not installed.
    FloatingPointError
        If a member with a finite gradient has no finite second derivatives; it names the first bad batch.

    References
    ----------
    M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing
    splines", Communications in Statistics 18, 1989. R. A. Meyer et al., "Hutch++: Optimal Stochastic Trace
    Estimation", SOSA 2021.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import hessian_trace
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # H = X'X for the mean of (Xw)^2
    >>> result = hessian_trace(model, X, torch.zeros(2, 1), loss=torch.nn.MSELoss(), random_state=0)
    >>> float(result.value[0]), float(result.standard_error[0]), result.n_products
    (5.0, 0.0, 30)
    """
    method = check_choice("method", method, METHODS)
    tol = check_real("tol", tol, low=0.0, open_low=True)
    max_products = check_integer("max_products", max_products, low=_FEWEST)
    with measuring(model, X, y, **protocol) as problem:
        products = Products(problem)
        found = _FINDERS[method](products, tol, max_products)
        return products.record("hessian_trace", found, method=method, tol=tol, max_products=max_products)


def hutchinson(products: Products, tol: float = TOL, max_products: int = MOST_PROBES) -> Found:
    """By random signs; each member by those it needs, whatever its neighbours need."""
    problem = products.problem
    generators, samples = seeded_generators(problem), []
    needed = torch.zeros(problem.n_members, dtype=torch.long)
    while len(samples) < max_products and (needed == 0).any():
        z = signs(problem, generators)
        samples.append((z * products(z)).sum(1, dtype=torch.float64))
        if len(samples) >= _FEWEST:
            mean, error = _mean(torch.stack(samples, dim=1))
            settled = (error <= tol * mean.abs()).cpu() | ~products.alive.cpu()
            needed = torch.where((needed == 0) & settled, len(samples), needed)
    counts = torch.where(needed == 0, len(samples), needed)
    drawn = torch.stack(samples, dim=1)
    pairs = [_mean(drawn[k : k + 1, :n]) for k, n in enumerate(counts.tolist())]
    mean, error = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return Found(
        mean,
        standard_error=error,
        converged=error <= tol * mean.abs(),
        details={"n_probes": counts},
    )


def _mean(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return samples.mean(1), samples.std(1) / samples.shape[1] ** 0.5


def _hutch_plus_plus(products: Products, tol: float, max_products: int) -> Found:
    mean, error = hutch_plus_plus(products, max_products)
    probes = torch.full((len(mean),), max_products // 3)
    return Found(
        mean, standard_error=error, converged=error <= tol * mean.abs(), details={"n_probes": probes}
    )


_FINDERS = {"hutchinson": hutchinson, "hutch++": _hutch_plus_plus}
