"""FOOF: each layer solves a least-squares problem for the change that its outputs' gradients ask for."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from flatcausal._validation import check_boolean, check_choice, check_integer, check_real
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._foof_optimizer import FOOFOptimizer
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._sgd import SGD
from flatcausal.optim._target import Target


class FOOF(Recipe):
    r"""Gradient descent on neurons (FOOF, Benzing 2022), one gradient per step.

    A linear layer with inputs :math:`A` (n rows, with a column of ones for the bias) gets the change of its
    weights that comes nearest to a step of gradient descent on its outputs,

    .. math:: \min_{\Delta W} \tfrac1n \lVert \Delta W A^T + \eta n E^T \rVert^2
              + \lambda \lVert \Delta W \rVert^2, \qquad
              \Delta W = -\eta\, G\, (\Sigma + \lambda I)^{-1}, \qquad \Sigma = A^T A / n

    where :math:`E` is the gradient of the loss by the outputs and :math:`G = E^T A` that by the weights.
    :math:`\Sigma` is a running average over steps. No second derivative of the loss takes part. It is the
    closest published method to an undisclosed one by the name of GLS.

    Parameters
    ----------
    damping : float, default=0.1
        :math:`\lambda`. Directions in which :math:`\Sigma` is smaller are left to plain gradient descent
        with learning rate :math:`\eta / \lambda`; so change ``lr`` and ``damping`` together, by one factor,
        to keep the size of small steps. Without damping the inputs of a layer may be mixed by any
        invertible matrix without a change of the path.
    ema : float, default=0.95
        Share of :math:`\Sigma` that a step keeps; its start at zero is corrected. 0: each batch alone.
    T : int, default=1
        Steps from one factorisation of :math:`\Sigma + \lambda I` to the next.
    momentum : float, default=0.0
        Heavy ball on the gradient, before it is multiplied.
    rest : Recipe or str, optional
        What moves all other numbers: normalisation, embeddings, convolutions, weights that layers share.
        ``SGD`` with the same momentum if None. It has the same learning rate.
    norm_match : bool, default=False
        Give the change of each member's linear layers the length of SGD's, :math:`\eta` times the norm of
        the gradient.

    Notes
    -----
    ``build`` needs a module: its ``nn.Linear`` layers, or the weights of a population network, are watched
    in passes that are in training mode and differentiated. :math:`\Sigma` of a layer that is used several
    times is the sum over its uses. A module whose own ``forward`` is not what is called counts all passes
    before a step as one.

    Weight decay is decoupled in linear layers, :math:`W \leftarrow (1 - \eta\,\mathrm{wd})\, W`; elsewhere
    it is what it is in ``rest``. Where :math:`\Sigma + \lambda I` is singular, its damping is raised until
    it is not.

    References
    ----------
    F. Benzing, "Gradient Descent on Neurons and its Link to Approximate Second-Order Optimization", ICML
    2022, equations 5 and 6. His sums over the batch are means here: :math:`\lambda` and :math:`\eta` are his
    divided by the batch size. E. Amid et al., "LocoProp", AISTATS 2022, arrive at the same step.

    Examples
    --------
    A linear regression is solved in one step:

    >>> import torch
    >>> from flatcausal.optim import FOOF
    >>> X, y = torch.tensor([[3.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0], [-1.0]])
    >>> network = torch.nn.Linear(2, 1, bias=False)
    >>> optimizer = FOOF(damping=0.0).build(network, lr=1.0)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = 0.5 * (network(X) - y).square().mean()
    ...     loss.backward()
    ...     return loss
    >>> loss = optimizer.step(closure)
    >>> network.weight.detach().round(decimals=3)
    tensor([[-1.,  4.]])
    """

    def __init__(
        self,
        damping: float = 0.1,
        ema: float = 0.95,
        T: int = 1,
        momentum: float = 0.0,
        rest: Recipe | str | None = None,
        norm_match: bool = False,
    ):
        self.damping = damping
        self.ema = ema
        self.T = T
        self.momentum = momentum
        self.rest = rest
        self.norm_match = norm_match

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given: 0.3, less by the factor that momentum adds to a step's reach."""
        return round(0.3 * (1 - self._checked_momentum), 9)

    @property
    def _checked_momentum(self) -> float:
        return check_real("momentum", self.momentum, low=0.0, high=1.0, open_high=True)

    @property
    def needs_layers(self) -> bool:
        """Bare tensors do not tell what their inputs are."""
        return True

    def _rest(self) -> Recipe:
        from flatcausal.optim._registry import get, names  # which know this recipe

        rest: Any = SGD(self.momentum) if self.rest is None else self.rest
        if isinstance(rest, str):
            rest = get(check_choice("rest", rest, names()))
        if not isinstance(rest, Recipe) or isinstance(rest, FOOF) or not _is_one_gradient(rest):
            raise ParameterTypeError(
                f"rest must be a recipe that takes one gradient per step, at the weights as they are, such "
                f"as SGD() or Adam(); got {self.rest!r}."
            )
        return rest

    def set_params(self, **params: Any) -> FOOF:
        """Set parameters; those of a default or named ``rest`` are reached by ``rest__`` as well."""
        if any(key.startswith("rest__") for key in params) and "rest" not in params:
            self.rest = self._rest()
        return super().set_params(**params)

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        hyper = {
            "lr": lr,
            "weight_decay": weight_decay,
            "damping": check_real("damping", self.damping, low=0.0),
            "ema": check_real("ema", self.ema, low=0.0, high=1.0, open_high=True),
            "T": check_integer("T", self.T, low=1),
            "momentum": self._checked_momentum,
            "norm_match": check_boolean("norm_match", self.norm_match),
        }
        if not target.layers:
            raise ParameterTypeError(
                "FOOF needs a module: bare tensors do not tell what they are multiplied with; pass the model "
                "itself to build."
            )
        return FOOFOptimizer(target, self._rest(), seeds, hyper)


def _is_one_gradient(recipe: Recipe) -> bool:
    return recipe.gradients_per_step == 1 and not recipe.needs_closure
