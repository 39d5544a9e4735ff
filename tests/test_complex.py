"""Complex matrices as real ones of twice the size: products, inverses and singular values agree."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from skdmi.linalg import complex_to_real, real_to_complex
from tests.tensors import property_test, seeds, stack_of


def complex_stack(m, seed, dtype=torch.complex128):
    return torch.complex(stack_of("well", 3, m, seed=seed), stack_of("uniform", 3, m, seed=seed) / (4 * m)).to(dtype)


@property_test
@given(seed=seeds, m=st.integers(1, 6))
@pytest.mark.parametrize("container", [Tensor.clone, Tensor.numpy], ids=["torch", "numpy"])
def test_real_images_of_complex_matrices_multiply_and_invert_alike(container, seed, m):
    A, B = container(complex_stack(m, seed)), container(complex_stack(m, seed + 1))
    image = complex_to_real(A)
    assert type(image) is type(A)
    assert type(real_to_complex(image)) is type(A)
    linalg = torch.linalg if isinstance(A, Tensor) else np.linalg
    assert (real_to_complex(image) == A).all()
    for found, expected in (
        (complex_to_real(A @ B), image @ complex_to_real(B)),
        (complex_to_real(A.conj().swapaxes(-1, -2)), image.swapaxes(-1, -2)),
        (real_to_complex(linalg.inv(image)), linalg.inv(A)),
    ):
        torch.testing.assert_close(found, expected)
    values = np.linalg.svd(np.asarray(A), compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(np.asarray(image), compute_uv=False), values.repeat(2, axis=-1))


@pytest.mark.parametrize("container", [Tensor.clone, Tensor.numpy], ids=["torch", "numpy"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_precision_is_kept(dtype, container):
    A = container(complex_stack(2, 0, dtype))
    assert str(complex_to_real(A).dtype).removeprefix("torch.") == str(dtype.to_real()).removeprefix("torch.")
    assert real_to_complex(complex_to_real(A)).dtype == A.dtype


def test_big_endian_lists_and_gradients_are_mapped_too():
    A = complex_stack(2, 0)
    np.testing.assert_array_equal(complex_to_real(A.numpy().astype(">c16")), complex_to_real(A))
    np.testing.assert_array_equal(complex_to_real(A.tolist()), complex_to_real(A))
    assert torch.autograd.gradcheck(lambda B: real_to_complex(2 * complex_to_real(B)), A.requires_grad_())


@pytest.mark.parametrize("container", [torch.from_numpy, np.array, np.ndarray.tolist])
def test_a_map_of_the_wrong_kind_of_numbers_is_refused(container):
    A = np.ones((2, 2, 2))
    with pytest.raises(TypeError, match=r"complex_to_real takes complex64 or complex128, got float64\. .*as it is"):
        complex_to_real(container(A))
    with pytest.raises(TypeError, match="real_to_complex takes float32 or float64, got complex128"):
        real_to_complex(container(A + 0j))
    with pytest.raises(TypeError, match="got int64"):
        real_to_complex(container(A.astype(int)))


def test_what_has_no_complex_preimage_or_real_image_is_refused():
    with pytest.raises(ValueError, match=r"even size, shape \(\.\.\., 2 m, 2 m\), got shape \(2, 3, 3\)"):
        real_to_complex(np.ones((2, 3, 3)))
    masked = np.ma.array([[1j, 2], [3, 4]], mask=[[1, 0], [0, 0]])
    for function in (complex_to_real, real_to_complex):
        with pytest.raises(ValueError, match=r"masked entries.*filled"):
            function(masked)
    with pytest.raises(TypeError, match="sparse_coo tensor of complex64"):
        complex_to_real(torch.eye(2, dtype=torch.complex64).to_sparse())
