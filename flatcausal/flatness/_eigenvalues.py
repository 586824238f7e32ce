"""The largest eigenvalues of the Hessian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.exceptions import ParameterError
from flatcausal.flatness._krylov import Krylov
from flatcausal.flatness._probes import fixed_generators, normal
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import FlatnessResult, Found

ENDS = ("largest", "smallest", "magnitude")
TOL, MOST_PRODUCTS = 1e-3, 300
_NARROWEST, _FEWEST = 20, 10


def hessian_top_eigenvalues(
    model: Any,
    X: Any,
    y: Any,
    k: int = 1,
    which: str = "largest",
    *,
    tol: float = TOL,
    ncv: int | None = None,
    max_products: int = MOST_PRODUCTS,
    **protocol: Unpack[Protocol],
) -> FlatnessResult:
    r"""Measure how curved the loss is along the directions in which it is most curved.

    The eigenvalues of :math:`H = \nabla^2 L(w)`, by Lanczos's iteration with full reorthogonalisation and
    thick restarts [1]_ from a fixed start. All members take their steps together, and each is read where it
    converges by itself. Cost: 10 to 40 Hessian-vector products, each about 3 gradients, less than 2 after the
    first if the graphs of all rows may be held.

    What they cannot tell: they are not invariant to a rescaling of weights. With batch normalisation they can
    be moved at will while the function stays: five times the weights before one divided the largest by about
    5 (in TabNet each linear layer has one). They compare runs of like weight norms at like losses;
    cross-entropy shrinks them by confidence alone. Across the kinks of ReLU and sparsemax H is not defined.
    Of an eigenvalue that occurs several times, some may be missed.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    k : int, default=1
        How many.
    which : {"largest", "smallest", "magnitude"}, default="largest"
        From which end: the largest, the most negative, or those of the largest size.
    tol : float, default=1e-3
        Length of the residual :math:`H v - \lambda v` of a unit vector v, relative to :math:`|\lambda|`, that
        counts as converged. The error of :math:`\lambda` is of the order of its square.
    ncv : int, optional
        Vectors that the iteration keeps, ``max(2 * k + 1, 20)`` if None, as ``scipy.sparse.linalg.eigsh`` has
        it.
    max_products : int, default=300
        When to give up; at least 10 are taken, ``ncv`` if k > 1.
    **protocol
        See :class:`flatcausal.flatness.Protocol`. ``random_state`` plays no part.

    Returns
    -------
    FlatnessResult
        ``value`` and ``residual`` have shape (K, k), in the order that ``which`` asks for.

    Raises
    ------
    ParameterError
        If there are fewer than k numbers, ncv is below k + 2, or model or loss uses a function whose backward
        is ``once_differentiable``: torch would leave it out of H in silence.
    FloatingPointError
        If a member with a finite gradient has no finite second derivatives; it names the first bad batch.

    References
    ----------
    .. [1] K. Wu and H. Simon, "Thick-Restart Lanczos Method for Large Symmetric Eigenvalue Problems", SIAM
       Journal on Matrix Analysis and Applications 22, 2000.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import hessian_top_eigenvalues
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # H = X'X for the mean of (Xw)^2
    >>> result = hessian_top_eigenvalues(model, X, torch.zeros(2, 1), k=2, loss=torch.nn.MSELoss())
    >>> result.value.round(6).tolist(), result.n_products
    ([[4.0, 1.0]], 2)
    """
    k = check_integer("k", k, low=1)
    which = check_choice("which", which, ENDS)
    tol = check_real("tol", tol, low=0.0, open_low=True)
    ncv = max(2 * k + 1, _NARROWEST) if ncv is None else check_integer("ncv", ncv, low=k + 2)
    max_products = check_integer("max_products", max_products, low=1)
    with measuring(model, X, y, **protocol) as problem:
        products = Products(problem)
        pairs = eigenpairs(products, k, which, tol=tol, ncv=ncv, max_products=max_products)
        found = Found(pairs.values, converged=pairs.converged, residual=pairs.residual)
        return products.record("hessian_top_eigenvalues", found, k=k, which=which, tol=tol, ncv=ncv)


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues and residuals (K, k), unit vectors (K, k, P), and who converged (K,)."""

    values: Tensor
    residual: Tensor
    vectors: Tensor
    converged: Tensor


def eigenpairs(
    products: Products,
    k: int,
    which: str = "largest",
    *,
    tol: float = TOL,
    ncv: int | None = None,
    max_products: int = MOST_PRODUCTS,
) -> Eigenpairs:
    """Eigenvalues at one end of each member's Hessian, with their vectors."""
    problem = products.problem
    if k > problem.n_parameters:
        raise ParameterError(f"k={k} eigenvalues are more than the {problem.n_parameters} numbers that move.")
    width = min(max(2 * k + 1, _NARROWEST) if ncv is None else ncv, problem.n_parameters)
    krylov = Krylov(products, normal(problem, fixed_generators(problem)), width)
    first = width if k > 1 else min(_FEWEST, width)  # fewer could miss an eigenvalue
    for _ in range(first):
        krylov.grow()
    found = _settled(krylov, k, which, tol)
    kept = k + (width - k) // 2
    most = max_products if width < problem.n_parameters else width  # all numbers are in the basis then
    for _ in range(first, most):
        if (found.converged | ~products.alive).all():
            break
        if krylov.size == width:
            values, combinations = _ritz(krylov, which)
            krylov.restart(values[:, :kept], combinations[:, :, :kept])
        krylov.grow()
        found = _settled(krylov, k, which, tol, found)
    return found


def _ritz(krylov: Krylov, which: str) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the projected matrix, the wanted ones first, and their vectors in columns."""
    values, combinations = krylov.eigen()
    key = {"largest": -values, "smallest": values, "magnitude": -values.abs()}[which]
    order = key.argsort(dim=1, stable=True)
    return values.gather(1, order), combinations.gather(2, order[:, None].expand_as(combinations))


def _settled(krylov: Krylov, k: int, which: str, tol: float, before: Eigenpairs | None = None) -> Eigenpairs:
    """The pairs now; of members that had converged, those that they had then."""
    values, combinations = _ritz(krylov, which)
    all_values, values, combinations = values, values[:, :k], combinations[:, :, :k]
    residual = krylov.residual.double()[:, None] * combinations[:, -1].abs()
    floor = torch.finfo(krylov.basis.dtype).eps ** (2 / 3) * all_values.abs().amax(1, keepdim=True)
    now = Eigenpairs(
        values, residual, krylov.vectors(combinations), (residual <= tol * values.abs().maximum(floor)).all(1)
    )
    if before is None:
        return now
    done = before.converged
    return Eigenpairs(
        torch.where(done[:, None], before.values, now.values),
        torch.where(done[:, None], before.residual, now.residual),
        torch.where(done[:, None, None], before.vectors, now.vectors),
        done | now.converged,
    )
