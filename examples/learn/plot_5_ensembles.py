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
# How many matrices have a residual norm above r? The mean averages what the members disagree on, but one bad member
# spoils it; the best takes each matrix where it succeeded. What neither can do is invert where all members fail, and
# they fail on the same nearly singular matrices. The products of all three, spent in one sequence, reach further: depth
# comes before numbers.

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
styles = {
    "mean": {"color": "C0", "linewidth": 1.8},
    "best": {"color": "C3", "linewidth": 1.8},
    "iteration, 1x": {"color": "black", "linestyle": "--", "linewidth": 1.0},
    "iteration, 3x": {"color": "black", "linestyle": ":", "linewidth": 1.2},
}
for name, norms in residuals.items():
    share = 1 - np.arange(len(norms)) / len(norms)
    label = "members" if name == "member 0" else None if name.startswith("member") else name
    ax.plot(np.sort(norms), share, label=label, **styles.get(name, {"color": "0.7", "linewidth": 1.0}))
ax.set(xscale="log", yscale="log", xlabel="Residual norm r", ylabel="Share of matrices above r", xlim=(1e-4, 3))
ax.legend(frameon=False)
plt.show()
