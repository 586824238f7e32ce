"""
Do the importances find the causes?
===================================

One random graph, two optimizers, three truths: what a first notebook would look like.
"""

# %%
# Data with a truth
# -----------------
# The dataset is one frozen structural causal model. It knows which columns are parents of the target ``y``,
# which are other ancestors or effects, and which are distractors that have nothing to do with it.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from flatcausal import FlatMinimaTabNetRegressor, SyntheticDAGDataset
from flatcausal.flatness import sharpness
from flatcausal.optim import SAM, Adam

ds = SyntheticDAGDataset(n_nodes=12, n_distractors=6, min_parents=2, min_spouses=1, random_state=1)
X, y = ds.sample(1000, return_X_y=True)
X_test, y_test = ds.sample(1000, return_X_y=True)
print(pd.Series(ds.roles_.role).value_counts())

# %%
# Two optimizers at the same number of gradients
# ----------------------------------------------
# SAM takes two gradients a step, so it gets half the epochs; its base, learning rate and schedule are those
# of its rival. Eight independent members each: a single run says more about its seed than its optimizer.

fits = {
    "adam": FlatMinimaTabNetRegressor(optimizer=Adam(), n_members=8, max_epochs=40, random_state=0),
    "SAM over adam": FlatMinimaTabNetRegressor(
        optimizer=SAM(base=Adam()), n_members=8, max_epochs=20, random_state=0
    ),
}
for est in fits.values():
    est.fit(X, y)
assert len({est.n_gradient_evaluations_ for est in fits.values()}) == 1

# %%
# How well they predict, and what they attend to
# ----------------------------------------------
# AP-lift is 0 on average for a random ranking and 1 for a perfect one. The best predictor of new rows of the
# same kind uses the Markov blanket, effects included; that is why the three truths stand side by side.

rows = {}
for name, est in fits.items():
    report = ds.report(est)
    rows[name] = {
        "r2": est.score(X_test, y_test),
        "ap_lift_parents": report["ap_lift_parents"],
        "ap_lift_ancestors": report["ap_lift_ancestors"],
        "ap_lift_markov_blanket": report["ap_lift_markov_blanket"],
        "sharpness": sharpness(est, X, y).value.mean(),
    }
print(pd.DataFrame(rows).round(3))

# %%
# One graph decides nothing; :func:`flatcausal.study.run_study` compares optimizers over many.

roles = pd.Series(ds.roles_.role)
colours = {"parent": "#0072b2", "ancestor": "#56b4e9", "child": "#d55e00", "spouse": "#e69f00"}
order = np.argsort(-fits["adam"].causal_importances_)
names = np.array(ds.feature_names_)[order]

figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
for axis, (name, est) in zip(axes, fits.items(), strict=True):
    axis.barh(
        names,
        est.causal_importances_[order],
        xerr=est.causal_importances_std_[order],
        color=[colours.get(roles[n], "#bbbbbb") for n in names],
        ecolor="#888888",
    )
    axis.set_title(name)
    axis.set_xlabel("importance, and its spread over members")
axes[0].invert_yaxis()
for role, colour in colours.items():
    axes[1].barh(names[:1], [0], color=colour, label=role)
axes[1].barh(names[:1], [0], color="#bbbbbb", label="other")
axes[1].legend(frameon=False)
plt.show()
