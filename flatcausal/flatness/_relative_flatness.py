"""Relative flatness of one layer."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from flatcausal.exceptions import ParameterError
from flatcausal.flatness._fisher_rao import require_rows
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import FlatnessResult, Found, record
from flatcausal.nn import TabNet


def relative_flatness(
    model: Any, X: Any, y: Any, *, layer: str | None = None, **protocol: Unpack[Protocol]
) -> FlatnessResult:
    r"""Measure the curvature of one linear layer relative to its weights.

    .. math:: \kappa = \sum_{s, s'} \langle w_s, w_{s'} \rangle \operatorname{tr} H_{s, s'}
              = \frac1n \sum_i \lVert \phi_i \rVert_2^2 \operatorname{tr}(W W^\top A_i)

    over the layer's neurons, with rows :math:`w_s` of its matrix W, inputs :math:`\phi_i` and
    :math:`A_i` the Hessian of a row's loss with respect to the layer's outputs (Petzka et al., 2021). It is
    exact, by differentiating at those outputs alone, and no rescaling of layers or neurons changes it. Cost:
    about 2 gradients for up to 10 outputs; for an estimator n_d losses more.

    What it cannot tell: anything about the other layers. Cross-entropy at low loss makes it small by
    confidence alone.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    layer : str, optional
        Name of an ``nn.Linear`` of the module; the last one if None. An estimator's is its output layer.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    FlatnessResult

    References
    ----------
    H. Petzka et al., "Relative Flatness and Generalization", NeurIPS 2021.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import relative_flatness
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.fill_(2.0)
    >>> X = torch.ones(4, 1)
    >>> float(relative_flatness(model, X, X, loss=torch.nn.MSELoss()).value[0])  # w^2 times a curvature of 2
    8.0
    """
    with measuring(model, X, y, **protocol) as problem:
        return record(problem, "relative_flatness", relative(problem, layer), layer=layer)


def relative(problem: Problem, layer: str | None = None) -> Found:
    """The measure on a problem."""
    require_rows(problem, "Relative flatness")
    _ = problem.base
    problem.move_to(problem.start)
    if isinstance(problem.module, TabNet):
        if layer is not None:
            raise ParameterError(f"layer={layer!r} must be None: an estimator's is its output layer.")
        return _of_population(problem)
    return _of_layer(problem, _linear(problem, layer))


def _of_population(problem: Problem) -> Found:
    """All members' output layers, which have no bias."""
    network: Any = problem.module
    head = network.layout.split(problem.start[0])["output"]
    gram = head @ head.mT
    lengths = _feature_lengths(problem, network)
    total, at = torch.zeros(problem.n_members).to(head), 0
    for losses in problem.batch_losses("gradients"):
        z = problem.output.raw
        assert z is not None
        here = lengths[:, at : at + z.shape[1]]
        at += z.shape[1]
        total = total + _weighted_curvature(losses, z, gram, here)
    return Found(total)


@torch.no_grad()
def _feature_lengths(problem: Problem, network: Any) -> Tensor:
    """Squared lengths (K, n) of what the output layer sees: unit vectors in its place read it off."""
    total: Any = 0.0
    for first in range(0, network.n_d, network.n_outputs):
        weights = [problem.start[0].clone()]
        head = network.layout.split(weights[0])["output"]
        head.zero_()
        rows = torch.arange(min(network.n_outputs, network.n_d - first))
        head[:, rows, first + rows] = 1.0
        problem.move_to(weights)
        parts = []
        for _ in problem.batch_losses("losses", overflow=True):
            assert problem.output.raw is not None
            parts.append(problem.output.raw.square().sum(2))
        total = total + torch.cat(parts, dim=1)
    problem.move_to(problem.start)
    return total


def _of_layer(problem: Problem, layer: nn.Linear) -> Found:
    seen: list[tuple[Any, Any]] = []
    handle = layer.register_forward_hook(lambda _, args, z: seen.append((args[0], z)))
    gram = (layer.weight @ layer.weight.mT).detach()
    total = torch.zeros(1).to(gram)
    try:
        for losses in problem.batch_losses("gradients"):
            phi, z = seen.pop()
            if z.dim() != 2 or seen:
                raise ParameterError(
                    "layer must see each row once: choose one behind those that share weights."
                )
            total = total + _weighted_curvature(losses, z, gram, phi.detach().square().sum(1))
    finally:
        handle.remove()
    return Found(total)


def _weighted_curvature(losses: Tensor, z: Tensor, gram: Tensor, lengths: Tensor) -> Tensor:
    """Sum over rows of ``lengths`` times tr(gram A), an output after another for all rows at once."""
    (slopes,) = torch.autograd.grad(losses.sum(), z, create_graph=True)
    total = torch.zeros_like(losses).detach()
    if not slopes.requires_grad:  # a loss linear in the outputs
        return total
    for s in range(z.shape[-1]):
        (curvature,) = torch.autograd.grad(slopes[..., s].sum(), z, retain_graph=True)
        trace = (curvature * gram[..., s, None, :]).sum(-1)
        total = total + (trace * lengths).sum(-1)
    return total


def _linear(problem: Problem, layer: str | None) -> nn.Linear:
    linear: dict[str, nn.Linear] = {
        name: found for name, found in problem.module.named_modules() if isinstance(found, nn.Linear)
    }
    if layer is None and linear and problem.n_members == 1:
        return list(linear.values())[-1]
    if layer not in linear:
        raise ParameterError(
            f"layer must name an nn.Linear of the model, one of {', '.join(linear) or 'none'}, got {layer!r}."
        )
    return linear[layer]
