"""Chunks of delta-rule attention: unit lower triangular matrices, the ways to invert them, and what each takes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.lib.timing import in_turn
from skdmi.linalg import unit_lower_inverse
from skdmi.linalg.unit_lower import LARGEST_BLOCK, climb
from skdmi.linalg.unit_lower_certificate import certify_unit_lower

SIZES = (16, 64, 128)
HEAD_SIZE = 64
N_ENTRIES = 2**20
"""Of a stack that is timed: some milliseconds."""
INVERSE = "torch.linalg.inv"
SUBSTITUTION = "torch.linalg.solve_triangular"
NEUMANN = "Neumann doubling"
LADDER = "ladder from blocks of 32"
OURS = "skdmi.linalg.unit_lower_inverse"
CERTIFIED_LADDER = "ladder and its certificate"
CERTIFIED = "unit_lower_inverse and its certificate"


def independent(generator: torch.Generator, n: int, chunk: int) -> Tensor:
    """Keys of independent normal entries."""
    return torch.randn(n, chunk, HEAD_SIZE, generator=generator, dtype=torch.float64)


def correlated(generator: torch.Generator, n: int, chunk: int, correlation: float = 0.9) -> Tensor:
    """Keys that have a direction in common, so that the cosine of two of them is about the correlation."""
    common = torch.randn(n, 1, HEAD_SIZE, generator=generator, dtype=torch.float64)
    return correlation**0.5 * common + (1 - correlation) ** 0.5 * independent(generator, n, chunk)


def repeated(generator: torch.Generator, n: int, chunk: int) -> Tensor:
    """Few keys, each again and again: of tokens that recur."""
    few = independent(generator, n, max(1, chunk // 8))
    which = torch.randint(few.shape[1], (n, chunk), generator=generator)
    return few.gather(1, which.unsqueeze(-1).expand(-1, -1, HEAD_SIZE))


def sign_flips(generator: torch.Generator, n: int, chunk: int) -> Tensor:
    """Correlated keys, every other one with its sign changed."""
    signs = 1 - 2 * (torch.arange(chunk) % 2).double()
    return signs.unsqueeze(-1) * correlated(generator, n, chunk)


KEYS: dict[str, Callable[[torch.Generator, int, int], Tensor]] = {
    "independent": independent,
    "correlated 0.9": correlated,
    "correlated 0.99": partial(correlated, correlation=0.99),
    "repeated": repeated,
    "sign flips": sign_flips,
}


def make_chunks(
    keys: str, n: int, chunk: int, *, seed: int = 0, beta: float | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    r"""Return ``I + tril(diag(beta) K K^T, -1)`` for keys of length one, ``(n, chunk, chunk)``.

    Beta is drawn from [1/2, 1] a token, or as given.
    """
    generator = torch.Generator().manual_seed(seed)
    K = KEYS[keys](generator, n, chunk)
    K = K / K.norm(dim=-1, keepdim=True)
    drawn = 0.5 + torch.rand(n, chunk, 1, generator=generator, dtype=torch.float64) / 2
    strict = ((drawn if beta is None else beta) * (K @ K.mT)).tril(-1)
    return (strict + torch.eye(chunk, dtype=torch.float64)).to(dtype)


def neumann_doubling(A: Tensor) -> Tensor:
    r"""Return :math:`(I + N)(I + N^2)(I + N^4) \cdots`, with :math:`N = I - A`: exact but for rounding.

    As kernels for accelerators do it: the powers of N grow where the inverse does not.
    """
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    power = identity - A
    X, n_terms = identity + power, 2
    while n_terms < A.shape[-1]:
        power = power @ power
        X, n_terms = X + X @ power, 2 * n_terms
    return X


def substitution(A: Tensor) -> Tensor:
    """Return the inverse by solving with the identity."""
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    return torch.linalg.solve_triangular(A, identity, upper=False, unitriangular=True)


METHODS: dict[str, Callable[[Tensor], Any]] = {
    INVERSE: torch.linalg.inv,
    SUBSTITUTION: substitution,
    NEUMANN: neumann_doubling,
    LADDER: partial(climb, largest_block=LARGEST_BLOCK),
    OURS: unit_lower_inverse,
    CERTIFIED_LADDER: lambda A: certify_unit_lower(A, climb(A, largest_block=LARGEST_BLOCK)),
    CERTIFIED: lambda A: certify_unit_lower(A, unit_lower_inverse(A)),
}


def times(chunk: int, *, keys: str = "correlated 0.9", repeats: int = 15, n: int | None = None) -> dict[str, Any]:
    """Return by method the processor time a chunk and, as ``over_inverse``, its ratio to LAPACK's in the same turn.

    Medians and quartiles, as `Spent.record` has them; in one thread.
    """
    n = n or max(1, N_ENTRIES // chunk**2)
    A = make_chunks(keys, n, chunk)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        spent = in_turn(METHODS, [A] * (repeats + 1))
    finally:
        torch.set_num_threads(n_threads)
    inverse = spent[INVERSE].per(n)
    return {name: runs.per(n).record(inverse=inverse) for name, runs in spent.items()}


def accuracy(chunk: int, keys: str, *, n: int = 100, seed: int = 0) -> dict[str, dict[str, float]]:
    """Return by method the largest relative error in float32, the share that is certified, in percent, and the bound.

    Of what a method returns, the strictly lower part and the identity; the bound is the largest, infinite where one
    chunk is not certified.
    """
    A = make_chunks(keys, n, chunk, seed=seed)
    exact = substitution(A.double())
    found = {}
    for name in (INVERSE, SUBSTITUTION, NEUMANN, LADDER, OURS):
        X = METHODS[name](A).tril(-1) + torch.eye(chunk)
        certificate = certify_unit_lower(A, X)
        error = torch.linalg.matrix_norm(X.double() - exact) / torch.linalg.matrix_norm(exact)
        found[name] = {
            "error": error.max().item(),
            "certified": 100 * certificate.certified.double().mean().item(),
            "bound": certificate.error_bound.nan_to_num(nan=torch.inf).max().item(),
        }
    return found
