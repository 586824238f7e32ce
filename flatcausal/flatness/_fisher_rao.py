"""The Fisher-Rao norm of a model's weights."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from flatcausal.exceptions import ParameterError
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import FlatnessResult, Found, record


def fisher_rao_norm(model: Any, X: Any, y: Any, **protocol: Unpack[Protocol]) -> FlatnessResult:
    r"""Measure the length of the weights in the metric of the Fisher matrix.

    .. math:: w^\top F w = \frac1n \sum_i \left( w^\top \nabla \ell_i(w) \right)^2

    with the rows' own targets (Liang et al., 2019, whose norm is its root). For a network of :math:`h` layers
    without biases that is homogeneous in them, it is
    :math:`h^2 \operatorname{mean}_i \langle \partial \ell_i / \partial f_i, f_i \rangle^2`: a measure of the
    function, which no rescaling of layers changes. Cost: 1 Hessian-vector product, for all rows at once.

    What it cannot tell: it vanishes with the rows' losses, so at interpolation it is 0 for all models. With
    ``bn="train"`` weights before a normalisation add nothing to it, as outputs do not depend on their length.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    FlatnessResult
        The standard error is that of the mean over rows, as a sample of more.

    References
    ----------
    T. Liang et al., "Fisher-Rao Metric, Geometry, and Complexity of Neural Networks", AISTATS 2019.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import fisher_rao_norm
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.fill_(2.0)
    >>> X = torch.ones(4, 1)
    >>> float(fisher_rao_norm(model, X, X, loss=torch.nn.MSELoss()).value[0])  # (w * 2 (w - 1))^2
    16.0
    """
    with measuring(model, X, y, **protocol) as problem:
        require_rows(problem, "The Fisher-Rao norm")
        _ = problem.base
        problem.move_to(problem.start)
        squares = torch.cat([_squares(problem, part) for part in problem.batch_losses("products")], dim=1)
        error = squares.std(1) / squares.shape[1] ** 0.5
        return record(problem, "fisher_rao_norm", Found(squares.mean(1), standard_error=error))


def _squares(problem: Problem, losses: Tensor) -> Tensor:
    """Of each row of a batch whose share of the loss is ``losses``, shape (K, rows)."""
    output = problem.output.last
    assert output is not None
    (slopes,) = torch.autograd.grad(losses.sum(), output, retain_graph=True)
    # What the outputs change along the weights: differentiate u^T J w, which is linear in u, by u.
    u = torch.zeros_like(output, requires_grad=True)
    jacobian = torch.autograd.grad(output, problem.params, u, create_graph=True, allow_unused=True)
    weights = problem.restrict(problem.start)
    along = torch.stack(
        [(j * w).sum() for j, w in zip(jacobian, weights, strict=True) if j is not None]
    ).sum()
    (changes,) = torch.autograd.grad(along, u)
    # A row's loss is not divided by the number of rows.
    n_rows = output.shape[int(problem.stacked)]
    products = (slopes * changes).reshape(problem.n_members, n_rows, -1)
    return (products.sum(2) * problem.n_rows).square()


def require_rows(problem: Problem, measure: str) -> None:
    """Refuse a loss that is more than a mean of what rows' outputs cost, or has no second derivatives."""
    problem.require_second_derivatives()
    if problem.output.sparsity_weight is not None:
        raise ParameterError(f"{measure} is one of outputs: pass include_regularizer=False.")
