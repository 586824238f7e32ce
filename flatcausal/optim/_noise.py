"""Noise that each member draws from its own generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flatcausal._members import member_generators
from flatcausal.exceptions import ParameterError
from flatcausal.optim._target import Target

NOISES = ("gaussian", "sphere", "ball")
AHEAD = 256  # numbers drawn at a time: thousands of members with two weights each would wait on calls


class MemberNoise:
    """Directions in the weight space of K members.

    Parameters
    ----------
    generators : sequence of torch.Generator
        One a member.
    kind : {"gaussian", "sphere", "ball"}
        Independent standard normal numbers; or uniform on the unit sphere or in the unit ball of all of a
        member's weights.
    """

    def __init__(self, generators: Sequence[torch.Generator], kind: str):
        self.generators = list(generators)
        self.kind = kind
        self._ahead = torch.empty(len(self.generators), 0)

    def normal(self, n: int, dtype: torch.dtype) -> Tensor:
        """Standard normal numbers, shape (K, n)."""
        if self._ahead.shape[1] < n or self._ahead.dtype != dtype:
            self._ahead = torch.empty(len(self.generators), max(n, AHEAD // max(n, 1) * n), dtype=dtype)
            for row, generator in zip(self._ahead, self.generators, strict=True):
                row.normal_(generator=generator)
        drawn, self._ahead = self._ahead[:, :n], self._ahead[:, n:]
        return drawn

    def like(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """One direction a member, cut into the shapes of ``tensors``."""
        sizes = [tensor.numel() // len(self.generators) for tensor in tensors]
        n = sum(sizes)
        # The first n coordinates of a point on the sphere in n + 2 dimensions are uniform in the ball.
        numbers = self.normal(n + 2 * (self.kind == "ball"), tensors[0].dtype)
        if self.kind != "gaussian":
            numbers = numbers / numbers.norm(dim=1, keepdim=True)
        parts = numbers[:, :n].split(sizes, dim=1)
        return [part.reshape(t.shape).to(t, copy=True) for part, t in zip(parts, tensors, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Where the generators stand, and what was drawn ahead."""
        return {"generators": [g.get_state() for g in self.generators], "ahead": self._ahead.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        resume_generators(self.generators, state["generators"])
        self._ahead = state["ahead"].cpu().clone()


def part_of(state_dict: dict[str, Any], name: str) -> Any:
    """What a ``state_dict`` of an optimizer with noise of its own has under ``name``."""
    if name not in state_dict:
        raise ParameterError(
            f"state_dict has no {name!r}, for it is of an optimizer without noise of its own: load that of "
            f"an optimizer of the same kind."
        )
    return state_dict[name]


def resume_generators(generators: Sequence[torch.Generator], positions: Sequence[Tensor]) -> None:
    """Put generators where others stood, wherever ``torch.load`` has mapped that."""
    if len(positions) != len(generators):
        raise ParameterError(
            f"state_dict must be of an optimizer of {len(generators)} members, got one of {len(positions)}."
        )
    for generator, position in zip(generators, positions, strict=True):
        generator.set_state(position.cpu())


class DrawsNoise:
    """What an optimizer with noise of its own adds to a torch optimizer: the noise is part of its state."""

    target: Target
    noise: MemberNoise

    def _take_noise(self, target: Target, kind: str, seeds) -> None:
        self.target = target
        self.noise = MemberNoise(member_generators(seeds, target.n_members), kind)

    @property
    def generators(self) -> list[torch.Generator]:
        """One a member; others can be put in their place."""
        return self.noise.generators

    @generators.setter
    def generators(self, generators: Sequence[torch.Generator]) -> None:
        self.noise = MemberNoise(generators, self.noise.kind)

    def state_dict(self) -> dict[str, Any]:
        """Groups and state, and where the noise stands."""
        return {**super().state_dict(), "noise": self.noise.state_dict()}  # type: ignore[misc]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        noise = part_of(state_dict, "noise")
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "noise"})  # type: ignore[misc]
        self.noise.load_state_dict(noise)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "target": self.target, "noise": self.noise}  # type: ignore[misc]
