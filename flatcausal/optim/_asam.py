"""Adaptive sharpness-aware minimisation: an ascent that does not see how weights are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._validation import check_real
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._sharpness_aware import SharpnessAware, SharpnessAwareOptimizer
from flatcausal.optim._subset import Subset
from flatcausal.optim._target import Target


class ASAM(SharpnessAware):
    r"""Adaptive SAM: as :class:`SAM`, with each weight climbing by its own size; two gradients per step.

    .. math:: \epsilon = \rho\, T^2 g / \lVert T g \rVert_2, \qquad T = |w| + \eta

    so that :math:`\lVert T^{-1} \epsilon \rVert_2 = \rho`. With :math:`\eta = 0` a rescaling of the layers
    that leaves the function as it is leaves the perturbed function as it is.

    Parameters
    ----------
    rho : float, default=0.5
        Length of the ascent in units of :math:`T`; about ten times that of :class:`SAM`.
    eta : float, default=0.01
        Added to the sizes of weights, so that one at zero can climb.
    adaptive_params : {"weights", "all"}, default="weights"
        Where :math:`T` is :math:`|w| + \eta`: at weights, with :math:`T = 1` at biases and normalisation, as
        in this package's adaptive sharpness; or everywhere. ``"weights"`` needs a module: its layers tell
        what a tensor is.
    base, m, perturb
        As in :class:`SAM`.

    Notes
    -----
    The authors' code also scales the weights of normalisation layers and leaves biases; other code scales
    all numbers, without :math:`\eta`: ``ASAM(eta=0.0, adaptive_params="all")``.

    References
    ----------
    J. Kwon et al., "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural
    Networks", ICML 2021.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.optim import ASAM
    >>> network = torch.nn.Linear(3, 1)
    >>> optimizer = ASAM(rho=1.0).build(network, lr=0.1)
    >>> ASAM(rho=1.0, adaptive_params="all").build([network.weight], lr=0.1).param_groups[0]["rho"]
    1.0
    """

    def __init__(
        self,
        rho: float = 0.5,
        eta: float = 0.01,
        adaptive_params: str = "weights",
        base: Recipe | str | None = None,
        m: int | None = None,
        perturb: str = "all",
    ):
        super().__init__(rho, base, m, perturb)
        self.eta = eta
        self.adaptive_params = adaptive_params

    @property
    def needs_layers(self) -> bool:
        """Whether ``adaptive_params``, ``perturb`` or the base asks what a tensor is."""
        return self.adaptive_params != "all" or super().needs_layers

    def _over(self, base: Optimizer, target: Target, **ascent: Any) -> Optimizer:
        eta = check_real("eta", self.eta, low=0.0)
        adaptive = Subset.choose(target, "adaptive_params", self.adaptive_params, ("weights", "all"))
        return ASAMOptimizer(base, target, eta=eta, adaptive=adaptive, **ascent)


class ASAMOptimizer(SharpnessAwareOptimizer):
    """The torch optimizer that :class:`ASAM` builds.

    Parameters
    ----------
    base, target, **ascent
        As in ``SharpnessAwareOptimizer``.
    eta : float
        Added to the sizes of weights.
    adaptive : Subset
        Numbers that climb by their size.
    """

    def __init__(self, base: Optimizer, target: Target, *, eta: float, adaptive: Subset, **ascent: Any):
        super().__init__(base, target, **ascent)
        self.eta = eta
        self.adaptive = adaptive

    def _check_known(self, tensors: Sequence[Tensor]) -> None:
        super()._check_known(tensors)
        for tensor in tensors:
            self.adaptive.mask(tensor)

    def _scaled(self, params: list[Tensor], gradients: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scales = [self._scale(p) for p in params]
        measured = torch._foreach_mul(gradients, scales)
        return list(measured), list(torch._foreach_mul(measured, scales))

    def _scale(self, param: Tensor) -> Tensor:
        """The diagonal of T."""
        mask = self.adaptive.mask(param)
        if mask is False:
            return torch.ones_like(param)
        sizes = param.abs().add_(self.eta)
        return sizes if mask is True else torch.where(mask, sizes, 1.0)
