"""Rows of a blueprint, drawn in blocks of fixed size, so that a row depends on its number alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from flatcausal._random import child
from flatcausal.datasets._blueprint import Blueprint
from flatcausal.datasets._environments import Environment
from flatcausal.datasets._scm import NOTHING, Intervention

Array = NDArray[np.float64]

BLOCK_ROWS = 1024

# Streams within a block: what one draws does not move another.
_NOISE, _DISTRACTORS, _ENVIRONMENT = range(3)

#: What happens to the nodes in the block that starts at a row, given the block's own stream.
BlockIntervention = Callable[[int, np.random.SeedSequence], Intervention]


def draw_blocks(
    n: int, blueprint: Blueprint, intervene: BlockIntervention, sequence: np.random.SeedSequence
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield rows, nodes (n_nodes, BLOCK_ROWS) and distractors (n_distractors, BLOCK_ROWS) of each block.

    Every block is computed at full size, even where fewer rows are wanted: a matrix product of
    another size may round differently, and ``sample(n)`` is to be the beginning of ``sample(m)``.
    """
    for start in range(0, n, BLOCK_ROWS):
        stream = child(sequence, start // BLOCK_ROWS)
        noise = blueprint.model.draw_noise(BLOCK_ROWS, np.random.default_rng(child(stream, _NOISE)))
        intervention = intervene(start, child(stream, _ENVIRONMENT))
        values = blueprint.model.evaluate(noise, intervention)
        distractors = np.empty((0, BLOCK_ROWS))
        if len(blueprint.distractors):
            undisturbed = blueprint.model.evaluate(noise, NOTHING) if intervention else values
            rng = np.random.default_rng(child(stream, _DISTRACTORS))
            distractors = blueprint.distractors.draw(undisturbed, rng)
        yield slice(start, min(start + BLOCK_ROWS, n)), values, distractors


def block_intervention(
    do: Mapping[int, float | Array], env: Environment | None, node_of: Mapping[str, int]
) -> BlockIntervention:
    """Join ``do`` and an environment; where both name a node, ``do`` wins."""

    def intervene(start: int, stream: np.random.SeedSequence) -> Intervention:
        held = {node: _block_of(value, start) for node, value in do.items()}
        if env is None:
            return Intervention(held)
        values = {node_of[name]: value for name, value in zip(env.features, env.values, strict=True)}
        if env.kind != "do":
            return Intervention(held, **{env.kind: values})
        draws = np.random.default_rng(stream).standard_normal((len(values), BLOCK_ROWS))
        forced = {
            node: value + env.spread * draw for (node, value), draw in zip(values.items(), draws, strict=True)
        }
        return Intervention({**forced, **held})

    return intervene


def _block_of(value: float | Array, start: int) -> float | Array:
    """One block of a do-value; a ragged last block is filled up with rows that nobody sees."""
    if not isinstance(value, np.ndarray):
        return value
    rows = value[start : start + BLOCK_ROWS]
    return np.pad(rows, (0, BLOCK_ROWS - len(rows)))
