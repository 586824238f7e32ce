"""The loss on a plane through a model's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from flatcausal._validation import check_boolean, check_choice, check_integer, check_real
from flatcausal.exceptions import ParameterError
from flatcausal.flatness._eigenvalues import eigenpairs
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import at_the_weights, circumstances
from flatcausal.flatness.surfaces import _directions, _trajectory
from flatcausal.flatness.surfaces._landscape import Landscape
from flatcausal.flatness.surfaces._named import named
from flatcausal.flatness.surfaces._records import LossSurface

_KINDS = ("filter", "hessian", "trajectory")


def loss_surface(
    model: Any,
    X: Any,
    y: Any,
    resolution: int = 25,
    *,
    directions: str | Sequence[Mapping[str, Any]] = "filter",
    span: float = 1.0,
    trajectory: Sequence[Mapping[str, Any]] | None = None,
    convexity: bool = False,
    **protocol: Unpack[Protocol],
) -> LossSurface:
    r"""Look at the loss on a plane through a model's weights.

    .. math:: f(\alpha, \beta) = L(w + \alpha d_1 + \beta d_2)

    ``"filter"`` draws :math:`d_1, d_2` at random and gives each filter, the weights that make one output of a
    layer (one index of their tensor's first axis, so of a transposed convolution one input), the length of
    the model's own, :math:`d_j \leftarrow d_j \lVert w_j \rVert / \lVert d_j \rVert` [1]_; biases and
    normalisation stand still. Before that each filter of :math:`d_2` is made orthogonal to
    that of :math:`d_1`. Done in this order both directions keep their lengths, are orthogonal, and give the
    same picture after a rescaling of layers that leaves the function as it is. ``"hessian"`` takes the unit
    eigenvectors of the two largest eigenvalues: the loss rises by about :math:`\lambda \alpha^2 / 2` until
    a kink of ReLU or sparsemax is met. ``"trajectory"`` takes the plane through the model that is nearest to
    the checkpoints: unit vectors, by singular value decomposition of :math:`[w_0 - w; \dots; w_{T-1} - w]`
    [1]_, here not centred, as the plane does not go through their mean.

    Cost: ``resolution ** 2`` losses, as many recalibrations besides with ``bn="recalibrated"``, each more
    than two losses in TabNet; ``"hessian"`` and ``convexity`` 10 to 80 Hessian-vector products each.

    What it cannot tell: a picture is no measure. It shows two directions of P. Random ones miss the few in
    which the loss curves most or falls, and look convex where it is not: see ``convexity`` beside them.
    Hessian directions show the sharpest and no other, move with a rescaling of weights, and in TabNet tell
    of a small neighbourhood, as kinks soon bend the loss away from its second derivative. Along a trajectory
    two directions explain most even of a random walk, so a smooth valley says little of training; the points
    stand for checkpoints as far as ``off_plane`` is small. With ``bn="frozen"``, as in [1]_, the statistics
    are those of the centre everywhere.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    resolution : int, default=25
        Points of each axis; an odd number has the model in the middle, but not with ``"trajectory"``.
    directions : {"filter", "hessian", "trajectory"} or pair of mappings, default="filter"
        Which plane. A pair maps names of parameters (``named_parameters``; of an estimator ``"population"``)
        to arrays, and is taken as it is, neither scaled nor made orthogonal.
    span : float, default=1.0
        Both axes reach from -span to span directions: with ``"filter"`` 1 is as far as the weights are from
        0, with ``"hessian"`` span is a distance, ``sqrt(2 * h / eigenvalue)`` for a rise by h. With
        ``"trajectory"`` each axis covers the path and a tenth of it at either end, times span.
    trajectory : sequence of mappings, optional
        At least two checkpoints besides the model, oldest first, as
        :class:`flatcausal.callbacks.WeightsRecorder` keeps them, or ``dict(module.named_parameters())`` gives
        them if every tensor is cloned; buffers may be among them. The path is projected on whichever plane.
    convexity : bool, default=False
        Also find the smallest and largest eigenvalue of the Hessian at the model.
    **protocol
        See :class:`flatcausal.flatness.Protocol`. With ``bn="recalibrated"`` each point has statistics of
        its own.

    Returns
    -------
    LossSurface
        Of all members, each on a plane of its own.

    Raises
    ------
    ParameterError
        If an argument cannot be, or nothing moves along the directions.
    DataError
        If a mapping is that of another model, or checkpoints span no plane.
    FloatingPointError
        If no member has a finite loss at the model itself; elsewhere such a loss is inf or NaN.

    References
    ----------
    .. [1] H. Li et al., "Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import loss_surface
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.zero_()
    >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # H = diag(1, 4)
    >>> loss = torch.nn.MSELoss()
    >>> surface = loss_surface(model, X, torch.zeros(2, 1), 3, directions="hessian", loss=loss)
    >>> surface.losses[0].round(6).tolist()  # (4 a^2 + b^2) / 2
    [[2.5, 2.0, 2.5], [0.5, 0.0, 0.5], [2.5, 2.0, 2.5]]
    """
    resolution = check_integer("resolution", resolution, low=2)
    span = check_real("span", span, low=0.0, open_low=True)
    convexity = check_boolean("convexity", convexity)
    pair = check_directions("directions", directions, 2, _KINDS)
    checkpoints = _trajectory.check_trajectory(trajectory, directions)
    with measuring(model, X, y, **protocol) as problem:
        centre = at_the_weights(problem)
        products = Products(problem) if convexity or directions == "hessian" else None
        steps = None if checkpoints is None else _trajectory.steps_from(problem, checkpoints)
        plane = _plane(problem, directions, pair, products, steps)
        extremes, converged = _extremes(problem, products if convexity else None)
        n_products = 0 if products is None else products.count
        products = None  # lets go of its graph
        path = None if steps is None else _trajectory.projected(steps, plane.vectors)
        line = torch.linspace(-span, span, resolution, dtype=torch.float64).to(plane.vectors)
        axes = [line.expand(problem.n_members, -1)] * 2
        if plane.kind == "trajectory" and path is not None:
            axes = [_trajectory.covering(places, line) for places in path.path.unbind(2)]
        losses = Landscape(problem).plane(plane.vectors, *axes)
        return LossSurface(
            alphas=_array(axes[0]),
            betas=_array(axes[1]),
            losses=_array(losses),
            directions=plane.kind,
            vectors=(named(problem, plane.vectors[:, 0]), named(problem, plane.vectors[:, 1])),
            lengths=_array(torch.linalg.vector_norm(plane.vectors, dim=2)),
            eigenvalues=None if plane.eigenvalues is None else _array(plane.eigenvalues),
            extremes=None if extremes is None else _array(extremes),
            converged=_array(converged if plane.converged is None else converged & plane.converged),
            path=None if path is None else _array(path.path),
            explained=None if path is None else _array(path.explained),
            off_plane=None if path is None else _array(path.off_plane),
            settings={"resolution": resolution, "span": span},
            n_products=n_products,
            **centre,
            **circumstances(problem),
        )


def check_directions(argument: str, value: Any, count: int, kinds: Sequence[str]) -> list[Any] | None:
    """The caller's own, or None for one of the kinds."""
    if isinstance(value, str):
        check_choice(argument, value, kinds)
        return None
    if isinstance(value, Mapping) or not isinstance(value, Sequence) or len(value) != count:
        known = ", ".join(map(repr, kinds))
        raise ParameterError(
            f"{argument} must be one of {known}, or {count} mappings of parameter names to arrays, "
            f"got {type(value).__name__}."
        )
    return list(value)


def _plane(
    problem: Problem,
    kind: Any,
    pair: list[Any] | None,
    products: Products | None,
    steps: Tensor | None,
) -> _directions.Directions:
    if pair is not None:
        return _directions.given_directions(problem, pair, "directions")
    if kind == "hessian" and products is not None:
        return _directions.hessian_directions(products, 2)
    if kind == "trajectory" and steps is not None:
        return _trajectory.principal_directions(steps)
    return _directions.filter_directions(problem, 2)


def _extremes(problem: Problem, products: Products | None) -> tuple[Tensor | None, Tensor]:
    """Smallest and largest eigenvalue (K, 2), and who converged."""
    if products is None:
        return None, torch.ones(problem.n_members, dtype=torch.bool, device=problem.params[0].device)
    low, high = eigenpairs(products, 1, "smallest"), eigenpairs(products, 1, "largest")
    found = torch.cat([low.values, high.values], dim=1)
    return torch.where(products.alive[:, None], found, torch.nan), low.converged & high.converged


def _array(tensor: Tensor):
    return tensor.detach().cpu().numpy()
