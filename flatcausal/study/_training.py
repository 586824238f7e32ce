"""What all optimizers of a study share: training, network, and how flatness is measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from flatcausal._validation import check_real
from flatcausal.exceptions import ParameterTypeError
from flatcausal.study._section import Section, checked, choice, integer, optional, real


def _check_bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ParameterTypeError(f"{name} must be true or false, got {value!r}.")
    return value


@dataclass(frozen=True)
class Training(Section):
    """How every optimizer trains.

    ``epochs`` counts gradient work: one epoch is one gradient for each training row, so an
    optimizer that needs two gradients a step takes half as many steps. ``momentum`` and
    ``nesterov`` are written into every recipe that has them; left out, they are 0.9 and
    False, and a recipe may then state its own.
    """

    SECTION: ClassVar[str] = "training"

    epochs: int = integer(60, low=1)
    batch_size: int = integer(256, low=2)
    virtual_batch_size: int = integer(128, low=2)
    lr_schedule: str = choice("cosine", "cosine", "linear", "constant")
    weight_decay: float = real(0.0, low=0.0)
    momentum: float | None = checked(None, optional(partial(check_real, low=0.0, high=1.0, open_high=True)))
    nesterov: bool | None = checked(None, optional(_check_bool))


@dataclass(frozen=True)
class Network(Section):
    """The TabNet that every optimizer trains, in TabNet's own words."""

    SECTION: ClassVar[str] = "network"

    n_d: int = integer(8, low=1)
    n_a: int = integer(8, low=1)
    n_steps: int = integer(3, low=1)
    gamma: float = real(1.3, low=1.0)
    n_independent: int = integer(2, low=0)
    n_shared: int = integer(2, low=0)
    lambda_sparse: float = real(1e-3, low=0.0)
    bn_momentum: float = real(0.02, low=0.0, high=1.0, open_low=True)
    mask_type: str = choice("sparsemax", "sparsemax", "entmax")


@dataclass(frozen=True)
class Measures(Section):
    """How flatness is measured: on how many training rows, with how many pairs of random directions."""

    SECTION: ClassVar[str] = "measures"

    sharpness_rows: int = integer(2048, low=2)
    sharpness_draws: int = integer(16, low=2)
