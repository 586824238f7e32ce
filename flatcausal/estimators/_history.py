"""The record of a fit: skorch's history, and what each member lost in every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from skorch.history import History
from torch import Tensor


class MemberHistory(History):
    """skorch's history, whose losses are means over members, and beside it those of each member.

    Parameters
    ----------
    rows : iterable of dict
        What skorch records of an epoch.
    member_losses : mapping of str to iterable of Tensor, shape (K,)
        What was recorded of each member, by name: losses as a rule, one tensor an epoch, from the first on.
    n_gradient_evaluations : int
        Mini-batch gradients that a member took.
    """

    def __init__(
        self,
        rows: Iterable[dict[str, Any]] = (),
        member_losses: Mapping[str, Iterable[Tensor]] | None = None,
        n_gradient_evaluations: int = 0,
    ):
        super().__init__(rows)
        self.member_losses = {name: list(losses) for name, losses in (member_losses or {}).items()}
        self.n_gradient_evaluations = n_gradient_evaluations

    def copy(self) -> MemberHistory:
        """The same record, to go on from."""
        return MemberHistory(self, self.member_losses, self.n_gradient_evaluations)

    def record_members(self, name: str, losses: Tensor) -> None:
        """Keep each member's loss, and for skorch the mean of those that have one.

        Epochs before that have none get NaN.
        """
        losses = losses.double().cpu()
        kept = self.member_losses.setdefault(name, [])
        kept += _missing(losses, len(self) - 1 - len(kept))
        kept.append(losses)
        self.record(name, _finite_mean(losses).item())

    def columns(self) -> dict[str, np.ndarray]:
        """The record as arrays, one entry or row an epoch."""
        kept = self._stacked()
        return {
            "epoch": np.arange(1, len(self) + 1),
            **{name: _finite_mean(losses).numpy() for name, losses in kept.items()},
            **{f"member_{name}": losses.numpy() for name, losses in kept.items()},
            "dur": np.array([row["dur"] for row in self]),
        }

    @classmethod
    def from_columns(cls, columns: Mapping[str, np.ndarray], n_gradient_evaluations: int) -> MemberHistory:
        """Take over what :meth:`columns` gave."""
        losses = {
            name.removeprefix("member_"): torch.from_numpy(np.array(values, dtype=np.float64))
            for name, values in columns.items()
            if name.startswith("member_")
        }
        scalars = {name: values.tolist() for name, values in columns.items() if values.ndim == 1}
        rows = zip(*scalars.values(), strict=True)
        return cls(
            ({**dict(zip(scalars, row, strict=True)), "batches": []} for row in rows),
            losses,
            n_gradient_evaluations,
        )

    def of_members(self, members: slice, n_epochs: int) -> MemberHistory:
        """Some members' part of the record, of its first epochs."""
        losses = {name: list(kept[:n_epochs, members]) for name, kept in self._stacked().items()}
        rows: list[dict[str, Any]] = list(self)[:n_epochs]
        means = {name: [_finite_mean(k).item() for k in kept] for name, kept in losses.items()}
        return MemberHistory(
            ({**row, **{name: kept[i] for name, kept in means.items()}} for i, row in enumerate(rows)),
            losses,
            self.n_gradient_evaluations * n_epochs // max(len(self), 1),
        )

    def state(self) -> dict[str, Any]:
        """The record in tensors and plain values of its own."""
        return {
            "history": [{k: v for k, v in row.items() if k != "batches"} for row in self],
            "member_losses": self._stacked(),
            "n_gradient_evaluations": self.n_gradient_evaluations,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> MemberHistory:
        """Take over what :meth:`state` gave."""
        return cls(
            ({**row, "batches": []} for row in state["history"]),
            {name: kept.double() for name, kept in state["member_losses"].items()},
            state["n_gradient_evaluations"],
        )

    def _stacked(self) -> dict[str, Tensor]:
        """What was recorded of each member, of shape (n_epochs, K)."""
        return {
            name: torch.stack([*kept, *_missing(kept[0], len(self) - len(kept))])
            for name, kept in self.member_losses.items()
        }


def _missing(like: Tensor, n_epochs: int) -> list[Tensor]:
    return [torch.full_like(like, torch.nan)] * n_epochs


def _finite_mean(losses: Tensor) -> Tensor:
    """Mean over members that have a loss: one that diverged does not blind what watches the others."""
    return torch.where(losses.isfinite(), losses, torch.nan).nanmean(-1)
