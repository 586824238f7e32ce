"""Directions to look along from each member's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flatcausal.exceptions import ParameterError
from flatcausal.flatness._eigenvalues import eigenpairs
from flatcausal.flatness._probes import normal
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._products import Products
from flatcausal.flatness.surfaces._named import read
from flatcausal.nn import TabNet

_STREAM = 5  # of random directions


@dataclass(frozen=True)
class Directions:
    """Directions (K, D, P), and of eigenvectors the eigenvalues (K, D) and who converged (K,)."""

    kind: str
    vectors: Tensor
    eigenvalues: Tensor | None = None
    converged: Tensor | None = None


def filter_directions(problem: Problem, count: int) -> Directions:
    """Random ones, of which each filter has the length of the weights' own; biases and norms stand still.

    Of two, each filter of the second is made orthogonal to the first's before it takes its length. So the
    directions are orthogonal, their lengths are exact, and both survive a rescaling of layers: the usual
    order, orthogonal as a whole after the lengths are set, keeps one of the three. A filter of a single
    number has no second direction, and moves along the first alone.
    """
    tensors = _weight_tensors(problem)
    if not tensors:
        raise ParameterError("params chooses no weights, and directions='filter' move nothing else.")
    generators = problem.generators(_STREAM)
    chance = [normal(problem, generators) for _ in range(count)]
    if count == 2 and all(columns.stop - columns.start == n for columns, n in tensors):
        raise ParameterError(
            "directions='filter' needs a weight tensor with two numbers or more for an output: "
            "pass directions='hessian', or use loss_slice."
        )
    start, found = problem.flat(problem.start), [torch.zeros_like(z) for z in chance]
    for columns, n_filters in tensors:
        weights, *drawn = (m[:, columns].unflatten(1, (n_filters, -1)) for m in (start, *chance))
        if count == 2:
            drawn[1] = _without(drawn[1], drawn[0])
        for direction, z in zip(found, drawn, strict=True):
            direction[:, columns] = _of_length(z, weights).flatten(1)
    return Directions("filter", torch.stack(found, dim=1))


def hessian_directions(products: Products, count: int) -> Directions:
    """Unit eigenvectors of the largest eigenvalues; of each its largest number is positive."""
    pairs = eigenpairs(products, count)
    return Directions("hessian", signed(pairs.vectors), pairs.values, pairs.converged)


def given_directions(problem: Problem, values: Sequence[Any], argument: str) -> Directions:
    """The caller's, as they are; those of a member whose weights are lost may be anything."""
    found = [read(problem, value, f"{argument}[{i}]") for i, value in enumerate(values)]
    vectors = torch.stack(found, dim=1)
    used = vectors[problem.flat(problem.restrict(problem.start)).isfinite().all(1)]
    if not used.isfinite().all():
        raise ParameterError(f"{argument} holds numbers that are not finite: pass finite ones.")
    lengths = torch.linalg.vector_norm(used, dim=2)
    if (lengths == 0).any():
        raise ParameterError(
            f"{argument} holds a direction along which nothing moves: pass one that is not 0 in the numbers "
            f"that params chooses."
        )
    units = used / lengths[..., None]
    if len(values) == 2 and (_without(units[:, 1], units[:, 0]).norm(dim=1) < 1e-6).any():
        raise ParameterError(f"{argument} are parallel, and span no plane: pass two that differ.")
    return Directions("given", vectors)


def signed(vectors: Tensor) -> Tensor:
    """Each of ``vectors`` (..., P) or its opposite, so that its number of the largest size is positive."""
    largest = vectors.gather(-1, vectors.abs().argmax(-1, keepdim=True))
    return torch.where(largest < 0, -vectors, vectors)


def _weight_tensors(problem: Problem) -> list[tuple[slice, int]]:
    """Of each weight tensor that moves its columns in a flat row, and its number of filters.

    A filter is what makes one output of a layer: an index of the tensor's first axis.
    """
    if isinstance(problem.module, TabNet):
        layout = problem.module.layout
        found = [
            (columns, block.shape[0])
            for columns, block in zip(layout.columns().values(), layout, strict=True)
        ]
    else:
        found, stop = [], 0
        for p in problem.params:
            start, stop = stop, stop + p.numel() // problem.n_members
            shape = p.shape if problem.n_members == 1 else p.shape[1:]
            found.append((slice(start, stop), shape[0] if shape else 1))
    pairs = zip(problem.scaled, problem.start, strict=True)
    is_weight = problem.flat([mask.expand_as(w) for mask, w in pairs])[0]
    return [(columns, n) for columns, n in found if is_weight[columns.start]]


def _of_length(z: Tensor, weights: Tensor) -> Tensor:
    lengths, own = (torch.linalg.vector_norm(m, dim=2, keepdim=True) for m in (weights, z))
    return z / own.clamp_min(torch.finfo(z.dtype).tiny) * lengths  # a unit first, so that 0 stays 0


def _without(z: Tensor, other: Tensor) -> Tensor:
    """The part of z orthogonal to another vector; twice, against rounding. 0 for vectors of one number."""
    if z.shape[-1] == 1:
        return torch.zeros_like(z)
    for _ in range(2):
        z = z - (z * other).sum(-1, keepdim=True) / other.square().sum(-1, keepdim=True) * other
    return z
