"""
Length-scales of a Gaussian process: a likelihood with its error
================================================================

A Gaussian process is fitted to a computer experiment by a sweep over length-scales: at each a kernel matrix K, its
inverse and its determinant, in the profile likelihood :math:`-\\frac{n}{2} \\log \\frac{y^T K^{-1} y}{n} - \\frac{1}{2}
\\log\\det K`. The usual way is Cholesky's, and it is faster. But kernels of long length-scales are nearly singular, and
Cholesky's answer does not say how many of its digits are right. An interval that is proved does.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import pdist, squareform
from scipy.stats import qmc

import skdmi

# %%
# The experiment is the flow through a borehole, a function of eight inputs that surrogate models are measured by. It
# has no noise, so no nugget is added to the kernel.

LOW = [0.05, 100, 63_070, 990, 63.1, 700, 1_120, 9_855]
HIGH = [0.15, 50_000, 115_600, 1_110, 116, 820, 1_680, 12_045]
design = qmc.LatinHypercube(8, rng=0).random(32)
r_w, r, T_u, H_u, T_l, H_l, L, K_w = qmc.scale(design, LOW, HIGH).T
flow = 2 * np.pi * T_u * (H_u - H_l) / (np.log(r / r_w) * (1 + T_u / T_l) + 2 * L * T_u / (r_w**2 * K_w))
y = (flow - flow.mean()) / flow.std()
n = len(y)

length_scales = np.geomspace(0.3, 10_000, 36)
K = np.exp(-squareform(pdist(design, "sqeuclidean")) / (2 * length_scales[:, None, None] ** 2))  # (36, 32, 32)

# %%
# Cholesky, kernel by kernel: on the whole stack ``numpy.linalg.cholesky`` would raise at the first failure.


def by_cholesky(kernel):
    """Return the profile log likelihood, or NaN."""
    try:
        C = np.linalg.cholesky(kernel)
    except np.linalg.LinAlgError:
        return np.nan
    z = solve_triangular(C, y, lower=True)
    return -n / 2 * np.log(z @ z / n) - np.log(np.diag(C)).sum()


start = time.perf_counter()
cholesky = np.array([by_cholesky(kernel) for kernel in K])
seconds = time.perf_counter() - start

# %%
# The inverses of ``skdmi.inv(K, tight=True)``, with a proved bound for every entry, and the log-determinants of
# ``skdmi.slogdet(K)``, with theirs. Rounding adds to the quadratic form :math:`2 n u\, |y|^T |X| |y|` at most; a third
# :math:`n u` is for the roundings of the bound. The logarithm increases, so an interval for the form gives one for the
# likelihood.

skdmi.slogdet(skdmi.inv(K[:1]))  # The first call loads what it needs.
start = time.perf_counter()
report = skdmi.RefinedInverter(tight=True).report(K)
proof = skdmi.certify(K, report.inverse, tight=True, structure="spd")
_, log_det, log_det_bound = skdmi.slogdet(K)
form = report.inverse @ y @ y
error = (report.entry_bound * (1 + 1e-12) + 3 * n * 2.0**-53 * abs(report.inverse)) @ abs(y) @ abs(y)
print(f"with proofs, this takes {(time.perf_counter() - start) / seconds:.0f} times as long as by Cholesky")

# %%
# A kernel that is not proved to be positive definite, with all that rounds to it proved to be nonsingular, is named and
# gets no likelihood: rounding alone may have made it no covariance. Cholesky raises an exception for some of these, on
# a whole stack without saying which, and answers the others.

sound = proof.positive_definite & proof.robust
form[~sound] = np.nan
rounding = 1e-14 * (n + abs(log_det))  # of the next two lines
lower = -n / 2 * np.log((form + error) / n) - (log_det + log_det_bound) / 2 - rounding
upper = -n / 2 * np.log((form - error) / n) - (log_det - log_det_bound) / 2 + rounding
outside = np.maximum(lower - cholesky, cholesky - upper)
print(f"{sound.sum()} of {len(K)} likelihoods proved, the widest interval {np.nanmax(upper - lower):.0e}")
print(f"Cholesky outside the interval for {np.sum(outside > 0)} of them, by up to {np.nanmax(outside):.0e}")
print(f"not proved: length-scales {length_scales[~sound].round()}")
print(f"of those Cholesky answers {np.isfinite(cholesky[~sound]).sum()} and gives up on {np.isnan(cholesky).sum()}")
likeliest = [length_scales[np.nanargmax(values)] for values in (lower, cholesky)]
print(f"likeliest length-scale {likeliest[0]:.2g}, by Cholesky {likeliest[1]:.2g}")

# %%
# What is proved is of K as it is stored; rounding its entries moves the likelihood as much as rounding inside Cholesky
# does. The maximum is where all agree, so Cholesky is all that this fit needs. Whoever extrapolates along the sweep, or
# follows its gradient, would get noise far to the right, before an exception. A nugget cures that: another model.

plt.style.use("skdmi.inspection.paper")
fig, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(5.6, 4.8))
top.plot(length_scales, lower, "o-", color="C0", markersize=5.5)
top.plot(length_scales, cholesky, "o", color="C1", markersize=3)
bottom.plot(length_scales, (upper - lower) / 2, "o-", color="C0", markersize=5.5)
bottom.plot(length_scales, np.abs(cholesky - (lower + upper) / 2), "o", color="C1", markersize=3)
for ax in (top, bottom):
    ax.axvspan(length_scales[~sound].min(), 13_000, color="0.93", zorder=0)
bottom.text(3, 1e-4, "Cholesky's distance", color="C1", ha="center", weight="bold")
bottom.text(80, 1e-12, "half the proved interval", color="C0", ha="center", weight="bold")
top.text(4_100, 32, "no proof", ha="center", va="top", color="0.35")
top.set(
    xscale="log",
    xlim=(0.25, 13_000),
    ylabel="Log likelihood",
    title="32 runs of the borehole function, 36 length-scales",
)
bottom.set(yscale="log", xlabel="Length-scale", ylabel="Error")
plt.show()
