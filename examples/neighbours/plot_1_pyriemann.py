"""
An inverter in a pipeline of pyRiemann
======================================

pyRiemann classifies recordings by their covariance matrices. Its estimators take stacks of shape ``(n_trials, m, m)``,
as those of skdmi do, so that an inverter is one more step of a pipeline. Two uses of it: to find the trials whose
covariances have no inverse, and to classify by direct couplings, which only the precision matrices show.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from pyriemann.classification import MDM
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdmi import RefinedInverter

# %%
# Five sensors are coupled, each pair with a strength of its own that varies from trial to trial and means nothing, but
# for sensors 1 and 2, whose coupling is strong or weak by the kind of the trial. In six of 406 trials gel bridges the
# electrodes 4 and 5, which then record the same.

N_TRIALS, N_SENSORS, N_SAMPLES = 406, 5, 400
rng = np.random.default_rng(0)
kind = rng.integers(2, size=N_TRIALS)
coupling = np.triu(rng.lognormal(0, 1, (N_TRIALS, N_SENSORS, N_SENSORS)), 1)
coupling[:, 0, 1] = np.where(kind == 1, 1.6, 0.6) * rng.lognormal(0, 0.2, N_TRIALS)
coupling += coupling.transpose(0, 2, 1)
precision = (0.1 + coupling.sum(axis=2))[:, :, None] * np.eye(N_SENSORS) - coupling
signals = np.linalg.cholesky(np.linalg.inv(precision)) @ rng.standard_normal((N_TRIALS, N_SENSORS, N_SAMPLES))
bridged = np.sort(rng.choice(N_TRIALS, 6, replace=False))
signals[bridged, 4] = signals[bridged, 3]

# %%
# pyRiemann refuses the whole stack, and does not say for which trials. An inverter says it. A regularised covariance,
# as ``Covariances("oas")`` estimates, would pass both, and hide that an electrode was lost.

covariances = Covariances("scm").fit_transform(signals)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    report = RefinedInverter().report(covariances)
    refusal = ""
    try:
        MDM().fit(covariances, kind)
    except ValueError as error:
        refusal = str(error)
print(f"MDM: {refusal}\nRefinedInverter: {caught[0].message}")
covariances, kind = covariances[report.certified], kind[report.certified]

# %%
# The others are classified: by the distance to the mean of each kind (MDM), as pyRiemann does it, and by logistic
# regression on three kinds of features, the entries of covariances, those of precisions, and the logarithms of the
# tangent space. An affine-invariant distance does not change when both matrices are inverted, so that MDM has to decide
# alike before and after: a test of the inverter.


def regression(metric):
    """Return a classifier that is linear in the tangent space; of the metric "euclid", in the entries themselves."""
    return TangentSpace(metric=metric), StandardScaler(), LogisticRegression(max_iter=1_000)


ways = {
    "MDM": make_pipeline(MDM()),
    "MDM of precisions": make_pipeline(RefinedInverter(), MDM()),
    "covariances": make_pipeline(*regression("euclid")),
    "precisions": make_pipeline(RefinedInverter(), *regression("euclid")),
    "tangent space": make_pipeline(*regression("riemann")),
}
folds = StratifiedKFold(5, shuffle=True, random_state=0)
scores = {name: cross_val_score(way, covariances, kind, cv=folds) for name, way in ways.items()}
for name, score in scores.items():
    print(f"{name:18} accuracy {score.mean():.3f} +- {score.std():.3f}")

# %%
# MDM weighs all couplings alike, and nine of the ten mean nothing here. Regression finds the one that counts, more
# easily among precisions than among covariances, which mix direct and indirect couplings. The tangent space of
# pyRiemann, which inverts nothing, is no worse, though it was not told what to look for: it is what to try first.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots(figsize=(5.6, 3.2))
for y, (name, score) in enumerate(scores.items()):
    color = "C0" if "precisions" in name else "C1"
    ax.errorbar(score.mean(), y, xerr=score.std(), fmt="o", color=color)
ax.set_yticks(range(len(scores)), scores)
ax.set(xlim=(0.48, 1.02), ylim=(4.6, -0.6), xlabel="Accuracy: mean and deviation of 5 folds")
ax.axvline(0.5, color="black", linestyle=":", linewidth=1.2)
ax.text(0.51, 4.4, "chance")
ax.set_title("400 trials, with an inverter of skdmi (blue) or without")
plt.show()
