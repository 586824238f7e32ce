"""The ratio of learning rate to batch size as a control of SGD's noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from sklearn.base import clone

from flatcausal._validation import check_integer, check_real
from flatcausal.estimators._base import PopulationEstimator
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.optim import get

AnyEstimator = TypeVar("AnyEstimator", bound=PopulationEstimator)


def lr_batch_sweep(
    estimator: AnyEstimator, ratios: Sequence[float], batch_sizes: Sequence[int]
) -> list[AnyEstimator]:
    r"""Clone an estimator for every ratio of learning rate to batch size, at each batch size.

    SGD with learning rate :math:`\eta` and :math:`S` rows a batch follows, in the time
    :math:`\tau = \eta \cdot \text{steps}`,

    .. math:: dw = -\nabla L\, d\tau + \sqrt{\eta / S}\; C^{1/2}\, dB

    with :math:`C` the covariance of single rows' gradients: the ratio :math:`r = \eta / S` alone sets the
    noise, and larger noise prefers wider minima (Jastrzębski et al., 2017). Clones with one ratio should end
    alike, which tells the effect of the ratio from that of the learning rate. ``max_epochs`` is the same in
    all: on :math:`N` rows all compute as many gradients of rows, and those of one ratio run for the same
    time, at a constant rate :math:`r N \cdot \text{epochs}`. So is ``virtual_batch_size``, and with it the
    noise of batch norm.

    Parameters
    ----------
    estimator : FlatMinimaTabNetRegressor or FlatMinimaTabNetClassifier
        What to clone, with an optimizer on mini-batches and without ``clip_norm``, which would cap the noise.
        Its ``lr`` and ``batch_size`` play no part.
    ratios : sequence of float
        Ratios :math:`r`, greater than 0.
    batch_sizes : sequence of int
        Batch sizes :math:`S`, multiples of ``virtual_batch_size``, well below the number of training rows.

    Returns
    -------
    list
        Unfitted clones with ``lr = r * S`` and ``batch_size = S``, by ratio, then by batch size.

    Raises
    ------
    ParameterError
        If a number is out of its range, ``clip_norm`` is set, the optimizer descends on all rows, or a batch
        does not divide into ghost batches of ``virtual_batch_size`` rows.
    ParameterTypeError
        If there is no estimator, or a number is none.

    Notes
    -----
    The law is that of SGD. Momentum :math:`\mu` makes the ratio :math:`r / (1 - \mu)`; Adam and its like
    do not follow it. It fails where :math:`\eta` times the largest curvature comes near 2.

    References
    ----------
    S. Jastrzębski et al., "Three Factors Influencing Minima in SGD", 2017, arXiv:1711.04623.

    Examples
    --------
    >>> from flatcausal import FlatMinimaTabNetRegressor
    >>> from flatcausal.estimators import lr_batch_sweep
    >>> sweep = lr_batch_sweep(FlatMinimaTabNetRegressor(optimizer="sgd"), [1e-4, 1e-3], [128, 256])
    >>> [(est.batch_size, round(est.lr, 6)) for est in sweep]
    [(128, 0.0128), (256, 0.0256), (128, 0.128), (256, 0.256)]
    """
    ghost_rows = _check_estimator(estimator)
    rates = [check_real("ratios", ratio, low=0.0, open_low=True) for ratio in ratios]
    sizes = [check_integer("batch_sizes", size, low=2) for size in batch_sizes]
    for size in sizes:
        if size % ghost_rows:
            raise ParameterError(
                f"batch_sizes must be multiples of virtual_batch_size={ghost_rows}, or the noise of batch "
                f"norm would change with them, got {size}."
            )
    return [
        cast(AnyEstimator, clone(estimator)).set_params(lr=rate * size, batch_size=size)
        for rate in rates
        for size in sizes
    ]


def _check_estimator(estimator: PopulationEstimator) -> int:
    """Refuse what would break the law; returns the rows of a ghost batch."""
    if not isinstance(estimator, PopulationEstimator):
        raise ParameterTypeError(f"estimator must be a TabNet estimator of this package, got {estimator!r}.")
    if estimator.clip_norm is not None:
        raise ParameterError(
            f"clip_norm must be None, for clipped gradients cap the noise, got {estimator.clip_norm!r}."
        )
    if get(estimator.optimizer).full_batch:
        raise ParameterError(
            f"optimizer must descend on mini-batches, such as 'sgd', to have a batch size; "
            f"got {estimator.optimizer!r}."
        )
    return check_integer("virtual_batch_size", estimator.virtual_batch_size, low=2)
