"""Inverses of unit lower triangular matrices, and their certificates beside exact rationals."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.linalg import matrix_norm

from skdmi.linalg import unit_lower_inverse
from skdmi.linalg.unit_lower import climb, diagonal_blocks
from skdmi.linalg.unit_lower_certificate import certify_unit_lower
from tests.tensors import DTYPES, assert_equal, property_test, seeds, stack_of

SETTINGS = ["default", "flush to zero", "autocast", "medium precision"]
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(params=["as it is", "blocks of 4"])
def rungs(request, monkeypatch):
    """Let small matrices climb, too, as they do on a device without fast substitution."""
    if request.param == "blocks of 4":
        monkeypatch.setattr("skdmi.linalg.unit_lower.LARGEST_BLOCK", 4)
        monkeypatch.setattr("skdmi.linalg.unit_lower.SUBSTITUTED", 0)


@pytest.fixture(scope="module", autouse=True)
def forward_mode():
    """Let torch import its rules of forward mode, which warns of its own use of ``torch.jit.script``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jvp(torch.sin, (torch.ones(1),), (torch.ones(1),))


@contextmanager
def arithmetic(setting):
    """Change the arithmetic of torch for a while."""
    precision = torch.get_float32_matmul_precision()
    if setting == "flush to zero" and not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps subnormal numbers")
    if setting == "medium precision":
        torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=setting == "autocast"):
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision(precision)


def unit_lower(n_matrices=4, m=5, *, seed=0, size=1.0, dtype=torch.float64):
    A = size * stack_of("uniform", n_matrices, m, seed=seed)
    return (A.tril(-1) + torch.eye(m, dtype=torch.float64)).to(dtype)


def chunks(n_matrices, m, dtype=torch.float32, correlation=0.9):
    """Return ``I + tril(K K^T, -1)`` of keys of length one that are correlated."""
    generator = torch.Generator().manual_seed(0)
    keys = [torch.randn(n_matrices, n, 64, generator=generator, dtype=torch.float64) for n in (1, m)]
    K = correlation**0.5 * keys[0] + (1 - correlation) ** 0.5 * keys[1]
    K = K / K.norm(dim=-1, keepdim=True)
    return ((K @ K.mT).tril(-1) + torch.eye(m, dtype=torch.float64)).to(dtype)


def neumann_doubling(A):
    N = torch.eye(A.shape[-1], dtype=A.dtype) - A
    X = torch.eye(A.shape[-1], dtype=A.dtype) + N
    for _ in range(1, (A.shape[-1] - 1).bit_length()):
        N = N @ N
        X = X + X @ N
    return X


def substituted(A):
    return torch.linalg.solve_triangular(A, torch.eye(A.shape[-1], dtype=A.dtype), upper=False, unitriangular=True)


# The inverse


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [*range(1, 41), 64, 65, 100, 128, 200, 300])
def test_is_the_inverse(m, dtype, rungs):
    A = unit_lower(3, m, size=2 / m**0.5, dtype=dtype)
    X = unit_lower_inverse(A)
    u = torch.finfo(dtype).eps
    for R in (A.double() @ X.double(), X.double() @ A.double()):
        assert ((R - torch.eye(m)).abs() <= m * u * (A.abs().double() @ X.abs().double() @ A.abs().double())).all()
    true = substituted(A.double())
    assert ((X - true).abs() <= 2 * m * u * (true.abs() @ A.abs().double() @ true.abs())).all()
    assert_equal(X.triu(), torch.eye(m, dtype=dtype).expand_as(X))
    assert X.dtype == dtype
    assert X.is_contiguous()


@property_test
@given(seed=seeds, m=st.integers(1, 40), shape=st.lists(st.integers(0, 3), max_size=3))
def test_shapes_and_strides(seed, m, shape):
    A = unit_lower(int(np.prod(shape)), m, seed=seed).reshape(*shape, m, m)
    X = unit_lower_inverse(A)
    assert X.shape == A.shape
    assert_equal(unit_lower_inverse(A.mT.contiguous().mT), X)
    torch.testing.assert_close(A @ X, torch.eye(m, dtype=A.dtype).expand_as(A))


def test_stacks_without_an_entry():
    for shape in ((0, 0), (3, 0, 0), (0, 3, 3)):
        assert unit_lower_inverse(torch.zeros(shape)).shape == shape


@pytest.mark.parametrize("m", [3, 17, 100])
def test_reads_what_is_below_the_diagonal_alone(m, rungs):
    A = unit_lower(3, m, size=0.2)
    other = A.tril(-1) + torch.full((m, m), torch.nan, dtype=A.dtype).triu()
    other = torch.where(torch.ones(m, m).triu() > 0, torch.nan, other)
    assert_equal(unit_lower_inverse(other), unit_lower_inverse(A))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_member_that_is_not_finite_spoils_no_other_one(value, rungs):
    A = unit_lower(5, 40, size=0.2)
    X = unit_lower_inverse(A)
    A[2, 30, 7] = value
    found = unit_lower_inverse(A)
    others = [0, 1, 3, 4]
    torch.testing.assert_close(found[others], X[others])
    assert not found[2].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    A = unit_lower(4, 20, size=0.3).to(dtype)
    assert_equal(unit_lower_inverse(A), unit_lower_inverse(A.float()).to(dtype))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("m", [7, 100])
def test_settings_weaken_nothing(m, setting, rungs):
    A = unit_lower(3, m, size=2 / m**0.5, dtype=torch.float32)
    true = substituted(A.double())
    with arithmetic(setting):
        X = unit_lower_inverse(A)
        certificate = certify_unit_lower(A, X)
    assert X.dtype == torch.float32
    assert (matrix_norm(X - true) <= 1e-4 * matrix_norm(true)).all()
    assert certificate.certified.all()
    assert (certificate.error_bound <= 1e-2).all()


@pytest.mark.parametrize("A", [torch.zeros(2, 3), torch.zeros(3), torch.eye(3, dtype=torch.int64), torch.eye(3) * 1j])
def test_refuses_what_is_no_real_square_matrix(A):
    with pytest.raises(ValueError, match="Expected A of"):
        unit_lower_inverse(A)


@pytest.mark.parametrize("largest_block", [1, 2, 7, 32, 1000])
def test_every_ladder_leads_to_the_inverse(largest_block):
    for m in (1, 2, 5, 31, 33, 64, 70):
        A = unit_lower(3, m, size=0.2)
        torch.testing.assert_close(climb(A, largest_block), substituted(A))


def test_diagonal_blocks_are_views():
    A = torch.arange(72).reshape(2, 6, 6)
    blocks = diagonal_blocks(A, 2)
    for k in range(3):
        assert_equal(blocks[:, k], A[:, 2 * k : 2 * k + 2, 2 * k : 2 * k + 2])
    assert blocks.data_ptr() == A.data_ptr()


# Its derivatives


@pytest.mark.parametrize("m", [1, 3, 6])
def test_derivatives_in_every_mode(m, rungs):
    A = stack_of("uniform", 2, m).requires_grad_()  # neither unit nor lower: the rest has derivative zero
    modes = {"check_batched_grad": True, "fast_mode": True}
    assert torch.autograd.gradcheck(
        unit_lower_inverse, A, check_forward_ad=True, check_batched_forward_grad=True, **modes
    )
    assert torch.autograd.gradgradcheck(unit_lower_inverse, A, check_fwd_over_rev=True, **modes)


def test_the_gradient_is_strictly_lower_and_exact():
    A, G = unit_lower(3, 40, size=0.2).requires_grad_(), stack_of("uniform", 3, 40)
    X = unit_lower_inverse(A)
    (found,) = torch.autograd.grad(X, A, G)
    X = X.detach()
    torch.testing.assert_close(found, -(X.mT @ G @ X.mT).tril(-1))
    (other,) = torch.autograd.grad(substituted(B := A.detach().requires_grad_()), B, G)
    torch.testing.assert_close(found, other.tril(-1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_gradients_have_the_dtype_of_the_matrix(dtype):
    A = unit_lower(2, 3).to(dtype).requires_grad_()
    unit_lower_inverse(A).sum().backward()
    assert A.grad.dtype == dtype


def test_a_missing_member_has_gradient_zero():
    A = unit_lower(3, 4)
    A[1, 2, 0] = torch.nan
    A.requires_grad_()
    unit_lower_inverse(A)[[0, 2]].sum().backward()
    assert (A.grad[1] == 0).all()
    assert A.grad.isfinite().all()


def test_under_transforms(rungs):
    A = unit_lower(6, 5).reshape(2, 3, 5, 5)
    X = unit_lower_inverse(A)
    for mapped in (
        vmap(unit_lower_inverse)(A),
        vmap(vmap(unit_lower_inverse))(A),
        vmap(unit_lower_inverse, in_dims=2, out_dims=2)(A.movedim(1, 2)).movedim(2, 1),
    ):
        torch.testing.assert_close(mapped, X, **TOLERANCE)
    identity = torch.eye(5, dtype=A.dtype)

    def reference(A):
        return torch.linalg.inv(A.tril(-1) + identity)

    for derivative in (jacrev, jacfwd):
        found, expected = (vmap(vmap(derivative(f)))(A) for f in (unit_lower_inverse, reference))
        torch.testing.assert_close(found, expected, **TOLERANCE)
    found, expected = (vmap(grad(lambda A, f=f: f(A).square().sum()))(A[0]) for f in (unit_lower_inverse, reference))
    torch.testing.assert_close(found, expected, **TOLERANCE)
    expected = hessian(lambda A: reference(A).square().sum())(A[0, 0])
    for outer in (jacrev, jacfwd):
        for inner in (jacrev, jacfwd):
            found = outer(inner(lambda A: unit_lower_inverse(A).square().sum()))(A[0, 0])
            torch.testing.assert_close(found, expected, **TOLERANCE)


# The certificate


def rational(A):
    flint = pytest.importorskip("flint")
    m = A.shape[-1]
    return flint.fmpq_mat(m, m, [flint.fmpq(*a.as_integer_ratio()) for a in A.double().flatten().tolist()])


def exactly(value):
    return pytest.importorskip("flint").fmpq(*float(value).as_integer_ratio())


def one_norm(A):
    return max(sum(map(abs, column)) for column in zip(*A.tolist(), strict=True))


def check_bounds(A, X, setting="default"):
    """Compare every bound with exact rationals, and return the certificate."""
    with arithmetic(setting):
        certificate = certify_unit_lower(A, X, left=True)
    for A_i, X_i, *fields in zip(A, X, *certificate, strict=True):
        certified, rho, bound, _, _, lower, upper = fields
        if not certified:
            assert bound.isnan()
            assert lower.isnan()
            assert upper == torch.inf
            continue
        exact = rational(A_i)
        inverse = exact.inv()
        difference = rational(X_i) - inverse
        error, size = (sum(x * x for x in T.entries()) for T in (difference, inverse))
        assert error <= exactly(bound) ** 2 * size
        condition = one_norm(exact) * one_norm(inverse)
        assert exactly(lower) <= condition
        assert upper == torch.inf or condition <= exactly(upper)
        assert rho == torch.inf or rho >= bound
    return certificate


def spoilt(X, seed, least, dtype):
    """Return X off by a relative 2^-k in each entry below the diagonal, k drawn from 2 to a largest one."""
    generator = torch.Generator().manual_seed(seed)
    size = 2.0 ** -torch.randint(2, least, (len(X), 1, 1), generator=generator).double()
    noise = 2 * torch.rand(X.shape, generator=generator, dtype=torch.float64) - 1
    return (X + (size * noise * X).tril(-1)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@property_test
@given(seed=seeds, m=st.integers(1, 8), power=st.integers(-3, 6))
def test_bounds_hold_for_good_and_spoilt_inverses(dtype, seed, m, power):
    A = unit_lower(4, m, seed=seed, size=2.0**power, dtype=dtype)
    true = substituted(A.double())
    for X in (unit_lower_inverse(A), spoilt(true, seed, 60, dtype), spoilt(true, seed, 4, dtype)):
        check_bounds(A, X)


@pytest.mark.parametrize("dtype", DTYPES)
@property_test
@given(seed=seeds, m=st.integers(2, 6), spread=st.sampled_from([5, 20, 60, 300]))
def test_units_cost_no_certificate(dtype, seed, m, spread):
    spread = min(spread, 20 if dtype == torch.float32 else spread)
    units = 2.0 ** torch.randint(-spread, spread + 1, (3, m, 1), generator=torch.Generator().manual_seed(seed)).double()
    A = (units * unit_lower(3, m, seed=seed) / units.mT).to(dtype)
    certificate = check_bounds(A, unit_lower_inverse(A))
    assert certificate.certified.all()
    assert (certificate.error_bound <= (2.0**-7 if dtype == torch.float32 else 2.0**-26)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("setting", SETTINGS)
@property_test
@given(seed=seeds, m=st.integers(1, 5), low=st.booleans())
def test_bounds_hold_over_the_range_of_numbers(setting, dtype, seed, m, low):
    generator = torch.Generator().manual_seed(seed)
    least, largest = (-149, 127) if dtype == torch.float32 else (-1074, 1023)
    exponent = torch.randint(least, least + 40 if low else largest, (6, m, m), generator=generator)
    signs = 1 - 2 * torch.randint(0, 2, (6, m, m), generator=generator)
    A = torch.from_numpy(np.ldexp(signs.double().numpy(), exponent.numpy())).to(dtype)
    A = A.tril(-1) + torch.eye(m, dtype=dtype)
    with arithmetic(setting):
        flushed = unit_lower_inverse(A)
    for X in (flushed, unit_lower_inverse(A), 2 * torch.eye(m, dtype=dtype) - A):
        kept = X.isfinite().all(-1).all(-1)
        check_bounds(A[kept], X[kept], setting)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_entries_count(dtype, setting):
    least, tiny = torch.finfo(dtype).smallest_normal / 4, torch.finfo(dtype).tiny
    A = torch.eye(3, dtype=dtype).repeat(4, 1, 1)
    A[0, 2, 0], A[1, 1, 0], A[2, 2, 1] = least, -tiny, 3 * least
    A[3, 1, 0], A[3, 2, 1] = tiny, 1 / tiny
    X = substituted(A)
    assert check_bounds(A, X, setting).certified.all()
    assert check_bounds(A, torch.eye(3, dtype=dtype).expand_as(A), setting).certified[:3].all()
    X[:, 0, 2] = least
    assert not check_bounds(A, X, setting).certified.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_whoever_is_not_unit_lower_triangular_is_not_certified(dtype):
    A = unit_lower(6, 4, dtype=dtype)
    X = unit_lower_inverse(A)
    info = torch.finfo(dtype)
    for entry, value in [((0, 3), info.smallest_normal / 4), ((1, 2), 1.0), ((2, 2), 1 + info.eps), ((3, 3), -1.0)]:
        for k in (0, 1):
            spoilt = [A.clone(), X.clone()]
            spoilt[k][2][entry] = value
            certificate = certify_unit_lower(*spoilt)
            assert certificate.certified.tolist() == [True, True, False, True, True, True]
            assert certificate.rho[2].isnan()
            assert certificate.residual_norm[2].isnan()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("m", [4, 130])
def test_a_member_that_is_not_finite_spoils_no_other_certificate(value, m):
    A = unit_lower(3, m, size=1 / m, dtype=torch.float32)
    X = unit_lower_inverse(A)
    expected = certify_unit_lower(A, X)
    for where in ((1, 3, 1), (1, 1, 3), (1, 2, 2)):
        for spoil_X in (False, True):
            spoilt = [A.clone(), X.clone()]
            spoilt[spoil_X][where] = value
            found = certify_unit_lower(*spoilt)
            assert found.certified.tolist() == [True, False, True]
            torch.testing.assert_close(found.error_bound[[0, 2]], expected.error_bound[[0, 2]], rtol=1e-2, atol=0)


@pytest.mark.parametrize("m", [16, 64, 128])
def test_neumann_doubling_is_never_certified_when_it_is_wrong(m):
    A = chunks(20, m)
    true = substituted(A.double())
    X = neumann_doubling(A)
    error = matrix_norm(X.double() - true) / matrix_norm(true)
    certificate = certify_unit_lower(A, X)
    assert (error[certificate.certified] <= certificate.error_bound[certificate.certified]).all()
    if m > 16:
        assert error.min() > 1e3
        assert not certificate.certified.any()
    good = certify_unit_lower(A, unit_lower_inverse(A))
    assert good.certified.all()
    assert (good.error_bound <= 1e-2).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [5, 96, 101, 300])
def test_norms_of_both_residuals(m, dtype):
    A = unit_lower(3, m, size=1 / m**0.5, dtype=dtype)
    X = unit_lower_inverse(A)
    X[..., m - 1, 0] += 1.0
    X[..., 1, 0] -= 0.5
    certificate = certify_unit_lower(A, X, left=True)
    I = torch.eye(m)  # noqa: E741
    for norm, product in (
        (certificate.residual_norm, A.double() @ X.double()),
        (certificate.left_residual_norm, X.double() @ A.double()),
    ):
        torch.testing.assert_close(norm, matrix_norm(I - product), rtol=1e-4, atol=0)
    assert certify_unit_lower(A, X).left_residual_norm.isnan().all()


@pytest.mark.parametrize("m", [3, 40])
def test_float32_goes_on_in_float64_where_it_proves_little(m):
    A = unit_lower(4, m, size=3.0 if m == 40 else 2.0**15, dtype=torch.float32)
    X = substituted(A.double()).float()
    kept = X.isfinite().all(-1).all(-1)
    certificate = certify_unit_lower(A[kept], X[kept])
    assert certificate.certified.all() or m == 40
    with_float64 = certify_unit_lower(A[kept].double(), X[kept].double())
    torch.testing.assert_close(certificate.certified, with_float64.certified)


def test_stacks_shapes_and_half_precision():
    A = unit_lower(6, 3, dtype=torch.float16).reshape(2, 3, 3, 3)
    X = unit_lower_inverse(A)
    certificate = certify_unit_lower(A, X)
    assert {field.shape for field in certificate} == {(2, 3)}
    assert certificate.certified.all()
    assert {field.shape for field in certify_unit_lower(A[0, 0], X[0, 0])} == {()}
    assert {field.shape for field in certify_unit_lower(A[:0], X[:0])} == {(0, 3)}
    assert_equal(certify_unit_lower(A.float(), X.double()).certified, certificate.certified)


def test_permuting_a_stack_permutes_its_certificates():
    A = unit_lower(200, 70, size=0.2, dtype=torch.float32)  # more than one part
    X = spoilt(substituted(A.double()), 0, 20, torch.float32)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    for found, expected in zip(certify_unit_lower(A[order], X[order]), certify_unit_lower(A, X), strict=True):
        torch.testing.assert_close(found, expected[order], rtol=1e-4, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("A", "X", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3), "Expected A of square matrices"),
        (torch.eye(3), torch.eye(2), "Expected X of the shape of A"),
        (torch.eye(3), torch.eye(3, dtype=torch.int64), "Expected X of a real floating dtype"),
        (torch.zeros(2, 0, 0), torch.zeros(2, 0, 0), "An empty matrix has nothing to invert"),
    ],
)
def test_certificates_refuse_what_is_no_pair_of_matrices(A, X, message):
    with pytest.raises(ValueError, match=message):
        certify_unit_lower(A, X)


# The attack of the benchmarks


def test_an_attack_finds_no_false_bound():
    pytest.importorskip("flint")
    attack = pytest.importorskip("benchmarks.lib.unit_lower_attack").attack
    counts = attack(6000, seed=1)
    assert counts.false == 0
    assert counts.granted > counts.cases / 2


def test_the_attack_has_teeth(monkeypatch):
    pytest.importorskip("flint")
    module = pytest.importorskip("benchmarks.lib.unit_lower_attack")

    def trusting(A, X):
        certificate = certify_unit_lower(A, X)
        return certificate._replace(error_bound=certificate.error_bound / 4)

    monkeypatch.setattr(module, "certify_unit_lower", trusting)
    assert module.attack(6000, seed=1).false > 0
