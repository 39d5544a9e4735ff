"""
Depth, width and atoms by grid search
=====================================

An inverter is a scikit-learn estimator, so :class:`~sklearn.model_selection.GridSearchCV` searches its parameters. What
should decide is the work to an inverse that is good enough: the mean residual norm of networks that are deep enough is
the rounding of float32, and ``score`` would rank that. Each candidate is trained once a split: one split, few epochs
and a fixed ``random_state`` keep that affordable.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from skdmi import NeuralMatrixInverter
from skdmi.distributions import GaussianProcessKernel
from skdmi.metrics import neg_mean_operations

DEPTHS, ATOMS, WIDTHS = [1, 2, 3], [0, 8, 16, 32], [4, 16]

# %%
# The matrices: covariances of a Gaussian process at 32 points of the unit square. An atom is a matrix that the start
# can add to its first guess, learned from the inverses in the training half; without atoms the guess is one constant
# matrix.

X = GaussianProcessKernel(np.random.default_rng(0).uniform(size=(32, 2))).sample(300, 32, random_state=1)
split = ShuffleSplit(1, test_size=0.5, random_state=0)
training = {"max_epochs": 1, "batches_per_epoch": 5, "batch_size": 64, "random_state": 0}
search = GridSearchCV(
    NeuralMatrixInverter(start="family", **training),
    {"depth": DEPTHS, "n_atoms": ATOMS, "width": WIDTHS},
    scoring=neg_mean_operations,
    cv=split,
    refit=False,
).fit(X)
print(f"best: {search.best_params_}, {-search.best_score_ / 1e6:.2f} million operations to a residual norm of 0.01")

# %%
# A network is worth its training only if it does better than the same iteration with nothing learned, which starts from
# the inverted diagonal. On the matrices on which the candidates were scored:

known, held_out = (X[indices] for indices in next(split.split(X)))
untrained = min(
    -neg_mean_operations(NeuralMatrixInverter(depth, start="identity", max_epochs=0).fit(known), held_out) / 1e6
    for depth in DEPTHS
)
work = -search.cv_results_["mean_test_score"].reshape(len(DEPTHS), len(ATOMS), len(WIDTHS)) / 1e6
print(f"untrained: {untrained:.2f}")
for depth, rows in zip(DEPTHS, work, strict=True):
    for n_atoms, row in zip(ATOMS, rows, strict=True):
        figures = ", ".join(f"width {width} {n:.2f}" for width, n in zip(WIDTHS, row, strict=True))
        print(f"depth {depth}, {n_atoms:2} atoms: {figures}")

# %%
# The start is what counts. Where a network is not deep enough, the score adds the steps that are missing; where it is
# too deep, all of them count, and so do atoms that save none. The width, of the coefficients of the steps, makes no
# difference here: after such a start few matrices are left that foresight would help.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
for depth, least, color in zip(DEPTHS, work.min(axis=2), ("C0", "C1", "C2"), strict=True):
    ax.plot(ATOMS, least, "o-", color=color)
    ax.text(ATOMS[-1] + 0.8, least[-1], f"depth {depth}", color=color, va="center")
ax.axhline(untrained, color="C6", linestyle="--")
ax.text(0, untrained + 0.015, "untrained", color="C6", va="bottom")
ax.set(xticks=ATOMS, xlim=(-1, 39), ylim=(0, 1.1 * untrained), xlabel="Atoms of the start")
ax.set(ylabel="Million operations a matrix, mean", title="Work to a residual norm of 0.01")
plt.show()
