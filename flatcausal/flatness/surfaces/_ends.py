"""The second end of a path: another model of the same architecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.flatness._normalization import private_copy
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._protocol import MOST_ROWS, Protocol
from flatcausal.flatness._source import Source, source_of
from flatcausal.flatness.surfaces._named import moving_names
from flatcausal.nn import TabNet

_FEW = 16  # rows on which both must measure the same


def other_end(problem: Problem, other: Any, X: Any, y: Any, protocol: Protocol) -> Tensor:
    """Weights (K, P) of the other model, the problem's own where nothing moves."""
    source = source_of(other, X, y, protocol.get("loss"), protocol.get("n_rows", MOST_ROWS))
    _check_architecture(source.module, problem.module)
    _check_loss(problem, source)
    _check_function(problem.source, source)
    theirs = dict(source.module.named_parameters())
    moving = moving_names(problem)
    if protocol.get("params", "all") == "all":
        for name, mine in problem.module.named_parameters():
            if name not in moving and not torch.equal(mine, theirs[name].to(mine)):
                raise ParameterError(
                    f"other's {name!r} differs from model's, where it is frozen: call requires_grad_() on it."
                )
    found = [theirs[name].detach().to(p) for name, p in zip(moving, problem.params, strict=True)]
    if problem.mask is not None:
        pairs = zip(found, problem.start, strict=True)
        found = [torch.where(problem.mask, new, old) for new, old in pairs]
    return problem.flat(found)


def _check_architecture(theirs: nn.Module, mine: nn.Module) -> None:
    if type(theirs) is not type(mine):
        raise ParameterTypeError(
            f"other is a {type(theirs).__name__}, but model is a {type(mine).__name__}: "
            f"pass a model of the same architecture."
        )
    if isinstance(theirs, TabNet) and isinstance(mine, TabNet):
        if theirs.n_members != mine.n_members:
            raise ParameterError(
                f"other has {theirs.n_members} members, but model has {mine.n_members}: pass populations of "
                f"equal n_members."
            )
        for name in ("gamma", "mask_type"):
            a, b = getattr(theirs, name), getattr(mine, name)
            if a != b:
                raise ParameterError(
                    f"other has {name}={a!r}, but model has {b!r}: pass a model of the same architecture."
                )
    theirs_by_name, mine_by_name = _shapes(theirs), _shapes(mine)
    for name in [*theirs_by_name, *mine_by_name]:
        a, b = theirs_by_name.get(name), mine_by_name.get(name)
        if a != b:
            raise ParameterError(
                f"other's {name!r} has {_said(a)}, but model's has {_said(b)}: pass a "
                f"model of the same architecture."
            )


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    if isinstance(module, TabNet):
        return {block.name: block.shape for block in module.layout}
    return {name: tuple(p.shape) for name, p in module.named_parameters()}


def _said(shape: tuple[int, ...] | None) -> str:
    return "no such parameter" if shape is None else f"shape {shape}"


@torch.no_grad()
def _check_loss(problem: Problem, source: Source) -> None:
    """Both models' losses are the same function of weights; targets scaled by other data are not."""
    rows = np.arange(min(_FEW, problem.n_rows))
    mine, theirs = (s.bind(problem.module)(rows)() for s in (problem.source, source))
    problem.output.forget()
    if not torch.allclose(mine, theirs, rtol=1e-5, atol=0, equal_nan=True):
        raise DataError(
            "other measures another loss with the same weights, as its targets are scaled by other data: fit "
            "both models on the same rows, or with scale_target=False."
        )


@torch.no_grad()
def _check_function(source: Source, other: Source) -> None:
    """Both modules are the same function of weights: shapes do not tell Tanh from ReLU."""
    if isinstance(source.module, TabNet):
        return
    mine, theirs = (private_copy(s.module).eval() for s in (source, other))
    theirs.to(next(mine.parameters()))
    rows = np.arange(min(_FEW, source.n_rows))
    try:
        theirs.load_state_dict(mine.state_dict())
        losses, others = (source.bind(net)(rows)() for net in (mine, theirs))
        same = torch.allclose(losses, others, atol=0, equal_nan=True)
    except RuntimeError:
        same = False
    if not same:
        raise ParameterError(
            "other gives other losses with model's weights: pass a model of the same architecture."
        )
