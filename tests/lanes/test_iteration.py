"""The compiled forward pass is the network up to rounding, wherever a matrix stands and whatever its scale."""

import copy

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from skdmi import load_pretrained
from skdmi.lanes import network as driver
from skdmi.lanes.network import ITERATION
from skdmi.modules import InverterResNet
from skdmi.modules.lanes import forward_in_lanes
from skdmi.persistence import pretrained_names
from tests.marks import slow_but
from tests.matrices import make_stack

SIZES = [*range(1, 21), 33]
QUICK_SIZES = (1, 2, 5, 8, 17)
DTYPES = {"float32": torch.float32, "float64": torch.float64}
each_precision = pytest.mark.parametrize("precision", list(DTYPES))


@pytest.fixture(autouse=True)
def _without_derivatives():
    if not ITERATION.compile():
        pytest.skip(f"There is no kernel here: {ITERATION.trouble}")
    with torch.no_grad():
        yield


def make_network(seed=0, **architecture):
    """Return a network that departs from the untrained iteration in every step."""
    network = InverterResNet(**({"depth": 3, "width": 8} | architecture)).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return network


def answer(network, A):
    X = forward_in_lanes(network, A)
    assert X is not None
    assert X.dtype == A.dtype
    return X


def distances(X, Z):
    """Return the distance of each matrix from another one, relative to that."""
    return (torch.linalg.matrix_norm(X.double() - Z) / torch.linalg.matrix_norm(Z.double())).numpy()


def assert_equal_up_to_rounding(network, A):
    """Demand that lanes and torch differ by about as much as torch does when the last bits of A change."""
    unit = max(torch.finfo(network.dtype).eps, torch.finfo(A.dtype).eps)
    generator = torch.Generator().manual_seed(0)
    expected, changes = network(A), []
    for _ in range(6):
        noise = torch.rand(A.shape, generator=generator, dtype=A.dtype) - 0.5
        changes.append(distances(network(A * (1 + 4 * unit * noise)), expected))
    rounding = np.max(changes, axis=0) + 10 * unit
    assert (distances(answer(network, A), expected) <= 10 * rounding).mean() >= 0.9


@each_precision
@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("start", ["transpose", "identity"])
@pytest.mark.parametrize("m", slow_but(QUICK_SIZES, SIZES))
def test_lanes_are_the_network_up_to_rounding(m, start, rank, precision):
    kind = "spd" if start == "identity" else "well"
    A = torch.from_numpy(make_stack(kind, 41, m)).to(DTYPES[precision])
    for depth in (1, 2, 4):  # after the first steps nothing has converged yet, so that every fault is seen
        network = make_network(depth=depth, start=start, rank=rank, precision=precision)
        assert_equal_up_to_rounding(network, A)


@pytest.mark.parametrize("name", pretrained_names())
def test_shipped_models_are_the_same_in_lanes(name):
    inverter = load_pretrained(name)
    network, m = inverter.module_, inverter.matrix_size_ if hasattr(inverter, "matrix_size_") else 6
    A = torch.from_numpy(make_stack("uniform", 200, m))
    if inverter.estimator.start_ == "family":
        assert forward_in_lanes(network, A) is None
        return
    assert_equal_up_to_rounding(network, A.float())
    assert_equal_up_to_rounding(network.double(), A)


@pytest.mark.parametrize("stack", list(DTYPES))
@each_precision
def test_stack_and_network_may_have_different_precisions(stack, precision):
    assert_equal_up_to_rounding(
        make_network(precision=precision), torch.from_numpy(make_stack("well", 41, 6)).to(DTYPES[stack])
    )


@pytest.mark.parametrize("m", [4, 5])
def test_outside_its_sizes_the_network_is_the_untrained_iteration(m):
    A = torch.from_numpy(make_stack("well", 30, m))
    learned = make_network(matrix_size=(5, 6), precision="float64")
    untrained = InverterResNet(depth=3, width=8, precision="float64").eval()
    same = bool((answer(learned, A) == answer(untrained, A)).all())
    assert same is (m == 4)


@pytest.mark.parametrize("stack", list(DTYPES))
@each_precision
@pytest.mark.parametrize("m", [1, 3, 5, 8, 16])
def test_answers_depend_on_neither_place_nor_neighbours(m, stack, precision):
    rng = np.random.default_rng(0)
    A = np.concatenate([make_stack(kind, 9, m) for kind in ("uniform", "singular", "zero", "condition")])
    A = A * 2.0 ** rng.integers(-90, 90, len(A))[:, None, None]
    A = torch.from_numpy(A[rng.permutation(len(A))]).to(DTYPES[stack])
    network = make_network(precision=precision)
    together = answer(network, A)
    for i in range(len(A)):
        assert torch.equal(answer(network, A[i : i + 1]), together[i : i + 1])
    order = torch.from_numpy(rng.permutation(len(A)))
    assert torch.equal(answer(network, A[order]), together[order])


@each_precision
def test_powers_of_two_come_out_exactly(precision):
    A = torch.from_numpy(make_stack("uniform", 20, 5)).to(DTYPES[precision])
    network = make_network(precision=precision)
    X = answer(network, A)
    for power in (2.0**-40, 2.0**41):
        assert torch.equal(answer(network, power * A), X / power)


@pytest.mark.parametrize("stack", list(DTYPES))
@each_precision
@pytest.mark.parametrize("m", [1, 2, 4, 7])
def test_extreme_scales_singular_matrices_and_zeros(m, stack, precision):
    network, info = make_network(precision=precision), torch.finfo(DTYPES[stack])
    scales = [info.max / (2 * m), 1e30, 1e-30, info.tiny, info.tiny / 2**10]
    A = torch.from_numpy(np.concatenate([scale * make_stack("orthogonal", 3, m) for scale in scales]))
    A = torch.cat([A, torch.zeros(1, m, m), torch.full((1, m, m), 0.5)]).to(DTYPES[stack])
    X, expected = answer(network, A), network(A)
    assert X.isfinite().all()
    assert not X[-2].any()
    unit = max(torch.finfo(network.dtype).eps, info.eps)
    torch.testing.assert_close(X[:-1], expected[:-1], rtol=1e4 * unit, atol=1e4 * unit / scales[1])
    torch.testing.assert_close(X[-1], expected[-1], rtol=1e4 * unit, atol=1e4 * unit)


def test_large_stacks_go_in_parts():
    A = torch.from_numpy(make_stack("uniform", 3000, 12)).float()
    network = make_network()
    assert torch.equal(answer(network, A)[-5:], answer(network, A[-5:]))


def test_the_weights_of_now_are_used():
    A = torch.from_numpy(make_stack("well", 20, 4))
    network, other = make_network(precision="float64"), make_network(seed=1, precision="float64")
    before = answer(network, A)
    network.load_state_dict(other.state_dict())
    assert torch.equal(answer(network, A), answer(other, A))
    assert not torch.equal(answer(network, A), before)


def test_what_lanes_do_not_do_is_left_to_torch():
    A = torch.from_numpy(make_stack("well", 4, 3)).float()
    for architecture in ({"normalize": "none"}, {"rank": 3}, {"block": "feedback", "matrix_size": 3}):
        assert forward_in_lanes(make_network(**architecture), A) is None
    network = make_network()
    assert forward_in_lanes(network, A.to("meta")) is None
    assert forward_in_lanes(network, torch.zeros(1, driver.LARGEST + 1, driver.LARGEST + 1)) is None
    with torch.enable_grad():
        assert forward_in_lanes(network, A) is None
        network.requires_grad_(False)
        assert forward_in_lanes(network, A.clone().requires_grad_()) is None
        assert forward_in_lanes(network, A) is not None


def test_estimators_answer_by_lanes(tiny_network, monkeypatch):
    A = make_stack("well", 50, 3)
    X = tiny_network.transform(A)
    monkeypatch.setattr(driver, "LARGEST", 0)
    expected = tiny_network.transform(A)
    np.testing.assert_allclose(X, expected, rtol=1e-3, atol=1e-3)
    assert not np.array_equal(X, expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, in forward mode
def test_derivatives_and_transforms_go_by_torch(tiny_network):
    invert = copy.deepcopy(tiny_network).invert
    A = torch.from_numpy(make_stack("well", 5, 3))
    X = invert(A)
    torch.testing.assert_close(torch.func.vmap(invert)(A), X, rtol=1e-3, atol=1e-3)
    assert torch.func.grad(lambda A: invert(A).sum())(A).any()
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(invert(forward_ad.make_dual(A, A))).tangent.any()
    with torch.enable_grad():
        invert(A.requires_grad_()).sum().backward()
    assert A.grad.any()


def test_half_precision_is_computed_in_single(tiny_network):
    A = torch.from_numpy(make_stack("well", 5, 3)).half()
    assert torch.equal(tiny_network.invert(A), tiny_network.invert(A.float()).half())
