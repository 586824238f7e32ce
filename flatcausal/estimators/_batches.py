"""Batches of whole tensors, in an order of its own for every member."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class Batch(NamedTuple):
    """Rows that go through the network together.

    Attributes
    ----------
    X : Tensor of shape (n, p) or (K, n, p)
    y : Tensor of shape (n, ...) or (K, n, ...), or None
    weight : Tensor of shape (n,) or (K, n), or None
        Weights of the rows' losses.
    """

    X: Tensor
    y: Any = None
    weight: Tensor | None = None


class Table(Dataset):
    """Rows that stay together as tensors.

    Parameters
    ----------
    X : Tensor of shape (n, p) or (K, n, p)
        One table for all members, or one for each.
    y : Tensor of shape (n, ...) or (K, n, ...), optional
    weight : Tensor of shape (n,) or (K, n), optional
    rows : ndarray of int, shape (n,), optional
        Where the rows stand in the table that the user passed.
    """

    def __init__(
        self,
        X: Tensor,
        y: Tensor | None = None,
        weight: Tensor | None = None,
        rows: np.ndarray | None = None,
    ):
        self.parts = Batch(X, y, weight)
        self.rows = rows

    @property
    def X(self) -> Tensor:  # noqa: N802
        """The features."""
        return self.parts.X

    def __len__(self) -> int:
        return self.X.shape[-2]

    def __getitem__(self, rows) -> Batch:
        """Rows that a slice names."""
        index = (slice(None), rows) if self.X.dim() == 3 else (rows,)
        return self._at(index)

    def take(self, rows: Tensor) -> Batch:
        """Rows of shape (K, b), row k for member k."""
        X, y, weight = self.parts
        if X.dim() == 3:
            return self._at((torch.arange(len(rows), device=rows.device)[:, None], rows))
        # The simple form is X[rows], which takes several times as long.
        gathered = X.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)
        return Batch(gathered, None if y is None else y[rows], None if weight is None else weight[rows])

    def _at(self, index: tuple[Any, ...]) -> Batch:
        X, y, weight = self.parts
        return Batch(X[index], None if y is None else y[index], None if weight is None else weight[index])


def n_batches(n_rows: int, batch_size: int) -> int:
    """Mini-batches of one pass over the data.

    A last batch of a single row, which has no variance to normalise by, joins the batch before.

    Examples
    --------
    >>> n_batches(1000, 100), n_batches(1002, 100), n_batches(1001, 100)
    (10, 11, 10)
    """
    count = math.ceil(n_rows / batch_size)
    return count - 1 if n_rows % batch_size == 1 and count > 1 else count


class MemberBatches:
    """What each optimizer step consumes: a list of mini-batches, shuffled anew for every member.

    Parameters
    ----------
    dataset : Table
        Training rows.
    batch_size : int
        Rows of a mini-batch.
    generators : sequence of torch.Generator
        One a member; member k's order depends on generator k alone.
    batches_per_step : int, default=1
        Fresh mini-batches in each list. Where an epoch's last list is short it is filled from a new order.
    full_batch : bool, default=False
        Give all rows at once instead, in one order that stays: ghost batches are then the same in each step.
    """

    def __init__(
        self,
        dataset: Table,
        batch_size: int,
        generators: Sequence[torch.Generator],
        batches_per_step: int = 1,
        full_batch: bool = False,
    ):
        self.dataset = dataset
        self.generators = generators
        self.batches_per_step = batches_per_step
        n_rows = len(dataset)
        self.n_batches = n_batches(n_rows, batch_size)
        self.sizes = [batch_size] * (self.n_batches - 1)
        self.sizes.append(n_rows - sum(self.sizes))
        self._whole = dataset.take(self._order()) if full_batch else None

    def __len__(self) -> int:
        """Steps of an epoch."""
        return 1 if self._whole else math.ceil(self.n_batches / self.batches_per_step)

    @property
    def gradients_per_batch(self) -> int:
        """Mini-batch gradients that one pass over a list's batch is worth."""
        return self.n_batches if self._whole else 1

    def __iter__(self) -> Iterator[list[Batch]]:
        if self._whole:
            yield [self._whole]
            return
        stream = self._stream()
        for _ in range(len(self)):
            yield list(islice(stream, self.batches_per_step))

    def _stream(self) -> Iterator[Batch]:
        while True:
            for rows in self._order().split(self.sizes, dim=1):
                yield self.dataset.take(rows)

    def _order(self) -> Tensor:
        """A permutation of the rows for every member, shape (K, n)."""
        orders = [torch.randperm(len(self.dataset), generator=g) for g in self.generators]
        return torch.stack(orders).to(self.dataset.X.device)


class RowBatches:
    """All rows in their order, in batches of bounded size.

    Parameters
    ----------
    dataset : Table
        Rows.
    batch_size : int
        Rows of a batch.
    """

    def __init__(self, dataset: Table, batch_size: int):
        self.dataset, self.batch_size = dataset, batch_size

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.dataset), self.batch_size):
            yield self.dataset[start : start + self.batch_size]
