"""
Box and Draper 11.3: 10 x 10 normal equations by 3 x 3 blocks
=============================================================

A chemist varies time, catalyst and temperature of a consecutive reaction and looks for the largest yield. The
second-order model has ten coefficients, hence 10 x 10 normal equations. Here a network that knows nothing but 3 x 3
matrices inverts them, through :class:`~skdmi.BlockInverter`. DeepMatrixInversion published this example with a mean
coefficient error of 3.84 and wrong signs.

The data are example 11.3 of Box and Draper, "Response Surfaces, Mixtures, and Ridge Analyses", 2nd ed., Wiley 2007.
"""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np

from skdmi import BlockInverter, RefinedInverter, load_pretrained

time, catalyst, temperature, observed = np.array(
    [
        (5.0, 25.0, 162, 45.9), (8.0, 25.0, 162, 53.3), (5.0, 30.0, 162, 57.5), (8.0, 30.0, 162, 58.8),
        (5.0, 25.0, 172, 60.6), (8.0, 25.0, 172, 58.0), (5.0, 30.0, 172, 58.6), (8.0, 30.0, 172, 52.4),
        (6.5, 27.5, 167, 56.9), (6.5, 27.5, 177, 55.4), (6.5, 27.5, 157, 46.9), (6.5, 32.5, 167, 57.5),
        (6.5, 22.5, 167, 55.0), (9.5, 27.5, 167, 58.9), (3.5, 27.5, 167, 50.3), (6.5, 20.0, 177, 61.1),
        (6.5, 20.0, 177, 62.9), (7.5, 34.0, 160, 60.0), (7.5, 34.0, 160, 60.6),
    ]
).T  # fmt: skip
NAMES = ["1", "x1", "x2", "x3", "x1 x2", "x1 x3", "x2 x3", "x1²", "x2²", "x3²"]
PUBLISHED = np.array([57.7121, 2.1123, 0.3515, -3.1589, -13.2173, 0.9694, -12.6345, -3.1012, -0.5475, -5.6599])


def coded(values):
    """Map the range of a variable to [-1, 1]."""
    return (2 * values - values.min() - values.max()) / np.ptp(values)


x = [coded(variable) for variable in (time, catalyst, temperature)]
M = np.stack([np.ones_like(x[0]), *x, *(a * b for a, b in combinations(x, 2)), *(a * a for a in x)], axis=1)
gram = M.T @ M
print(f"condition number of the normal equations: {np.linalg.cond(gram):.1f}")

# %%
# Ten is no multiple of three: the matrix is filled up to whole blocks, halved by Schur complements down to the 3 x 3
# pivots, which the network inverts, and put together again. Then the whole is refined and certified.

network = load_pretrained("uniform-3x3-short")
report = RefinedInverter(BlockInverter(network)).report(gram[None])
print(report.summary())

coefficients = report.inverse[0] @ (M.T @ observed)
expected = np.linalg.lstsq(M, observed)[0]
error = np.abs(coefficients - expected)
by_numpy_inverse = np.abs(np.linalg.inv(gram) @ (M.T @ observed) - expected)

print(f"{'':8}{'numpy lstsq':>14}{'skdmi':>14}{'error':>10}{'published':>12}")
for row in zip(NAMES, expected, coefficients, error, PUBLISHED, strict=True):
    print("{:8}{:14.8f}{:14.8f}{:10.1e}{:12.4f}".format(*row))
print(f"largest absolute error: skdmi {error.max():.1e}, numpy.linalg.inv {by_numpy_inverse.max():.1e}", end="")
print(f", published {np.abs(PUBLISHED - expected).max():.2f} (mean {np.abs(PUBLISHED - expected).mean():.2f})")

# %%
# The coefficients with twice their standard errors, from the diagonal of the same inverse, and the published ones.

s2 = np.sum((observed - M @ coefficients) ** 2) / (len(observed) - len(coefficients))
standard_errors = np.sqrt(s2 * np.diag(report.inverse[0]))

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
place = np.arange(len(NAMES))[1:]  # The constant is far from the others.
ax.axvline(0, color="0.6", linewidth=1)
ax.errorbar(coefficients[1:], place, xerr=2 * standard_errors[1:], fmt="o", color="C0", label="skdmi, two deviations")
ax.plot(PUBLISHED[1:], place, "X", color="C1", markersize=7, label="published by DeepMatrixInversion")
ax.set_yticks(place, NAMES[1:])
ax.invert_yaxis()
ax.set(xlabel="Coefficient")
fig.legend(loc="outside upper center", ncols=2)

# %%
# What the model is for: yield over time and temperature, at the middle of the catalyst's range, with the experiments as
# dots, whatever their catalyst.

side = np.linspace(-1, 1, 100)
x1, x3 = np.meshgrid(side, side)
b = dict(zip(NAMES, coefficients, strict=True))
surface = b["1"] + b["x1"] * x1 + b["x3"] * x3 + b["x1 x3"] * x1 * x3 + b["x1²"] * x1**2 + b["x3²"] * x3**2
hours, degrees = (np.interp(side, [-1, 1], [v.min(), v.max()]) for v in (time, temperature))
fig, ax = plt.subplots()
filled = ax.contourf(hours, degrees, surface, levels=np.arange(30, 64, 2))
ax.contour(hours, degrees, surface, levels=filled.levels[::2], colors="white", linewidths=0.8)
ax.plot(time, temperature, "o", color="black", markersize=4, clip_on=False)
ax.set(xlabel="Time (h)", ylabel="Temperature (°C)", title=f"Catalyst {(catalyst.min() + catalyst.max()) / 2:g} %")
ax.grid(visible=False)
fig.colorbar(filled, label="Yield")
plt.show()
