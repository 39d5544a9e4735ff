"""
Least squares: a stack of 3 x 3 normal equations
================================================

A parabola is fitted to measurements, and the fit is repeated on a thousand bootstrap samples to see how far it can be
trusted. That is a thousand and one systems of normal equations :math:`(M^T M) \\, \\beta = M^T y`, each 3 x 3, and one
stack. Inverses are wanted here, not only solutions: the diagonal of :math:`s^2 (M^T M)^{-1}` holds the squared standard
errors.
"""

import matplotlib.pyplot as plt
import numpy as np

from skdmi import RefinedInverter, load_pretrained

rng = np.random.default_rng(0)
t = np.linspace(-1, 1, 25)
y = 0.5 + 1.5 * t - 2.0 * t**2 + 0.25 * rng.standard_normal(len(t))
M = np.stack([np.ones_like(t), t, t**2], axis=1)

rows = np.concatenate([np.arange(len(t))[None], rng.integers(len(t), size=(1_000, len(t)))])  # All, then resampled.
gram = np.einsum("bri,brj->bij", M[rows], M[rows])  # (1001, 3, 3)
moment = np.einsum("bri,br->bi", M[rows], y[rows])

# %%
# One call inverts the stack, and proves every inverse. For one system alone ``numpy.linalg.lstsq`` is the right tool.

network = load_pretrained("uniform-3x3-short")
report = RefinedInverter(network).report(gram)
print(report.summary())

beta = np.einsum("bij,bj->bi", report.inverse, moment)
expected = np.linalg.lstsq(M, y)[0]
raw = network.transform(gram[:1])[0] @ moment[0]
print(f"{'coefficient':12}{'numpy':>12}{'skdmi':>12}{'error':>10}{'network alone':>15}{'error':>10}")
for k, name in enumerate(("constant", "linear", "quadratic")):
    print(f"{name:12}{expected[k]:12.8f}{beta[0, k]:12.8f}{abs(beta[0, k] - expected[k]):10.1e}", end="")
    print(f"{raw[k]:15.8f}{abs(raw[k] - expected[k]):10.1e}")

# %%
# The standard errors from the inverse agree with the scatter of the bootstrap, which knows nothing of normal errors.

s2 = np.sum((y - M @ beta[0]) ** 2) / (len(t) - 3)
standard_errors = np.sqrt(s2 * np.diag(report.inverse[0]))
print("standard errors: inverse ", standard_errors.round(4), " bootstrap", beta[1:].std(axis=0).round(4))

# %%
# The fit, with the band that holds 95 % of the bootstrap curves.

grid = np.linspace(-1.1, 1.1, 200)
powers = np.stack([np.ones_like(grid), grid, grid**2])
low, high = np.quantile(beta[1:] @ powers, [0.025, 0.975], axis=0)

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
ax.fill_between(grid, low, high, color="C0", alpha=0.25, linewidth=0)
ax.plot(grid, beta[0] @ powers, color="C0")
ax.plot(t, y, "o", color="black", markersize=4)
ax.text(0.25, -0.35, "fit, and 95 % of\nthe bootstrap's fits", color="C0", va="top", weight="bold")
ax.set(xlabel="t", ylabel="y", xlim=(-1.1, 1.1), title="A parabola by 3 x 3 normal equations")

# %%
# The bootstrap coefficients, and the ellipse that the inverse of the one 3 x 3 matrix predicts for 95 % of them.

values, vectors = np.linalg.eigh(s2 * report.inverse[0][np.ix_([0, 2], [0, 2])])
angle = np.linspace(0, 2 * np.pi, 200)
ellipse = np.sqrt(5.991) * vectors @ (np.sqrt(values)[:, None] * np.stack([np.cos(angle), np.sin(angle)]))
fig, ax = plt.subplots()
ax.plot(beta[1:, 0], beta[1:, 2], ".", color="C0", markersize=4, alpha=0.5)
ax.plot(beta[0, 0] + ellipse[0], beta[0, 2] + ellipse[1], color="black")
ax.text(0.44, -1.5, r"95 % by $s^2 (M^T M)^{-1}$")
ax.set(xlabel=r"Constant $\beta_0$", ylabel=r"Quadratic coefficient $\beta_2$", title="1,000 bootstrap samples")
plt.show()
