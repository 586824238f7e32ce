"""Where a loss comes from: an estimator of this package, a skorch net, or a module with a loss."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.flatness._rows import chosen_rows, content_hash, take
from flatcausal.nn import TabNet

Losses = Callable[[], Tensor]
LossesOnRows = Callable[[np.ndarray], Losses]


@dataclass(frozen=True)
class Source:
    """A model and the rows to measure it on.

    Attributes
    ----------
    module : nn.Module
        The caller's.
    bind : callable
        ``bind(copy)(rows)()`` is the mean loss of a copy of the module on some of the rows, for each member.
    n_rows : int
        Rows to measure on.
    rows_hash : str
        Of their content.
    labels : ndarray of int, shape (n_rows,), or None
        Classes as positions in the output, where the target is a class.
    sparsity_weight : float or None
        Of the masks' entropy in an estimator's loss.
    """

    module: nn.Module
    bind: Callable[[nn.Module], LossesOnRows]
    n_rows: int
    rows_hash: str
    labels: np.ndarray | None
    sparsity_weight: float | None = None


def source_of(model: Any, X: Any, y: Any, loss: Any, n_rows: int | None) -> Source:
    """Read what the caller passed."""
    if hasattr(model, "data_loss"):
        return _of_estimator(model, X, y, loss, n_rows)
    if hasattr(model, "get_loss") and hasattr(model, "infer"):
        return _of_net(model, X, y, loss, n_rows)
    if not isinstance(model, nn.Module):
        raise ParameterTypeError(
            f"model must be a fitted flatcausal estimator, a skorch net or an nn.Module, "
            f"got {type(model).__name__}."
        )
    if loss is None:
        raise ParameterError(
            "loss is needed with an nn.Module: pass a function of (output, y), such as nn.MSELoss()."
        )
    return _of_module(model, X, y, lambda module: _forward_and_loss(module, loss), n_rows)


def _of_estimator(model: Any, X: Any, y: Any, loss: Any, n_rows: int | None) -> Source:
    check_is_fitted(model)
    if loss is not None:
        raise ParameterError("loss must be None with an estimator, which is measured by its own.")
    X, y = chosen_rows(X, y, n_rows)
    model.data_loss(X, y)  # says what is wrong with the table as a whole
    classes = getattr(model, "classes_", None)

    def bind(module: nn.Module) -> LossesOnRows:
        def on(rows: np.ndarray) -> Losses:
            function = model.data_loss(take(X, rows), take(y, rows))
            return lambda: function(module)

        return on

    return Source(
        module=model.net_.module_,
        bind=bind,
        n_rows=len(X),
        rows_hash=content_hash(X, y),
        labels=None if classes is None else np.searchsorted(classes, np.asarray(y).ravel()),
        sparsity_weight=float(model.lambda_sparse),
    )


def _of_net(net: Any, X: Any, y: Any, loss: Any, n_rows: int | None) -> Source:
    if not hasattr(net, "module_"):
        raise NotFittedError(f"This {type(net).__name__} is not fitted: call fit or initialize first.")
    if isinstance(net.module_, TabNet):
        raise ParameterTypeError("model is the net of an estimator: pass the estimator itself.")
    reduction = getattr(net.criterion_, "reduction", "mean")
    if loss is None and reduction != "mean":
        raise ParameterError(
            f"model's criterion must be a mean over rows, got reduction={reduction!r}: pass loss, such as "
            f"loss={type(net.criterion_).__name__}()."
        )

    def step(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
        if loss is not None:
            return _forward_and_loss(module, loss)
        # The net as it is, but for its module: skorch may do more than call the criterion, such as the
        # logarithm before NLLLoss, and a subclass may look at the module's weights.
        twin = object.__new__(type(net))
        vars(twin).update(vars(net))
        vars(twin).update(module_=module, criterion_=_matched(net.criterion_, module))
        return lambda x, target: twin.get_loss(twin.infer(x), target, X=x, training=False)

    return _of_module(net.module_, X, y, step, n_rows)


def _of_module(
    module: nn.Module,
    X: Any,
    y: Any,
    step: Callable[[nn.Module], Callable[[Tensor, Tensor], Tensor]],
    n_rows: int | None,
) -> Source:
    if not any(p.requires_grad for p in module.parameters()):
        raise ParameterError("model has no trainable parameters: there is nothing to move.")
    X, y = chosen_rows(X, y, n_rows)
    inputs, targets = _tensor("X", X), _tensor("y", y)
    whole = not targets.is_floating_point() and targets.dim() == 1

    def bind(module: nn.Module) -> LossesOnRows:
        function, like = step(module), next(module.parameters())

        def on(rows: np.ndarray) -> Losses:
            x, target = (_placed(take(values, rows), like) for values in (inputs, targets))
            return lambda: function(x, target)

        return on

    return Source(
        module=module,
        bind=bind,
        n_rows=len(inputs),
        rows_hash=content_hash(X, y),
        labels=targets.cpu().numpy() if whole else None,
    )


def _forward_and_loss(module: nn.Module, loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    function = _matched(loss, module)
    return lambda x, target: function(module(x), target)


def _matched(loss: Any, module: nn.Module) -> Any:
    """A copy in the module's precision of a loss that is a module, and may hold tensors."""
    if not isinstance(loss, nn.Module):
        return loss
    like = next(module.parameters())
    return copy.deepcopy(loss).to(like.device, like.dtype)


def _placed(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.device, like.dtype if values.is_floating_point() else None)


def _tensor(name: str, values: Any) -> Tensor:
    try:
        return torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values)).detach()
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be an array of numbers or a tensor: {error}") from error
