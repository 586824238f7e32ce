"""The names of a population matrix's columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("weight", "bias", "norm", "embedding")


@dataclass(frozen=True)
class Block:
    """Consecutive columns that hold one layer's tensor for every member.

    Parameters
    ----------
    name : str
        Name of the tensor, such as ``"shared.0"``.
    shape : tuple of int
        Shape of the tensor for one member.
    kind : {"weight", "bias", "norm", "embedding"}
        What the tensor does; measures that scale with the weights ask for it.
    scale : float
        Standard deviation of the initial values; 0 for constant ones.
    fill : float, default=0.0
        Mean of the initial values.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    scale: float
    fill: float = 0.0

    @property
    def size(self) -> int:
        """Number of columns."""
        return math.prod(self.shape)


class Layout:
    """The blocks of a population matrix, in column order.

    Parameters
    ----------
    blocks : iterable of Block
        Blocks with distinct names.

    Examples
    --------
    >>> import torch
    >>> layout = Layout([Block("a", (2, 3), "weight", 1.0), Block("b", (2,), "bias", 0.0)])
    >>> layout.n_parameters
    8
    >>> [tuple(view.shape) for view in layout.split(torch.zeros(4, 8)).values()]
    [(4, 2, 3), (4, 2)]
    """

    def __init__(self, blocks: Iterable[Block]):
        self.blocks = tuple(blocks)
        self.sizes = [block.size for block in self.blocks]
        self.n_parameters = sum(self.sizes)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    def columns(self) -> dict[str, slice]:
        """Columns of each block by name."""
        stops = torch.tensor(self.sizes).cumsum(0).tolist()
        return {b.name: slice(stop - b.size, stop) for b, stop in zip(self.blocks, stops, strict=True)}

    def split(self, population: Tensor, *kinds: str) -> dict[str, Tensor]:
        """View a matrix (K, P) as one tensor of shape ``(K, *shape)`` for each block of ``kinds``, or all."""
        parts = population.split(self.sizes, dim=1)
        n_members = population.shape[0]
        return {
            b.name: part.view(n_members, *b.shape)
            for b, part in zip(self.blocks, parts, strict=True)
            if not kinds or b.kind in kinds
        }

    def mask(self, *kinds: str) -> Tensor:
        """Boolean vector of shape (P,): the columns whose block is of one of ``kinds``."""
        return torch.cat([torch.full((b.size,), b.kind in kinds) for b in self.blocks])

    def draw(self, generators: Iterable[torch.Generator]) -> Tensor:
        """Initial population of shape (K, P), float32: member k is drawn from generator k alone."""
        scale = torch.cat([torch.full((b.size,), b.scale) for b in self.blocks])
        fill = torch.cat([torch.full((b.size,), b.fill) for b in self.blocks])
        rows = [torch.empty(self.n_parameters).normal_(generator=g) for g in generators]
        return torch.stack(rows) * scale + fill
