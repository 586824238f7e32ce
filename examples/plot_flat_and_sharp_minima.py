"""
A flat and a sharp minimum
==========================

The same network, data and initial weights, trained by Adam with and without SAM. How differently flat are the
two minima, and which of the numbers that say so survive a mere change of units?
"""

# %%
# Two minima of one network
# -------------------------
# Members are paired: member k of both populations starts from the same weights and sees the same batches.
# One callback measures flatness every ten epochs, beside the loss at which it was taken; another keeps the
# weights.

import copy
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from flatcausal import FlatMinimaTabNetRegressor, SyntheticDAGDataset
from flatcausal.callbacks import SharpnessMonitor, WeightsRecorder
from flatcausal.flatness import compare_at_matched_loss, flatness_report, loss_surface, sharpness
from flatcausal.optim import SAM, Adam
from flatcausal.plotting import LossSurfaceDisplay

ds = SyntheticDAGDataset(n_nodes=8, n_distractors=4, random_state=0)
X, y = ds.sample(1024, return_X_y=True)
X_test, y_test = ds.sample(4096, return_X_y=True)


noise = partial(sharpness, kind="adaptive_average", n_draws=10)  # mean rise under noise in the weights' units


def fitted(optimizer):
    """Eight members of a network with one step, and what the callbacks saw of them."""
    callbacks = [
        SharpnessMonitor({"rise": noise}, every=10, n_rows=512, random_state=0),
        WeightsRecorder(every=5),
    ]
    return FlatMinimaTabNetRegressor(
        optimizer=optimizer,
        n_members=8,
        n_steps=1,
        max_epochs=60,
        batch_size=128,
        random_state=0,
        callbacks=callbacks,
    ).fit(X, y)


fits = {"Adam": fitted(Adam()), "SAM": fitted(SAM(base=Adam(), rho=0.2))}
for name, est in fits.items():
    print(f"{name}: R2 {est.score(X_test, y_test):.3f} on new rows")

# %%
# Flatter where the loss is the same?
# -----------------------------------
# SAM ends at a higher training loss, and a comparison at the end mixes that up with flatness. So each member
# is read where its loss first falls to the level that it and its partner both reach.
#
# Adam is there earlier than SAM, at a higher learning rate, which alone can make it look sharper; and one
# graph shows how to ask, not what the answer is.

pairs = []
for k in range(8):
    runs = {
        name: pd.DataFrame(
            {
                "loss": est.history_["member_rise_loss"][:, k],
                "rise": est.history_["member_rise"][:, k],
            }
        ).dropna()
        for name, est in fits.items()
    }
    pairs.append(compare_at_matched_loss(runs, "rise").set_index("run"))
matched = pd.DataFrame(
    {
        "Adam": [pair.loc["Adam", "rise"] for pair in pairs],
        "SAM": [pair.loc["SAM", "rise"] for pair in pairs],
        "at a loss of": [pair.loc["SAM", "loss"] for pair in pairs],
    }
)
print(matched.round(4))
print(f"SAM is flatter in {(matched['SAM'] < matched['Adam']).sum()} of 8 pairs")

# %%
# The same function in other units
# --------------------------------
# TabNet normalises what each linear layer gives, but for the last. With weights a quarter as large before
# every normalisation, and running statistics to match, it predicts the same.


def in_other_units(est, factor):
    """A copy whose weights before a normalisation are ``factor`` times as large."""
    twin = copy.deepcopy(est)
    network = twin.net_.module_
    means, variances = network.statistics.chunk(2, dim=1)
    blocks = zip(network.layout, network.layout.columns().values(), strict=True)
    with torch.no_grad():
        for block, columns in blocks:
            if block.kind == "weight" and block.name != "output":
                network.population[:, columns] *= factor
        means[:, X.shape[1] :] *= factor  # the first normalisation is of X itself
        epsilon = 1e-5
        variances[:, X.shape[1] :] = (variances[:, X.shape[1] :] + epsilon) * factor**2 - epsilon
    return twin


twins = {name: in_other_units(est, 0.25) for name, est in fits.items()}
for name, est in fits.items():
    apart = np.abs(twins[name].predict(X_test) - est.predict(X_test)).max()
    print(f"{name}: predictions differ by at most {apart:.1e}")

# %%
# Which numbers stay
# ------------------
# The first three count steps in units of the weights, and stay; ``adaptive`` does up to the 0.01 that it adds
# to each weight. The others count them in absolute units: by every one of those, SAM's minimum in small units
# is sharper than Adam's as fitted, and nothing but the units has changed.

measures = ["adaptive", "adaptive_average", "relative_flatness", "sam", "average", "hessian_top_eigenvalue"]
reports = {
    (name, units): flatness_report(est, X, y, measures, n_rows=256, random_state=0)
    for units, ests in (("as fitted", fits), ("in small units", twins))
    for name, est in ests.items()
}
table = pd.DataFrame(
    {column: report.groupby("measure", sort=False)["value"].mean() for column, report in reports.items()}
)
print(table.round(5))

change = table["Adam", "in small units"] / table["Adam", "as fitted"]
stays = reports["Adam", "as fitted"].groupby("measure", sort=False)["survives_rescaling"].first()
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.scatter(change, change.index, s=60, color=np.where(stays, "#0072b2", "#d55e00"))
ax.axvline(1, color="#8b949e", linewidth=0.8, zorder=0)
ax.invert_yaxis()
ax.set(xlabel="value in small units / value as fitted", title="One function, two units of its weights")
plt.show()

# %%
# What a picture shows
# --------------------
# The plane in which training moved most, on one scale of colours. It shows two directions of some thousand: a
# picture, no measure.

surfaces = {}
for name, est in fits.items():
    path = est.callbacks[1].checkpoints_
    surfaces[name] = loss_surface(
        est, X, y, 21, directions="trajectory", trajectory=path, n_rows=256, random_state=0
    )
low = min(surface.losses[0].min() for surface in surfaces.values())
high = max(surface.losses[0].max() for surface in surfaces.values())
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for ax, (name, surface) in zip(axes, surfaces.items(), strict=True):
    LossSurfaceDisplay.from_surface(surface).plot(ax=ax, vmin=low, vmax=high)
    ax.set_title(name, loc="right", fontweight="bold")
plt.show()
