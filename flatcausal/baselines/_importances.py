"""One call for the importances that a reviewer asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._validation import check_integer
from flatcausal.baselines._methods import METHODS, check_methods
from flatcausal.baselines._table import Table, check_table
from flatcausal.exceptions import ParameterError
from flatcausal.metrics import Roles


def baseline_importances(
    X: Any,
    y: ArrayLike,
    methods: Iterable[str] | None = None,
    *,
    task: str = "auto",
    roles: Roles | None = None,
    environments: ArrayLike | None = None,
    random_state: RandomState = None,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Importances of every feature by every baseline, on one scale.

    ===========================  =======================================================================
    ``"random"``                 uniform on the simplex
    ``"correlation"``            magnitude of marginal correlation, for classes the correlation ratio
    ``"lasso"``                  magnitudes of coefficients of standardised features, penalty by 5 folds
    ``"forest_impurity"``        random forest, mean decrease of impurity
    ``"forest_permutation"``     random forest, permutation
    ``"boosting_permutation"``   histogram gradient boosting, permutation
    ``"mlp_permutation"``        perceptron with one hidden layer, permutation
    ``"pc_parents"``             PC: 1 for an edge into the target, 1/2 for one that stays undirected
    ``"pc_markov_blanket"``      PC: 1 for parents, children and spouses
    ``"icp"``                    invariant causal prediction: 1 for what every invariant set holds
    ``"oracle_parents"``         1 for each true parent
    ``"oracle_markov_blanket"``  1 for each member of the true Markov blanket
    ===========================  =======================================================================

    Permutation is the rise of the squared error (classes: log loss) on the quarter of the rows that the model
    did not see, mean of ten; a fall counts as none. Learners keep scikit-learn's defaults, but the perceptron
    sees standardised numbers and has ``alpha=3``; Lasso fits a class as a column of 0 and 1. PC tests partial
    correlations at level 0.05, which presumes linear and about normal data; its cost grows fast where nodes
    have many neighbours. Invariant causal prediction is linear, of level 0.05, and tests all sets of the ten
    features with the largest Lasso coefficients; its guarantee holds where no cause is missing among them.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        Numbers, at least 20 rows.
    y : array-like of shape (n_samples,)
        Numbers or classes.
    methods : iterable of str, default=None
        Names from the table above. None means all for which the arguments suffice and that need no further
        package: PC needs ``causal-learn``, invariant causal prediction ``causalicp``.
    task : {"auto", "regression", "classification"}, default="auto"
        ``"auto"``: a target of two values, or of anything but numbers, is classes. PC takes two at most,
        invariant causal prediction numbers only.
    roles : Roles, default=None
        True roles of the features, such as :class:`flatcausal.datasets.FeatureRoles`, for the oracles. The
        columns of a frame are aligned by name.
    environments : array-like of shape (n_samples,), default=None
        Label of the environment of each row, for ``"icp"``; at least two of them, ten rows each.
    random_state : int, SeedSequence, Generator, RandomState or None, default=None
        Each method has a stream of its own, so that its row does not depend on the others asked for.
    n_jobs : int, default=None
        How many methods to run at once, as in joblib. Each runs on one thread: the result does not depend
        on it.

    Returns
    -------
    DataFrame of float64, shape (n_methods, n_features)
        One row a method, in the order asked for, one column a feature. A row is at least 0 and sums to 1;
        it is 0 throughout where the method found nothing, which every metric takes for a tie.

    Raises
    ------
    ParameterError
        If a method is unknown, named twice, or lacks its argument or a target that it can use.
    ParameterTypeError
        If methods are a string, or roles a bare array.
    DataError
        If X, y or environments are no finite table of one length, or y is constant.
    FeatureAlignmentError
        If X and the roles have other features.
    ImportError
        If a method's package is not installed.

    References
    ----------
    Breiman (2001), Random forests; Fisher, Rudin and Dominici (2019), All models are wrong, but many are
    useful; Spirtes, Glymour and Scheines (2000), Causation, prediction, and search; Peters, Bühlmann and
    Meinshausen (2016), Causal inference by using invariant prediction.

    Examples
    --------
    >>> from flatcausal.baselines import baseline_importances
    >>> from flatcausal.datasets import SyntheticDAGDataset
    >>> ds = SyntheticDAGDataset(n_nodes=6, n_distractors=2, random_state=0)
    >>> X, y = ds.sample(300, return_X_y=True)
    >>> table = baseline_importances(
    ...     X, y, ["correlation", "lasso", "oracle_parents"], roles=ds.roles_, random_state=0
    ... )
    >>> table.shape, table.index.tolist()
    ((3, 7), ['correlation', 'lasso', 'oracle_parents'])
    >>> ds.report(table.loc["oracle_parents"])["ap_lift_parents"]
    1.0
    """
    table = check_table(X, y, task, roles, environments)
    names = check_methods(methods, table)
    if n_jobs is not None and check_integer("n_jobs", n_jobs) == 0:
        raise ParameterError("n_jobs must not be 0; pass 1 for one after another, -1 for all cores.")
    root = seed_sequence(random_state)
    # One thread a method, so that rounding does not depend on how many there are: here for this process and
    # its threads, in each call for other processes.
    with threadpool_limits(1):
        rows = Parallel(n_jobs=n_jobs)(delayed(_shares)(name, table, root) for name in names)
    return pd.DataFrame(
        np.array(rows), index=pd.Index(names, name="method"), columns=pd.Index(table.names, name="feature")
    )


def _shares(name: str, table: Table, root: np.random.SeedSequence) -> NDArray[np.float64]:
    with threadpool_limits(1):
        scores = METHODS[name].score(table, child(root, crc32(name.encode())))
    total = scores.sum()
    return scores / total if total > 0 else np.zeros_like(scores)
