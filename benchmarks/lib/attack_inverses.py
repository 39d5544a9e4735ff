"""Would-be inverses for a certificate to judge, from good to useless."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from benchmarks.lib.exact_arithmetic import is_singular, rational, rounded
from skdmi import NeuralMatrixInverter
from skdmi.iteration import minimal_residual
from skdmi.linalg import certify, scale_by_power_of_two, split_exponent


def lapack(A: Tensor, generator: torch.Generator) -> Tensor:
    return torch.linalg.inv_ex(A.double())[0]


def loose(A: Tensor, generator: torch.Generator) -> Tensor:
    """The inverse as it is in exact arithmetic, off by up to a third, in all or in each of its entries."""
    size = 3.0 ** -torch.randint(1, 40, (len(A), 1, 1), generator=generator)
    noise = torch.randn(A.shape, generator=generator, dtype=torch.float64)
    whole = torch.rand(len(A), 1, 1, generator=generator) < 0.5
    return _nearest_inverse(A) * (1 + size * torch.where(whole, noise[:, :1, :1].clamp(-1, 1), noise.clamp(-1, 1)))


def _nearest_inverse(A: Tensor) -> Tensor:
    """Round exact inverses; of singular matrices, zeros."""
    X = torch.zeros(A.shape, dtype=torch.float64)
    for A_i, X_i in zip(A, X, strict=True):
        if not is_singular(A_i):
            X_i.copy_(torch.tensor([rounded(x) for x in rational(A_i).inv().entries()]).reshape(X_i.shape))
    return X


def untrained(A: Tensor, generator: torch.Generator) -> Tensor:
    return minimal_residual(A, n_steps=12)


def network(A: Tensor, generator: torch.Generator) -> Tensor:
    """Answer as the shipped networks do, beyond the sizes that they were trained for as well."""
    return _shipped("uniform-3x3-short" if A.shape[-1] <= 3 else "uniform-16x16-short").invert(A)


@cache
def _shipped(name: str) -> NeuralMatrixInverter:
    return NeuralMatrixInverter.from_pretrained(name)


def huge(A: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(A.shape, generator=generator, dtype=torch.float64) * torch.finfo(A.dtype).max / 8


def zero(A: Tensor, generator: torch.Generator) -> Tensor:
    return torch.zeros_like(A)


def not_finite(A: Tensor, generator: torch.Generator) -> Tensor:
    """A good inverse, save one entry."""
    X = lapack(A, generator)
    X[..., 0, -1] = torch.tensor([torch.nan, torch.inf])[torch.randint(2, X.shape[:1], generator=generator)]
    return X


def transposed(A: Tensor, generator: torch.Generator) -> Tensor:
    return A.mT.clone()


def pseudo_inverse(A: Tensor, generator: torch.Generator) -> Tensor:
    scaled, exponent = split_exponent(A.double())
    return scale_by_power_of_two(torch.linalg.pinv(scaled), -exponent)


def searched(A: Tensor, generator: torch.Generator, n_steps: int = 40) -> Tensor:
    """Descend on rho from the pseudo-inverse, one entry or the whole a step: what the certificate likes best."""
    X = pseudo_inverse(A, generator).to(A.dtype)
    best = certify(A, X).rho.nan_to_num(nan=torch.inf)
    entries = torch.eye(A.shape[-1] ** 2).unflatten(1, A.shape[-2:])
    for _ in range(n_steps):
        where = entries[torch.randint(len(entries), X.shape[:1], generator=generator)].to(A.dtype)
        size = torch.randn(X.shape[0], 1, 1, generator=generator, dtype=A.dtype).pow(9)
        whole = torch.rand(X.shape[0], 1, 1, generator=generator) < 0.3
        trial = torch.where(whole, X * (1 + size / 10), X + size * X.abs().amax(dim=(-2, -1), keepdim=True) * where)
        rho = certify(A, trial).rho
        X, best = torch.where((rho < best)[:, None, None], trial, X), torch.fmin(rho, best)
    return X


SOURCES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    source.__name__: source
    for source in (lapack, loose, searched, untrained, network, pseudo_inverse, huge, zero, not_finite, transposed)
}
