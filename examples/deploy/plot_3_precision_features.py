"""
Precision matrices as the features of a classifier
==================================================

Five sensors are recorded in many short trials, of two kinds, which differ in the sign of the coupling between sensors 1
and 2. All other couplings are stronger, vary from trial to trial, and mean nothing. Covariances mix direct and indirect
couplings; their inverses, the precision matrices, hold a direct coupling in a single entry. So an inverter is a useful
step of a :class:`~sklearn.pipeline.Pipeline`, and being an estimator, it is one.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skdmi import ExactInverter, NeuralMatrixInverter, RefinedInverter

N_TRIALS, N_SENSORS, N_SAMPLES = 800, 5, 400
rng = np.random.default_rng(0)
kind = rng.integers(2, size=N_TRIALS)

# Of each trial: couplings at random, the one between sensors 1 and 2 by kind, and a diagonal that makes all positive.
coupling = np.triu(rng.uniform(-2, 2, (N_TRIALS, N_SENSORS, N_SENSORS)), 1)
coupling[:, 0, 1] = np.where(kind == 1, 0.4, -0.4) + 0.1 * rng.standard_normal(N_TRIALS)
coupling += coupling.transpose(0, 2, 1)
truth = coupling + np.abs(coupling).sum(axis=2)[:, :, None] * 1.02 * np.eye(N_SENSORS)
root = np.linalg.cholesky(np.linalg.inv(truth))
trials = rng.standard_normal((N_TRIALS, N_SAMPLES, N_SENSORS)) @ root.transpose(0, 2, 1)


def flat_covariances(trials):
    """Return the covariance matrix of every trial as a row."""
    centred = trials - trials.mean(axis=1, keepdims=True)
    return (centred.transpose(0, 2, 1) @ centred / trials.shape[1]).reshape(len(trials), -1)


# %%
# The stack goes through the pipeline flat, a matrix a row, as scikit-learn likes it. What stands in the place of the
# inverter is a parameter like any other: nothing, certified inverses, a network of eleven products as it answers or
# finished and certified, LAPACK. The network is not trained, but fitted: it starts from what the inverses of the
# covariances in each fold have in common. The classifier is linear.

pipeline = Pipeline(
    [
        ("covariance", FunctionTransformer(flat_covariances)),
        ("inverse", "passthrough"),
        ("scale", StandardScaler()),
        ("classify", LogisticRegression(max_iter=1_000)),
    ]
)
network = NeuralMatrixInverter(depth=3, max_epochs=0, random_state=0)
choices = {
    "covariances": "passthrough",
    "certified": RefinedInverter(),
    "network": network,
    "network, certified": RefinedInverter(network),
    "LAPACK": ExactInverter(),
}
search = GridSearchCV(
    pipeline,
    {"inverse": list(choices.values())},
    cv=StratifiedKFold(5, shuffle=True, random_state=0),
).fit(trials, kind)
accuracy = search.cv_results_["mean_test_score"]
for name, mean, std in zip(choices, accuracy, search.cv_results_["std_test_score"], strict=True):
    print(f"{name:20} accuracy {mean:.3f} +- {std:.3f}")

# %%
# It is inversion that pays, and not who inverts: all certified inverses give the same features.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
colors = ["C1", *["C0"] * 4]
for y, (mean, std, color) in enumerate(zip(accuracy, search.cv_results_["std_test_score"], colors, strict=True)):
    ax.errorbar(mean, y, xerr=std, fmt="o", color=color)
ax.axvline(0.5, color="black", linestyle=":", linewidth=1.2)
ax.text(0.505, 4.4, "chance", va="bottom")
ax.set_yticks(range(len(choices)), choices)
ax.set(xlim=(0.48, 1.02), ylim=(4.5, -0.5), xlabel="Accuracy: mean and deviation of 5 folds")
ax.set_title("What stands in the place of the inverter")

# %%
# How far the kinds lie apart, entry by entry: the difference of their means in units of the standard deviation within a
# kind. The same entry stands out in both, but in the covariance the indirect couplings scatter it.

covariances = flat_covariances(trials)
precisions = RefinedInverter().transform(covariances.reshape(-1, N_SENSORS, N_SENSORS))


def effect(features):
    """Return the standardised difference of the means of both kinds, as a matrix."""
    groups = features[kind == 0], features[kind == 1]
    spread = np.sqrt(sum(group.var(axis=0) for group in groups) / 2)
    return ((groups[1].mean(axis=0) - groups[0].mean(axis=0)) / spread).reshape(N_SENSORS, N_SENSORS)


effects = {name: effect(rows) for name, rows in (("Covariance", covariances), ("Precision", precisions))}
print(", ".join(f"{name.lower()} {matrix[0, 1]:+.1f}" for name, matrix in effects.items()), "standard deviations")
largest = max(np.abs(matrix).max() for matrix in effects.values())
fig, axes = plt.subplots(1, 2, figsize=(5.6, 2.9), sharey=True)
for ax, (name, matrix) in zip(axes, effects.items(), strict=True):
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-largest, vmax=largest)
    ax.set(title=name, xlabel="Sensor")
    ax.set_xticks(range(N_SENSORS), range(1, N_SENSORS + 1))
    ax.set_yticks(range(N_SENSORS), range(1, N_SENSORS + 1))
    ax.grid(visible=False)
axes[0].set_ylabel("Sensor")
fig.colorbar(image, ax=axes, label="Standard deviations", shrink=0.85)
plt.show()
