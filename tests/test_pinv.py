"""Pseudo-inverses are what Moore and Penrose ask, are proved where they can be, and say what they are not sure of."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skdmi
from benchmarks.lib import pinv_attack
from skdmi import PseudoInverter
from skdmi.estimators import pinv as module
from skdmi.exceptions import RankDeficientWarning
from skdmi.lanes import pseudo_inverses
from skdmi.linalg import certify_pinv, full_rank_pinv, pseudo_inverse

SHAPES = [(1, 1), (1, 5), (3, 3), (6, 7), (7, 6), (2, 40), (40, 2), (20, 33)]
DTYPES = ["float32", "float64", "complex64", "complex128"]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def stack(n, shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, *shape))
    if np.dtype(dtype).kind == "c":
        A = A + 1j * rng.standard_normal(A.shape)
    return A.astype(dtype)


def adjoint(A):
    return A.conj().swapaxes(-1, -2)


@pytest.fixture(params=["kernel", "reference"])
def route(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(module.lanes, "is_ready", lambda *args: False)
    elif not pseudo_inverses.PSEUDO_INVERSE.compile():
        pytest.skip(pseudo_inverses.PSEUDO_INVERSE.trouble)


@each_shape
@each_dtype
def test_it_is_the_pseudo_inverse_of_moore_and_penrose(shape, dtype, route):
    A = stack(17, shape, dtype)
    X = skdmi.pinv(A)
    assert (X.dtype, X.shape) == (A.dtype, (17, *shape[::-1]))
    size = np.linalg.norm(A, axis=(1, 2)).max() * np.linalg.norm(X, axis=(1, 2)).max()
    tolerance = 20 * size * np.finfo(dtype).eps
    for found, expected in ((A @ X @ A, A), (X @ A @ X, X), (adjoint(A @ X), A @ X), (adjoint(X @ A), X @ A)):
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


@each_shape
@each_dtype
def test_bounds_hold_and_full_rank_is_proved(shape, dtype, route):
    A = stack(17, shape, dtype, seed=1)
    report = PseudoInverter(shape).report(A)
    wide = A.astype(np.result_type(A, np.float64))
    truth = np.linalg.pinv(wide)
    error = np.linalg.norm(report.pseudo_inverse - truth, 2, axis=(1, 2)) / np.linalg.norm(truth, 2, axis=(1, 2))
    rounding = 50 * np.finfo(float).eps * np.linalg.cond(wide)  # of numpy's
    assert report.certified.all()
    assert (report.rank == min(shape)).all()
    assert (error <= report.error_bound + rounding).all()
    assert (report.error_bound < 1e3 * np.finfo(dtype).eps * max(shape) * np.linalg.cond(wide)).all()


def test_no_claim_is_false():
    verdict = pinv_attack.attack(2_000, seed=3)
    assert verdict.n_proved > 500
    assert verdict.n_false == 0


def test_what_is_rank_deficient_is_named_and_goes_by_singular_values(route):
    A = stack(9, (4, 6))
    A[2, 3] = A[2, 0] - 2 * A[2, 1]
    A[5] = 0
    with pytest.warns(RankDeficientWarning, match=r"2 of 9 .* at index 2, 5\. .* of ranks from 0 to 3"):
        X = skdmi.pinv(A)
    np.testing.assert_allclose(X, np.linalg.pinv(A, rcond=1e-13), atol=1e-11)
    report = PseudoInverter((4, 6)).report(A)
    assert report.rank.tolist() == [4, 4, 3, 4, 4, 0, 4, 4, 4]
    assert report.certified.tolist() == [rank == 4 for rank in report.rank]


def test_the_others_are_what_they_are_without_it():
    A = stack(9, (4, 6))
    before = skdmi.pinv(A)
    A[4] = 1
    with pytest.warns(RankDeficientWarning):
        after = skdmi.pinv(A)
    kept = np.arange(9) != 4
    np.testing.assert_array_equal(before[kept], after[kept])


def test_rtol_decides_what_counts(route):
    A = np.diag([1.0, 1e-3, 1e-6])[None, :, :]
    assert PseudoInverter((3, 3), rtol=1e-9).report(A).rank == [3]
    report = PseudoInverter((3, 3), rtol=1e-4).report(A)
    assert (report.rank, report.certified) == ([2], [False])
    np.testing.assert_allclose(report.pseudo_inverse[0], np.diag([1.0, 1e3, 0.0]), atol=1e-9)


@each_dtype
@pytest.mark.parametrize("shape", [(6, 7), (7, 6), (1, 3)], ids=str)
@pytest.mark.parametrize("damping", [1e-3, 0.5, 30.0])
def test_damping_solves_the_damped_normal_equations(shape, dtype, damping, route):
    A = stack(11, shape, dtype)
    report = PseudoInverter(shape, damping=damping).report(A)
    wide = A.astype(np.result_type(A, np.float64))
    short = wide if shape[0] <= shape[1] else adjoint(wide)
    truth = adjoint(np.linalg.solve(short @ adjoint(short) + damping**2 * np.eye(min(shape)), short))
    truth = truth if shape[0] <= shape[1] else adjoint(truth)
    error = np.linalg.norm(report.pseudo_inverse - truth, 2, axis=(1, 2)) / np.linalg.norm(truth, 2, axis=(1, 2))
    assert report.certified.all()
    assert (report.residual_norm < 100 * np.finfo(dtype).eps * np.linalg.cond(wide)).all()
    assert (error <= report.error_bound + 1e-9).all()


def test_damping_bounds_what_a_singular_matrix_returns():
    A = np.ones((1, 2, 3))
    X = skdmi.pinv(A, damping=1.0)
    np.testing.assert_allclose(X, np.full((1, 3, 2), 1 / 7), atol=1e-15)
    np.testing.assert_array_equal(skdmi.pinv(np.zeros((2, 3)), damping=1.0), np.zeros((3, 2)))


@each_dtype
@pytest.mark.parametrize("damping", [1e-9, 1e-17, 1e200])
def test_damping_that_rounding_hides_goes_by_singular_values(dtype, damping, route):
    A = np.ones((1, 3, 4), dtype)
    with pytest.warns(RankDeficientWarning, match="of rank 1; rtol"):
        X = skdmi.pinv(A, damping=damping)
    np.testing.assert_allclose(X, np.full((1, 4, 3), 1 / 12 if damping < 1 else 0), atol=1e-6)
    report = PseudoInverter((3, 4), damping=damping).report(A)
    assert (report.certified, report.rank) == ([False], [1])
    assert np.isfinite(report.residual_norm).all()


@given(st.integers(-300, 300), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_units_of_rows_cost_nothing(exponent, seed):
    A = stack(1, (3, 5), seed=seed)
    D = 2.0 ** np.array([[0], [exponent], [exponent // 2]])
    found, plain = skdmi.pinv(D * A), skdmi.pinv(A)
    np.testing.assert_allclose(found * D.T, plain, rtol=1e-9, atol=1e-12 * np.abs(plain).max())


def test_large_and_elongated_ones():
    for shape in ((150, 100), (4, 3_000), (3_000, 4)):
        report = PseudoInverter(shape).report(stack(2, shape))
        assert report.certified.all()
        assert (report.error_bound < 1e-8).all()


def test_certificates_are_for_anybodys():
    A = torch.from_numpy(stack(6, (3, 5)))
    X = torch.linalg.pinv(A)
    assert certify_pinv(A, X).certified.all()
    assert not certify_pinv(A, torch.zeros_like(X)).certified.any()
    away = full_rank_pinv(A) + 1e-3 * (torch.eye(5) - full_rank_pinv(A) @ A) @ torch.ones(5, 3, dtype=A.dtype)
    found = certify_pinv(A, away)  # still a right inverse, but not the pseudo-inverse
    error = torch.linalg.matrix_norm(away - X, 2) / torch.linalg.matrix_norm(X, 2)
    assert found.full_rank.all()
    assert (found.error_bound >= error * (1 - 1e-9)).all()
    singular_values = torch.linalg.svdvals(A)
    assert (certify_pinv(A, X).rcond <= singular_values[:, -1] / singular_values[:, 0]).all()
    with pytest.raises(ValueError, match=r"the last two axes exchanged, got \(6, 3, 5\) and \(6, 3, 5\)"):
        certify_pinv(A, A)


def test_singular_values_of_rectangles_are_bounded_too():
    A = torch.from_numpy(stack(4, (5, 3)))
    A[:, :, 2] = A[:, :, 0]
    found = pseudo_inverse(A)
    assert found.rank.tolist() == [2] * 4
    assert (found.error_bound < 1e-9).all()
    torch.testing.assert_close(found.inverse, torch.linalg.pinv(A, rtol=1e-12))


class TestContainers:
    def test_what_comes_goes(self):
        A = stack(8, (2, 3))
        X = skdmi.pinv(A)
        np.testing.assert_array_equal(skdmi.pinv(A.tolist()), X)
        np.testing.assert_array_equal(skdmi.pinv(torch.from_numpy(A)).numpy(), X)
        np.testing.assert_array_equal(skdmi.pinv(A.reshape(2, 4, 2, 3)), X.reshape(2, 4, 3, 2))
        np.testing.assert_array_equal(skdmi.pinv(A[0]), X[0])
        assert skdmi.pinv(torch.from_numpy(A).half()).dtype == torch.float16
        assert skdmi.pinv(np.ones((2, 3), int)[:1]).dtype == np.float64
        assert skdmi.pinv(np.empty((0, 2, 3), np.float32)).shape == (0, 3, 2)

    def test_tensors_that_are_negated_when_read(self):
        A = stack(8, (2, 3), "complex128")
        lazy = torch.from_numpy(A).conj().imag
        assert lazy.is_neg()
        X = skdmi.pinv(-A.imag)
        np.testing.assert_array_equal(skdmi.pinv(lazy).numpy(), X)
        np.testing.assert_array_equal(PseudoInverter((2, 3)).transform(lazy).numpy(), X)
        assert certify_pinv(lazy, torch.from_numpy(X)).certified.all()

    @pytest.mark.parametrize(
        "A", [np.ones((1, 2)), torch.ones(1, 2) * 1j, torch.ones(1, 2).long(), torch.ones(0, 2)], ids=str
    )
    def test_no_proof_is_asked_of_what_is_no_real_matrix(self, A):
        with pytest.raises(ValueError, match="Expected A to be a dense tensor of real floating dtype"):
            certify_pinv(A, torch.ones(2, 1))

    def test_arguments_are_left_alone(self):
        A = stack(8, (2, 3))
        A.setflags(write=False)
        skdmi.pinv(A)
        PseudoInverter((2, 3), damping=0.1).transform(A)

    def test_what_is_beyond_the_range_is_missing_and_named(self):
        with pytest.warns(RankDeficientWarning, match=r"1 pseudo-inverses are beyond the range .* NaN; scale A\."):
            X = skdmi.pinv(np.array([[[1.0, 1.0]], [[1e-310, 0.0]]]))
        assert np.isnan(X).all(axis=(1, 2)).tolist() == [False, True]

    @pytest.mark.parametrize(
        ("A", "options", "error", "message"),
        [
            (np.ones(3), {}, ValueError, r"Expected A of matrices, shape \(\.\.\., p, q\), got shape \(3,\)"),
            (np.full((1, 2, 3), np.nan), {}, ValueError, "NaN"),
            (np.ones((2, 3)), {"rtol": -1}, ValueError, "rtol"),
            (np.ones((2, 3)), {"rtol": "small"}, ValueError, "rtol"),
            (np.ones((2, 3)), {"damping": -1.0}, ValueError, "damping"),
            (np.ones((2, 3)), {"damping": np.inf}, ValueError, "damping"),
            (np.array([["a"]]), {}, ValueError, "strings"),
            (None, {}, TypeError, "None"),
        ],
    )
    def test_bad_input_is_one_clear_error(self, A, options, error, message):
        with pytest.raises(error, match=message):
            skdmi.pinv(A, **options)


class TestEstimator:
    def test_both_layouts_and_tables(self):
        A = stack(8, (2, 3))
        X = skdmi.pinv(A)
        inverter = PseudoInverter((2, 3))
        np.testing.assert_array_equal(inverter.transform(A), X)
        np.testing.assert_array_equal(inverter.transform(A.reshape(8, 6)), X.reshape(8, 6))
        frame = pd.DataFrame(A.reshape(8, 6), columns=list("abcdef"))
        fitted = clone(inverter).set_output(transform="pandas").fit(frame)
        table = fitted.transform(frame)
        assert table.columns.tolist() == [f"pseudoinverter{k}" for k in range(6)]
        np.testing.assert_array_equal(table, X.reshape(8, 6))
        with pytest.raises(ValueError, match="cannot become a pandas table"):
            fitted.transform(A)
        with pytest.raises(ValueError, match="feature names"):
            fitted.transform(frame[list("bacdef")])

    def test_it_lives_among_scikit_learns(self):
        A = stack(8, (2, 3)).reshape(8, 6)
        pipeline = make_pipeline(FunctionTransformer(lambda X: 2 * X), PseudoInverter((2, 3)), PseudoInverter((3, 2)))
        np.testing.assert_allclose(pipeline.fit_transform(A), 2 * A, rtol=1e-10)
        inverter = PseudoInverter((2, 3), damping=0.1)
        copy = pickle.loads(pickle.dumps(inverter))
        np.testing.assert_array_equal(copy.fit(A).transform(A), inverter.transform(A))
        assert inverter.get_params() == {"matrix_shape": (2, 3), "rtol": "auto", "damping": 0.1}
        assert -1e-12 < PseudoInverter((2, 3)).score(A) <= 0

    @pytest.mark.parametrize(
        ("inverter", "message"),
        [
            (PseudoInverter((2, 3)), r"Expected X of shape \(n_matrices, 2, 3\) or \(n_matrices, 6\), got \(4, 5\)"),
            (PseudoInverter(5), "matrix_shape"),
            (PseudoInverter((2, 0)), "two positive integers"),
            (PseudoInverter((5, 1), damping=-1), "damping"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, inverter, message):
        with pytest.raises((TypeError, ValueError), match=message):
            inverter.fit(np.ones((4, 5)))
        assert not hasattr(inverter, "n_features_in_")

    @pytest.mark.parametrize("shape", [(2, 3), (3, 2)], ids=str)
    @pytest.mark.parametrize("damping", [None, 0.5])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
    def test_derivatives_are_those_of_the_pseudo_inverse(self, shape, damping, dtype):
        A = torch.from_numpy(stack(2, shape)).to(dtype).requires_grad_()
        invert = PseudoInverter(shape, damping=damping).invert
        assert torch.autograd.gradcheck(invert, A)
        assert torch.autograd.gradgradcheck(invert, A)

    def test_derivatives_of_small_numbers_do_not_overflow(self):
        A = torch.from_numpy(stack(2, (2, 3), "float32")) * 1e-15
        single, wide = A.clone().requires_grad_(), A.double().requires_grad_()
        for T in (single, wide):
            PseudoInverter((2, 3)).invert(T).sum().backward()
        torch.testing.assert_close(single.grad, wide.grad.float(), rtol=1e-4, atol=0.0)

    def test_a_member_without_full_rank_spoils_no_gradient(self):
        A = torch.from_numpy(stack(3, (2, 3)))
        A[1] = 1.0
        alone = A[[0, 2]].clone().requires_grad_()
        A.requires_grad_()
        for T in (A, alone):
            PseudoInverter((2, 3)).invert(T).sum().backward()
        torch.testing.assert_close(A.grad[[0, 2]], alone.grad)
        assert (A.grad[1] == 0).all()
