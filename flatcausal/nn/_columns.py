"""Columns of (K, p, n) that a projection has not finished, lifted out to be finished by themselves."""

from __future__ import annotations

import torch
from torch import Tensor


def places_of(columns: Tensor, n_features: int) -> Tensor:
    """Where the elements of the columns that are True in (K, 1, n) lie in flat memory: shape (m, p)."""
    member, row = columns.squeeze(1).nonzero(as_tuple=True)
    n = columns.shape[2]
    first = member * (n_features * n) + row
    return first.unsqueeze(1) + torch.arange(0, n_features * n, n, device=row.device)


def taken(tensor: Tensor, places: Tensor) -> Tensor:
    """Elements of a contiguous tensor, in the shape of their places."""
    return tensor.view(-1).index_select(0, places.view(-1)).view(places.shape)


def put(tensor: Tensor, places: Tensor, values: Tensor) -> None:
    """Write elements of a contiguous tensor."""
    tensor.view(-1).index_copy_(0, places.view(-1), values.view(-1))
