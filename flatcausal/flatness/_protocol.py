"""What all measures have in common: which rows, weights, statistics and precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from flatcausal._random import RandomState, seed_sequence
from flatcausal._threads import pinned_threads
from flatcausal._validation import check_boolean, check_choice, check_integer
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._source import source_of

BN_MODES = ("frozen", "recalibrated", "train")
PARAMS = ("all", "weights")
MOST_ROWS = 2048


class Protocol(TypedDict, total=False):
    """Keyword arguments that every measure takes; values compare only under the same ones.

    Dropout is off in all modes. The model is copied, and neither it nor any random state is changed.

    Parameters
    ----------
    loss : callable, optional
        ``loss(output, y)``, a mean over rows; needed for an ``nn.Module``, for a skorch net in place of
        its own. It may return one value for each member if every parameter's first axis is the members.
    params : {"all", "weights"} or callable, default="all"
        Which numbers move: all, those that are neither bias nor normalisation, or those for whose name
        (``named_parameters``; of an estimator the block's name in ``net_.module_.layout``) it returns True.
        Gradient and weight norms are theirs.
    n_rows : int or None, default=2048
        Most rows to measure on. Of more, the same random ones at each call; None takes all.
    batch_size : int, optional
        Rows of one pass; at most 1024 if None, and less where differentiation would hold more than 128 MiB of
        a member. The result does not depend on it, up to rounding.
    bn : {"frozen", "recalibrated", "train"}, default="frozen"
        Batch normalisation by the statistics that the model holds (those of this package's estimators belong
        to their weights already), by new ones from the measured rows in batches of 256, taken once at the
        model's own weights, or by the statistics of the measured rows as one batch (in TabNet: ghost
        batches), which move with the weights. Surfaces and paths take new ones at each point.
    dtype : torch.dtype, optional
        float64 below 100,000 numbers a member if None, else the model's.
    include_regularizer : bool, default=False
        Add an estimator's sparsity penalty to its data loss.
    normalize_logits : bool, default=False
        Centre each row's logits and divide them by their norm before the loss, so that confidence alone makes
        no minimum flat; needs three classes.
    n_threads : int, default=1
        Threads of torch while measuring; the same number gives the same bits.
    random_state : int, Generator or None
        Source of random directions. Member k's depend on the seed and k alone.
    """

    loss: Callable[[Any, Tensor], Tensor] | None
    params: Literal["all", "weights"] | Callable[[str], bool]
    n_rows: int | None
    batch_size: int | None
    bn: str
    dtype: torch.dtype | None
    include_regularizer: bool
    normalize_logits: bool
    n_threads: int
    random_state: RandomState


@contextmanager
def measuring(model: Any, X: Any, y: Any, **protocol: Unpack[Protocol]) -> Iterator[Problem]:
    """The loss of a private copy of ``model`` as a function of its weights, for as long as the block lasts.

    Parameters
    ----------
    model, X, y
        As :func:`flatcausal.flatness.sharpness` takes them.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.
    """
    checked = _checked(protocol)
    n_threads = checked.pop("n_threads")
    source = source_of(model, X, y, checked.pop("loss"), checked.pop("n_rows"))
    device = next(source.module.parameters()).device
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(pinned_threads(n_threads))
        stack.enter_context(_same_random_state(device))
        yield Problem(source, **checked)


def _checked(protocol: Protocol) -> dict[str, Any]:
    unknown = set(protocol) - Protocol.__annotations__.keys()
    if unknown:
        known = ", ".join(Protocol.__annotations__)
        raise ParameterTypeError(
            f"{min(unknown)!r} is no argument of a measure; the common ones are {known}."
        )
    n_rows, batch_size = protocol.get("n_rows", MOST_ROWS), protocol.get("batch_size")
    bn = check_choice("bn", protocol.get("bn", "frozen"), BN_MODES)
    if batch_size is not None and bn == "train":
        raise ParameterError(
            "batch_size must be None with bn='train': rows that normalise each other go in one pass."
        )
    return {
        "loss": _loss(protocol.get("loss")),
        "params": _params(protocol.get("params", "all")),
        "n_rows": None if n_rows is None else check_integer("n_rows", n_rows, low=2),
        "batch_size": None if batch_size is None else check_integer("batch_size", batch_size, low=1),
        "bn": bn,
        "dtype": _dtype(protocol.get("dtype")),
        "include_regularizer": check_boolean(
            "include_regularizer", protocol.get("include_regularizer", False)
        ),
        "normalize_logits": check_boolean("normalize_logits", protocol.get("normalize_logits", False)),
        "n_threads": check_integer("n_threads", protocol.get("n_threads", 1), low=1),
        "seeds": seed_sequence(protocol.get("random_state")),
    }


def _loss(loss: Any) -> Any:
    if loss is not None and not callable(loss):
        raise ParameterTypeError(f"loss must be a function of (output, y), got {loss!r}.")
    if isinstance(loss, nn.Module) and getattr(loss, "reduction", "mean") != "mean":
        raise ParameterError(
            f"loss must be a mean over rows, got reduction={loss.reduction!r}: pass reduction='mean'."
        )
    return loss


def _params(params: Any) -> Any:
    return params if callable(params) else check_choice("params", params, PARAMS)


def _dtype(dtype: Any) -> torch.dtype | None:
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ParameterTypeError(
            f"dtype must be a floating torch.dtype such as torch.float64, got {dtype!r}."
        )
    return dtype


@contextmanager
def _same_random_state(device: torch.device) -> Iterator[None]:
    """Undo what a model draws from torch's global generators; write nothing if it draws nothing."""
    on_gpu = device.type == "cuda"
    before = torch.get_rng_state()
    before_gpu = torch.cuda.get_rng_state(device) if on_gpu else before
    try:
        yield
    finally:
        if not torch.equal(before, torch.get_rng_state()):
            torch.set_rng_state(before)
        if on_gpu and not torch.equal(before_gpu, torch.cuda.get_rng_state(device)):
            torch.cuda.set_rng_state(before_gpu, device)
