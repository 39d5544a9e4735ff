"""
Learn a family of matrices
==========================

Matrices that an application inverts again and again are rarely like random ones: they are the covariances of one set of
points, the conductances of one circuit. Given 300 members of such a family, ``fit(X)`` learns a start from what their
inverses have in common, trains the steps after it, and says what that is worth.
"""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from skdmi import NeuralMatrixInverter
from skdmi.distributions import GaussianProcessKernel, Uniform
from skdmi.iteration import count_products
from skdmi.metrics import frobenius_residuals, neg_mean_operations

# %%
# The family: covariances of a Gaussian process at 32 points of the unit square, whose length scale and noise change.
# Their condition numbers are between ten and some ten thousand. Left to itself, ``fit`` would take the number of atoms
# with which members need fewest operations in the mean; with 32 the few that are hard need no more than the others.

points = np.random.default_rng(0).uniform(size=(32, 2))
family = GaussianProcessKernel(points, length_scales=(0.1, 1.0), noise=(1e-3, 1e-1))
X, A = family.sample(300, 32, random_state=1), family.sample(1_000, 32, random_state=2)
settings = {"max_epochs": 2, "batches_per_epoch": 10, "batch_size": 64, "random_state": 0}

learned = NeuralMatrixInverter(depth=1, n_atoms=32, **settings).fit(X)
print(f"start: {learned.start_}, {learned.n_atoms_} atoms")
for name in ("untrained", "trained"):
    cost = learned.gain_[name]["0.01"]
    products, operations = cost["products"], [f"{n / 1e3:,.0f}" for n in cost["operations"]]
    print(f"{name:10} to a residual norm of 0.01: products {products}, thousands of operations {operations}")

# %%
# Before and after, on members that none has seen, with one step, two, and so on. The untrained iteration starts from
# the inverted diagonal, for such matrices the best start that learns nothing. The start is all that was learned: once
# the inverse is down to the rounding of float32, epochs of training add nothing. This is for where products of matrices
# are what hardware is good at; on a CPU `numpy.linalg.inv` is faster than either.


def measure(depths, **start):
    """Return the products, and the median and the 99th percentile of the residual norms, for each depth."""
    networks = [NeuralMatrixInverter(depth, **start, max_epochs=0, random_state=0).fit(X) for depth in depths]
    products = [count_products(network.depth, network.module_.core.start) for network in networks]
    norms = [np.quantile(frobenius_residuals(A, network.transform(A)), (0.5, 0.99)) for network in networks]
    return products, np.array(norms)


curves = {
    "untrained": measure((1, 2, 3, 4, 5, 6), start="identity"),
    "learned": measure((1, 2, 3), start="family", n_atoms=learned.n_atoms_),
}
for name, (products, norms) in curves.items():
    print(f"{name:10}", ", ".join(f"{n} products: {p99:.1e}" for n, (_, p99) in zip(products, norms, strict=True)))

# %%
# How deep, how wide, how many atoms? The residual of a network that is deep enough is the rounding of float32, and
# ``score`` would rank that noise. ``neg_mean_operations`` asks what matters: how many operations a member takes to a
# residual norm.

search = GridSearchCV(
    NeuralMatrixInverter(start="family", max_epochs=1, batches_per_epoch=5, batch_size=64, random_state=0),
    {"depth": [1, 2], "width": [4, 16], "n_atoms": [0, 16]},
    scoring=partial(neg_mean_operations, tolerance=1e-2),
    cv=ShuffleSplit(1, test_size=0.3, random_state=0),
    refit=False,
).fit(X)
for parameters, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
    print(", ".join(f"{name} {value}" for name, value in parameters.items()), f"{-score / 1e3:8,.0f}")
print(f"best: {search.best_params_}, {-search.best_score_ / 1e3:,.0f} thousand operations a matrix")

# %%
# What is not of the family begins where the untrained iteration does: a guard looks at each matrix. ``out_of_domain``
# says which it refuses; where they become many, the family has drifted, and ``partial_fit`` follows it.

others = Uniform().sample(1_000, 32, random_state=3)
outside = learned.out_of_domain(others)
print(f"told apart: {outside.mean():.1%} of other matrices, {learned.out_of_domain(A).mean():.1%} of fresh members")

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
for name, color in (("untrained", "C6"), ("learned", "C0")):
    products, norms = curves[name]
    ax.fill_between(products, norms[:, 0], norms[:, 1], color=color, alpha=0.2, linewidth=0)
    ax.plot(products, norms[:, 0], "o-", color=color)
    ax.plot(products, norms[:, 1], "-", color=color, linewidth=0.8)
ax.axhline(1e-2, color="black", linewidth=0.8, linestyle=":")
ax.text(14.8, 1.3, "untrained", color="C6", weight="bold")
ax.text(5, 3e-4, "learned", color="C0", weight="bold")
ax.set(yscale="log", ylim=(1e-5, 20), xlabel="Matrix products, the last residual included")
ax.set(ylabel=r"$\|I - AX\|_F$, from median to 99 %", title="1,000 fresh kernels at 32 points, after 300 of them")
plt.show()
