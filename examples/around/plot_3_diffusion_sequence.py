"""
A sequence of diffusion problems
================================

Uncertain coefficients mean the same problem over and over: steady diffusion on a grid whose conductivity is random, a
fresh system each time. What can be learned from the first twenty for the next? Here conjugate gradients are
preconditioned by blocks, by what a family has in common, and by algebraic multigrid, which learns nothing.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator, cg
from sklearn.model_selection import GridSearchCV

from skdmi.metrics import neg_mean_iterations
from skdmi.preconditioners import BlockJacobi, FamilyPreconditioner

SIDE, N_EXAMPLES, N_FRESH = 48, 20, 5
rng = np.random.default_rng(0)


def conductivity(sigma=1.0, length=0.1):
    """Return the exponential of a smooth Gaussian field."""
    frequency = np.fft.fftfreq(SIDE)
    smooth = np.exp(-2 * (SIDE * length) ** 2 * (frequency[:, None] ** 2 + frequency**2))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * smooth).real
    return np.exp(sigma * field / field.std())


def diffusion(a):
    """Return the matrix of -div(a grad u), u = 0 on the border, with harmonic means between cells."""
    number = np.arange(a.size).reshape(a.shape)
    pairs = [(number[:-1], number[1:], a[:-1], a[1:]), (number[:, :-1], number[:, 1:], a[:, :-1], a[:, 1:])]
    first, second = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in range(2))
    flux = np.concatenate([(2 * u * v / (u + v)).ravel() for *_, u, v in pairs])
    W = sp.csr_array((flux, (first, second)), shape=(a.size, a.size))
    border = np.zeros_like(a)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        border[edge] += 2 * a[edge]
    return sp.csr_array(sp.diags_array((W + W.T).sum(axis=1) + border.ravel()) - W - W.T)


systems = [diffusion(conductivity()) for _ in range(N_EXAMPLES + N_FRESH)]
examples, fresh = systems[:N_EXAMPLES], systems[N_EXAMPLES:]
print(f"{N_EXAMPLES} systems to learn from, {N_FRESH} fresh ones, of {SIDE**2:,} unknowns")

# %%
# Blocks need no examples, but a size and an overlap: a search finds them, by the iterations that they need.

grid = {"block_size": [12, 48], "overlap": [0, 12]}
search = GridSearchCV(BlockJacobi(), grid, scoring=neg_mean_iterations, cv=2).fit(examples[:4])
print("best blocks:", search.best_params_, f"{-search.best_score_:.0f} iterations")

# %%
# What the family has in common is the mean of its matrices, each scaled by its own diagonal: that one is factorised
# once, and each fresh system costs a look at its diagonal.

family = FamilyPreconditioner().fit(examples)
jacobi = [aslinearoperator(sp.diags_array(1 / A.diagonal())) for A in fresh]
preconditioners = {
    "none": [None] * N_FRESH,
    "diagonal": jacobi,
    "blocks": search.best_estimator_.transform(fresh),
    "family": family.transform(fresh),
}
b = rng.standard_normal(SIDE**2)


def residual_norms(A, M):
    """Return the relative residual norms of conjugate gradients."""
    norms = []
    _, failed = cg(A, b, rtol=1e-8, maxiter=3_000, M=M, callback=lambda x: norms.append(np.linalg.norm(b - A @ x)))
    assert not failed
    return np.array([1.0, *(norm / np.linalg.norm(b) for norm in norms)])


curves = {name: [residual_norms(A, M) for A, M in zip(fresh, Ms, strict=True)] for name, Ms in preconditioners.items()}
counts = {name: np.mean([len(curve) - 1 for curve in of_all]) for name, of_all in curves.items()}
print("iterations:", ", ".join(f"{name} {n:.0f}" for name, n in counts.items()))

# %%
# On grids of this size a sparse factorisation of every system is as fast as anything here; the family pays where that
# fills in too much, and multigrid, where it is at hand, needs fewer iterations still: the page on preconditioners has
# all three beside each other.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
for (name, of_all), color in zip(curves.items(), ("C3", "C1", "C0", "C2"), strict=True):
    for k, curve in enumerate(of_all):
        ax.semilogy(curve, color=color, linewidth=1, label=name if k == 0 else None)
ax.set(xlabel="Iteration", ylabel="Relative residual norm", ylim=(3e-9, 30), xlim=(0, 400))
ax.legend()
plt.show()
