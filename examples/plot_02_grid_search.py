"""
Depth and width by grid search
==============================

An inverter is a scikit-learn estimator, so :class:`~sklearn.model_selection.GridSearchCV` searches its parameters, and
its ``score`` is minus the mean residual norm. Each candidate is trained once a split: one split, few epochs and a fixed
``random_state`` keep that affordable.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LogNorm
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from skdmi import NeuralMatrixInverter
from skdmi.distributions import Uniform
from skdmi.iteration import minimal_residual
from skdmi.metrics import mean_frobenius_residual
from skdmi.modules import InverterResNet

DEPTHS, WIDTHS = [2, 3, 4], [4, 16]

A = Uniform(max_cond=300).sample(2_000, 16, random_state=0)
split = ShuffleSplit(1, test_size=0.5, random_state=0)
search = GridSearchCV(
    NeuralMatrixInverter(
        distribution=Uniform(),
        max_epochs=1,
        batches_per_epoch=30,
        batch_size=128,
        learning_rate=5e-3,
        random_state=0,
    ),
    {"depth": DEPTHS, "width": WIDTHS},
    cv=split,
    refit=False,
).fit(A)
print(f"best: {search.best_params_}, mean residual norm {-search.best_score_:.1e}")

# %%
# A network is worth its training only if it does better than the same iteration untrained, which is the
# minimal-residual iteration with a deflation of rank 2 before each step. That is the second column, the iteration
# without deflation the first, on the matrices on which the candidates were scored. In a row all spend the same number
# of matrix products.

_, held_out = next(split.split(A))
products = [InverterResNet(depth).n_products(16) for depth in DEPTHS]
single = torch.from_numpy(A[held_out]).float()
untrained = [
    [mean_frobenius_residual(single, minimal_residual(single, depth, rank=rank)) for rank in (0, 2)] for depth in DEPTHS
]
trained = -search.cv_results_["mean_test_score"].reshape(len(DEPTHS), len(WIDTHS))
table = np.column_stack([untrained, trained])
for depth, n_products, row in zip(DEPTHS, products, table, strict=True):
    figures = " ".join(f"{residual:.1e}" for residual in row[2:])
    print(f"depth {depth}, {n_products} products: iteration {row[0]:.1e}, deflated {row[1]:.1e}, trained {figures}")

# %%
# Depth matters most, as each block is a step more, and deflation next. Whether training pays on top is read along a
# row, and the answer differs: most where the deflated iteration is about to converge, least where it is far from that
# or has done so.

fig, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
image = ax.imshow(table, norm=LogNorm(), cmap="viridis_r", aspect="auto")
middle = np.sqrt(table.min() * table.max())
for (i, j), residual in np.ndenumerate(table):
    ax.text(j, i, f"{residual:.2g}", ha="center", va="center", color="white" if residual > middle else "black")
ax.axvline(1.5, color="white", linewidth=4)
ax.set(xlabel="Width", ylabel="Depth", title="Mean residual norm, 16 x 16 matrices")
ax.set_xticks(range(table.shape[1]), ["iteration", "deflated", *WIDTHS])
ax.set_yticks(range(len(DEPTHS)), DEPTHS)
ax.spines[:].set_visible(False)
ax.tick_params(length=0)
fig.colorbar(image, label=r"Mean of $\|I - AX\|_F$")
plt.show()
