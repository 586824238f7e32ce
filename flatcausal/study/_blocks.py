"""A block: one data set with one split, on which every optimizer trains the same members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from flatcausal._random import child, integer_seed

if TYPE_CHECKING:
    from flatcausal.datasets import FeatureRoles


class Stream(IntEnum):
    """The independent random streams of a block; none of them depends on the optimizer."""

    STRUCTURE = 0
    TRAIN = 1
    TEST = 2
    ENVIRONMENTS = 3
    MEMBERS = 4
    SHARPNESS = 5


@dataclass(frozen=True)
class Sample:
    """The rows of a block. Environments and roles exist only where the truth is known."""

    X_train: pd.DataFrame
    y_train: np.ndarray
    X_test: pd.DataFrame
    y_test: np.ndarray
    environments: list[tuple[pd.DataFrame, np.ndarray]] = field(default_factory=list)
    roles: FeatureRoles | None = None


class DataSource(Protocol):
    """What a kind of data must offer: its blocks, and the rows of one block."""

    kind: ClassVar[str]

    def blocks(self, seed: int) -> list[Block]:
        """List the blocks; everything that is wrong with the data is said here."""
        ...

    def load(self, block: Block) -> Sample:
        """Draw or read the rows of one block."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what decides a block's rows, besides its seed, key and number of rows."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the section as plain data."""
        ...


@dataclass(frozen=True)
class Block:
    """A pure, picklable specification of one block."""

    name: str
    source: DataSource
    seed: int
    key: tuple[int, ...]
    n_train: int
    n_features: int

    def load(self) -> Sample:
        """Draw or read the rows."""
        return self.source.load(self)

    def stream(self, stream: Stream) -> int:
        """Return the seed of one of the block's random streams."""
        return integer_seed(child(np.random.SeedSequence(self.seed), *self.key, int(stream)))

    def identity(self) -> Mapping[str, Any]:
        """Return all that decides the block's rows and seeds, as plain data."""
        return {
            "kind": self.source.kind,
            **self.source.identity(),
            "seed": self.seed,
            "key": list(self.key),
            "n_train": self.n_train,
        }
