"""What one step asks for, returns and leaves behind."""

from __future__ import annotations

import math

import torch
from torch import nn

from flatcausal.optim import Recipe
from flatcausal.testing._claim import claim
from flatcausal.testing._regression import N_ROWS, Closure, Looks, Trial, network, rows


def takes_the_promised_gradients(recipe: Recipe) -> None:
    """A step differentiates each row ``gradients_per_step`` times."""
    looks, promised = Looks(), recipe.gradients_per_step
    Trial(recipe).step(looks)
    claim(
        looks.n_rows == promised * N_ROWS,
        recipe,
        f"has gradients_per_step={promised}, but a step took {looks.n_rows / N_ROWS:g}.",
    )


def returns_its_first_loss(recipe: Recipe) -> None:
    """A step returns the first loss that the closure gave it."""
    looks = Looks()
    returned = Trial(recipe).step(looks)
    claim(returned is not None, recipe, "returns None from step(closure), not the closure's loss.")
    loss = torch.as_tensor(returned).detach().item()
    claim(
        math.isclose(loss, looks.first_loss, rel_tol=1e-9),
        recipe,
        f"returns {loss:.6g} from a step whose first loss was {looks.first_loss:.6g}.",
    )


def moves_running_statistics_once(recipe: Recipe) -> None:
    """BatchNorm's statistics move once in a step, by its first pass, and go on doing so."""
    looks, trial = Looks(), Trial(recipe)
    trial.step(looks)
    norm = trial.norm
    count = norm.num_batches_tracked
    claim(
        count is not None and count.item() == 1,
        recipe,
        f"moves BatchNorm's running statistics {count} times in a step, not once: let the first pass move "
        "them, and freeze them in the others with flatcausal.optim.frozen_statistics.",
    )
    shares = [(n / N_ROWS, x) for n, _, x in looks.first]
    mean = 0.1 * torch.stack([share * x.mean(0) for share, x in shares]).sum(0)
    var = 0.9 + 0.1 * torch.stack([share * x.var(0) for share, x in shares]).sum(0)
    for name, expected in (("running_mean", mean), ("running_var", var)):
        claim(
            torch.allclose(getattr(norm, name), expected, rtol=0, atol=1e-12),
            recipe,
            f"moves BatchNorm's {name} to other values than its first pass gives.",
        )
    claim(norm.track_running_stats, recipe, "leaves BatchNorm's statistics frozen after its step.")


def says_whether_it_needs_a_closure(recipe: Recipe) -> None:
    """``step()`` follows the gradients at hand, or raises a TypeError that names the closure."""
    trial, other = Trial(recipe), Trial(recipe)
    start = trial.weights
    if not recipe.needs_closure:
        Closure(trial.net, *rows(), Looks())()
        trial.optimizer.step()
        other.step()
        claim(trial.equals(other), recipe, "goes elsewhere by step() than by step(closure).")
        return
    try:
        trial.optimizer.step()
    except TypeError as error:
        claim("closure" in str(error), recipe, f"does not say that step needs a closure, but: {error}")
    else:
        claim(False, recipe, "has needs_closure, but step() raises no TypeError.")
    claim(torch.equal(trial.weights, start), recipe, "moves weights in a step() that it refuses.")


def gives_weights_back_when_interrupted(recipe: Recipe) -> None:
    """An error in a closure, wherever in a step, leaves the weights of the last completed one."""
    trial, looks = Trial(recipe), Looks()
    trial.step(looks)
    norm = trial.norm
    for error in (RuntimeError, KeyboardInterrupt):
        for position in range(looks.count):
            before = trial.weights
            where = f"when its closure raises {error.__name__} in pass {position + 1} of {looks.count}"
            try:
                trial.step(Looks(position, error))
            except error:
                pass
            else:
                claim(False, recipe, f"hides the error {where}.")
            same = torch.equal(trial.weights, before)
            claim(same, recipe, f"leaves other weights than those of the last completed step {where}.")
            claim(bool(norm.track_running_stats), recipe, f"leaves BatchNorm's statistics frozen {where}.")
    trial.step()


def stands_still_without_a_slope(recipe: Recipe) -> None:
    """A gradient of zero gives no NaN, and moves nothing unless the optimizer draws noise."""
    trial = Trial(recipe)
    start = trial.weights
    for _ in range(2):
        trial.step(spoil=0.0)
    claim(bool(trial.weights.isfinite().all()), recipe, "makes NaN of weights whose gradient is zero.")
    if not hasattr(trial.optimizer, "generators"):
        claim(torch.equal(trial.weights, start), recipe, "moves weights whose gradient is zero.")


def keeps_weights_in_place(recipe: Recipe) -> None:
    """Weights stay in their storage; with a learning rate of zero they stay bit for bit, but for noise."""
    trial = Trial(recipe, lr=0.0)
    start, places = trial.weights, [p.data_ptr() for p in trial.net.parameters()]
    trial.train(10)
    same = [p.data_ptr() for p in trial.net.parameters()] == places
    claim(same, recipe, "puts weights into other storage: write them by copy_, do not rebind p.data.")
    if not hasattr(trial.optimizer, "generators"):
        claim(
            torch.equal(trial.weights, start),
            recipe,
            "moves weights at a learning rate of 0: bring them back by copy, since adding and subtracting "
            "rounds.",
        )


def survives_bad_gradients(recipe: Recipe) -> None:
    """A gradient that is not finite raises nothing and leaves no layer frozen."""
    for bad in (math.nan, math.inf):
        trial = Trial(recipe)
        trial.step()
        try:
            trial.step(spoil=bad)
            trial.step()
        except Exception as error:
            claim(False, recipe, f"raises {error!r} where a gradient is {bad}; step, or skip the step.")
        frozen = not trial.norm.track_running_stats
        claim(not frozen, recipe, f"leaves BatchNorm's statistics frozen after a gradient of {bad}.")


class _WithSpare(nn.Module):
    """A network and a layer that it does not use."""

    def __init__(self):
        super().__init__()
        self.body = network()
        self.spare = nn.utils.skip_init(nn.Linear, 2, 2, dtype=torch.float64)
        for param in self.spare.parameters():
            nn.init.ones_(param)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.body(X)


def leaves_unused_parameters_alone(recipe: Recipe) -> None:
    """Parameters without a gradient neither raise nor move, and the others train."""
    net = _WithSpare()
    used = Trial(recipe, net).train(3)
    claim(
        not torch.equal(net.get_parameter("body.0.weight"), network().get_parameter("0.weight")),
        recipe,
        "does not train a network that has an unused layer.",
    )
    if recipe.gradients_per_step:  # without gradients nothing tells that it is unused
        still = all(bool((p == 1).all()) for p in net.spare.parameters())
        claim(still, recipe, "moves parameters that have no gradient (grad is None): leave them out.")
    claim(bool(used.weights.isfinite().all()), recipe, "makes NaN where a layer is unused.")
