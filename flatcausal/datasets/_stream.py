"""Rows of a blueprint, drawn in blocks of fixed size, so that a row depends on its number alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from flatcausal._random import child
from flatcausal.datasets._assignments import Assignment
from flatcausal.datasets._blueprint import Blueprint
from flatcausal.datasets._categories import CATEGORICAL
from flatcausal.datasets._redraw import redrawn_equations
from flatcausal.datasets._requests import Request
from flatcausal.datasets._scm import NOTHING, Intervention, StructuralModel

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


def leave_alone(start: int, stream: np.random.SeedSequence) -> Intervention:
    """Leave every block as it is."""
    return NOTHING


def block_intervention(
    model: StructuralModel, request: Request, node_of: Mapping[str, int]
) -> BlockIntervention:
    """Turn names into nodes, and draw what an environment adds; it yields where a request names its node."""
    do = {
        node_of[name]: _latent(model.assignments[node_of[name]], value)
        for name, value in request.do.items()
        if name in node_of
    }
    changes = {
        kind: {node_of[name]: value for name, value in getattr(request, kind).items()}
        for kind in ("shift", "scale", "soft")
    }
    env = request.env
    around: dict[int, float] = {}
    spared: dict[int, float] = {}
    if env is not None:
        named = set(do).union(*changes.values())
        around = {node_of[name]: value for name, value in zip(env.features, env.values, strict=True)}
        spared = {node: value for node, value in around.items() if node not in named}
        if env.kind in changes:
            changes[env.kind] = {**spared, **changes[env.kind]}
    equations = {node: model.assignments[node].softened(1.0 + eps) for node, eps in changes["soft"].items()}
    if env is not None and env.kind == "mechanism":
        equations |= redrawn_equations(model, {node: int(seed) for node, seed in spared.items()})

    def intervene(start: int, stream: np.random.SeedSequence) -> Intervention:
        held = {node: _block_of(value, start) for node, value in do.items()}
        if env is not None and env.kind == "do":
            # All are drawn, also those that yield, so that one does not move another.
            draws = np.random.default_rng(stream).standard_normal((len(around), BLOCK_ROWS))
            forced = {
                node: value + env.spread * draw
                for (node, value), draw in zip(around.items(), draws, strict=True)
                if node in spared
            }
            held = {**forced, **held}
        return Intervention(held, changes["shift"], changes["scale"], equations)

    return intervene


def _latent(assignment: Assignment, value: float | Array) -> float | Array:
    """The value that a node is held at; a category stands for one that is cut to it."""
    return assignment.latent(value) if isinstance(assignment, CATEGORICAL) else value


def _block_of(value: float | Array, start: int) -> float | Array:
    """One block of a do-value; a ragged last block is filled up with rows that nobody sees."""
    if not isinstance(value, np.ndarray):
        return value
    rows = value[start : start + BLOCK_ROWS]
    return np.pad(rows, (0, BLOCK_ROWS - len(rows)))
