"""Operations that torch leaves out of second derivatives without a word."""

from __future__ import annotations

from torch import Tensor
from torch.autograd.function import once_differentiable

# All that the decorator returns are one function with different cells.
_DECORATED = once_differentiable(lambda ctx: None).__code__


def once_only(losses: Tensor) -> str | None:
    """Name of an operation on the way to the losses whose backward is declared ``once_differentiable``.

    ``torch.autograd.grad`` with inputs drops the paths that lead through it, rather than raise.
    """
    seen, waiting = set(), [losses.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        function = getattr(node, "_forward_cls", None)
        if function and getattr(function.backward, "__code__", None) is _DECORATED:
            return function.__name__
        waiting += [following for following, _ in node.next_functions]
    return None
