"""
Whitening, matrix by matrix
===========================

To compare recordings of several sources one often makes their covariances the identity: x becomes Z x with Z the
inverse square root of the covariance of x. Of all matrices that whiten, the symmetric one changes x least. Thousands of
covariances, one a recording, are one stack; each root is proved, and one recording with a dead channel is named.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdmi import InverseSquareRoot

N_RECORDINGS, N_SAMPLES, N_CHANNELS, DEAD = 2_000, 400, 16, 123

# %%
# Every recording mixes three strong sources in its own way, above the noise of the channels. Channel 5 of recording 123
# is dead.

rng = np.random.default_rng(0)
mixing = rng.standard_normal((N_RECORDINGS, N_CHANNELS, 3)) * 3
signals = mixing @ rng.standard_normal((N_RECORDINGS, 3, N_SAMPLES))
signals += rng.standard_normal((N_RECORDINGS, N_CHANNELS, N_SAMPLES))
signals[DEAD, 5] = 0
covariances = signals @ signals.swapaxes(1, 2) / N_SAMPLES

# %%
# The roots are found by matrix products alone, in a few steps. Without what was proved of it, one NaN would be all that
# is known of the dead recording.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    Z = InverseSquareRoot().transform(covariances)
print(caught[0].message)
alive = np.arange(N_RECORDINGS) != DEAD
report = InverseSquareRoot().report(covariances)
print(report.summary())
whitened = Z[alive] @ signals[alive]
again = whitened @ whitened.swapaxes(1, 2) / N_SAMPLES
print(f"largest distance of a whitened covariance from the identity: {np.abs(again - np.eye(N_CHANNELS)).max():.1e}")

# %%
# A fit learns the steps of such covariances: a few large eigenvalues above a floor. It keeps them if they need fewer
# steps on members that were held out. In a pipeline a ridge helps the dead recording.

learned = InverseSquareRoot().fit(covariances[:500][alive[:500]])
fresh = covariances[500:]
steps = {name: one.report(fresh).n_steps for name, one in (("scaled", InverseSquareRoot()), ("learned", learned))}
print("steps on average:", ", ".join(f"{name} {n.mean():.2f}" for name, n in steps.items()))


def with_ridge(flat):
    """Add a thousandth to the diagonals of flat matrices."""
    return flat + 1e-3 * np.eye(N_CHANNELS).ravel()


pipeline = make_pipeline(FunctionTransformer(with_ridge), InverseSquareRoot())
roots = pipeline.fit_transform(covariances.reshape(N_RECORDINGS, -1))
print("missing with a ridge:", int(np.isnan(roots).any(axis=1).sum()))

plt.style.use("skdmi.inspection.paper")
fig, axes = plt.subplots(1, 3, figsize=(8.4, 2.8))
shown = {"covariance": covariances[0], "inverse square root": Z[0], "whitened": again[0]}
for ax, (name, matrix) in zip(axes, shown.items(), strict=True):
    limit = np.abs(matrix).max()
    ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(title=name, xticks=[], yticks=[])
    ax.grid(visible=False)
plt.show()
