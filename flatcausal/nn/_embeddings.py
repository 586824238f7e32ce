"""Categorical columns, each replaced by the columns of its embedding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flatcausal._validation import check_integer
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.nn._layout import Block

Sizes = Mapping[int, tuple[int, int]]


class Embeddings(nn.Module):
    """Replace columns of integer codes by embedding vectors, where they stand, for all members at once.

    Parameters
    ----------
    n_features : int
        Columns of the input.
    sizes : mapping of int to (int, int)
        Number of categories and embedding dimension of each categorical column.

    Attributes
    ----------
    sizes : dict
        ``sizes`` in the order of the columns.
    n_columns : int
        Columns after embedding.
    n_parameters : int
        Numbers in all tables of one member; they are the first columns of a population.
    """

    # Of each column after embedding: the input column it comes from, and in how many columns that one ends.
    source: Tensor
    widths: Tensor
    # Of each embedded column: where it stands, the place of its first category among the parameters, the step
    # from a category to the next.
    places: Tensor
    starts: Tensor
    steps: Tensor

    def __init__(self, n_features: int, sizes: Sizes):
        super().__init__()
        self.sizes = _checked(n_features, sizes)
        widths = [self.sizes[j][1] if j in self.sizes else 1 for j in range(n_features)]
        self.n_columns = sum(widths)
        self.n_parameters = 0
        places, starts, steps = [], [], []
        for j, (n_categories, dim) in self.sizes.items():
            places += [sum(widths[:j]) + i for i in range(dim)]
            starts += [self.n_parameters + i for i in range(dim)]
            steps += [dim] * dim
            self.n_parameters += n_categories * dim
        repeats = torch.tensor(widths)
        self.register_buffer("source", torch.arange(n_features).repeat_interleave(repeats), persistent=False)
        self.register_buffer("widths", repeats.repeat_interleave(repeats).unsqueeze(1), persistent=False)
        self.register_buffer("places", torch.tensor(places, dtype=torch.long), persistent=False)
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.long).unsqueeze(1), persistent=False)
        self.register_buffer("steps", torch.tensor(steps, dtype=torch.long).unsqueeze(1), persistent=False)

    def blocks(self) -> list[Block]:
        """Blocks of the layout, one a table."""
        return [Block(f"embedding.{j}", size, "embedding", 1.0) for j, size in self.sizes.items()]

    def forward(self, x: Tensor, population: Tensor, means: Tensor) -> Tensor:
        """Embed inputs of shape (K, p, n): shape (K, n_columns, n).

        A negative code is an unseen category: ``means`` (K, n_columns) stands in for its embedding.
        """
        if not self.sizes:
            return x
        known, index = self.locate(x)
        values = population[:, : self.n_parameters].gather(1, index.flatten(1)).view(index.shape)
        values = torch.where(known, values, means.detach()[:, self.places, None])
        return x.index_select(1, self.source).index_copy(1, self.places, values)

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which embedded values are of a known category, and their columns in the population."""
        codes = x.index_select(1, self.source[self.places]).long()
        return codes >= 0, self.starts + self.steps * codes.clamp_min(0)

    def spread(self, mask: Tensor) -> Tensor:
        """Share a mask over input columns (K, p, n) out to embedded columns: each gets mask / dimension."""
        return mask.index_select(1, self.source) / self.widths if self.sizes else mask

    def collect(self, spread: Tensor) -> Tensor:
        """Transpose of :meth:`spread`."""
        if not self.sizes:
            return spread
        shape = (spread.shape[0], int(self.source[-1]) + 1, spread.shape[2])
        return spread.new_zeros(shape).index_add_(1, self.source, spread / self.widths)

    def backward(self, x: Tensor, slope: Tensor) -> Tensor:
        """Gradient of the tables, (K, n_parameters), from that of the embedded columns."""
        known, index = self.locate(x)
        slope = torch.where(known, slope, 0.0)
        return slope.new_zeros(len(x), self.n_parameters).scatter_add_(1, index.flatten(1), slope.flatten(1))


def _checked(n_features: int, sizes: Sizes) -> dict[int, tuple[int, int]]:
    if not isinstance(sizes, Mapping):
        raise ParameterTypeError(
            f"embeddings must map columns to (number of categories, dimension), got {sizes!r}."
        )
    checked = {}
    for column, size in sizes.items():
        column = check_integer("a column of embeddings", column, low=0, high=n_features - 1)
        if not isinstance(size, tuple) or len(size) != 2:
            raise ParameterError(
                f"embeddings[{column}] must be (number of categories, dimension), got {size!r}."
            )
        n_categories = check_integer(f"the number of categories of embeddings[{column}]", size[0], low=1)
        checked[column] = (
            n_categories,
            check_integer(f"the dimension of embeddings[{column}]", size[1], low=1),
        )
    return dict(sorted(checked.items()))
