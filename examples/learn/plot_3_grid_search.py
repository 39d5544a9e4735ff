"""
Depth and width by grid search
==============================

An inverter is a scikit-learn estimator, so :class:`~sklearn.model_selection.GridSearchCV` searches its parameters. What
should decide is the work to an inverse that is good enough: the mean residual norm of networks that are deep enough is
the rounding of float32, and ``score`` would rank that. Each candidate is trained once a split: one split, few epochs
and a fixed ``random_state`` keep that affordable.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from skdmi import NeuralMatrixInverter
from skdmi.distributions import Covariance
from skdmi.metrics import neg_mean_operations

DEPTHS, WIDTHS = [2, 3, 4], [4, 16]

# %%
# The matrices: covariances estimated from 128 observations of 32 variables, whose true covariance, always the same, has
# a condition number of 1000. The best constant matrix to start from (``n_atoms=0``) is near its inverse.

Q = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0]
X = Covariance((Q * np.geomspace(1, 1e-3, 32)) @ Q.T).sample(600, 32, random_state=0)
split = ShuffleSplit(1, test_size=0.5, random_state=0)
settings = {"start": "family", "n_atoms": 0, "batches_per_epoch": 15, "batch_size": 128, "random_state": 0}
search = GridSearchCV(
    NeuralMatrixInverter(max_epochs=4, learning_rate=5e-3, **settings),
    {"depth": DEPTHS, "width": WIDTHS},
    scoring=neg_mean_operations,
    cv=split,
    refit=False,
).fit(X)
print(f"best: {search.best_params_}, {-search.best_score_ / 1e6:.2f} million operations to a residual norm of 0.01")

# %%
# A network is worth its training only if it does better than the same iteration with less learned: untrained, that is
# from the inverted diagonal (``start="identity"``), and with nothing but the start fitted (``max_epochs=0``). On the
# matrices on which the candidates were scored:

known, held_out = (X[indices] for indices in next(split.split(X)))
others = [{"start": "identity"}, {"start": "family", "n_atoms": 0}]
less = [
    [-neg_mean_operations(NeuralMatrixInverter(depth, **other, max_epochs=0).fit(known), held_out) for other in others]
    for depth in DEPTHS
]
trained = -search.cv_results_["mean_test_score"].reshape(len(DEPTHS), len(WIDTHS))
table = np.column_stack([less, trained]) / 1e6
names = ["untrained", "fitted", *(f"trained,\nwidth {width}" for width in WIDTHS)]
for depth, row in zip(DEPTHS, table, strict=True):
    print(f"depth {depth}:", ", ".join(f"{' '.join(name.split())} {n:.2f}" for name, n in zip(names, row, strict=True)))

# %%
# Where a network is not deep enough, the score adds the steps that are missing, untrained; where it is too deep, all of
# them count. So along a column the least is at the depth that most matrices need. The fitted start saves several steps;
# training the coefficients of the steps after it adds little, for there are few stragglers left to bring home sooner.

fig, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
image = ax.imshow(table, cmap="viridis_r", aspect="auto")
middle = (table.min() + table.max()) / 2
for (i, j), n in np.ndenumerate(table):
    ax.text(j, i, f"{n:.2f}", ha="center", va="center", color="white" if n > middle else "black")
ax.axvline(1.5, color="white", linewidth=4)
ax.set(ylabel="Depth", title="Work to a residual norm of 0.01, 32 x 32 covariances")
ax.set_xticks(range(len(names)), names)
ax.set_yticks(range(len(DEPTHS)), DEPTHS)
ax.spines[:].set_visible(False)
ax.tick_params(length=0)
fig.colorbar(image, label="Million operations a matrix, mean")
plt.show()
