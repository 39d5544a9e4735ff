"""
A bank of Kalman filters, one of which breaks
=============================================

Two thousand targets are tracked, each by a filter of its own. Every filter inverts the covariance S of its innovation
at every step: for the gain, and to see whether the innovations are as large as they should be. These inverses are one
stack a step. For one filter alone, solving by Cholesky factors is the better way; but what if one of thousands breaks?
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from skdmi import RefinedInverter

# %%
# A target moves in the plane with nearly constant velocity. Two sensors measure its position, with noise that is known
# and differs from filter to filter. From step 30 on, filter 1234 is told that neither sensor has any noise in x: two
# rows of its S are equal then.

N_FILTERS, N_STEPS, BROKEN, FAULT = 2_000, 60, 1_234, 30
rng = np.random.default_rng(0)
F = np.eye(4) + np.diag([1.0, 1.0], k=2)  # Of the state: x, y and the velocities.
H = np.concatenate([np.eye(2, 4)] * 2)
Q = 0.01 * np.kron([[1 / 3, 1 / 2], [1 / 2, 1]], np.eye(2))
R = rng.uniform(0.5, 5, (N_FILTERS, 4))[:, :, None] * np.eye(4)
told = R.copy()
told[BROKEN, [0, 2], [0, 2]] = 0

state = np.concatenate([np.zeros((N_FILTERS, 2)), rng.standard_normal((N_FILTERS, 2))], axis=1)
truth, measured = [], []
for _ in range(N_STEPS):
    state = state @ F.T + rng.multivariate_normal(np.zeros(4), Q, N_FILTERS)
    truth.append(state)
    measured.append(state @ H.T + np.sqrt(np.einsum("nii->ni", R)) * rng.standard_normal((N_FILTERS, 4)))
truth = np.array(truth)

# %%
# What has no inverse is NaN in the report, and leaves the bank: NaN in the stack of a later step would be refused. With
# pseudo-inverses in its place the filter stays. The steps of the filter are the same for both.


def run(inverter, noise):
    """Return estimates, squared innovations in units of S, the largest error bound, and S of the filter that breaks."""
    x, P = np.zeros((N_FILTERS, 4)), 100 * np.tile(np.eye(4), (N_FILTERS, 1, 1))
    alive = np.full(N_FILTERS, True)
    estimates, squares, bounds, watched = [], [], [], []
    for step, z in enumerate(measured):
        x, P = x @ F.T, F @ P @ F.T + Q
        S = H @ P @ H.T + (R if step < FAULT else noise)
        report = inverter.report(S[alive])
        inverse = np.full_like(S, np.nan)
        inverse[alive] = report.inverse
        alive &= ~np.isnan(inverse[:, 0, 0])
        innovation, gain = z - x @ H.T, P @ H.T @ inverse
        x, P = x + np.einsum("nij,nj->ni", gain, innovation), P - gain @ H @ P
        P = (P + P.transpose(0, 2, 1)) / 2
        estimates.append(x)
        squares.append(np.einsum("ni,nij,nj->n", innovation, inverse, innovation))
        bounds.append(report.error_bound[report.certified].max())
        watched.append(S[BROKEN])
    return np.array(estimates), np.array(squares), max(bounds), np.array(watched)


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    estimates, squares, bound, _ = run(RefinedInverter(), told)
intact, *_ = run(RefinedInverter(), R)
pseudo, _, _, watched = run(RefinedInverter(singular="pinv"), told)
print("\n".join(str(warning.message) for warning in caught))

others = np.arange(N_FILTERS) != BROKEN
lost = np.flatnonzero(np.isnan(estimates[:, BROKEN]).all(axis=1))
spoiled = int((estimates != intact).any(axis=(0, 2))[others].sum())
print(f"filter {BROKEN} has no estimate in steps {lost[0]} to {lost[-1]}; others that changed by a bit: {spoiled}")
print(f"largest proved bound on the error of an inverse: {bound:.1e}")
print(f"squared innovations in units of S: {squares[10:, others].mean():.3f} on average, 4 expected")

# %%
# numpy has two answers to the S of this filter, and rounding decides which: ``numpy.linalg.inv`` raises, and all the
# filters of the stack are without an inverse; or it returns one, which is all rounding, and enters the gain.

raised, silent = 0, []
for S in watched[FAULT:]:
    try:
        silent.append(np.abs(np.linalg.inv(S)).max())
    except np.linalg.LinAlgError:
        raised += 1
print(f"numpy.linalg.inv: raised in {raised} steps, and returned in {len(silent)}", end="")
print(f", with entries up to {max(silent):.0e}" if silent else "")

# %%
# The filter can also go on, by the pseudo-inverse: its gain is that of the mean of both sensors. It then believes x as
# measured, and its error is the noise of that mean. That is a choice for the user to make; NaN and a warning make none.

error = {name: np.linalg.norm((x - truth)[..., :2], axis=2) for name, x in (("NaN", estimates), ("pinv", pseudo))}
plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
steps = np.arange(N_STEPS)
ax.plot(steps, error["pinv"][:, BROKEN], color="C2", linewidth=1, label=f"{BROKEN}, pseudo-inverse")
ax.plot(steps, error["NaN"][:, BROKEN], color="C1", label=f"filter {BROKEN}")
ax.plot(steps, np.sqrt(np.mean(error["NaN"][:, others] ** 2, axis=1)), color="C0", label="all others, RMS")
ax.axvline(FAULT, color="black", linestyle=":", linewidth=1.2)
ax.text(FAULT + 0.7, 3.85, "from here on its S is singular")
ax.set(xlabel="Step", ylabel="Error of the position", xlim=(0, N_STEPS - 1), ylim=(0, 4.2))
fig.legend(loc="outside upper center", ncols=3, columnspacing=1)
plt.show()
