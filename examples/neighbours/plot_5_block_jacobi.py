"""
Block-Jacobi preconditioning of conjugate gradients
===================================================

Heat that spreads a thousand times faster along one axis of a grid than along the other: a standard hard case among the
test matrices of pyamg. Conjugate gradients need a preconditioner for it, and the simplest beyond the diagonal is the
block-diagonal, whose blocks are inverted once, as one stack, and then only multiplied by. Algebraic multigrid, which is
made for such matrices, stands beside it.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from pyamg import smoothed_aggregation_solver
from pyamg.gallery import diffusion_stencil_2d, stencil_grid
from scipy.sparse.linalg import LinearOperator, cg

import skdmi
from skdmi.preconditioners import BlockJacobi

SIDE = 64


def diffusion(angle):
    """Return the sparse matrix of 64 x 64 unknowns, symmetric and positive definite."""
    return stencil_grid(diffusion_stencil_2d(epsilon=1e-3, theta=angle, type="FE"), (SIDE, SIDE), format="csr")


A = diffusion(np.pi / 2)  # Unknowns that follow each other are strongly coupled.
b = np.random.default_rng(0).standard_normal(A.shape[0])
print(f"{A.shape[0]} unknowns, {A.nnz} entries")

# %%
# ``BlockJacobi`` inverts all diagonal blocks in one call. Conjugate gradients want a preconditioner that is symmetric
# and positive definite. ``skdmi.certify`` proves that of every block, hence of its exact inverse, and bounds how far
# the computed inverse is from that.


def block_jacobi(A, m):
    """Return the preconditioner: a sparse matrix of the inverses."""
    return BlockJacobi(block_size=m).fit(A).transform(A)


for m in (8, 32):
    blocks = np.stack([A[i : i + m, i : i + m].toarray() for i in range(0, A.shape[0], m)])
    proof = skdmi.certify(blocks, skdmi.inv(blocks), structure="spd")
    print(f"blocks of {m:2}: {proof.summary()}")


def jacobi(A):
    """Return division by the diagonal."""
    diagonal = A.diagonal()
    return LinearOperator(A.shape, lambda r: r / diagonal)


def multigrid(A):
    """Return a cycle of smoothed aggregation, told which couplings are strong."""
    return smoothed_aggregation_solver(A, strength=("symmetric", {"theta": 0.25})).aspreconditioner()


def solve(A, preconditioner):
    """Return the relative residual norms of conjugate gradients, and the solution."""
    norms = [1.0]

    def note(x):
        norms.append(np.linalg.norm(b - A @ x) / np.linalg.norm(b))

    return norms, cg(A, b, rtol=1e-8, M=preconditioner, callback=note)[0]


setups = {
    "none": lambda A: None,
    "Jacobi": jacobi,
    "blocks of 8": lambda A: block_jacobi(A, 8),
    "blocks of 32": lambda A: block_jacobi(A, 32),
    "multigrid": multigrid,
}
block_jacobi(A, 64)  # The first call loads what it needs.
curves, solutions, seconds = {}, {}, {}
for name, setup in setups.items():
    start = time.perf_counter()
    preconditioner = setup(A)
    middle = time.perf_counter()
    curves[name], solutions[name] = solve(A, preconditioner)
    seconds[name] = middle - start, time.perf_counter() - middle

print(f"{'':13} iterations  set-up and iterations, as multiples of the unpreconditioned time")
for name, norms in curves.items():
    shares = [part / seconds["none"][1] for part in seconds[name]]
    print(f"{name:13} {len(norms) - 1:10}  {shares[0]:6.2f} and {shares[1]:.2f}")

# %%
# The diagonal is nearly constant, so Jacobi changes nothing. Blocks follow the strong couplings, and longer ones do
# better; since a line of such a grid is tridiagonal, a banded factorization would do as well. Multigrid needs the
# fewest iterations. Against the grain, where strong couplings lead from block to block, blocks gain nothing over the
# diagonal, and multigrid as much as before.

across = diffusion(0)
against = {name: len(solve(across, setups[name](across))[0]) - 1 for name in ("Jacobi", "blocks of 32", "multigrid")}
print("strong couplings across the blocks:", ", ".join(f"{name} {n} iterations" for name, n in against.items()))

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
labels = {"multigrid": (0, 1.5e-10), "blocks of 32": (36, 1e-9), "blocks of 8": (130, 1e-9), "Jacobi": (310, 1e-9)}
for (name, place), color in zip(labels.items(), ("C2", "C0", "C1", "C3"), strict=True):
    ax.plot(curves[name], color=color)
    ax.text(*place, name if name != "Jacobi" else "Jacobi, none", color=color, weight="bold")
ax.set(yscale="log", ylim=(5e-11, 5), xlabel="Iteration", ylabel="Relative residual norm")
ax.set_title("Conjugate gradients, anisotropic diffusion, 4,096 unknowns")
plt.show()
