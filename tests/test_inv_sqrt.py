"""Inverse square roots whiten, are symmetric and proved, and learn the steps of a family without a loss."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skdmi
from benchmarks.lib import root_attack
from skdmi import InverseSquareRoot
from skdmi.estimators import inv_sqrt as module
from skdmi.exceptions import InaccurateInverseWarning, IndefiniteMatrixError, IndefiniteMatrixWarning
from skdmi.iteration import inverse_root
from skdmi.iteration.root_family import learn_coefficients
from skdmi.lanes import roots
from skdmi.linalg import certify_inv_sqrt
from skdmi.linalg.lyapunov import lyapunov
from tests.matrices import make_stack

DTYPES = ["float32", "float64", "complex64", "complex128"]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_size = pytest.mark.parametrize("m", [1, 2, 5, 16, 33, 70])


def adjoint(A):
    return A.conj().swapaxes(-1, -2)


def definite(n, m, dtype="float64", condition=30.0, seed=0):
    """Return a stack of Hermitian matrices with eigenvalues from 1 down to 1 / condition."""
    rng = np.random.default_rng(seed)
    C = rng.standard_normal((n, m, m)) + 1j * rng.standard_normal((n, m, m)) * (np.dtype(dtype).kind == "c")
    Q = np.linalg.qr(C)[0]
    A = (Q * np.geomspace(1, 1 / condition, m)) @ adjoint(Q)
    A = (A + adjoint(A)) / 2
    return (A if np.dtype(dtype).kind == "c" else A.real).astype(dtype)


@pytest.fixture(params=["kernel", "reference"])
def route(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(module.roots, "is_ready", lambda *args: False)
    elif not roots.ROOT.compile():
        pytest.skip(roots.ROOT.trouble)


@each_size
@each_dtype
def test_it_whitens_and_is_proved(m, dtype, route):
    A = definite(9, m, dtype)
    report = InverseSquareRoot().report(A)
    Z = skdmi.inv_sqrt(A)
    assert (Z.dtype, Z.shape) == (A.dtype, A.shape)
    np.testing.assert_allclose(report.inverse_root, Z, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(Z, adjoint(Z))
    assert (np.linalg.eigvalsh(Z) > 0).all()
    assert report.certified.all()
    wide = A.astype(np.result_type(A, np.float64))
    values, V = np.linalg.eigh(wide)
    truth = (V / np.sqrt(values)[:, None, :]) @ adjoint(V)
    error = np.linalg.norm(Z - truth, 2, axis=(1, 2)) / np.linalg.norm(truth, 2, axis=(1, 2))
    assert (error <= report.error_bound + 1e-12).all()
    assert (report.error_bound < 3e2 * (m + 10) ** 2 * np.finfo(dtype).eps).all()
    assert (report.residual_norm < 3e2 * m * np.finfo(dtype).eps).all()


def test_no_claim_is_false():
    verdict = root_attack.attack(1_000, seed=3)
    assert verdict.n_proved > 150
    assert verdict.n_false == 0


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e6, 1e9])
def test_ill_conditioned_ones_are_served_too(condition):
    A = definite(9, 8, condition=condition)
    report = InverseSquareRoot().report(A)
    assert report.certified.all()
    assert (report.error_bound < 1e-14 * condition * 100).all()


def test_what_is_not_positive_definite_is_named_and_spoils_nothing(route):
    A = definite(7, 4)
    A[2] -= 0.5 * np.eye(4)
    A[5] = 0
    with pytest.warns(IndefiniteMatrixWarning, match=r"2 of 7 .* at index 2, 5\. Their inverse square roots are NaN"):
        Z = skdmi.inv_sqrt(A)
    assert np.isnan(Z).all(axis=(1, 2)).tolist() == [k in (2, 5) for k in range(7)]
    kept = [0, 1, 3, 4, 6]
    np.testing.assert_allclose(Z[kept], skdmi.inv_sqrt(A[kept]), rtol=1e-12)
    with pytest.raises(IndefiniteMatrixError, match="2 of 7"):
        skdmi.inv_sqrt(A, indefinite="raise")


@pytest.mark.parametrize("function", [skdmi.inv_sqrt, InverseSquareRoot().transform])
def test_what_may_be_inaccurate_is_named(function):
    A = definite(3, 8)
    A[1] = definite(1, 8, condition=1e13)[0]
    with pytest.warns(InaccurateInverseWarning, match=r"1 of 3 .* may exceed 0\.01, at index 1;"):
        Z = function(A)
    assert np.isfinite(Z).all()


def test_what_is_not_symmetric_is_refused_unless_by_rounding(route):
    A = definite(5, 3)
    A[3, 0, 1] *= 1 + 2.0**-52
    skdmi.inv_sqrt(A)
    A[3, 0, 1] += 0.1
    with pytest.raises(ValueError, match=r"not symmetric in 1 matrices, the first at index 3: .*swapaxes"):
        skdmi.inv_sqrt(A)


@pytest.mark.parametrize("x", [5e-324, 3e-310, 1.7e308])
def test_the_ends_of_the_range_are_served(x, route):
    np.testing.assert_allclose(skdmi.inv_sqrt(np.array([[x]])), [[x**-0.5]], rtol=1e-15)


def test_hermitian_is_what_complex_ones_must_be():
    with pytest.raises(ValueError, match=r"Hermitian if complex; .*conj"):
        skdmi.inv_sqrt(np.array([[2, 1j], [1j, 2]]))


@given(st.integers(-900, 900), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_scale_is_taken_out_exactly(exponent, seed):
    A = definite(1, 4, seed=seed)
    np.testing.assert_allclose(
        np.ldexp(skdmi.inv_sqrt(np.ldexp(A, 2 * (exponent // 2))), exponent // 2), skdmi.inv_sqrt(A), rtol=1e-11
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_alone_find_it(dtype):
    A = torch.from_numpy(definite(6, 9, condition=300.0)).to(dtype)
    Z = inverse_root(A)
    torch.testing.assert_close(
        Z @ A @ Z, torch.eye(9, dtype=dtype).expand_as(A), rtol=0, atol=3e3 * torch.finfo(dtype).eps
    )
    assert torch.equal(Z, Z.mT)


def test_scaled_steps_are_fewer_than_plain_ones():
    A = torch.from_numpy(definite(4, 8, condition=1e4))
    plain = [(1.5, 0.5)] * 11
    scaled, slow = inverse_root(A, max_steps=11), inverse_root(A, plain, max_steps=11)
    distance = [torch.linalg.matrix_norm(torch.eye(8) - Z @ A @ Z).max() for Z in (scaled, slow)]
    assert distance[0] < 1e-6 < 1e-1 < distance[1]


class TestFamily:
    def spiked(self, n, seed=0):
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.uniform(90, 110, (n, 2)), np.ones((n, 10))], axis=1)
        Q = np.linalg.qr(rng.standard_normal((n, 12, 12)))[0]
        A = (Q * values[:, None]) @ adjoint(Q)
        return (A + adjoint(A)) / 2

    def test_its_steps_are_fewer_and_as_good(self):
        if not roots.ROOT.compile():
            pytest.skip(roots.ROOT.trouble)
        learned = InverseSquareRoot().fit(self.spiked(200))
        fresh = self.spiked(50, seed=1)
        before, after = InverseSquareRoot().report(fresh), learned.report(fresh)
        assert len(learned.coefficients_) > 0
        assert after.n_steps.mean() < before.n_steps.mean()
        assert after.certified.all()
        np.testing.assert_allclose(after.inverse_root, before.inverse_root, rtol=1e-9, atol=1e-12)

    def test_what_is_not_of_it_loses_nothing(self):
        learned = InverseSquareRoot().fit(self.spiked(200))
        strange = definite(20, 12, condition=1e5)
        assert learned.report(strange).certified.all()

    def test_where_nothing_is_gained_nothing_is_kept(self):
        assert learn_coefficients(torch.from_numpy(definite(3, 4))).shape == (0, 2)
        assert learn_coefficients(-torch.eye(3).expand(50, 3, 3)).shape == (0, 2)


def test_certificates_are_for_anybodys():
    A = torch.from_numpy(definite(5, 4))
    values, V = torch.linalg.eigh(A)
    Z = (V * values.rsqrt()[:, None]) @ V.mT
    Z = (Z + Z.mT) / 2
    assert certify_inv_sqrt(A, Z).certified.all()
    for wrong_sign in (-Z, (V * (values.rsqrt() * torch.tensor([-1.0, 1, 1, 1]))[:, None]) @ V.mT):
        symmetric = (wrong_sign + wrong_sign.mT) / 2
        torch.testing.assert_close(symmetric @ A @ symmetric, torch.eye(4, dtype=A.dtype).expand_as(A))
        assert not certify_inv_sqrt(A, symmetric).certified.any()
    off = Z * (1 + 1e-3)
    found = certify_inv_sqrt(A, off)
    assert found.certified.all()
    assert (found.error_bound >= 1e-3 * (1 - 1e-9)).all()


class TestEstimator:
    def test_containers_and_layouts(self):
        A = definite(8, 3)
        Z = skdmi.inv_sqrt(A)
        whiten = InverseSquareRoot()
        np.testing.assert_array_equal(whiten.transform(A.reshape(8, 9)), Z.reshape(8, 9))
        np.testing.assert_array_equal(whiten.transform(torch.from_numpy(A)).numpy(), Z)
        np.testing.assert_array_equal(skdmi.inv_sqrt(torch.from_numpy(A)).numpy(), Z)
        np.testing.assert_array_equal(skdmi.inv_sqrt(A.tolist()), Z)
        assert skdmi.inv_sqrt(np.empty((0, 3, 3), np.float32)).dtype == np.float32
        assert whiten.set_output(transform="pandas").fit(A.reshape(8, 9)).transform(A.reshape(8, 9)).shape == (8, 9)

    def test_it_lives_among_scikit_learns(self):
        A = definite(40, 3).reshape(40, 9)
        pipeline = make_pipeline(FunctionTransformer(lambda X: 4 * X), InverseSquareRoot()).fit(A)
        np.testing.assert_allclose(2 * pipeline.transform(A), InverseSquareRoot().transform(A), rtol=1e-12)
        fitted = InverseSquareRoot().fit(A)
        copy = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(copy.transform(A), fitted.transform(A))
        assert clone(fitted).get_params() == {"indefinite": "warn", "verbose": 0}
        assert -1e-12 < fitted.score(A) <= 0

    @pytest.mark.parametrize(
        ("A", "options", "error", "message"),
        [
            (np.ones((2, 3)), {}, ValueError, "square"),
            (np.full((1, 2, 2), np.nan), {}, ValueError, "NaN"),
            (np.eye(2), {"indefinite": "keep"}, ValueError, r"indefinite='keep'; expected one of 'warn', 'raise'"),
            (np.array([["a"]]), {}, ValueError, "strings"),
        ],
    )
    def test_bad_input_is_one_clear_error(self, A, options, error, message):
        with pytest.raises(error, match=message):
            skdmi.inv_sqrt(A, **options)

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # forward derivatives use it
    @pytest.mark.parametrize("dtype", ["float64", "complex128"])
    def test_derivatives_are_those_of_the_root(self, dtype):
        A = torch.from_numpy(definite(2, 3, dtype)).requires_grad_()

        def whiten(A):
            return InverseSquareRoot().invert((A + A.mH) / 2)

        assert torch.autograd.gradcheck(whiten, A, check_forward_ad=dtype == "float64")
        assert torch.autograd.gradgradcheck(whiten, A, fast_mode=True)

    def test_maps_and_missing_members(self):
        A = torch.from_numpy(make_stack("spd", 6, 3))
        torch.testing.assert_close(torch.func.vmap(InverseSquareRoot().invert)(A), InverseSquareRoot().invert(A))
        broken = A.clone()
        broken[1] = -broken[1]
        broken.requires_grad_()
        InverseSquareRoot().invert(broken)[[0, 2]].sum().backward()
        assert broken.grad.isfinite().all()

    def test_equations_of_lyapunov_are_solved(self):
        H = torch.from_numpy(make_stack("spd", 5, 4))
        X = torch.from_numpy(make_stack("well", 5, 4))
        torch.testing.assert_close(lyapunov(H, H @ X + X @ H), X)
