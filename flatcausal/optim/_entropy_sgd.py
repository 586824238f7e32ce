"""Entropy-SGD: descend a local entropy whose gradient short Langevin walks estimate."""

from __future__ import annotations

from collections.abc import Iterator

from torch.optim import Optimizer

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.exceptions import ParameterError
from flatcausal.optim._entropy_sgd_paper import EntropySGDOptimizer
from flatcausal.optim._entropy_sgd_ucla import ReleasedEntropySGDOptimizer
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._sgd import SGD, check_inertia
from flatcausal.optim._target import Target


class EntropySGD(Recipe):
    r"""Entropy-SGD, Algorithm 1 of Chaudhari et al. (2017); ``L`` gradients per step.

    An inner walk starts at the weights :math:`x` with :math:`x' = \mu = x` and repeats ``L`` times, each
    time on a fresh mini-batch :math:`\Xi`,

    .. math:: x' \leftarrow x' - \eta' [\nabla f_\Xi(x') - \gamma_t (x - x')] + \sqrt{\eta'}\,
              \varepsilon\, \mathcal N(0, I), \qquad \mu \leftarrow (1 - \alpha) \mu + \alpha x'

    and the step is :math:`x \leftarrow x - \eta (x - \mu)` with :math:`\gamma_t = \gamma_0 (1 + \gamma_1)^t`.
    As in the released code, the outer step leaves out the paper's factor :math:`\gamma`: ``lr`` in (0, 1]
    is how far the weights relax towards :math:`\mu`.

    Parameters
    ----------
    L : int, default=5
        Inner steps. With 0 the recipe builds plain SGD with the same momentum.
    inner_lr : float, default=0.1
        Inner learning rate :math:`\eta'`; schedules act on ``lr`` alone.
    gamma0, gamma1 : float, default=0.03, 1e-3
        Scope and its growth per step.
    gamma_max : float, optional
        Largest scope; :math:`1 / \eta'` if None. From :math:`2 / \eta'` on the walk would diverge.
    noise : float, default=1e-4
        Standard deviation :math:`\varepsilon` of the Langevin noise.
    alpha : float, default=0.75
        Weight of the newest point in the average.
    momentum : float, default=0.9
        Momentum of the inner walk, on :math:`\nabla f` alone; it starts anew with each step.
    nesterov : bool, default=True
        Look ahead along that momentum.
    variant : {"paper", "ucla"}, default="paper"
        Algorithm 1; or, to replicate results, what the authors' released PyTorch code does in its place:

        * ``1 + L`` gradients per step; that of the first pass is used only to start the outer momentum;
        * ``alpha`` is the weight of the old average: the newest point has :math:`1 - \alpha`;
        * the noise is :math:`\sqrt 2` larger: :math:`\sqrt{2 \eta'}\, \varepsilon\, \mathcal N(0, I)`;
        * the scope stays at ``gamma0``: ``gamma1`` has no effect, and ``gamma_max`` must be None;
        * the same momentum also acts on the outer :math:`x - \mu`; its buffer starts as the first gradient
          of :math:`f`, so that with ``L=0`` it counts that gradient ``1 + momentum`` times, and is SGD only
          without momentum;
        * with ``nesterov=False`` the pull to :math:`x` and the noise enter the inner momentum;
        * weight decay acts in the walk and again on the outer step.

        The released code moves BatchNorm's statistics in every pass, steps the first parameter group alone,
        fails where a parameter is unused, fixes ``inner_lr=0.1`` and ``alpha=0.75``, and draws its noise from
        torch's global generator: that is not reproduced.

    Notes
    -----
    Stock skorch and a plain closure repeat one mini-batch in the inner walk; the estimators of this
    package pass ``batches_per_step`` fresh ones.

    References
    ----------
    P. Chaudhari et al., "Entropy-SGD: Biasing Gradient Descent Into Wide Valleys", ICLR 2017; released code
    at github.com/ucla-vision/entropy-sgd, ``python/optim.py``.

    Examples
    --------
    >>> from flatcausal.optim import EntropySGD
    >>> EntropySGD(L=20).gradients_per_step, EntropySGD(L=20, variant="ucla").gradients_per_step
    (20, 21)
    """

    def __init__(
        self,
        L: int = 5,
        inner_lr: float = 0.1,
        gamma0: float = 0.03,
        gamma1: float = 1e-3,
        gamma_max: float | None = None,
        noise: float = 1e-4,
        alpha: float = 0.75,
        momentum: float = 0.9,
        nesterov: bool = True,
        variant: str = "paper",
    ):
        self.L = L
        self.inner_lr = inner_lr
        self.gamma0 = gamma0
        self.gamma1 = gamma1
        self.gamma_max = gamma_max
        self.noise = noise
        self.alpha = alpha
        self.momentum = momentum
        self.nesterov = nesterov
        self.variant = variant

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given: jump to the average; of SGD without inner steps."""
        return 1.0 if self.L else SGD().default_lr

    @property
    def needs_closure(self) -> bool:
        """Unless it is SGD."""
        return self.L != 0 or self.variant == "ucla"

    @property
    def gradients_per_step(self) -> int:
        """One for each inner step; of ``"ucla"`` one more."""
        n_inner = check_integer("L", self.L, low=0)
        return 1 + n_inner if self.variant == "ucla" else max(n_inner, 1)

    @property
    def batches_per_step(self) -> int:
        """One for each gradient."""
        return self.gradients_per_step

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        released = check_choice("variant", self.variant, ("paper", "ucla")) == "ucla"
        n_inner = check_integer("L", self.L, low=0)
        if not (n_inner or released):
            return SGD(self.momentum, self.nesterov)._build(target, lr, weight_decay, seeds)
        if released and self.gamma_max is not None:
            raise ParameterError(
                f"gamma_max must be None with variant='ucla', whose scope stays at gamma0; "
                f"got {self.gamma_max!r}."
            )
        inner_lr = check_real("inner_lr", self.inner_lr, low=0.0, open_low=True)
        gamma_max = 1 / inner_lr if self.gamma_max is None else self.gamma_max
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "inner_lr": inner_lr,
            "scope_max": check_real("gamma_max", gamma_max, low=0.0),
            "noise": check_real("noise", self.noise, low=0.0),
            **check_inertia(self.momentum, self.nesterov),
            "scope": check_real("gamma0", self.gamma0, low=0.0),
            "scope_growth": check_real("gamma1", self.gamma1, low=0.0),
            "alpha": check_real("alpha", self.alpha, low=0.0, high=1.0),
        }
        kind = ReleasedEntropySGDOptimizer if released else EntropySGDOptimizer
        return kind(target, n_inner, defaults, seeds)

    def limiting_cases(self) -> Iterator[tuple[Recipe, Recipe]]:
        """Without inner steps it is SGD; the released code only without momentum."""
        if self.variant == "ucla":
            yield self._at(L=0, momentum=0.0), SGD()
        else:
            yield self._at(L=0), SGD(self.momentum, self.nesterov)
