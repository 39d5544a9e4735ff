"""Laws of the certified inverse without control flow: right, never waited for, and the route of CUDA tensors."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.lib.attack_matrices import FAMILIES
from benchmarks.lib.certificate_judge import Tally
from skdmi import RefinedInverter
from skdmi.figures import CERTIFIED, CONVERGED, NONSINGULAR, OUTSIDE
from skdmi.linalg import Certificate, certify
from skdmi.linalg.fixed import fixed_inverse
from tests.marks import slow_but
from tests.matrices import make_stack

SOUND = CERTIFIED | NONSINGULAR | CONVERGED
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@both_dtypes
@pytest.mark.parametrize("n_steps", [0, 1])
@pytest.mark.parametrize("m", [1, 2, 3, 8, 20])
def test_ordinary_matrices_are_inverted_and_certified(dtype, n_steps, m):
    A = make_stack("well", 100, m, dtype=dtype)
    found = fixed_inverse(torch.from_numpy(A), n_steps=n_steps)
    assert (found.status == SOUND).all()
    np.testing.assert_allclose(found.inverse, np.linalg.inv(A.astype(np.float64)), rtol=3e-7, atol=1e-6)
    assert found.error_bound.max() < (1e-6 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("m", slow_but([3], [1, 2, 3, 4, 6]))
@both_dtypes
@pytest.mark.parametrize("family", FAMILIES)
def test_no_certificate_is_false_and_no_bound_violated(family, dtype, m):
    limit = np.finfo(dtype).max
    with np.errstate(over="ignore"):
        A = FAMILIES[family](np.random.default_rng(3), 24, m).astype(dtype)
    A = torch.from_numpy(np.nan_to_num(A, posinf=limit, neginf=-limit))
    found = fixed_inverse(A)
    granted = (found.status & CERTIFIED) != 0
    tally = Tally()
    for k in range(len(A)):
        unknown = torch.tensor(torch.inf)
        fields = granted[k], unknown, found.error_bound[k], torch.tensor(1.0), unknown, granted[k]
        tally.judge(A[k], found.inverse[k], Certificate(*fields), [0] * m)
    assert (tally.false, tally.violated) == (0, 0)
    if dtype == np.float64:
        assert (certify(A, found.inverse).certified | ~granted).all()


def test_one_bad_matrix_spoils_nothing():
    A = torch.from_numpy(make_stack("well", 6, 3))
    expected = fixed_inverse(A)
    A[1], A[3, 0, 0], A[4] = 0.0, torch.nan, torch.inf
    found = fixed_inverse(A)
    assert found.status.tolist() == [SOUND, OUTSIDE, SOUND, OUTSIDE, OUTSIDE, SOUND]
    rest = [0, 2, 5]
    torch.testing.assert_close(found.inverse[rest], expected.inverse[rest], rtol=1e-15, atol=1e-15)


@both_dtypes
def test_no_value_is_looked_at(dtype):
    with FakeTensorMode():
        A = torch.empty(10, 4, 4, dtype=torch.from_numpy(np.empty(0, dtype)).dtype)
        found = fixed_inverse(A, n_steps=2)
    assert found.inverse.shape == (10, 4, 4)


def test_compilation_breaks_no_graph():
    A = torch.from_numpy(make_stack("well", 10, 4))
    compiled = torch.compile(fixed_inverse, fullgraph=True, backend="eager")
    for mine, theirs in zip(compiled(A), fixed_inverse(A), strict=True):
        torch.testing.assert_close(mine, theirs)


@needs_cuda
@both_dtypes
def test_on_a_gpu_the_route_gives_what_the_cpu_gives(dtype):
    A = np.concatenate([make_stack("uniform", 500, 5, dtype=dtype), make_stack("singular", 5, 5, dtype=dtype)])
    inverter = RefinedInverter(singular="pinv")
    on_cpu = inverter.report(A)
    on_gpu = inverter.report(torch.from_numpy(A).cuda())
    np.testing.assert_array_equal(on_gpu.certified, on_cpu.certified)
    np.testing.assert_allclose(on_gpu.inverse.cpu(), on_cpu.inverse, rtol=1e-5 if dtype == np.float32 else 1e-9)


@needs_cuda
def test_a_graph_records_it():
    A = torch.from_numpy(make_stack("well", 64, 4)).cuda()
    expected = fixed_inverse(A, n_steps=1)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = fixed_inverse(A, n_steps=1)
    graph.replay()
    torch.testing.assert_close(found.inverse, expected.inverse)
