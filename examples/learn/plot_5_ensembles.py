"""
Ensembles: the mean against the best
====================================

Three networks for 8 x 8 matrices, trained apart, err apart. ``combine="mean"`` averages their answers;
``combine="best"`` takes for each matrix the one with the smallest residual, which can be known without the true
inverse, and is never worse than any member. DeepMatrixInversion took the mean.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from skdmi import EnsembleInverter, NeuralMatrixInverter
from skdmi.distributions import Uniform
from skdmi.iteration import minimal_residual
from skdmi.metrics import frobenius_residuals

member = NeuralMatrixInverter(
    depth=2,
    width=8,
    matrix_size=8,
    distribution=Uniform(),
    max_epochs=1,
    batches_per_epoch=40,
    batch_size=128,
    learning_rate=5e-3,
)
mean = EnsembleInverter(member, n_estimators=3, combine="mean", random_state=0).fit()
best = EnsembleInverter.from_fitted(mean.estimators_, combine="best")

# %%
# An ensemble of three spends three times the matrix products of a member. So beside it stands the untrained iteration,
# the minimal-residual one with deflation, of which n steps cost 1 + 3 n + ceil(n / 3), at the products of one member
# and at those of all.

A = Uniform().sample(5_000, 8, random_state=1)
residuals = {f"member {k}": one.residual_norms(A) for k, one in enumerate(mean.estimators_)}
residuals["mean"] = mean.residual_norms(A)
residuals["best"] = best.residual_norms(A)
n_products = mean.estimators_[0].module_.n_products(8)
for name, budget in (("iteration, 1x", n_products), ("iteration, 3x", 3 * n_products)):
    n_steps = max(n for n in range(1, 50) if 1 + 3 * n + -(-n // 3) <= budget)
    X = minimal_residual(torch.from_numpy(A).float(), n_steps, rank=2)
    residuals[name] = frobenius_residuals(A, X.double().numpy())

print(f"{'':14}{'mean':>9}{'median':>9}{'p99':>9}{'largest':>9}")
for name, norms in residuals.items():
    figures = norms.mean(), np.median(norms), np.quantile(norms, 0.99), norms.max()
    print(f"{name:14}", *(f"{figure:8.1e}" for figure in figures))

# %%
# The mean averages what the members disagree on, but one bad member spoils it; the best takes each matrix where it
# succeeded. What neither can do is invert where all members fail, and they fail on the same nearly singular matrices.
# The products of all three, spent in one sequence, reach further: depth comes before numbers.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
colors = {"mean": "C0", "best": "C0", "iteration, 1x": "C6", "iteration, 3x": "C1"}
for y, (name, norms) in enumerate(residuals.items()):
    median, p90, p99 = np.quantile(norms, (0.5, 0.9, 0.99))
    color = colors.get(name, "C5")
    ax.plot([median, p99], [y, y], color=color, linewidth=3, alpha=0.4, solid_capstyle="butt")
    ax.plot([median, p90], [y, y], "o", color=color)
    ax.plot(p99, y, "|", color=color, markersize=12, markeredgewidth=2)
ax.set_yticks(range(len(residuals)), residuals)
ax.invert_yaxis()
ax.set(xscale="log", xlabel="Residual norm: median, 90 % (dots) and 99 % (bar)", title="5,000 fresh 8 x 8 matrices")
ax.grid(axis="y", visible=False)
plt.show()
