"""What a module says on its way to the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flatcausal.exceptions import ParameterError

_TINY = 1e-10  # as in the code of Andriushchenko et al., 2023


class Output:
    """Watch a private copy: keep its last output, ``raw`` and as the loss sees it, with logits normalised.

    Parameters
    ----------
    module : nn.Module
        The copy; its first output counts, if it has several.
    normalize_logits : bool
        See :class:`flatcausal.flatness.Protocol`.
    sparsity_weight : float or None
        Of the second output, where it is a population's sparsity.
    include_regularizer : bool
        Whether the loss has a penalty.
    """

    def __init__(
        self,
        module: nn.Module,
        normalize_logits: bool,
        sparsity_weight: float | None,
        include_regularizer: bool,
    ):
        if include_regularizer and sparsity_weight is None:
            raise ParameterError(
                "include_regularizer=True is for estimators of this package: write the penalty into loss."
            )
        self.normalize_logits = normalize_logits
        self.sparsity_weight = sparsity_weight if include_regularizer else None
        self.last: Tensor | None = None
        self.raw: Tensor | None = None
        self._sparsity: Any = None
        module.register_forward_hook(self._look)

    def penalised(self, losses: Tensor) -> Tensor:
        """Losses with the penalty of the last pass, if it counts."""
        return losses if self.sparsity_weight is None else losses - self.sparsity_weight * self._sparsity

    def wrong(self, labels: np.ndarray, n_members: int) -> Tensor:
        """Rows of the last pass that each member puts in a wrong class, shape (K,); NaN is wrong."""
        assert self.last is not None
        logits = self.last.reshape(n_members, len(labels), -1)
        right = logits.argmax(-1) == torch.as_tensor(labels, device=logits.device)
        return (~(right & logits.isfinite().all(-1))).double().sum(1)

    def forget(self) -> None:
        """Let go of the last pass and of what hangs on it."""
        self.last = self.raw = self._sparsity = None

    def check(self, labels: np.ndarray | None) -> None:
        """Refuse to normalise what are no logits; after a first pass."""
        if self.normalize_logits and self.raw is not None:
            width = self.raw.shape[-1] if self.raw.dim() > 1 else 1
            if labels is None or width < 3:
                raise ParameterError(
                    "normalize_logits=True needs a classifier of three or more classes: with fewer, all that "
                    "is left of a row's logits is a sign."
                )
            raw = self.raw.detach()
            if (raw >= 0).all() and torch.allclose(raw.sum(-1), torch.ones_like(raw[..., 0])):
                raise ParameterError(
                    "normalize_logits=True needs logits, and the model's outputs are probabilities: pass a "
                    "model without its softmax."
                )
        self.forget()

    def _look(self, module: nn.Module, args: Any, output: Any) -> Any:
        first, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        self.raw = first
        self._sparsity = rest[0] if rest else None
        if self.normalize_logits:
            centred = first - first.mean(-1, keepdim=True)
            first = centred / torch.linalg.vector_norm(centred, dim=-1, keepdim=True).clamp_min(_TINY)
        self.last = first
        return first if rest is None else (first, *rest)
