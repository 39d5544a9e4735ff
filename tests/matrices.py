"""One factory for every matrix that the tests use."""

import numpy as np

KINDS = ("uniform", "well", "condition", "spd", "orthogonal", "permutation", "graded", "singular", "zero")


def make_stack(kind="well", n_matrices=8, m=3, *, condition=1e3, rank=None, dtype=np.float64, seed=0):
    """Return a stack ``(n_matrices, m, m)`` of one kind.

    ``"uniform"``: iid entries on [-1, 1], unfiltered. ``"well"``: condition number at most 10.
    ``"condition"``: 2-norm condition number exactly ``condition`` (up to rounding).
    ``"spd"``: symmetric positive definite, eigenvalues in [1/2, 2]. ``"orthogonal"`` and ``"permutation"``: as named.
    ``"graded"``: well-conditioned rows scaled from 1 down to ``1 / condition``.
    ``"singular"``: integer entries of rank ``rank`` (default ``m - 1``), singular in its very bits. ``"zero"``: zeros.
    """
    rng = np.random.default_rng(seed)

    def orthogonal():
        q, r = np.linalg.qr(rng.standard_normal((n_matrices, m, m)))
        return q * np.sign(np.einsum("nii->ni", r))[:, None, :]

    def with_singular_values(values):
        return (orthogonal() * values) @ orthogonal()

    if kind == "uniform":
        stack = rng.uniform(-1, 1, (n_matrices, m, m))
    elif kind == "well":
        stack = with_singular_values(rng.uniform(0.2, 2.0, (n_matrices, 1, m)))
    elif kind == "condition":
        stack = with_singular_values(np.geomspace(1, 1 / condition, m))
    elif kind == "spd":
        q = orthogonal()
        stack = (q * rng.uniform(0.5, 2.0, (n_matrices, 1, m))) @ q.transpose(0, 2, 1)
        stack = (stack + stack.transpose(0, 2, 1)) / 2
    elif kind == "orthogonal":
        stack = orthogonal()
    elif kind == "permutation":
        stack = np.stack([np.eye(m)[rng.permutation(m)] for _ in range(n_matrices)])
    elif kind == "graded":
        stack = np.geomspace(1, 1 / condition, m)[:, None] * with_singular_values(
            rng.uniform(0.5, 2.0, (n_matrices, 1, m))
        )
    elif kind == "singular":
        rank = m - 1 if rank is None else rank
        stack = rng.integers(-4, 5, (n_matrices, m, rank)) @ rng.integers(-4, 5, (n_matrices, rank, m))
    elif kind == "zero":
        stack = np.zeros((n_matrices, m, m))
    else:
        raise ValueError(f"kind={kind!r}; expected one of {KINDS}")
    return np.ascontiguousarray(stack, dtype=dtype)
