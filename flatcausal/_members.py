"""Arithmetic on tensors that stack K independent models on their first axis.

With K = 1 the tensors are one model's as they are, and no axis is reserved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from flatcausal._random import child, integer_seed


def member_norms(tensors: Sequence[Tensor], n_members: int) -> Tensor:
    """Euclidean norm over each member's share of all tensors, shape (K,)."""
    if n_members == 1 and len(tensors) > 1:
        return nn.utils.get_total_norm(list(tensors)).reshape(1)
    norms = [torch.linalg.vector_norm(tensor.reshape(n_members, -1), dim=1) for tensor in tensors]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), dim=0)


def per_member(values: Tensor, tensor: Tensor, n_members: int) -> Tensor:
    """Shape ``values`` (K,) so that they multiply the members of ``tensor``."""
    return values.reshape(()) if n_members == 1 else values.reshape(-1, *[1] * (tensor.dim() - 1))


def member_generators(seeds: np.random.SeedSequence, n_members: int) -> list[torch.Generator]:
    """One generator a member: member k's depends on the seeds and k alone."""
    return [torch.Generator().manual_seed(integer_seed(child(seeds, k))) for k in range(n_members)]


def member_normal(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal numbers of the shape of ``like``, each member's from its own generator."""
    shape = like.shape if len(generators) == 1 else like.shape[1:]
    rows = [torch.empty(shape, dtype=like.dtype).normal_(generator=g) for g in generators]
    return (rows[0] if len(rows) == 1 else torch.stack(rows)).to(like.device)
