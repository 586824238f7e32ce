"""Dense averaging within a valley of the validation loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flatcausal._validation import check_integer, check_real
from flatcausal.exceptions import ParameterError
from flatcausal.optim.averaging._average import Average, moved
from flatcausal.optim.averaging._recipe import AveragingRecipe


class SWAD(AveragingRecipe):
    r"""Stochastic weight averaging densely: the mean of all steps within a valley of the validation loss.

    Every ``freq`` steps the held-out loss :math:`E_i` of the present weights is evaluated; a *segment* is the
    mean of the weights after each step since the last evaluation. The valley begins with the first segment
    :math:`s` after which ``n_converge`` - 1 evaluations give no lower loss,

    .. math:: E_s = \min(E_s, \dots, E_{s + N_c - 1}), \qquad
              \theta = (1 + r)\, \frac{1}{N_c} \sum_{i = s}^{s + N_c - 1} E_i

    is extended backwards over neighbours with :math:`E_i \le \theta` among the last ``n_tolerance``
    evaluations, and ends before :math:`E` stays above :math:`\theta` for ``n_tolerance`` evaluations, or for
    the rest of the training (Cha et al., 2021). The average is the mean of its segments, each counted once
    (the authors' code counts some twice and leaves one out). Without a valley it is the last segment; before
    the first evaluation there is none.

    Parameters
    ----------
    freq : int, default=50
        Steps from one evaluation to the next.
    n_converge : int, default=3
        Evaluations :math:`N_c` that find a valley's beginning.
    n_tolerance : int, default=6
        Evaluations above the threshold that end it.
    tolerance_ratio : float, default=0.3
        How far the threshold lies above the mean loss at the beginning, as a share :math:`r` of it.

    References
    ----------
    J. Cha et al., "SWAD: Domain Generalization by Seeking Flat Minima", NeurIPS 2021.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.optim.averaging import SWAD
    >>> losses = iter([3.0, 2.0, 1.0, 1.1, 1.2, 9.0])
    >>> weights = torch.zeros(1)
    >>> average = SWAD(freq=1).build([weights])
    >>> for step in range(6):
    ...     _ = weights.add_(1)
    ...     average.after_step(lambda: next(losses))
    >>> average.matrix()  # of steps 3, 4 and 5
    tensor([[4.]])
    """

    needs_validation = True

    def __init__(
        self, freq: int = 50, n_converge: int = 3, n_tolerance: int = 6, tolerance_ratio: float = 0.3
    ):
        self.freq = freq
        self.n_converge = n_converge
        self.n_tolerance = n_tolerance
        self.tolerance_ratio = tolerance_ratio

    def _build(self, tensors: list[Tensor], n_members: int, n_epochs: int | None) -> Average:
        return SWADAverage(
            tensors,
            n_members,
            check_integer("freq", self.freq, low=1),
            check_integer("n_converge", self.n_converge, low=1),
            check_integer("n_tolerance", self.n_tolerance, low=1),
            check_real("tolerance_ratio", self.tolerance_ratio, low=0.0),
        )


class SWADAverage(Average):
    """The average that :class:`SWAD` builds.

    Parameters
    ----------
    params, n_members
        As of :class:`Average`.
    freq, n_converge, n_tolerance : int
    tolerance_ratio : float
        As of :class:`SWAD`.
    """

    _state = (
        *Average._state,  # the valley: segments up to the last with a loss below the threshold
        *("beyond", "n_beyond"),  # segments after that one: in the valley if the loss comes down again
        *("started", "ended", "threshold"),
        *("losses", "segments", "n_evaluations"),  # the latest, where a valley may turn out to begin
        *("segment", "step"),
    )

    def __init__(
        self,
        params: Sequence[Tensor],
        n_members: int,
        freq: int,
        n_converge: int,
        n_tolerance: int,
        tolerance_ratio: float,
    ):
        super().__init__(params, n_members)
        self.freq, self.n_converge, self.n_tolerance = freq, n_converge, n_tolerance
        self.tolerance_ratio = tolerance_ratio
        n_latest = max(n_converge, n_tolerance)
        self.beyond, self.segment = torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        self.n_beyond, self.n_evaluations = torch.zeros_like(self.count), torch.zeros_like(self.count)
        self.started, self.ended = torch.zeros_like(self.active), torch.zeros_like(self.active)
        self.losses = self.mean.new_full((n_members, n_latest), torch.inf)
        self.threshold = self.losses[:, 0].clone()
        self.segments = self.mean.new_zeros(n_members, n_latest, self.mean.shape[1])
        self.step = 0

    @property
    def exists(self) -> Tensor:
        """Members that have been evaluated, bool of shape (K,)."""
        return self.n_evaluations > 0

    def after_step(self, validation_loss: Callable[[], Any] | None = None) -> None:
        """Include the weights in the segment; where it ends, judge it by ``validation_loss()``."""
        if validation_loss is None:
            raise ParameterError("SWAD needs validation_loss: give after_step a function of held-out rows.")
        weights = self._finite_weights()
        place = self.step % self.freq + 1
        rate = weights.new_full((self.n_members,), 1 / place)
        self.segment = moved(self.segment, weights, rate, self.active)
        self.step += 1
        if place == self.freq:
            self._judge(torch.as_tensor(validation_loss()).detach().to(self.losses).reshape(-1))

    def _judge(self, losses: Tensor) -> None:
        """Take in the segment that ends: to a valley that began, or to where one may begin."""
        if losses.shape != self.active.shape:
            raise ParameterError(
                f"validation_loss must give one loss for each of {self.n_members} members, got shape "
                f"{tuple(losses.shape)}."
            )
        self._extend(self.active & self.started, losses, self.segment)
        pushed = torch.cat([self.losses[:, 1:], losses[:, None]], dim=1)
        self.losses = torch.where(self.active[:, None], pushed, self.losses)
        pushed = torch.cat([self.segments[:, 1:], self.segment[:, None]], dim=1)
        self.segments = torch.where(self.active[:, None, None], pushed, self.segments)
        self.n_evaluations = self.n_evaluations + self.active
        self._begin()

    def _begin(self) -> None:
        """Let valleys begin, with the segments of those that were seen already."""
        converging = self.losses[:, -self.n_converge :]
        mean = sum(converging.unbind(1), torch.zeros_like(self.threshold)) / self.n_converge
        found = self.active & ~self.started & (self.n_evaluations >= self.n_converge)
        found &= (converging[:, :1] <= converging).all(1) & mean.isfinite()
        if not bool(found.any()):
            return
        self.started = self.started | found
        self.threshold = torch.where(found, mean + self.tolerance_ratio * mean.abs(), self.threshold)
        n_latest = self.losses.shape[1]
        first = torch.full_like(self.count, n_latest - self.n_converge)
        going_back = found
        for i in reversed(range(n_latest - self.n_converge)):
            seen = self.n_evaluations >= n_latest - i
            going_back = going_back & seen & (self.losses[:, i] <= self.threshold)
            first = torch.where(going_back, i, first)
        for i in range(n_latest):
            self._extend(found & (first <= i), self.losses[:, i], self.segments[:, i])

    def _extend(self, members: Tensor, losses: Tensor, segments: Tensor) -> None:
        """Go on with valleys; what lies beyond the last low loss joins them when it is low again."""
        members = members & ~self.ended
        self.n_beyond = self.n_beyond + members
        n_beyond = self.n_beyond.to(self.mean.dtype)
        self.beyond = moved(self.beyond, segments, n_beyond.reciprocal(), members)
        low = members & (losses <= self.threshold)
        joined = self.count + self.n_beyond
        self.mean = moved(self.mean, self.beyond, n_beyond / joined, low)
        self.count = torch.where(low, joined, self.count)
        self.n_beyond = torch.where(low, 0, self.n_beyond)
        self.ended = self.ended | (members & (self.n_beyond >= self.n_tolerance))

    def _mean(self) -> Tensor:
        return torch.where(self.started[:, None], self.mean, self.segments[:, -1])
