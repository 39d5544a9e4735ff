"""Complex stacks through every inverter: the laws of inverses, and that what is said holds of the complex matrix."""

import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch

import skdmi
from benchmarks.lib import complex_claims
from benchmarks.lib.exact_arithmetic import rounded
from skdmi import BlockInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter
from skdmi.exceptions import InaccurateInverseWarning, SingularMatrixError, SingularMatrixWarning, UncertifiedError
from skdmi.linalg import complex_to_real
from skdmi.metrics import frobenius_residuals, relative_inverse_errors
from tests.exact import errors, exact_inverse
from tests.matrices import make_stack
from tests.models import untrained

INVERTERS = {
    "exact": ExactInverter(),
    "refined": RefinedInverter(),
    "tight": RefinedInverter(tight=True),
    "nested": RefinedInverter(ExactInverter()),
    "block": BlockInverter(block_size=2),
}
each_inverter = pytest.mark.parametrize("inverter", INVERTERS.values(), ids=INVERTERS)


def stack_of(kind="well", n_matrices=6, m=3, seed=0, **keywords):
    parts = (make_stack(kind, n_matrices, m, seed=seed + k, **keywords) for k in (0, 1000))
    return next(parts) + 1j * next(parts)


A, B = stack_of(seed=1), stack_of(seed=2)


@each_inverter
def test_the_laws_of_inverses_hold(inverter):
    X = inverter.transform(A)
    assert X.dtype == A.dtype
    np.testing.assert_allclose(inverter.transform(A @ B), inverter.transform(B) @ X, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(inverter.transform(A.conj().swapaxes(1, 2)), X.conj().swapaxes(1, 2), atol=1e-12)
    np.testing.assert_allclose(inverter.transform(1j * A), X / 1j, atol=1e-12)
    np.testing.assert_allclose(complex_to_real(X), inverter.transform(complex_to_real(A)), atol=1e-12)
    real = make_stack(n_matrices=6)
    np.testing.assert_allclose(inverter.transform(real + 0j), inverter.transform(real), atol=1e-12)
    np.testing.assert_allclose(X, np.linalg.inv(A), atol=1e-12)


@each_inverter
def test_a_member_answers_for_itself(inverter):
    order = np.random.default_rng(0).permutation(len(A))
    np.testing.assert_array_equal(inverter.transform(A[order]), inverter.transform(A)[order])


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@each_inverter
def test_every_container_goes_out_as_it_came(inverter, dtype):
    stack = A.astype(dtype)
    X = inverter.transform(stack)
    assert X.dtype == dtype
    flat = stack.reshape(len(A), -1)
    np.testing.assert_array_equal(inverter.transform(flat), X.reshape(len(A), -1))
    tensor = inverter.transform(torch.from_numpy(stack))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor, X)
    lazy = inverter.transform(da.from_array(stack, chunks=(2, 3, 3)))
    assert (type(lazy), lazy.dtype) == (da.Array, dtype)
    np.testing.assert_allclose(lazy.compute(), X, rtol=1e-5 if dtype == np.complex64 else 1e-12)
    np.testing.assert_array_equal(inverter.transform(pd.DataFrame(flat)), X.reshape(len(A), -1))
    np.testing.assert_array_equal(inverter.transform(stack.astype(stack.dtype.newbyteorder())), X)
    if dtype == np.complex128:
        np.testing.assert_array_equal(inverter.transform(stack.tolist()), X)
    conjugated = torch.from_numpy(stack).conj()
    np.testing.assert_allclose(inverter.transform(conjugated), X.conj(), rtol=1e-5 if dtype == np.complex64 else 1e-12)


def test_columns_are_known_by_their_names():
    frame = pd.DataFrame(A.reshape(len(A), -1), columns=[f"a{k}" for k in range(9)])
    inverter = ExactInverter().fit(frame)
    assert inverter.matrix_size_ == 3
    with pytest.raises(ValueError, match="feature names"):
        inverter.transform(frame[frame.columns[::-1]])


@each_inverter
def test_a_bad_member_spoils_no_other(inverter):
    stack = A.copy()
    stack[1] = [[1, 1j, 0], [1j, -1, 0], [0, 0, 1]]  # singular to the bit
    with pytest.warns(SingularMatrixWarning, match="at index 1"):
        X = inverter.transform(stack)
    good = np.arange(len(A)) != 1
    assert np.isnan(X[1]).all()
    np.testing.assert_allclose(X[good], inverter.transform(A)[good], atol=1e-13)
    tensor = torch.from_numpy(stack)
    tensor[3, 0, 0] = complex(0, np.nan)
    X = inverter.invert(tensor)
    assert X.isnan().flatten(1).all(1).tolist() == [False, True, False, True, False, False]
    with pytest.raises(ValueError, match=r"NaN.*at index 3"):
        inverter.transform(tensor.numpy())


@pytest.mark.parametrize("inverter", [RefinedInverter, ExactInverter])
def test_policies_hold_of_complex_matrices(inverter):
    stack = A.copy()
    stack[1] = [[1, 1j, 0], [1j, -1, 0], [0, 0, 1]]
    X = inverter(singular="pinv").transform(stack)
    np.testing.assert_allclose(X, np.linalg.pinv(stack), atol=1e-12)
    with pytest.raises(SingularMatrixError, match="index 1"):
        inverter(singular="raise").transform(stack)


@pytest.mark.parametrize("tight", [False, True])
def test_uncertified_inverses_are_dealt_with_as_asked(tight):
    stack = A.copy()
    stack[1] = [[1, 1j, 0], [1j, -1, 0], [0, 0, 1]]
    with pytest.raises(UncertifiedError, match="index 1"):
        RefinedInverter(uncertified="raise", tight=tight).transform(stack)
    with warnings.catch_warnings(action="ignore"):
        X = RefinedInverter(uncertified="nan", tight=tight).transform(stack)
    assert np.isnan(X[1]).all()
    assert np.isfinite(X[[0, 2, 3, 4, 5]]).all()
    report = RefinedInverter(singular="pinv", tight=tight).report(stack)
    assert report.source[1] == "pinv"
    assert np.linalg.norm(report.inverse[1] - np.linalg.pinv(stack[1])) < report.error_bound[1] + 1e-15
    assert not report.certified[1]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("options", [{}, {"tight": True}, {"tol": 1e-8}, {"inverter": ExactInverter()}], ids=str)
def test_reports_speak_of_the_complex_matrix(options, left):
    inverter = RefinedInverter(**options)
    report = inverter.report(A, left=left)
    np.testing.assert_array_equal(report.inverse, inverter.transform(A))
    np.testing.assert_allclose(report.residual_norm, frobenius_residuals(A, report.inverse, left=left), atol=1e-14)
    assert report.certified.all()
    assert report.converged.all()
    assert (report.error_bound < 1e-12).all()
    np.testing.assert_array_equal(inverter.residual_norms(A), frobenius_residuals(A, report.inverse))
    assert inverter.score(A) == -frobenius_residuals(A, report.inverse).mean()


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("options", [{}, {"tight": True}, {"inverter": ExactInverter()}], ids=str)
def test_bounds_hold_in_exact_arithmetic(options, dtype):
    stack = np.concatenate([stack_of(m=3), stack_of("condition", condition=1e4), 1e-150**0.25 * stack_of("graded")])
    stack = stack.astype(dtype)
    with warnings.catch_warnings(action="ignore"):
        report = RefinedInverter(**options).report(stack)
    for k in np.flatnonzero(report.certified):
        inverse = exact_inverse(complex_to_real(stack[k]).astype(float))
        error = [float(x) for x in _difference(complex_to_real(report.inverse[k]).astype(float), inverse)]
        error = np.reshape(error, (6, 6))
        true = np.reshape([float(x) for x in _entries(inverse)], (6, 6))
        assert np.linalg.norm(error) <= report.error_bound[k] * np.linalg.norm(true) * (1 + 1e-12)
        assert np.linalg.norm(error, 2) <= report.error_bound[k] * np.linalg.norm(true, 2) * (1 + 1e-12) or options
        if report.entry_bound is not None:
            moduli = np.hypot(error[:3, :3], error[3:, :3])
            assert (moduli <= report.entry_bound[k] * (1 + 1e-12)).all()
    assert report.certified.sum() >= 6


def _entries(matrix):
    return [rounded(x) for x in matrix.entries()]


def _difference(X, inverse):
    return _entries(errors(X, inverse))


@pytest.mark.parametrize("scale", [1e-308, 1e-300, 1e300, 8e307])
def test_extreme_scales_are_answered_or_refused(scale):
    for inverter in (RefinedInverter(), RefinedInverter(tight=True), ExactInverter()):
        with warnings.catch_warnings(action="ignore"):
            X = inverter.transform(np.array([[[scale * (1 + 0j)]], [[scale * 1j]]]))
        found = np.isfinite(X)
        assert (found | np.isnan(X)).all()
        assert (abs(X[found] * np.array([[[1]], [[1j]]])[found] * scale - 1) < 1e-12).all()


def test_log_determinants_of_complex_matrices_are_refused():
    with pytest.raises(ValueError, match="real matrices"):
        RefinedInverter().report(A, log_det=True)
    with pytest.raises(ValueError, match="Complex data not supported"):
        skdmi.slogdet(A)


# Proofs of inverses that come from elsewhere


@pytest.mark.parametrize("tight", [False, True])
@pytest.mark.parametrize("container", [np.array, torch.from_numpy, np.ndarray.tolist, da.from_array])
def test_certificates_are_of_the_complex_matrix(container, tight):
    X = np.linalg.inv(A)
    X[2] = 0.5 * X[2]
    X[4] *= 1j
    report = skdmi.certify(container(A), container(X), tight=tight)
    assert report.certified.tolist() == [True, True, True, True, False, True]
    np.testing.assert_allclose(report.residual_norm, frobenius_residuals(A, X), rtol=1e-6, atol=1e-14)
    np.testing.assert_allclose(report.left_residual_norm, frobenius_residuals(A, X, left=True), rtol=1e-6, atol=1e-14)
    good = report.certified
    errors = relative_inverse_errors(A, X)
    assert (errors[good] <= report.error_bound[good] + 1e-14).all()
    condition = np.linalg.cond(A, 1)
    assert (report.condition_lower[good] <= condition[good]).all()
    assert (condition[good] <= report.condition_upper[good]).all()
    assert (report.condition_upper[[0, 1]] <= 2.1 * report.condition_lower[[0, 1]]).all()
    if tight:
        assert (abs(X - np.linalg.inv(A))[good] <= np.asarray(report.entry_bound)[good] + 1e-14).all()


def test_one_of_both_may_be_real():
    real = make_stack(n_matrices=4)
    for one, other in ((real, np.linalg.inv(real) + 0j), (real + 0j, np.linalg.inv(real))):
        assert skdmi.certify(one, other).certified.all()
        assert skdmi.certify(torch.from_numpy(one), other).certified.all()
    assert not skdmi.certify(real, np.linalg.inv(real) + 1j).certified.any()


def test_hermitian_positive_definite_matrices_are_proved_so():
    definite = A.conj().swapaxes(1, 2) @ A
    definite = (definite + definite.conj().swapaxes(1, 2)) / 2
    definite[3] -= 5 * np.eye(3)
    found = skdmi.certify(definite, np.linalg.inv(definite), structure="spd")
    smallest = np.linalg.eigvalsh(definite)[:, 0]
    assert found.structured.all()
    assert found.positive_definite.tolist() == (smallest > 0).tolist()
    proved = found.positive_definite
    assert (found.smallest_eigenvalue[proved] <= smallest[proved]).all()
    assert (found.smallest_eigenvalue[proved] >= 0.9 * smallest[proved]).all()


def test_no_claim_is_false():
    verdict = complex_claims.attack(1_000, seed=5)
    assert verdict.n_proved > 300
    assert verdict.n_false == 0


# Derivatives


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, at the first vmap
@pytest.mark.parametrize("name", ["exact", "refined", "tight", "nested"])
def test_derivatives_are_those_of_torch(name):
    inverter, stack = INVERTERS[name], torch.from_numpy(A[:2]).requires_grad_()
    assert torch.autograd.gradcheck(inverter.invert, stack)
    assert torch.autograd.gradgradcheck(inverter.invert, stack)
    assert torch.autograd.gradcheck(inverter.invert, stack, check_forward_ad=True, check_backward_ad=False)
    mine, theirs = (
        torch.func.vmap(torch.func.vjp(f, stack.detach())[1])(torch.eye(18).reshape(18, 2, 3, 3) * (1 + 2j))[0]
        for f in (inverter.invert, torch.linalg.inv)
    )
    torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)
    batched = torch.func.vmap(inverter.invert)(stack.detach().expand(4, 2, 3, 3))
    torch.testing.assert_close(batched[3], torch.linalg.inv(stack.detach()))


# Refusals


def test_what_is_made_real_refuses_complex_stacks_in_one_sentence():
    network = untrained(3)
    for inverter in (network, RefinedInverter(network).fit(make_stack()), skdmi.load_pretrained("uniform-3x3-short")):
        with pytest.raises(ValueError, match=r"Complex data not supported here, got complex128\. skdmi\.inv"):
            inverter.transform(A)
    with pytest.raises(TypeError, match="complex_to_real"):
        network.invert(torch.from_numpy(A))
    with pytest.raises(ValueError, match=r"draws real matrices.*KroneckerChannel"):
        NeuralMatrixInverter(matrix_size=3, distribution=skdmi.distributions.Uniform()).fit(A)


def test_complex_matrices_across_chunks_are_refused():
    with pytest.raises(ValueError, match="rechunk"):
        BlockInverter(block_size=2).transform(da.from_array(A, chunks=(6, 2, 2)))


def test_inaccurate_inverses_are_named():
    hard = np.ones((1, 2, 2)) + np.array([[[0, 0], [0, 1e-7j]]])
    with pytest.warns((InaccurateInverseWarning, SingularMatrixWarning), match=r"[Dd]ouble precision"):
        RefinedInverter().transform(hard.astype(np.complex64))
