"""
Do optimizers prefer flat minima where depth is equal?
======================================================

Himmelblau's function has four minima, all of value zero and of unequal curvature. Which of them a run ends in
is a matter of where it starts, and of flatness: thousands of starting points tell the two apart.
"""

# %%
# The landscape
# -------------
# Steepest descent in small steps has no preference: it ends in the minimum in whose basin it starts. A
# preference shows as a difference from that.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import stats

from flatcausal.optim import SAM, BasinHopping, NiGGD, NiMGD, get
from flatcausal.optim.landscapes import HIMMELBLAU, stationary_distribution

LR, GRADIENTS = 0.005, 1000
print(pd.DataFrame(HIMMELBLAU.minima, columns=["x", "y"]).assign(trace=HIMMELBLAU.sharpness).round(2))

# %%
# Five optimizers, an equal number of gradients
# ---------------------------------------------
# Each starts from the same 2000 points, and takes 1000 gradients from each. The strength of noise or ascent
# is swept, for no value of it is the right one; all values enter the correction for many tests below.

recipes = {"GD": get("gd")}
recipes |= {f"NiG, σ={s}": NiGGD(sigma=s) for s in (40, 80, 160)}
recipes |= {f"NiM, σ={s}": NiMGD(sigma=s) for s in (0.2, 0.4, 0.8)}
recipes |= {f"SAM, ρ={r}": SAM(rho=r) for r in (0.25, 0.75, 1.5)}
recipes |= {f"hopping, σ={s}": BasinHopping(sigma=s, ls_steps=20) for s in (0.5, 1.0, 2.0)}
results = {
    name: stationary_distribution(
        recipe, HIMMELBLAU, n_steps=GRADIENTS // recipe.gradients_per_step, lr=LR, random_state=1
    )
    for name, recipe in recipes.items()
}

# %%
# A test for each
# ---------------
# For every start: the trace of the Hessian where the run ended, minus that of the minimum whose basin it
# started in. Without a preference the mean of these differences is zero. It is tested by a t-test over
# starts, which are independent, and the p-values are corrected by Holm's method.

table = []
for name, result in results.items():
    ended = result.reached >= 0
    origin = HIMMELBLAU.basins(result.starts[ended])
    change = HIMMELBLAU.sharpness[result.reached[ended]] - HIMMELBLAU.sharpness[origin]
    moved = (result.reached[ended] != origin).mean()
    half = stats.t.ppf(0.975, len(change) - 1) * stats.sem(change)
    p = stats.ttest_1samp(change, 0).pvalue if moved else 1.0
    table.append((name, moved, change.mean(), half, p, result.none_share))
table = pd.DataFrame(table, columns=["optimizer", "moved", "change", "half", "p", "none"])
ranks = np.argsort(table.p)
stepped = table.p[ranks] * np.arange(len(table), 0, -1)
table.loc[ranks, "p_holm"] = np.minimum(1, np.maximum.accumulate(stepped))
table["shown"] = np.where(table.p_holm > 0.05, "-", np.where(table.change < 0, "flatter", "sharper"))
print(table.round({"moved": 3, "change": 2, "half": 2, "p": 4, "p_holm": 4}).to_string(index=False))

# %%
# With enough noise, in the model or in the gradient, and with a long enough ascent, runs end in flatter
# minima than those they started above; gradient descent does not leave its basin at this learning rate. For
# weak noise, a short ascent and basin hopping nothing is shown, which is not to say that there is nothing:
# look at the intervals. The changes are small beside the mean trace of about 147, and this is one function
# of two variables, one box and one learning rate: such a preference exists, and nothing is said of
# networks.
#
# The picture
# -----------
# Left: noise in the gradient moves points between basins before they settle. Middle: shares with Wilson's
# 95 % intervals, at the middle strength; dotted lines are the basins' own shares. Right: the mean change in
# sharpness with its 95 % interval, before correction; filled where Holm's correction leaves it significant.

n_drawn, n_steps = 40, 60
starts = HIMMELBLAU.starts(n_drawn, np.random.default_rng(5))
w = torch.tensor(starts, requires_grad=True)
optimizer = NiGGD(sigma=80).build([w], lr=LR, n_members=n_drawn, random_state=0)


def closure():
    """Give each point its own gradient; the sum over members keeps them apart."""
    optimizer.zero_grad()
    losses = HIMMELBLAU.losses(w)
    losses.sum().backward()
    return losses.detach()


path = [starts]
for _ in range(n_steps):
    optimizer.step(closure)
    path.append(w.detach().numpy().copy())
path = np.stack(path)

colours = np.array(["#56b4e9", "#009e73", "#e69f00", "#d55e00"])
figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained", width_ratios=[1, 1, 1.2])
axis = np.linspace(-5, 5, 200)
x, y = (torch.tensor(v) for v in np.meshgrid(axis, axis))
axes[0].contour(
    x, y, np.log1p(HIMMELBLAU.function(x, y).numpy()), levels=14, colors="#cccccc", linewidths=0.6
)
for k, minimum in enumerate(HIMMELBLAU.basins(path[-1])):
    colour = colours[minimum] if minimum >= 0 else "#000000"
    axes[0].plot(*path[:, k].T, color=colour, linewidth=0.7, alpha=0.8)
    axes[0].plot(*path[0, k], "o", color=colour, markersize=3)
axes[0].plot(*HIMMELBLAU.minima.T, "k+", markersize=9, markeredgewidth=1.5)
axes[0].set(
    title="noise in the gradient, 60 steps", xlabel="x", ylabel="y", xlim=(-5.6, 5.6), ylim=(-5.6, 5.6)
)

shown = [name for name in results if "GD" in name or any(s in name for s in ("=80", "=0.4", "=0.75", "=1.0"))]
order = np.argsort(HIMMELBLAU.sharpness)
for i, name in enumerate(shown):
    result = results[name]
    for j, k in enumerate(order):
        low, high = result.intervals()[k]
        place = j + (i - 2) * 0.15
        axes[1].plot([place, place], [low, high], color=colours[k], linewidth=2)
        axes[1].plot(place, result.shares[k], "osv^D"[i], color=colours[k], markersize=5)
for i, name in enumerate(shown):
    axes[1].plot([], [], "osv^D"[i], color="#666666", label=name, markersize=5)
basins = np.bincount(HIMMELBLAU.basins(results["GD"].starts), minlength=4) / 2000
axes[1].hlines(basins[order], np.arange(4) - 0.42, np.arange(4) + 0.42, color="#999999", linestyle=":")
axes[1].set_xticks(range(4), [f"{HIMMELBLAU.sharpness[k]:.0f}" for k in order])
axes[1].set(
    title="where runs end", xlabel="trace of the Hessian", ylabel="share of the runs", ylim=(0.1, 0.42)
)
axes[1].legend(frameon=False, fontsize=8, ncols=2, loc="upper center")

rows = np.arange(len(table))
for row, change, half, significant in zip(rows, table.change, table.half, table.p_holm <= 0.05, strict=True):
    axes[2].plot([change - half, change + half], [row, row], color="#0072b2", linewidth=1.5)
    face = "#0072b2" if significant else "white"
    axes[2].plot(change, row, "o", color="#0072b2", markerfacecolor=face)
axes[2].axvline(0, color="#999999", linestyle=":")
axes[2].set_yticks(rows, table.optimizer)
axes[2].invert_yaxis()
axes[2].set(title="preference", xlabel="change in mean trace, from basins to ends")
plt.show()
