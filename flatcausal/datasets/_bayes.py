"""The score of the best predictor that knows the target's equation and its causes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._validation import check_choice, check_integer
from flatcausal.datasets._blueprint import BAYES, Blueprint
from flatcausal.datasets._conditional import conditional_moments, probability_of_one
from flatcausal.datasets._environments import Environment
from flatcausal.datasets._noise_laws import NoiseLaw
from flatcausal.datasets._requests import Border
from flatcausal.datasets._stream import block_intervention, draw_blocks
from flatcausal.exceptions import ParameterError

Array = NDArray[np.float64]

_METRICS = {"regression": ("r2",), "classification": ("roc_auc", "accuracy", "log_loss", "r2")}


class BayesScore:
    """The part of a data set that knows what its causes can tell of the target."""

    _blueprint: Blueprint
    _root: np.random.SeedSequence
    _border: Border
    target_name_: str

    def bayes_score(
        self,
        metric: str | None = None,
        *,
        n: int = 50_000,
        env: Environment | None = None,
        random_state: RandomState = None,
    ) -> float:
        r"""Score of E[y | parents], the best prediction from the target's causes.

        It knows the frozen equation and all parents, hidden ones included; so this prediction holds in every
        environment that spares the target. A model that also sees effects of the target may score higher, and
        one that does not see a hidden parent cannot be expected to reach it. Only the parents are drawn:
        over the target's own noise the score is integrated, with :math:`\eta = P(y = 1 | x_{pa})`,

        .. math::

            R^2 = \frac{\operatorname{Var} E[y | x_{pa}]}{\operatorname{Var} y},\quad
            \text{accuracy} = E \max(\eta, 1 - \eta),\quad
            \text{log loss} = -E[\eta \ln \eta + (1 - \eta) \ln(1 - \eta)]

        and the area under the ROC curve of :math:`\eta`, each row being a positive of weight :math:`\eta` and
        a negative of weight :math:`1 - \eta`.

        Parameters
        ----------
        metric : {"r2", "roc_auc", "accuracy", "log_loss"}, default=None
            None: ``"roc_auc"`` for classification, ``"r2"`` for regression, which knows no other. Of the log
            loss alone, less is better.
        n : int, default=50000
            Rows of parents to average over, at least 2.
        env : Environment, default=None
            An environment to be scored in, which must spare the target.
        random_state : int, SeedSequence, Generator, RandomState or None, default=None
            Seed of the rows. None: always the same ones, and none that ``sample`` draws.

        Returns
        -------
        float
            The score, up to the error of a mean over n rows. A target without parents gives what a constant
            prediction does: 0 for ``"r2"``, 0.5 for ``"roc_auc"``.

        Raises
        ------
        ParameterError
            If the metric is not one of the task's, n < 2, or env names the target.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=8, r2_range=(0.6, 0.6), random_state=0)
        >>> round(ds.bayes_score(), 2)
        0.6
        >>> ds = SyntheticDAGDataset(n_nodes=8, task="classification", random_state=0)
        >>> 0.7 < ds.bayes_score("roc_auc") < 1.0
        True
        """
        task = self._blueprint.task
        metric = check_choice("metric", _METRICS[task][0] if metric is None else metric, _METRICS[task])
        n = check_integer("n", n, low=2)
        request = self._border.request(
            n, do=None, shift=None, scale=None, soft=None, env=env, allow_target=False
        )
        if env is not None and self.target_name_ in env.features:
            raise ParameterError(
                f"env names the target {self.target_name_!r}, whose equation scores; pass another one."
            )
        sequence = child(self._root if random_state is None else seed_sequence(random_state), BAYES)
        moments = np.empty((2, n))
        model, target = self._blueprint.model, self._blueprint.target
        equation, noise = model.assignments[target], NoiseLaw(model.noise)
        intervene = block_intervention(model, request, self._border.node_of)
        for rows, nodes, _ in draw_blocks(n, self._blueprint, intervene, sequence):
            inputs = nodes[list(equation.parents), : rows.stop - rows.start]
            if task == "classification":
                eta = probability_of_one(equation, inputs, noise)
                moments[:, rows] = eta, eta * (1.0 - eta)
            else:
                moments[:, rows] = conditional_moments(equation, inputs, noise)
        return _score(metric, *moments)


def _score(metric: str, mean: Array, variance: Array) -> float:
    """Score of the conditional mean, integrated over the target."""
    if metric == "r2":
        explained, left = float(mean.var()), float(variance.mean())
        return explained / (explained + left)
    if metric == "accuracy":
        return float(np.maximum(mean, 1.0 - mean).mean())
    if metric == "log_loss":
        return float((entr(mean) + entr(1.0 - mean)).mean())
    return _area_under_roc(mean)


def _area_under_roc(eta: Array) -> float:
    """Probability that a random positive has the higher eta than a random negative; ties count half."""
    levels, rank = np.unique(eta, return_inverse=True)
    positive = np.bincount(rank, eta, len(levels))
    negative = np.bincount(rank, 1.0 - eta, len(levels))
    below = np.cumsum(negative) - negative
    return float(positive @ (below + 0.5 * negative) / (positive.sum() * negative.sum()))
