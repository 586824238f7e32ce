"""Sharpness: how far the loss rises around a model's weights."""

from __future__ import annotations

from typing import Any, Unpack

import torch

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.flatness._kinds import KINDS, Kind, Search
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._result import FlatnessResult, Found, record


def sharpness(
    model: Any,
    X: Any,
    y: Any,
    kind: str = "adaptive",
    *,
    rho: float | None = None,
    m: int | None = None,
    n_draws: int = 50,
    n_steps: int = 20,
    n_restarts: int = 3,
    n_directions: int | None = None,
    **protocol: Unpack[Protocol],
) -> FlatnessResult:
    r"""Measure how far the loss rises around a model's weights.

    Write :math:`w` for the weights, :math:`g` for the gradient, :math:`L(w + d) - L(w)` for the rise.
    Adaptive kinds move a weight in proportion to its size :math:`|w|`, and so survive a rescaling of weights
    that leaves the function as it is. The others can be changed at will by one (Dinh et al., 2017), in
    TabNet by any growth of the weights before a normalisation.

    ==================== ==================================================================== =========== ====
    kind                 value                                                                cost        rho
    ==================== ==================================================================== =========== ====
    "adaptive"           rise at :math:`d = \rho T^2 g / \lVert T g \rVert_2`                 1 g, 1 l    0.5
    "adaptive_l2"        largest rise with :math:`\lVert d / |w| \rVert_2 \le \rho`           61 g, 10 p  0.5
    "adaptive_linf"      largest rise with :math:`\lVert d / |w| \rVert_\infty \le \rho`      61 g, 10 p  1e-3
    "adaptive_average"   mean rise for :math:`d \sim N(0, \rho^2 \mathrm{diag}(w^2))`         100 l       0.1
    "sam"                rise at :math:`d = \rho g / \lVert g \rVert_2`                       1 g, 1 l    0.05
    "l2"                 largest rise with :math:`\lVert d \rVert_2 \le \rho`                 61 g, 10 p  0.05
    "linf"               largest rise with :math:`\lVert d \rVert_\infty \le \rho`            61 g, 10 p  1e-3
    "average"            mean rise for :math:`d \sim N(0, \rho^2 I)`                          100 l       0.05
    "keskar"             100 times largest rise with :math:`|y_i| \le \rho (|A^+ w|_i + 1)`,  about 12 g  1e-3
                         :math:`d = A y`, divided by :math:`1 + L(w)`
    ==================== ==================================================================== =========== ====

    Sources: ``"adaptive"`` [1]_, ``"sam"`` [3]_, ``"keskar"`` [4]_, other adaptive kinds and ``"linf"`` [2]_.
    Costs are gradients (g), Hessian-vector products (p, two to three gradients each) and losses (l, a third
    of one) over the rows; ascents take five losses more. In ``"adaptive"``
    :math:`T = \mathrm{diag}(|w| + 0.01)`, with 1 for biases and normalisation, and invariance holds up to
    that 0.01; in the other adaptive kinds these do not move. Largest rises are found by projected ascent, and
    are lower bounds; averages by antithetic pairs.

    Ascents start along the gradient, then along the most curved direction, then at random. At a minimum the
    gradient says nothing, and the largest rise within a small radius is :math:`\rho^2 \lambda_1 / 2`, with
    :math:`\lambda_1` the top eigenvalue of the Hessian H, or of C H C with :math:`C = \mathrm{diag}(|w|)` in
    ``"adaptive_l2"``. Ten products find its eigenvector well enough to start from, in the sense in which the
    loss is higher; box kinds take its signs.

    What they cannot tell. One step along the gradient (``"adaptive"``, ``"sam"``) is 0 where the gradient is,
    however curved the loss: use the largest rises for claims about minima. No kind compares at unequal
    training losses (:func:`compare_at_matched_loss`). Cross-entropy flattens by confidence alone
    (``normalize_logits=True`` takes that away). Across models sharpness follows the learning rate rather than
    generalisation, and can be higher in the model that generalises better [2]_.

    Parameters
    ----------
    model : estimator, skorch net or nn.Module
        A fitted estimator of this package is measured by its data loss for each member, the sparsity
        penalty left out. The model is copied and never changed.
    X : array-like or Tensor
        Rows to measure on, as the model takes them; training rows as a rule.
    y : array-like or Tensor
        Their targets.
    kind : str, default="adaptive"
        Which measure.
    rho : float, optional
        Radius; that of the table if None.
    m : int, optional
        Take the mean over batches of ``m`` rows, each with a worst case of its own, with its standard error.
        It grows as m shrinks, and is not the value on all rows at once.
    n_draws : int, default=50
        Antithetic pairs of an average.
    n_steps, n_restarts : int, default=20, 3
        Steps of an ascent, and how often it starts. One start takes no Hessian-vector products.
    n_directions : int, optional
        Width of the random subspace :math:`A` of ``"keskar"``; all numbers if None.
    **protocol
        Rows, loss, batch normalisation, precision, seed: see :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    FlatnessResult
        One value for each member. ``converged`` tells of an ascent that its last quarter added less than
        1 %, of ``"keskar"`` that its 10 iterations were enough. ``details["curved_start"]`` tells who could
        start along the most curved direction. Where second derivatives are not finite, or an operation has
        none (with a warning), a random start takes its place.

    Raises
    ------
    ParameterError
        If an argument cannot be, the loss is missing or no mean over rows, or rho moves weights by more than
        their own sizes.
    DataError
        If X and y do not go through the model.
    FloatingPointError
        If no member has a finite loss; it names the first bad batch.

    References
    ----------
    .. [1] J. Kwon et al., "ASAM: Adaptive Sharpness-Aware Minimization", ICML 2021.
    .. [2] M. Andriushchenko et al., "A Modern Look at the Relationship between Sharpness and Generalization",
       ICML 2023.
    .. [3] P. Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization",
       ICLR 2021.
    .. [4] N. S. Keskar et al., "On Large-Batch Training for Deep Learning", ICLR 2017.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import sharpness
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.fill_(2.0)
    >>> X = torch.ones(4, 1)
    >>> result = sharpness(model, X, X, rho=0.5, loss=torch.nn.MSELoss())  # (w - 1)^2 at w = 2 + 0.5 * 2.01
    >>> round(float(result.value[0]), 4)
    3.02
    >>> worst = sharpness(model, X, X, "adaptive_l2", rho=0.5, loss=torch.nn.MSELoss())  # at w = 2 + 0.5 * 2
    >>> round(float(worst.value[0]), 4), worst.n_gradients
    (3.0, 61)
    """
    check_choice("kind", kind, KINDS)
    rho = check_real("rho", KINDS[kind].rho if rho is None else rho, low=0.0, open_low=True)
    search = Search(
        n_draws=check_integer("n_draws", n_draws, low=2),
        n_steps=check_integer("n_steps", n_steps, low=1),
        n_restarts=check_integer("n_restarts", n_restarts, low=1),
        n_directions=None if n_directions is None else check_integer("n_directions", n_directions, low=1),
    )
    m = None if m is None else check_integer("m", m, low=2)
    with measuring(model, X, y, **protocol) as problem:
        return sharpness_of(problem, kind, rho, search, m)


def sharpness_of(problem: Problem, kind: str, rho: float, search: Search, m: int | None) -> FlatnessResult:
    """Measure by checked arguments."""
    found = KINDS[kind]
    found.check(problem, rho)
    whole = found.find(problem, rho, search) if m is None else _mean(problem, found, rho, search, m)
    used = {name: getattr(search, name) for name in found.uses}
    return record(problem, kind, whole, rho=rho, m=m, **used)


def _mean(problem: Problem, kind: Kind, rho: float, search: Search, m: int) -> Found:
    """The mean over groups of rows, each counting as many rows as it has."""
    _ = problem.base  # of all rows: what the record shows
    groups = list(problem.groups(m))
    founds = [kind.find(group, rho, search) for group in groups]
    values = torch.stack([found.value for found in founds])
    shares = values.new_tensor([(g.rows.stop - g.rows.start) / problem.n_rows for g in groups])[:, None]
    settled = [found.converged for found in founds if found.converged is not None]
    flags = founds[0].details
    spread = values.std(0) if len(groups) > 1 else torch.full_like(values[0], torch.nan)
    return Found(
        (values * shares).sum(0),
        standard_error=spread / len(groups) ** 0.5,
        converged=torch.stack(settled).all(0) if settled else None,
        details={name: torch.stack([found.details[name] for found in founds]).all(0) for name in flags},
    )


def default_search(**changes: Any) -> Search:
    """What :func:`sharpness` takes by default."""
    return Search(**{"n_draws": 50, "n_steps": 20, "n_restarts": 3, "n_directions": None, **changes})
