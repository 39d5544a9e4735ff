"""Inverses of complex stacks: those of their embeddings, as exact, proved, in every form that ``skdmi.inv`` takes."""

import warnings

import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import skdmi
from benchmarks.lib import complex_attack
from skdmi.embedding import embed, unembed
from skdmi.estimators.direct import invert_directly
from skdmi.exceptions import SingularMatrixError, SingularMatrixWarning
from skdmi.figures import CERTIFIED, is_sound
from skdmi.lanes import complex_stack

each_dtype = pytest.mark.parametrize("dtype", ["complex64", "complex128"])
each_size = pytest.mark.parametrize("m", [1, 2, 3, 8, 17, 40, 70])


def stack(n, m, dtype="complex128", seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, m, m)) + 1j * rng.standard_normal((n, m, m))).astype(dtype)


@pytest.fixture(params=["kernel", "embedding"])
def route(request, monkeypatch):
    if request.param == "embedding":
        monkeypatch.setattr(complex_stack, "is_ready", lambda *args: False)
    elif not complex_stack.COMPLEX_INVERSE.compile():
        pytest.skip(complex_stack.COMPLEX_INVERSE.trouble)


@each_size
@each_dtype
def test_they_are_inverses_and_proved(m, dtype, route):
    A = stack(17, m, dtype)
    X, figures = invert_directly(A, details=True)
    assert X.dtype == A.dtype
    assert is_sound(figures.status).all()
    wide = A.astype(complex)
    truth = np.linalg.inv(wide)
    error = np.linalg.norm(X - truth, 2, axis=(1, 2)) / np.linalg.norm(truth, 2, axis=(1, 2))
    assert (error <= figures.error_bound + 20 * np.finfo(float).eps * np.linalg.cond(wide)).all()
    assert (error < 20 * np.finfo(dtype).eps + 1e-14 * np.linalg.cond(wide)).all()
    np.testing.assert_allclose(
        figures.residual_norm, np.linalg.norm(np.eye(m) - wide @ X, axis=(1, 2)), atol=20 * m * np.finfo(dtype).eps * 50
    )


def test_no_claim_is_false():
    verdict = complex_attack.attack(2_000, seed=3)
    assert verdict.n_proved > 500
    assert verdict.n_false == 0


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_embeddings_are_undone_and_multiply_likewise(m, seed):
    A, B = stack(3, m, seed=seed), stack(3, m, seed=seed + 1)
    np.testing.assert_array_equal(unembed(embed(A)), A)
    np.testing.assert_allclose(embed(A) @ embed(B), embed(A @ B), rtol=1e-12, atol=1e-12)
    noise = np.random.default_rng(seed).standard_normal((3, 2 * m, 2 * m))
    nearest = unembed(embed(A) + noise)
    assert (np.linalg.norm(embed(nearest - A), 2, axis=(1, 2)) <= np.linalg.norm(noise, 2, axis=(1, 2)) + 1e-9).all()


@each_dtype
def test_laws_of_inverses(dtype):
    A, B = stack(9, 4, dtype), stack(9, 4, dtype, seed=1)
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == "complex64" else {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(skdmi.inv(A.conj()), skdmi.inv(A).conj(), **tolerance)
    np.testing.assert_allclose(skdmi.inv(A.swapaxes(1, 2)), skdmi.inv(A).swapaxes(1, 2), **tolerance)
    np.testing.assert_allclose(skdmi.inv(A @ B), skdmi.inv(B) @ skdmi.inv(A), **tolerance)
    np.testing.assert_allclose(skdmi.inv(2j * A), skdmi.inv(A) / 2j, **tolerance)
    real = A.real.copy()
    np.testing.assert_allclose(skdmi.inv(real + 0j), skdmi.inv(real), **tolerance)
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_array_equal(skdmi.inv(A[order]), skdmi.inv(A)[order])


def test_units_of_rows_and_columns_cost_no_digits(route):
    A = stack(9, 3)
    D, E = 2.0 ** np.array([[-60], [0], [45]]), 2.0 ** np.array([30, -70, 0])
    np.testing.assert_allclose(skdmi.inv(D * A * E) * E[:, None] * D.T, skdmi.inv(A), rtol=1e-11, atol=1e-13)


def test_a_singular_member_spoils_no_other(route):
    A = stack(9, 3)
    before = skdmi.inv(A)
    A[4] = (1 + 2j) * np.arange(9).reshape(3, 3)
    with pytest.warns(SingularMatrixWarning, match=r"1 of 9 .* at index 4\."):
        after = skdmi.inv(A)
    kept = np.arange(9) != 4
    np.testing.assert_array_equal(before[kept], after[kept])
    assert np.isnan(after[4]).all()
    with pytest.raises(SingularMatrixError, match="1 of 9"):
        skdmi.inv(A, singular="raise")
    np.testing.assert_allclose(skdmi.inv(A, singular="pinv")[4], np.linalg.pinv(A[4], rcond=1e-13), atol=1e-13)


def test_what_comes_goes():
    A = stack(6, 3)
    X = skdmi.inv(A)
    np.testing.assert_array_equal(skdmi.inv(torch.from_numpy(A)).numpy(), X)
    np.testing.assert_array_equal(skdmi.inv(torch.from_numpy(A).conj().resolve_conj()).numpy(), skdmi.inv(A.conj()))
    np.testing.assert_array_equal(skdmi.inv(torch.from_numpy(A).conj()).numpy(), skdmi.inv(A.conj()))
    np.testing.assert_array_equal(skdmi.inv(A.tolist()), X)
    np.testing.assert_array_equal(skdmi.inv(list(torch.from_numpy(A))), X)
    np.testing.assert_array_equal(skdmi.inv(A.astype(object)), X)
    np.testing.assert_array_equal(skdmi.inv(A.astype(np.clongdouble)), X)
    np.testing.assert_array_equal(skdmi.inv(A.astype(">c16")), X)
    np.testing.assert_array_equal(skdmi.inv(A.reshape(2, 3, 3, 3)), X.reshape(2, 3, 3, 3))
    np.testing.assert_array_equal(skdmi.inv(A[2]), X[2])
    np.testing.assert_allclose(skdmi.inv(da.from_array(A, chunks=(2, 3, 3))).compute(), X, rtol=1e-12)
    np.testing.assert_allclose(skdmi.inv(A, verbose=1), X, rtol=1e-12)


@each_dtype
def test_tight_ones_are_nearly_correctly_rounded(dtype):
    A = stack(9, 4, dtype)
    X = skdmi.inv(A, tight=True)
    exact = skdmi.inv(A.astype(complex), tight=True)
    unit = np.finfo(dtype).eps / 2
    assert (np.abs(X.real - exact.real) <= 2 * unit * np.abs(exact.real) + 1e-18).all()
    assert (np.abs(X.imag - exact.imag) <= 2 * unit * np.abs(exact.imag) + 1e-18).all()


@pytest.mark.parametrize("part", [np.nan, np.inf, complex(0, np.nan), complex(1, np.inf)])
def test_what_is_not_finite_is_refused(part, route):
    A = stack(5, 3)
    A[3, 1, 1] = part
    with pytest.raises(ValueError, match="in 1 of 5 matrices, the first at index 3"):
        skdmi.inv(A)


def test_certified_means_what_it_says_under_every_policy():
    A = stack(5, 3)
    A[2] = 1
    for policy in ("nan", "keep", "exact"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularMatrixWarning)
            X = skdmi.inv(A, uncertified=policy)
        assert np.isfinite(X[[0, 1, 3, 4]]).all()
    _, figures = invert_directly(A)
    assert figures.has(CERTIFIED).tolist() == [True, True, False, True, True]


DOORS = {
    "inv": skdmi.inv,
    "inv of a list": lambda A: skdmi.inv(list(A)),
    "pinv": skdmi.pinv,
    "inv_sqrt": skdmi.inv_sqrt,
    "ExactInverter": skdmi.ExactInverter().transform,
    "RefinedInverter": skdmi.RefinedInverter().transform,
    "PseudoInverter": lambda A: skdmi.PseudoInverter(matrix_shape=(3, 3)).fit(A).transform(A),
    "InverseSquareRoot": lambda A: skdmi.InverseSquareRoot().fit(A).transform(A),
}


@pytest.mark.parametrize("door", DOORS)
def test_views_that_are_negated_when_read(door):
    B = torch.eye(3, dtype=torch.float64) + 0.1
    lazy = torch.complex(B, -B).conj().imag.expand(2, 3, 3)
    assert lazy.is_neg()
    np.testing.assert_array_equal(DOORS[door](lazy), DOORS[door](B.expand(2, 3, 3).clone()))
    H = torch.complex(B, B.triu(1) - B.tril(-1))
    lazy = torch._neg_view(-H).expand(2, 3, 3)
    np.testing.assert_array_equal(DOORS[door](lazy), DOORS[door](H.expand(2, 3, 3).clone()))


def test_missing_inverses_lack_both_parts():
    A = np.stack([np.eye(2), np.zeros((2, 2))]).astype(np.complex128)
    for invert in (
        skdmi.inv,
        skdmi.RefinedInverter().transform,
        lambda A: skdmi.inv(A, tight=True),
        lambda A: skdmi.inv(torch.from_numpy(A)).numpy(),
        lambda A: skdmi.RefinedInverter(uncertified="nan").report(A).inverse,
        skdmi.ExactInverter().transform,
    ):
        with pytest.warns(SingularMatrixWarning):
            X = invert(A)
        assert np.isnan(X[1].real).all()
        assert np.isnan(X[1].imag).all()
        assert np.isfinite(X[0]).all()


def test_advice_on_long_doubles_keeps_imaginary_parts():
    if np.finfo(np.longdouble).eps >= np.finfo(float).eps:
        pytest.skip("long doubles are doubles here")
    with pytest.raises(ValueError, match=r"A\.astype\(complex\)"):
        skdmi.certify(np.full((1, 1), np.clongdouble(1) / 3), np.eye(1))
