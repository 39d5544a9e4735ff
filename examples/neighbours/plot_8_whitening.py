"""
Whitening: one decoder for many heads
=====================================

A decoder of brain signals that was trained on some people fails on the next: caps, gels and skulls differ, and with
them the covariance of all channels. *Euclidean alignment* (He and Wu, IEEE Trans. Biomed. Eng. 67, 2020) takes out what
belongs to the person: it whitens every trial by the inverse square root of the mean covariance of that person's trials,
:math:`Z C Z, \\; Z = \\bar C^{-1/2}`, which needs no labels. Here ``InverseSquareRoot`` finds Z for everybody at once,
proves each, and names whose recording has none.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdmi
from skdmi import InverseSquareRoot

# %%
# The people are simulated, around a covariance of 19 channels that is not: it comes with the shipped model
# ``eeg-covariance``. Everybody hears those sources through a mixing of their own, channel gains included. In trials of
# the second kind one source is stronger by half. Person 5 was recorded against the average of all channels, which is
# common, and leaves a covariance without an inverse.

N_PEOPLE, N_TRIALS, N_SAMPLES, AVERAGED = 12, 80, 256, 5
rng = np.random.default_rng(0)
core = np.array(skdmi.load_pretrained("eeg-covariance").estimator.distribution.core)
m = len(core)
sources = np.linalg.cholesky(core)
kind = np.tile([0, 1], N_TRIALS // 2)
covariances = np.empty((N_PEOPLE, N_TRIALS, m, m))
for person in range(N_PEOPLE):
    gains = rng.lognormal(0, 0.5, m)
    mixing = gains[:, None] * (np.eye(m) + 0.1 * rng.standard_normal((m, m))) @ sources
    strength = np.ones((N_TRIALS, m, 1))
    strength[kind == 1, 0] = 1.5**0.5
    signals = mixing @ (strength * rng.standard_normal((N_TRIALS, m, N_SAMPLES)))
    if person == AVERAGED:
        signals -= signals.mean(axis=1, keepdims=True)
    covariances[person] = signals @ signals.swapaxes(1, 2) / N_SAMPLES

# %%
# One call for everybody. What is not proved to be positive definite is NaN, and named.

means = covariances.mean(axis=1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    Z = InverseSquareRoot().transform(means)
print(caught[0].message)
report = InverseSquareRoot().report(means)
print(report.summary())

values, V = np.linalg.eigh(means)
with np.errstate(invalid="ignore"):
    by_eigenvalues = (V / np.sqrt(values)[:, None]) @ V.swapaxes(1, 2)
print(f"by eigenvalues, of person {AVERAGED}: largest entry {abs(by_eigenvalues[AVERAGED]).max():.0e}, and no warning")

# %%
# That person is left out. The decoder, a logistic regression on the entries of covariances, is tried on each of the
# others, trained on the rest.

kept = report.certified
aligned = Z[kept, None] @ covariances[kept] @ Z[kept, None]
upper = np.triu_indices(m)
groups = np.repeat(np.flatnonzero(kept), N_TRIALS)
labels = np.tile(kind, kept.sum())
decoder = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1_000))
scores = {}
for name, stack in {"as recorded": covariances[kept], "whitened": aligned}.items():
    features = stack.reshape(-1, m, m)[:, upper[0], upper[1]]
    scores[name] = cross_val_score(decoder, features, labels, groups=groups, cv=LeaveOneGroupOut())
    print(f"{name:12} accuracy {scores[name].mean():.3f}, of the worst person {scores[name].min():.3f}")
