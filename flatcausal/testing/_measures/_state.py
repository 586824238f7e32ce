"""What a measure leaves behind, and what around it it does not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from flatcausal.testing._measures._fingerprint import global_seed, left_alone
from flatcausal.testing._measures._models import WatchedLoss, awkward_net, dropout_net, relu_net, rows
from flatcausal.testing._measures._subject import Measure, agree

_CALLS = (0, 2, 8)  # that go well before one does not


def leaves_the_model_alone(measure: Measure) -> None:
    """Model, rows, random states and threads are the same after as before."""
    for mode in measure.modes():
        model, given = awkward_net(), rows()
        with left_alone(measure, model):
            measure(model, *given, **mode)
        for name, tensor, before in zip(("X", "y"), given, rows(), strict=True):
            measure.claim(
                torch.equal(tensor, before) and not tensor.requires_grad,
                f"changes the caller's {name}: measure a copy of it.",
            )


def leaves_it_alone_when_interrupted(measure: Measure) -> None:
    """So they are after an error, wherever in a measure; and the error comes out."""
    for mode in measure.modes():
        for n_calls in _CALLS:
            loss = WatchedLoss(n_calls)
            _interrupt(measure, loss, mode)
            if not loss.failed:
                break
    loss = WatchedLoss(_CALLS[1], KeyboardInterrupt)
    _interrupt(measure, loss, {"n_threads": torch.get_num_threads() + 1})


def _interrupt(measure: Measure, loss: WatchedLoss, protocol: dict[str, Any]) -> None:
    model, raised = awkward_net(), None
    when = f" when the loss raises {loss.error.__name__} in call {(loss.fail_after or 0) + 1}"
    with left_alone(measure, model, when):
        try:
            measure(model, *rows(), loss=loss, **protocol)
        except (Exception, KeyboardInterrupt) as error:
            raised = error
    comes_out = isinstance(raised, KeyboardInterrupt if loss.error is KeyboardInterrupt else Exception)
    measure.claim(comes_out or not loss.failed, f"hides the error{when}.")


def repeats_itself(measure: Measure) -> None:
    """One ``random_state`` gives one value, bit for bit, whatever the global random states."""
    with global_seed(0):
        first = measure(awkward_net(), *rows())
    with global_seed(0):
        again = measure(awkward_net(), *rows())
    with global_seed(1):
        other = measure(awkward_net(), *rows())
    measure.claim(
        np.array_equal(first, again),
        "gives two values for one random_state: draw from generators that are made from it at each call.",
    )
    measure.claim(
        np.array_equal(first, other),
        "follows a global random state: draw from generators that are made from random_state.",
    )


def sees_no_dropout(measure: Measure) -> None:
    """A model in training mode has the value that it has in evaluation mode, if only dropout differs."""
    training, evaluating = (measure(dropout_net().train(mode), *rows()) for mode in (True, False))
    measure.claim(
        agree(training, evaluating, 1e-9),
        f"gives {training} in training mode and {evaluating} in evaluation mode, where only dropout differs: "
        "measure a copy in evaluation mode.",
    )


def keeps_to_its_threads(measure: Measure) -> None:
    """It computes with ``n_threads`` threads, and gives torch's setting back."""
    model = relu_net()
    for n_threads in (1, 2):
        loss = WatchedLoss()
        with left_alone(measure, model, f" at n_threads={n_threads}"):
            measure(model, *rows(), loss=loss, n_threads=n_threads)
        measure.claim(
            loss.n_threads == {n_threads},
            f"computes with {sorted(loss.n_threads)} threads at n_threads={n_threads}: set torch's number, "
            "and restore it in a finally clause.",
        )
