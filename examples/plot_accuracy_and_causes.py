"""
Why accuracy and causes part ways
=================================

The best predictor of new rows of the same kind also uses the effects of the target. Where something changes
how those come about it errs, and the same learner on the causes alone does not.
"""

# %%
# One graph with causes and effects
# ---------------------------------
# Given its parents, its children and the children's other parents, the target ``y`` is independent of all
# else: those are what accuracy asks a model to use. Areas are what gradient boosting makes of them, by
# permutation of held-out rows. This graph was chosen because it shows the effect clearly; the last section
# counts how many others show it.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from flatcausal import FlatMinimaTabNetRegressor, SyntheticDAGDataset
from flatcausal.baselines import baseline_importances
from flatcausal.metrics import (
    causal_oracle,
    excess_over_oracle,
    price_of_causality,
    robustness_curve,
    worst_case_risk,
)
from flatcausal.plotting import DAGDisplay


def draw(seed):
    """Draw a graph whose target has two parents and two children at least."""
    return SyntheticDAGDataset(n_nodes=12, n_distractors=6, min_parents=2, min_children=2, random_state=seed)


ds = draw(5)
X, y = ds.sample(1000, return_X_y=True)
importances = baseline_importances(X, y, ["boosting_permutation"], random_state=0).loc["boosting_permutation"]
print(importances.groupby(ds.roles_.role).sum().round(2))

_, axis = plt.subplots(figsize=(7.5, 3.5), layout="constrained")
DAGDisplay.from_graph(ds.graph_, ds.target_name_, ds.roles_, importances).plot(axis)
plt.show()

# %%
# All features against the parents alone
# --------------------------------------
# :func:`flatcausal.metrics.causal_oracle` makes the same learner on the true parents. Both meet new rows of
# the training distribution, and ten environments in which a quarter of the graph's features, never the
# target, are set to draws of their own. Risk is the mean squared error; the target has variance 1 where
# nothing changes.

inside = ds.sample(1000, random_state=1)
outside = [ds.sample(1000, env=env, random_state=2) for env in ds.environments(10, random_state=0)]

learners = {
    "boosting": HistGradientBoostingRegressor(random_state=0),
    "TabNet": FlatMinimaTabNetRegressor(n_members=4, max_epochs=40, random_state=0),
}
models = {}
for name, learner in learners.items():
    models[f"{name}, all features"] = learner.fit(X, y)
    models[f"{name}, parents"] = causal_oracle(learner, ds.roles_).fit(X, y)

reports = {name: worst_case_risk(model, outside, iid=inside) for name, model in models.items()}
print(
    pd.DataFrame(
        {name: {"inside": r.iid, "worst": r.worst, "mean": r.mean} for name, r in reports.items()}
    ).T.round(2)
)

# %%
# The *price of causality* is what the parents alone give away inside, the *excess over the oracle* what all
# features lose in the worst environment outside.

for name in learners:
    pair = models[f"{name}, all features"], models[f"{name}, parents"]
    print(
        f"{name}: price of causality {price_of_causality(*pair, inside):.2f}, "
        f"excess over the oracle {excess_over_oracle(*pair, outside):.2f}"
    )

# %%
# From the training distribution outwards
# ---------------------------------------
# How far out does it take? Here the noise of a quarter of the features shifts by a growing number of its
# standard deviations, in the same five ways at each strength. The area under a curve sums it up, and may hide
# that two curves cross.


def shifted(strength):
    """Sample five environments as one."""
    environments = ds.environments(5, kind="shift", strength=strength, random_state=0)
    samples = [ds.sample(1000, env=env, random_state=3) for env in environments]
    return np.vstack([s.X for s in samples]), np.concatenate([s.y for s in samples])


by_strength = {strength: shifted(strength) for strength in (0.0, 0.5, 1.0, 2.0, 4.0)}

_, axis = plt.subplots(figsize=(6, 4), layout="constrained")
for name, model in models.items():
    curve = robustness_curve(model, by_strength)
    axis.plot(
        curve.strengths,
        curve.risks,
        color="#0072b2" if "boosting" in name else "#d55e00",
        linestyle="-" if "all" in name else "--",
        marker="o",
        label=f"{name}: area {curve.area:.1f}",
    )
axis.set_xlabel("shift, in standard deviations of the noise")
axis.set_ylabel("mean squared error")
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
plt.show()

# %%
# How often
# ---------
# Gradient boosting on twenty graphs of the same law, none left out.

pairs = []
for seed in range(20):
    graph = draw(seed)
    rows = graph.sample(1000, return_X_y=True)
    everything = HistGradientBoostingRegressor(max_iter=50, random_state=0).fit(*rows)
    parents = causal_oracle(everything, graph.roles_).fit(*rows)
    worlds = [graph.sample(1000, env=env) for env in graph.environments(10, random_state=0)]
    price = price_of_causality(everything, parents, graph.sample(1000))
    pairs.append((price, excess_over_oracle(everything, parents, worlds)))
price, excess = np.array(pairs).T
print(f"price of causality above 0 in {(price > 0).sum()} of 20 graphs, median {np.median(price):.2f}")
print(f"excess over the oracle above 0 in {(excess > 0).sum()} of 20, median {np.median(excess):.2f}")
print(f"both in {((price > 0) & (excess > 0)).sum()} of 20")
