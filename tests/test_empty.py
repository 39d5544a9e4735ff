"""A stack without matrices, or of matrices without entries, has an empty answer, as numpy's; estimators refuse it."""

import dask.array as da
import numpy as np
import pytest
import torch

import skdmi
from skdmi import ExactInverter, RefinedInverter
from skdmi.metrics import frobenius_residuals

SHAPES = [(0, 3, 3), (0, 70, 70), (0, 3, 0, 2, 2), (2, 0, 1, 1), (0, 0), (5, 0, 0), (0, 0, 0), (2, 0, 0, 0)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
MAKE = {
    "float64": np.empty,
    "float32": lambda shape: np.empty(shape, np.float32),
    "big-endian": lambda shape: np.empty(shape, ">f4"),
    "integers": lambda shape: np.empty(shape, int),
    "half": lambda shape: np.empty(shape, np.float16),
    "backwards": lambda shape: np.empty(shape)[..., ::-1],
    "tensor": torch.empty,
    "bfloat16": lambda shape: torch.empty(shape, dtype=torch.bfloat16),
    "tensor of integers": lambda shape: torch.empty(shape, dtype=torch.int64),
    "tensor with gradient": lambda shape: torch.empty(shape, requires_grad=True),
    "dask": lambda shape: da.empty(shape, chunks=-1),
    "dask, float32": lambda shape: da.empty(shape, chunks=-1, dtype=np.float32),
}
each_container = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def of_whole_matrix(make):
    """Return the inverse of a matrix that is there, whose kind that of an empty stack must be."""
    A = make((1, 1))
    if isinstance(A, torch.Tensor):
        return skdmi.inv(torch.ones_like(A))
    return skdmi.inv(da.ones_like(A) if isinstance(A, da.Array) else np.ones_like(A))


@each_shape
@each_container
def test_the_inverse_is_empty_in_container_dtype_and_shape(shape, make):
    A = make(shape)
    X, other = skdmi.inv(A), of_whole_matrix(make)
    assert type(X) is type(other)
    assert (X.shape, X.dtype) == (A.shape, other.dtype)
    if isinstance(X, da.Array):
        assert X.compute().shape == shape
        return
    assert X is not A
    assert not getattr(X, "requires_grad", False)


@each_shape
@pytest.mark.parametrize("options", [{"tight": True}, {"model": "uniform-3x3-short"}, {"singular": "raise"}], ids=str)
def test_options_change_nothing(shape, options):
    np.testing.assert_array_equal(skdmi.inv(np.empty(shape), **options), np.linalg.inv(np.empty(shape)))


@pytest.mark.parametrize(
    ("options", "error"),
    [({"tol": -1.0}, ValueError), ({"singular": "no"}, ValueError), ({"model": "no-such"}, FileNotFoundError)],
)
def test_options_are_checked_nonetheless(options, error):
    with pytest.raises(error):
        skdmi.inv(np.empty((0, 3, 3)), **options)


@pytest.mark.parametrize("A", [np.empty((0, 2, 3)), np.empty((0, 9)), np.empty(0), torch.empty(0, 3, 2), [], [[]]])
def test_what_is_not_square_is_refused(A):
    with pytest.raises(ValueError, match=r"square matrices, shape \(\.\.\., m, m\)"):
        skdmi.inv(A)


@pytest.mark.parametrize("A", [np.empty((0, 3, 3), complex), da.empty((0, 3, 3), dtype=complex)])
def test_what_is_complex_stays_so(A):
    X = skdmi.inv(A)
    assert type(X) is type(A)
    assert (X.shape, X.dtype) == (A.shape, A.dtype)


@each_shape
@each_container
@pytest.mark.parametrize("structure", [None, "spd", "unit_lower"])
def test_matrices_without_entries_are_certified(shape, make, structure):
    A = make(shape)
    if isinstance(A, torch.Tensor):
        A = A.detach()
    report = skdmi.certify(A, A, structure=structure)
    assert report.certified.shape == report.robust.shape == shape[:-2]
    assert np.all(report.certified & report.robust)
    for name in ("error_bound", "residual_norm", "left_residual_norm", "condition_lower", "condition_upper"):
        assert np.all(getattr(report, name) == 0)
    assert (report.structured is None) == (structure is None)
    if structure == "spd":
        assert np.all(report.positive_definite)
        assert np.all(report.smallest_eigenvalue == np.inf)
    assert report.entry_bound is None
    assert skdmi.certify(A, A, tight=True).entry_bound.shape == shape
    assert report.summary().startswith(f"{len(report)} of {len(report)} certified")


@each_shape
@each_container
def test_determinants_are_those_of_numpy(shape, make):
    A = make(shape)
    A = A.detach() if isinstance(A, torch.Tensor) else A
    sign, log_abs_det, bound = skdmi.slogdet(A)
    expected = np.linalg.slogdet(np.empty(shape))
    np.testing.assert_array_equal(np.asarray(sign), expected.sign)
    np.testing.assert_array_equal(np.asarray(log_abs_det), expected.logabsdet)
    assert np.all(np.asarray(bound) == 0)


@pytest.mark.parametrize("shape", [(0, 3, 3), (5, 0, 0), (0, 0, 0)], ids=str)
@pytest.mark.parametrize("make", [MAKE["float64"], MAKE["tensor"]], ids=["numpy", "torch"])
def test_residual_norms_are_zero(shape, make):
    norms = frobenius_residuals(make(shape), make(shape))
    assert type(norms) is type(make(shape))
    assert norms.shape == shape[:1]
    assert (norms == 0).all()


@pytest.mark.parametrize("shape", [(0, 3, 3), (0, 3, 0, 2, 2), (2, 0, 1, 1)], ids=str)
@pytest.mark.parametrize("inverter", [ExactInverter(), RefinedInverter()], ids=str)
def test_invert_takes_no_matrix(shape, inverter):
    A = torch.empty(shape, requires_grad=True)
    X = inverter.invert(A)
    assert (X.shape, X.dtype) == (A.shape, A.dtype)
    X.sum().backward()
    assert A.grad.shape == shape


@pytest.mark.parametrize("make", [MAKE[name] for name in ("float64", "tensor", "dask")], ids=["numpy", "torch", "dask"])
@pytest.mark.parametrize("method", ["fit", "transform", "residual_norms", "score", "report"])
def test_estimators_want_a_matrix_as_those_of_scikit_learn_do(make, method):
    with pytest.raises(ValueError, match=r"X is empty: shape \(0, 3, 3\)\. Expected at least one .* skdmi\.inv takes"):
        getattr(RefinedInverter(), method)(make((0, 3, 3)))
    with pytest.raises(ValueError, match=r"got shape \(2, 0, 0\)\. An empty matrix has nothing to invert"):
        getattr(RefinedInverter(), method)(make((2, 0, 0)))
