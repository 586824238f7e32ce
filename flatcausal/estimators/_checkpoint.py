"""The state of a fit in a file, from which an interrupted one goes on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from flatcausal.estimators._batches import Table
from flatcausal.estimators._files import read_state, write_state
from flatcausal.estimators._net import PopulationNet
from flatcausal.exceptions import ParameterError, ParameterTypeError, WeightsError

_NO_INFLUENCE = ("callbacks", "checkpoint_dir", "random_state", "verbose")  # on the weights


class Checkpoint:
    """A file that belongs to one fit: the same parameters, rows, ``random_state`` and first weights.

    Parameters
    ----------
    path : Path
        The file; its name holds the fit's fingerprint.
    """

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def of(cls, estimator: Any, net: PopulationNet, table: Table, valid: Table | None) -> Checkpoint | None:
        """The checkpoint of a fit that begins; None without a ``checkpoint_dir``."""
        if estimator.checkpoint_dir is None:
            return None
        if not isinstance(estimator.checkpoint_dir, (str, os.PathLike)):
            raise ParameterTypeError(
                f"checkpoint_dir must be the path of a folder or None, got {estimator.checkpoint_dir!r}."
            )
        if estimator.random_state is None:
            raise ParameterError(
                "checkpoint_dir needs a random_state, by which a repeated fit finds its file: pass one."
            )
        directory = Path(estimator.checkpoint_dir)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightsError(
                f"checkpoint_dir {str(directory)!r} cannot be made or is no folder ({error.strerror}): "
                f"choose another."
            ) from error
        return cls(directory / f"{_fingerprint(estimator, net, [table, valid])}.checkpoint")

    def resume(self, net: PopulationNet) -> None:
        """Bring the net to where the file was written, if there is one."""
        if not self.path.exists():
            return
        try:
            state = read_state(self.path, kind="checkpoint")
        except WeightsError as error:
            raise WeightsError(
                f"The checkpoint of this fit cannot be read: delete it to begin anew. {error}"
            ) from error
        net.load_training_state(state)

    def save(self, net: PopulationNet) -> None:
        """Write the net's state in place of the last one."""
        write_state(self.path, net.training_state(), kind="checkpoint")

    def remove(self) -> None:
        """Delete the file: the fit is over."""
        self.path.unlink(missing_ok=True)


def _fingerprint(estimator: Any, net: PopulationNet, tables: Sequence[Table | None]) -> str:
    params = {k: v for k, v in estimator.get_params().items() if k not in _NO_INFLUENCE}
    seeds = [(s.entropy, s.spawn_key) for s in net.seeds]
    fit = (version("flatcausal"), type(estimator).__name__, sorted(params.items()), seeds)
    digest = hashlib.sha256(repr(fit).encode())
    digest.update(_bytes(net.module_.population.detach()))
    for table in tables:
        for part in (None, None, None) if table is None else table.parts:
            digest.update(_bytes(part))
    return digest.hexdigest()[:32]


def _bytes(part: Tensor | None) -> bytes:
    if part is None:
        return b"none"
    return repr((part.dtype, tuple(part.shape))).encode() + part.cpu().contiguous().numpy().tobytes()
