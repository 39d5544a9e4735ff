"""
Train a network and invert with it
==================================

What an application inverts again and again has something in common. Here it is covariances of a Gaussian process at 32
points, whose length scale and noise change. A network is shown 300 of them and inverts others in five matrix products.
Nothing is inverted to teach it the steps: its loss is made of residual norms :math:`\\|I - A X\\|_F`.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator

from skdmi import NeuralMatrixInverter, RefinedInverter
from skdmi.distributions import GaussianProcessKernel
from skdmi.metrics import frobenius_residuals

family = GaussianProcessKernel(np.random.default_rng(0).uniform(size=(32, 2)))  # Stands for matrices of your own.
known, fresh = family.sample(300, 32, random_state=1), family.sample(1_000, 32, random_state=2)

training = {"max_epochs": 2, "batches_per_epoch": 10, "batch_size": 64, "random_state": 0}
learned = NeuralMatrixInverter(depth=1, n_atoms=32, **training).fit(known)
untrained = NeuralMatrixInverter(depth=2, start="identity", max_epochs=0).fit(known)

# %%
# What was gained? The same kind of network, untrained, is the iteration to compare with. It starts from the inverted
# diagonal, and needs no example. A residual norm below 1 proves that A is nonsingular, so both know how good they are.

norms = {}
for name, network in (("untrained", untrained), ("learned", learned)):
    norms[name] = frobenius_residuals(fresh, network.transform(fresh))
    print(f"{name:10} {network.module_.n_products(32)} products, residual norm: ", end="")
    print(f"median {np.median(norms[name]):.1e}, 99 % below {np.quantile(norms[name], 0.99):.1e}")

# %%
# A network alone is never exact. ``RefinedInverter`` takes its answers as a start, refines each to what rounding
# allows, and proves how far X can be from the inverse of A.

report = RefinedInverter(FrozenEstimator(learned)).report(fresh)
norms["refined\nand proved"] = frobenius_residuals(fresh, report.inverse)
print(report.summary())

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
bins = np.geomspace(1e-15, 1e2, 86)
for (name, values), color in zip(norms.items(), ("C6", "C0", "C2"), strict=True):
    counts, _, _ = ax.hist(values, bins, color=color)
    ax.text(np.median(values), counts.max() + 8, name, color=color, ha="center", va="bottom", weight="bold")
ax.set(xscale="log", xlim=(1e-15, 1e3), xlabel=r"Residual norm $\|I - AX\|_F$", ylabel="Matrices")
ax.set_title("1,000 matrices that the network has not seen")
ax.margins(y=0.2)
plt.show()
