"""The loss on a line through a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.exceptions import ParameterError
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import at_the_weights, circumstances
from flatcausal.flatness.surfaces import _directions
from flatcausal.flatness.surfaces._landscape import Landscape
from flatcausal.flatness.surfaces._named import named
from flatcausal.flatness.surfaces._records import LossSlice

_KINDS = ("filter", "hessian")


def loss_slice(
    model: Any,
    X: Any,
    y: Any,
    resolution: int = 51,
    *,
    direction: str | Mapping[str, Any] = "filter",
    span: float = 1.0,
    **protocol: Unpack[Protocol],
) -> LossSlice:
    r"""Look at the loss on a line through a model's weights, :math:`f(\alpha) = L(w + \alpha d)`.

    Cost: ``resolution`` losses, as many recalibrations besides with ``bn="recalibrated"``; ``"hessian"`` 10
    to 40 Hessian-vector products.

    What it cannot tell: what :func:`loss_surface` cannot, in one direction of P instead of two.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    resolution : int, default=51
        Points; an odd number has the model in the middle.
    direction : {"filter", "hessian"} or mapping of str to array, default="filter"
        A random one whose filters have the lengths of the weights' own, the unit eigenvector of the largest
        eigenvalue, or the caller's by names of parameters; as in :func:`loss_surface`.
    span : float, default=1.0
        The line reaches from -span to span directions.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    LossSlice
        Of all members, each on a line of its own.

    Raises
    ------
    ParameterError
        If an argument cannot be, or nothing moves along the direction.
    DataError
        If a mapping is that of another model.
    FloatingPointError
        If no member has a finite loss at the model itself; elsewhere such a loss is inf or NaN.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import loss_slice
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.fill_(2.0)
    >>> X = torch.ones(4, 1)
    >>> found = loss_slice(model, X, X, 3, direction={"weight": [[1.0]]}, loss=torch.nn.MSELoss())
    >>> found.losses.tolist()  # (w - 1)^2 at w = 1, 2, 3
    [[0.0, 1.0, 4.0]]
    """
    resolution = check_integer("resolution", resolution, low=2)
    span = check_real("span", span, low=0.0, open_low=True)
    given = isinstance(direction, Mapping)
    if not given and not isinstance(direction, str):
        raise ParameterError(
            f"direction must be one of 'filter', 'hessian', or map parameter names to arrays, "
            f"got {type(direction).__name__}."
        )
    kind = "given" if given else check_choice("direction", direction, _KINDS)
    with measuring(model, X, y, **protocol) as problem:
        centre, n_products = at_the_weights(problem), 0
        if given:
            found = _directions.given_directions(problem, [direction], "direction")
        elif kind == "hessian":
            products = Products(problem)
            found, n_products = _directions.hessian_directions(products, 1), products.count
            del products  # lets go of its graph
        else:
            found = _directions.filter_directions(problem, 1)
        vector = found.vectors[:, 0]
        line = torch.linspace(-span, span, resolution, dtype=torch.float64).to(vector)
        alphas = line.expand(problem.n_members, -1)
        losses = Landscape(problem).line(vector, alphas)
        converged = torch.ones_like(losses[:, 0], dtype=torch.bool)
        return LossSlice(
            alphas=alphas.cpu().numpy().copy(),
            losses=losses.cpu().numpy(),
            direction=kind,
            vector=named(problem, vector),
            length=torch.linalg.vector_norm(vector, dim=1).cpu().numpy(),
            eigenvalue=None if found.eigenvalues is None else found.eigenvalues[:, 0].cpu().numpy(),
            converged=(converged if found.converged is None else found.converged).cpu().numpy(),
            settings={"resolution": resolution, "span": span},
            n_products=n_products,
            **centre,
            **circumstances(problem),
        )
