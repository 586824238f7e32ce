"""Data whose causal graph is known: random graphs, and the published DLCausalOptimization grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.exceptions import DesignError
from flatcausal.study._blocks import Block, Sample, Stream
from flatcausal.study._section import Section, check_sequence, checked, choice, integer, real

if TYPE_CHECKING:
    from flatcausal.datasets import SyntheticDAGDataset

_check_rows = partial(check_sequence, check=partial(check_integer, low=4))
_FAMILIES = ("linear", "mlp", "rff", "polynomial", "tree", "mixture", "post_nonlinear")
_check_mechanisms = partial(check_sequence, check=partial(check_choice, choices=_FAMILIES))

# Keys that are parameters of SyntheticDAGDataset, under the same names.
_LAW = (
    "expected_degree",
    "graph",
    "mechanisms",
    "noise",
    "noise_mode",
    "r2_range",
    "standardize",
    "n_hidden",
    "min_parents",
    "min_children",
    "min_spouses",
    "distractors",
)


def _check_pair(name: str, value: object, check: Callable[[str, object], Any]) -> tuple[Any, Any]:
    pair = check_sequence(name, value, check)
    if len(pair) != 2:
        raise DesignError(f"{name} must be a pair, got {list(pair)}.")
    return pair


@dataclass(frozen=True)
class SyntheticData(Section):
    """Random graphs drawn by :class:`flatcausal.datasets.SyntheticDAGDataset`, one a block.

    The target is one of the ``n_nodes``, so that there are ``n_nodes - 1 + n_distractors``
    features. Each environment intervenes on random features, never on the target, and has
    ``n_test`` rows, drawn with the same noise as the test rows.
    """

    SECTION: ClassVar[str] = "data"
    kind: ClassVar[str] = "synthetic"

    n_datasets: int = integer(8, low=1)
    n_nodes: int = integer(20, low=3)
    n_distractors: int = integer(10, low=0)
    expected_degree: float = real(3.0, low=0.0, open_low=True)
    graph: str = choice("er", "er", "scale_free_in", "scale_free_out", "small_world", "layered")
    mechanisms: tuple[str, ...] = checked(("linear", "mlp"), _check_mechanisms)
    noise: str = choice("normal", "normal", "laplace", "uniform", "t", "gumbel", "mixture")
    noise_mode: str = choice("additive", "additive", "multiplicative", "heteroscedastic", "functional")
    r2_range: tuple[float, float] = checked((0.3, 0.9), partial(_check_pair, check=check_real))
    standardize: str = choice("r2", "r2", "internal", "uumc", "posthoc")
    n_hidden: int = integer(0, low=0)
    min_parents: int = integer(1, low=0)
    min_children: int = integer(1, low=0)
    min_spouses: int = integer(0, low=0)
    distractors: str = choice("shadow", "shadow", "published")
    n_train: int = integer(1000, low=4)
    n_test: int = integer(1000, low=2)
    n_environments: int = integer(5, low=0)
    environment_kind: str = choice("do", "do", "shift", "scale", "soft")
    environment_fraction: float = real(0.25, low=0.0, high=1.0, open_low=True)
    environment_strength: float = real(2.0, low=0.0)

    def identity(self) -> dict[str, Any]:
        """Return what decides a block's rows; how many graphs there are does not."""
        return {key: value for key, value in self.to_dict().items() if key not in ("n_datasets", "n_train")}

    def blocks(self, seed: int) -> list[Block]:
        """One block a graph."""
        width = len(str(self.n_datasets - 1))
        n_features = self.n_nodes - 1 + self.n_distractors
        return [
            Block(f"dag-{k:0{width}d}", self, seed, (k,), self.n_train, n_features)
            for k in range(self.n_datasets)
        ]

    def load(self, block: Block) -> Sample:
        """Draw the graph, then its rows and environments."""
        from flatcausal.datasets import SyntheticDAGDataset

        dataset = SyntheticDAGDataset(
            self.n_nodes,
            self.n_distractors,
            **{key: getattr(self, key) for key in _LAW},
            random_state=block.stream(Stream.STRUCTURE),
        )
        interventions = {
            "kind": self.environment_kind,
            "fraction": self.environment_fraction,
            "strength": self.environment_strength,
        }
        return _draw(dataset, block, self.n_test, self.n_environments, interventions)


@dataclass(frozen=True)
class DlcausalData(Section):
    """The published grid of DLCausalOptimization: rows x (nodes, distractors), several graphs each.

    The target is 0 or 1 and is regressed on, as every study here is a regression; its error
    is the Brier score over the target's variance. ``n_rows`` counts training rows: test rows
    are drawn afresh from the same structural causal model, instead of a tenth of few rows.
    """

    SECTION: ClassVar[str] = "data"
    kind: ClassVar[str] = "dlcausal"

    n_datasets: int = integer(5, low=1)
    n_rows: tuple[int, ...] = checked((50, 500, 5000), _check_rows)
    sizes: tuple[tuple[int, int], ...] = checked(
        ((6, 4), (60, 40), (600, 400)),
        partial(check_sequence, check=partial(_check_pair, check=partial(check_integer, low=0))),
    )
    n_test: int = integer(1000, low=2)
    n_environments: int = integer(5, low=0)

    def identity(self) -> dict[str, Any]:
        """Return what decides a block's rows, besides its place in the grid."""
        return {"n_test": self.n_test, "n_environments": self.n_environments}

    def blocks(self, seed: int) -> list[Block]:
        """List the blocks of the grid; one that is left out does not change the others."""
        return [
            Block(f"N{n}-p{p}-d{d}-dag-{k}", self, seed, (n, p, d, k), n, p - 1 + d)
            for n in self.n_rows
            for p, d in self.sizes
            for k in range(self.n_datasets)
        ]

    def load(self, block: Block) -> Sample:
        """Draw the graph, then its rows and environments."""
        from flatcausal.datasets import SyntheticDAGDataset

        _, n_nodes, n_distractors, _ = block.key
        dataset = SyntheticDAGDataset.preset(
            "dlcausal",
            random_state=block.stream(Stream.STRUCTURE),
            n_nodes=n_nodes,
            n_distractors=n_distractors,
        )
        return _draw(dataset, block, self.n_test, self.n_environments, {})


def _draw(
    dataset: SyntheticDAGDataset,
    block: Block,
    n_test: int,
    n_environments: int,
    interventions: dict[str, Any],
) -> Sample:
    def rows(n: int, seed: int, **where: Any) -> tuple[pd.DataFrame, np.ndarray]:
        X, y = dataset.sample(n, return_X_y=True, as_frame=True, random_state=seed, **where)
        return X, y.to_numpy()

    environments = []
    if n_environments:
        seed = block.stream(Stream.ENVIRONMENTS)
        environments = dataset.environments(n_environments, random_state=seed, **interventions)
    return Sample(
        *rows(block.n_train, block.stream(Stream.TRAIN)),
        *rows(n_test, block.stream(Stream.TEST)),
        environments=[rows(n_test, block.stream(Stream.TEST), env=env) for env in environments],
        roles=dataset.roles_,
    )
