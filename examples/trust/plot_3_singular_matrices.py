"""
Singular matrices and pseudo-inverses
=====================================

A stack from practice may hold matrices that have no inverse. ``numpy.linalg.inv`` raises at the first exact zero pivot,
the whole stack lost, and answers with numbers of the size :math:`10^{16}` where rounding hides the zero. An inverter of
skdmi returns the other inverses, says which matrices have none, and gives their pseudo-inverses if asked.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from skdmi import RefinedInverter, load_pretrained
from skdmi.distributions import Singular, Uniform
from skdmi.inspection import InversionDisplay

singular = Singular(rank=2).sample(500, 3, random_state=0)  # Integers: singular in their very bits.
regular = Uniform(low=-4, high=4, max_cond=50).sample(1_500, 3, random_state=1)
A = np.concatenate([singular, regular])

try:
    np.linalg.inv(A)
except np.linalg.LinAlgError as error:
    print(f"numpy.linalg.inv: {error}")

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    X = RefinedInverter(load_pretrained("uniform-3x3-short")).transform(A)
print(f"RefinedInverter: {caught[0].message}")

missing = np.isnan(X).any(axis=(1, 2))
print(f"missing: {missing[:500].sum()} of the singular matrices, {missing[500:].sum()} of the regular ones")

# %%
# No certificate can be wrong here: if A is singular then so is :math:`A X`, whatever X is, hence :math:`\|I - A X\|
# \ge 1`. So the residual of a network alone tells, without its knowing of singularity.

network = load_pretrained("uniform-3x3-short")
residuals = network.estimator.residual_norms(A)
print(f"smallest residual norm of the network on singular matrices: {residuals[:500].min():.4f}")
print(f"largest on regular ones: {residuals[500:].max():.1e}")

# %%
# With ``singular="pinv"`` the Moore-Penrose pseudo-inverse, of least squares and minimum norm, takes the place of NaN.

pseudo = RefinedInverter(network, singular="pinv").report(A)
error = np.abs(pseudo.inverse - np.linalg.pinv(A)).max(axis=(1, 2))
print(pseudo.summary())
print(f"largest error against numpy.linalg.pinv: singular {error[:500].max():.1e}, regular {error[500:].max():.1e}")

# %%
# What gives singular matrices away: the residual norms of a network that was never shown one.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
bins = np.geomspace(1e-8, 1e2, 51)  # 1 is the end of a bin.
ax.hist(residuals[500:], bins, color="C0")
ax.hist(residuals[:500], bins, color="C1")
ax.text(1e-5, 405, "regular", color="C0", ha="center", weight="bold")
ax.text(2.2, 480, "singular", color="C1", weight="bold")
ax.axvline(1, color="black", linestyle=":", linewidth=1.2)
ax.text(0.7, 250, "below 1:\nnonsingular", ha="right", va="center")
ax.set(xscale="log", xlim=(1e-8, 1e3), ylim=(0, 560), xlabel=r"Residual norm $\|I - AX\|_F$", ylabel="Matrices")
ax.set_title("2,000 answers of a network, 500 of them to singular matrices")

# %%
# The pseudo-inverses that were asked for, entry by entry.

display = InversionDisplay.from_predictions(np.linalg.pinv(singular), pseudo.inverse[:500], name="500 pseudo-inverses")
display.ax_.set_xlabel("True entry of $A^+$")
plt.show()
