"""The network exported, compiled, mapped over further axes, and in half precision: the answer is the same."""

import io

import pytest
import torch
from torch import Tensor
from torch.export import Dim, export
from torch.func import functional_call, stack_module_state, vmap

from skdmi import NeuralMatrixInverter
from skdmi.modules import BLOCKS, NORMALIZATIONS, IdentityLoss, InverterResNet
from skdmi.modules.network import FAMILY, PRECISIONS
from tests.marks import slow_but
from tests.tensors import assert_equal, stack_of

M = 8
"""Products of smaller ones are longer graphs; with less than six rows a deflation leaves directions of rounding."""
N_MATRICES = [1, 2, 5, 1000, 0]
HALVES = [torch.float16, torch.bfloat16]
KINDS = [
    *({"block": block} for block in BLOCKS),
    {"start": "identity"},
    {"start": FAMILY, "n_atoms": 4, "n_places": 3},
    {"start": FAMILY, "n_atoms": 4, "n_places": 3, "plain": "identity"},
    {"start": FAMILY},
]
SETTINGS = [{"normalize": how, "precision": precision} for how in NORMALIZATIONS for precision in PRECISIONS]
# Torch takes a second to trace a step, so one is all where it is not the steps that differ.
STEPS = [{"depth": 2}, {"m": 7}, *SETTINGS[1:]]
each_kind = pytest.mark.parametrize("options", KINDS, ids=str)


@pytest.fixture(autouse=True)
def forgotten():
    """Forget compiled code, of which torch keeps little for one function, the forward of all networks."""
    yield
    torch._dynamo.reset()


def network_of(m=M, *, depth=1, seed=0, **options) -> InverterResNet:
    """Return a network with some weights; one with a family start takes every matrix for a member."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = InverterResNet(depth, 6, matrix_size=m, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        if options.get("start") == FAMILY:
            network.core.start.constant += torch.eye(m)
            network.core.start.bound.fill_(1e6)
            network.core.start.margin.fill_(1e6)
    return network


def members(*shape, m=M, dtype=torch.float32, seed=0) -> Tensor:
    """Return matrices that every start is for."""
    return stack_of("spd", torch.Size(shape).numel(), m, dtype=dtype, seed=seed).reshape(*shape, m, m)


def assert_near(actual, expected):
    """Compare what the same operations gave, which may run on a batch of another layout."""
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def assert_same_answers(found, network, m=M, dtype=torch.float32):
    for n_matrices in N_MATRICES:
        A = members(n_matrices, m=m, dtype=dtype)
        assert_near(found(A), network(A))


def exported(network, A, *, strict=False):
    return export(network, (A,), dynamic_shapes={"A": {0: Dim("n")}}, strict=strict)


class Counting:
    """A backend that runs graphs as they are, and keeps them."""

    def __init__(self):
        self.graphs = []

    def __call__(self, graph, inputs):
        self.graphs.append(graph)
        return graph.forward


# Exported


@pytest.mark.parametrize("options", slow_but(STEPS[:1], STEPS + KINDS[1:]), ids=str)
def test_an_exported_program_takes_any_number_of_matrices(options):
    network, m = network_of(**options), options.get("m", M)
    assert_same_answers(exported(network, members(3, m=m)).module(), network, m)


@pytest.mark.slow
def test_export_may_be_strict():
    network = network_of(**KINDS[4])
    assert_same_answers(exported(network, members(3), strict=True).module(), network)


def test_a_family_start_exports_at_other_sizes_too():
    network = network_of(start=FAMILY)
    assert_same_answers(exported(network, members(3, m=6)).module(), network, m=6)


@pytest.mark.slow
def test_a_program_of_a_shipped_model_is_written_and_read():
    inverter = NeuralMatrixInverter.from_pretrained("kernel-grid-4x4")
    network, m = inverter.module_, inverter.matrix_size_
    file = io.BytesIO()
    torch.export.save(exported(network, members(3, m=m)), file)
    file.seek(0)
    assert_same_answers(torch.export.load(file).module(), network, m)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_programs_of_other_dtypes(dtype):
    network = network_of()
    assert_same_answers(exported(network, members(3, dtype=dtype)).module(), network, dtype=dtype)


# Compiled


@pytest.mark.parametrize("options", slow_but(STEPS[:1], STEPS), ids=str)
def test_one_graph_without_a_break_serves_all_batches(options):
    network, m, backend = network_of(**options), options.get("m", M), Counting()
    compiled = torch.compile(network, fullgraph=True, dynamic=True, backend=backend)
    for n_matrices in (3, 2, 1000):
        A = members(n_matrices, m=m)
        assert_near(compiled(A), network(A))
    assert len(backend.graphs) == 1


@pytest.mark.slow
def test_batches_of_one_and_of_none_and_other_sizes_have_graphs_of_their_own():
    network = InverterResNet(1, 6)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    for n_matrices, m in ((3, 5), (1, 5), (0, 5), (3, 9), (2, 12)):
        A = members(n_matrices, m=m)
        assert_near(compiled(A), network(A))


def gradients(network, weights, A):
    """Return the gradients of the loss, of the matrices and of the weights that it depends on."""
    B = A.clone().requires_grad_()
    return torch.autograd.grad(IdentityLoss(0.1)(network(B), B), (B, *weights), allow_unused=True)


def assert_same_gradients(network, compiled, n_matrices=3):
    A = members(n_matrices, dtype=torch.float64)
    torch.testing.assert_close(compiled(A), network(A))
    weights = list(network.parameters())
    for found, expected in zip(gradients(compiled, weights, A), gradients(network, weights, A), strict=True):
        assert (found is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("options", slow_but(KINDS[:1], KINDS), ids=str)
def test_compiled_gradients_are_those_of_the_network(options):
    network = network_of(precision="float64", **options)
    compiled = torch.compile(network, fullgraph=True, dynamic=True, backend="eager")
    for n_matrices in (3, 7):
        assert_same_gradients(network, compiled, n_matrices)


@pytest.mark.slow
def test_the_passes_forward_and_backward_may_be_traced():
    network = network_of(precision="float64", rank=0)
    assert_same_gradients(network, torch.compile(network, fullgraph=True, dynamic=True, backend="aot_eager"))


@pytest.mark.slow
def test_a_map_compiles():
    network, A = network_of(), members(2, 3)
    mapped = vmap(lambda A: network(A))  # torch reads the name of what it maps, and cannot trace that of a module
    assert_near(torch.compile(mapped, fullgraph=True, backend="eager")(A), mapped(A))


# Mapped: that a map does not warn is what the filter of warnings holds it to


@pytest.mark.parametrize("m", [4, 5, 7, 8])
@each_kind
def test_maps_over_further_axes_are_loops(options, m):
    network, A = network_of(m, rank=1, precision="float64", **options), members(2, 3, m=m, dtype=torch.float64)
    expected = torch.stack([network(B) for B in A])
    torch.testing.assert_close(vmap(network)(A), expected)
    torch.testing.assert_close(vmap(vmap(lambda A: network(A[None])[0]))(A), expected)


@pytest.mark.parametrize("m", [4, 5, 8])
@each_kind
def test_many_networks_are_one_map(options, m):
    networks = [network_of(m, rank=1, seed=seed, precision="float64", **options) for seed in range(3)]
    A = members(4, m=m, dtype=torch.float64)
    found = vmap(lambda state: functional_call(networks[0], state, A))(stack_module_state(networks))
    torch.testing.assert_close(found, torch.stack([network(A) for network in networks]))


# In half precision


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@each_kind
def test_half_precision_is_computed_in_float32_and_rounded_once(options, setting, dtype):
    network, A = network_of(**options, **setting), members(5, dtype=dtype)
    assert_equal(network(A), network(A.float()).to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(network(A), network(A.float()).to(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_keeps_its_whole_range(dtype):
    info, network = torch.finfo(dtype), InverterResNet(2, 6)
    smallest = info.smallest_normal * info.eps
    for entry, inverse in ((smallest, info.max), (2.0, 0.5), (0.0, 0.0)):
        A = torch.eye(2, dtype=dtype) * torch.tensor([entry, -entry], dtype=dtype)
        assert_equal(network(A[None])[0], torch.eye(2, dtype=dtype) * torch.tensor([inverse, -inverse], dtype=dtype))
    assert network(torch.full((1, 3, 3), info.max, dtype=dtype)).isfinite().all()


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_has_gradients(dtype):
    network, A = InverterResNet(2, 6), members(3, dtype=dtype)
    found, expected = A.clone().requires_grad_(), A.float().requires_grad_()
    network(found).sum().backward()
    network(expected).sum().backward()
    assert found.grad.dtype == dtype
    tolerance = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.grad.float(), expected.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", HALVES)
def test_an_inverter_and_its_module_agree_in_half_precision(dtype, tiny_network):
    A = members(3, m=tiny_network.matrix_size_, dtype=dtype)
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(tiny_network.invert(A), tiny_network.module_(A), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", KINDS)
def test_any_leading_axes_are_taken_and_mapped(options):
    network, A = network_of(**options), members(6)
    with torch.no_grad():
        expected = network(A)
        assert_equal(network(A.reshape(2, 3, M, M)).reshape(A.shape), expected)
        assert_near(vmap(network)(A), expected)
