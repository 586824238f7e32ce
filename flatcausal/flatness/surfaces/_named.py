"""From weights by name to one row a member, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flatcausal.exceptions import DataError, ParameterTypeError
from flatcausal.flatness._problem import Problem


def read(problem: Problem, values: Any, argument: str) -> Tensor:
    """The moving numbers of a mapping such as ``dict(module.named_parameters())``, shape (K, P)."""
    if not isinstance(values, Mapping):
        raise ParameterTypeError(
            f"{argument} must map the names of the model's parameters to arrays, as "
            f"dict(module.named_parameters()) does, got {type(values).__name__}."
        )
    known = dict(problem.module.named_parameters())
    strange = sorted(set(map(str, values)) - known.keys() - problem.module.state_dict().keys())
    if strange:
        raise DataError(f"{argument} has {strange[0]!r}, which the model has not: pass the same model's.")
    found = []
    for name, param in zip(moving_names(problem), problem.params, strict=True):
        if name not in values:
            raise DataError(f"{argument} lacks {name!r}: pass all of the model's parameters.")
        value = _tensor(values[name], f"{argument}[{name!r}]")
        if value.shape != param.shape:
            raise DataError(
                f"{argument}[{name!r}] has shape {tuple(value.shape)}, but the model's is "
                f"{tuple(param.shape)}: pass the same model's."
            )
        found.append(value.to(param))
    return problem.flat(problem.restrict(found))


def named(problem: Problem, matrix: Tensor) -> dict[str, np.ndarray]:
    """Rows (K, P) as arrays by the names of the parameters that move."""
    parts = zip(moving_names(problem), problem.unflat(matrix), strict=True)
    return {name: part.detach().cpu().numpy() for name, part in parts}


def moving_names(problem: Problem) -> list[str]:
    """Names of ``problem.params``."""
    names = {id(p): name for name, p in problem.module.named_parameters()}
    return [names[id(p)] for p in problem.params]


def _tensor(value: Any, argument: str) -> Tensor:
    try:
        return torch.as_tensor(value if isinstance(value, Tensor) else np.asarray(value)).detach()
    except (TypeError, ValueError) as error:
        raise DataError(f"{argument} must be an array of numbers or a tensor: {error}") from error
