"""Sharpness-aware minimisation over any base optimizer."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from flatcausal.optim._recipe import Recipe
from flatcausal.optim._sharpness_aware import SharpnessAware, SharpnessAwareOptimizer
from flatcausal.optim._target import Target


class SAM(SharpnessAware):
    r"""Sharpness-aware minimisation: descend by the gradient found a step uphill; two gradients per step.

    .. math:: \epsilon = \rho\, g / \lVert g \rVert_2, \qquad g = \nabla L(w), \qquad
              \tilde g = \nabla L(w + \epsilon)

    The base optimizer then steps from :math:`w` with :math:`\tilde g`. The norm is over all tensors of a
    member. Weight decay belongs to the base and takes no part in the ascent (Foret et al., 2021).

    Parameters
    ----------
    rho : float, default=0.05
        Length of the ascent; a parameter group may have a ``"rho"`` of its own, which scales its share of the
        one common direction.
    base : Recipe or str, optional
        Optimizer that descends, or its name; ``SGD()`` if None.
    m : int, optional
        m-SAM: micro-batches of ``m`` rows climb and are differentiated on their own, and the base steps with
        the mean of their :math:`\tilde g`, weighted by rows. Running statistics move once, to the mean of
        where each micro-batch would move them. It needs a closure with a method ``split``, as the estimators
        of this package pass. If None, or no less than the batch, the batch climbs as one.
    perturb : {"all", "norm", "weights", "no_norm"}, default="all"
        Numbers that climb: all; those of normalisation layers (SAM-ON, Mueller et al., 2023); those that are
        neither normalisation nor biases; or all but normalisation. The norm is over these alone, so that
        :math:`\lVert \epsilon \rVert_2 = \rho` stays true. Other choices than ``"all"`` need a module: its
        layers tell what a tensor is.

    References
    ----------
    P. Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021.
    M. Mueller et al., "Normalization Layers Are All That Sharpness-Aware Minimization Needs", NeurIPS 2023.

    Examples
    --------
    >>> from flatcausal.optim import SAM, SGD
    >>> recipe = SAM(rho=0.1, base=SGD(momentum=0.9))
    >>> recipe.set_params(base__momentum=0.8).base
    SGD(momentum=0.8)
    >>> recipe.gradients_per_step
    2
    """

    def __init__(
        self, rho: float = 0.05, base: Recipe | str | None = None, m: int | None = None, perturb: str = "all"
    ):
        super().__init__(rho, base, m, perturb)

    def _over(self, base: Optimizer, target: Target, **ascent: Any) -> Optimizer:
        return SAMOptimizer(base, target, **ascent)


class SAMOptimizer(SharpnessAwareOptimizer):
    """The torch optimizer that :class:`SAM` builds."""
