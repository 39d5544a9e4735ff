"""Residuals and inverses beyond the working precision, beside exact rationals."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from skdmi.iteration.promise import keeps_promise
from skdmi.linalg import equilibrate
from skdmi.linalg.accurate import accurate_residual, correct
from tests.matrices import make_stack

flint = pytest.importorskip("flint")


def rational(A):
    m = len(A)
    return flint.fmpq_mat(m, m, [flint.fmpq(*float(a).as_integer_ratio()) for a in A.flatten().tolist()])


def rounded(exact):
    m = exact.nrows()
    values = [float(Fraction(int(x.p), int(x.q))) for x in exact.entries()]
    return torch.tensor(values, dtype=torch.float64).reshape(m, m)


def eye(m):
    return flint.fmpq_mat(m, m, [int(i == j) for i in range(m) for j in range(m)])


def tensors(kind, n_matrices, m, **options):
    return torch.from_numpy(make_stack(kind, n_matrices, m, **options))


@pytest.mark.parametrize("m", [1, 2, 3, 8, 33])
@pytest.mark.parametrize(("n_parts", "n_bits"), [(2, 18), (3, 40)])
def test_residuals_are_accurate(m, n_parts, n_bits):
    A = tensors("condition", 1, m, condition=1e6)
    X = torch.linalg.inv(A)
    exact = rounded(eye(m) - rational(A[0]) * rational(X[0]))
    scale = 2.0**-53 * (A.abs().max() * X.abs().max() * m).item()
    error = (accurate_residual(A, X, n_parts)[0] - exact).abs()
    assert (error <= scale * 2.0**-n_bits + 2.0**-52 * exact.abs()).all()


@pytest.mark.parametrize("m", [1, 2, 3, 8, 17])
@pytest.mark.parametrize("condition", [1e2, 1e6, 1e9, 1e12])
def test_corrected_inverses_are_right_to_the_last_bit(m, condition):
    A, _, _ = equilibrate(tensors("condition", 4, m, condition=condition))
    X, _ = correct(A, torch.linalg.inv(A))
    for A_i, X_i in zip(A, X, strict=True):
        true = rounded(rational(A_i).inv())
        assert ((X_i - true).abs() <= 2.0**-51 * true.abs() + 2.0**-60 * true.abs().max()).all()


@pytest.mark.parametrize("thoroughly", [True, False])
def test_from_half_right_inverses_as_well(thoroughly):
    A, _, _ = equilibrate(tensors("well", 8, 5))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(A.shape, generator=generator, dtype=torch.float64)
    true = torch.linalg.inv(A)
    X, _ = correct(A, true @ (torch.eye(5) + 0.05 * noise), thoroughly=thoroughly)
    torch.testing.assert_close(X, true, rtol=1e-13, atol=1e-14)


def test_zeros_of_the_inverse_are_found():
    rng = np.random.default_rng(0)
    A, _, _ = equilibrate(torch.from_numpy(np.triu(rng.uniform(0.5, 1, (10, 6, 6)))[:, rng.permutation(6)]))
    X = torch.linalg.inv(A)
    X, _ = correct(A, X + 1e-17 * X.abs().amax(dim=(-2, -1), keepdim=True))
    for A_i, X_i in zip(A, X, strict=True):
        torch.testing.assert_close(X_i == 0, rounded(rational(A_i).inv()) == 0)


@pytest.mark.parametrize("power", [0, 30, 400, 1000])
@pytest.mark.parametrize("side", ["rows", "columns", "both"])
def test_the_promise_is_judged_in_the_units_of_the_matrix(power, side):
    A, _, _ = equilibrate(tensors("well", 20, 4))
    X, _ = correct(A, torch.linalg.inv(A))
    rng = np.random.default_rng(0)
    units = list(torch.from_numpy(rng.integers(-power, power + 1, (2, 20, 4))).int())
    if side != "both":
        units[side == "rows"] = torch.zeros_like(units[0])
    assert keeps_promise(A, X, units).all()
    spoilt = X.clone()
    spoilt[:, 0, 0] *= 1 + 2.0**-40
    assert not keeps_promise(A, spoilt, units).any()
    assert keeps_promise(A, spoilt, [torch.zeros_like(e) for e in units], tol=1e-9).all()
