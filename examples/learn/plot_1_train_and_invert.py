"""
Train a network and invert with it
==================================

A small network learns to invert 16 x 16 matrices with entries uniform on [-1, 1]. It sees nothing but fresh matrices,
and its loss is made of their residual norms :math:`\\|I - A X\\|_F`: nothing is ever inverted to teach it.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from skdmi import NeuralMatrixInverter, RefinedInverter
from skdmi.distributions import Uniform
from skdmi.inspection import InversionDisplay, TrainingDisplay
from skdmi.iteration import minimal_residual
from skdmi.metrics import frobenius_residuals, within_tolerance_share

inverter = NeuralMatrixInverter(
    depth=3,
    width=8,
    matrix_size=16,
    distribution=Uniform(low=-1, high=1),
    max_epochs=4,
    batches_per_epoch=12,
    batch_size=128,
    learning_rate=5e-3,
    random_state=0,
).fit()
print(f"{inverter.n_matrices_seen_:,} matrices seen")

# %%
# The training loss is noisy, each point being the mean over the fresh matrices of one epoch; the validation loss is
# always that of the same matrices, drawn apart. The learning rate rises shortly, then falls to zero as a cosine.

TrainingDisplay.from_estimator(inverter, name="16 x 16, entries U[-1, 1]")

# %%
# What was learned? The minimal-residual iteration has no parameters and needs no training; with a deflation of rank 2
# before each step it is what the network computed before it was trained. A step costs as many matrix products as a
# block of the network, and deflation none. So these are what to compare with, at the same products, and on matrices
# that none has seen. Most of the way is due to deflation; training adds foresight, which pays where products are
# scarce: one block more, and the untrained iteration would have converged. The shares are those of Charton: an inverse
# is correct within 5 % if the entries of :math:`I - A X` sum to less than 0.05 m.

A = Uniform(low=-1, high=1).sample(5_000, 16, random_state=1)
n_products = inverter.module_.n_products(16)
single = torch.from_numpy(A).float()
answers = {
    "iteration": minimal_residual(single, inverter.depth).double().numpy(),
    "deflated iteration": minimal_residual(single, inverter.depth, rank=2).double().numpy(),
    "network": inverter.transform(A),
    "numpy.linalg.inv": np.linalg.inv(A),
}
residuals = {name: frobenius_residuals(A, X) for name, X in answers.items()}
print(f"{n_products} products each, {inverter.depth} blocks or steps")
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
