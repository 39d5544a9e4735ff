"""
Train a network and invert with it
==================================

A small network learns to invert 8 x 8 matrices with entries uniform on [-1, 1]. It sees nothing but fresh matrices, and
its loss is made of their residual norms :math:`\\|I - A X\\|_F`: nothing is ever inverted to teach it.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from skdmi import NeuralMatrixInverter, RefinedInverter
from skdmi.distributions import Uniform
from skdmi.inspection import InversionDisplay, TrainingDisplay
from skdmi.linalg import minimal_residual
from skdmi.metrics import frobenius_residuals, within_tolerance_share

inverter = NeuralMatrixInverter(
    depth=3,
    width=16,
    matrix_size=8,
    distribution=Uniform(low=-1, high=1),
    max_epochs=6,
    batches_per_epoch=25,
    batch_size=128,
    random_state=0,
).fit()
print(f"{inverter.n_matrices_seen_:,} matrices seen")

# %%
# The training loss is noisy, each point being the mean over the fresh matrices of one epoch; the validation loss is
# always that of the same matrices, drawn apart. The learning rate rises shortly, then falls to zero as a cosine.

TrainingDisplay.from_estimator(inverter, name="8 x 8, entries U[-1, 1]")

# %%
# What was learned? The minimal-residual iteration has no parameters and needs no training; n steps of it cost 1 + 3 n +
# ceil(n / 3) matrix products. So that is what to compare with, at no more products than the network's, and on matrices
# that neither has seen. The shares are those of Charton: an inverse is correct within 5 % if the entries of :math:`I -
# A X` sum to less than 0.05 m.

A = Uniform(low=-1, high=1).sample(5_000, 8, random_state=1)
n_products = inverter.module_.n_products(8)
n_steps = max(n for n in range(1, 20) if 1 + 3 * n + -(-n // 3) <= n_products)
answers = {
    "untrained iteration": minimal_residual(torch.from_numpy(A).float(), n_steps).double().numpy(),
    "network": inverter.transform(A),
    "numpy.linalg.inv": np.linalg.inv(A),
}
residuals = {name: frobenius_residuals(A, X) for name, X in answers.items()}
print(f"network: {n_products} products; iteration: {n_steps} steps")
print(f"{'':20}  mean residual    median   within 5 %   within 1 %")
for name, X in answers.items():
    shares = (within_tolerance_share(A, X, tolerance) for tolerance in (0.05, 0.01))
    print(f"{name:20}  {residuals[name].mean():13.1e}  {np.median(residuals[name]):8.1e}", end="")
    print("".join(f"{share:13.1%}" for share in shares))

# %%
# A network alone is never exact. ``RefinedInverter`` takes its answers as a start, refines each to what rounding
# allows, and proves from the residual of the result that A is nonsingular and how far X can be from its inverse.

report = RefinedInverter(FrozenEstimator(inverter)).report(A)
print(report.summary())

# %%
# On the left the network's own entries against the true ones, on the right the certified ones. The axes bend beyond the
# bulk of the entries, since inverses of nearly singular matrices are large: the few of them that the network misses
# ruin its :math:`R^2`, and their residual norms, near 1, name them without any true inverse.

fig, axes = plt.subplots(1, 2, figsize=(9.6, 4.0), layout="constrained")
raw = InversionDisplay.from_predictions(answers["numpy.linalg.inv"], answers["network"], ax=axes[0], name="Network")
certified = InversionDisplay.from_predictions(
    answers["numpy.linalg.inv"], report.inverse, ax=axes[1], name="Refined and certified"
)
for ax in axes:
    ax.set_xticks(ax.get_xticks()[::2])
plt.show()
