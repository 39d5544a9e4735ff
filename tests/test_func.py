"""``invert`` and networks under ``torch.func``: a mapped stack is the stack, derivatives are those of the inverse."""

import warnings
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.frozen import FrozenEstimator
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap

from skdmi import BlockInverter, EnsembleInverter, ExactInverter, RefinedInverter
from skdmi.iteration import STARTS
from skdmi.linalg import with_exact_gradient
from skdmi.modules import BLOCKS, InverterResNet
from tests.marks import slow_but
from tests.matrices import make_stack

EXACT = {
    "exact": lambda network: ExactInverter(),
    "refined": lambda network: RefinedInverter(),
    "refined network": RefinedInverter,
    "block": lambda network: BlockInverter(block_size=2),
    "block of network": BlockInverter,
    "refined block": lambda network: RefinedInverter(BlockInverter(RefinedInverter(network))),
    "mean": lambda network: EnsembleInverter.from_fitted([ExactInverter(), RefinedInverter()]),
    "best": lambda network: EnsembleInverter.from_fitted([ExactInverter(), RefinedInverter()], combine="best"),
}
LEARNED = {
    "network": lambda network: network,
    "mean of networks": lambda network: EnsembleInverter.from_fitted([network, network]),
    "best of networks": lambda network: EnsembleInverter.from_fitted([network, network], combine="best"),
}
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
LEARNED_TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module", autouse=True)
def forward_mode():
    """Let torch import its rules of forward mode, which warns of its own use of ``torch.jit.script``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jvp(torch.sin, (torch.ones(1),), (torch.ones(1),))
        jvp(torch.linalg.inv, (torch.eye(2),), (torch.eye(2),))
        jvp(lambda A: torch.nn.functional.layer_norm(A, (2,)), (torch.eye(2),), (torch.eye(2),))


@pytest.fixture(params=EXACT)
def exact(request, tiny_network):
    """Every kind of inverter that has the derivatives of the true inverse."""
    return EXACT[request.param](FrozenEstimator(tiny_network))


@pytest.fixture(params=LEARNED)
def learned(request, tiny_network):
    return LEARNED[request.param](tiny_network)


def stack(*shape, seed=0, kind="well"):
    n = 1
    for length in shape:
        n *= length
    return torch.from_numpy(make_stack(kind, n, 3, seed=seed)).reshape(*shape, 3, 3)


def jacobian(A):
    """Return ``dX_ij / dA_kl = -X_ik X_lj``."""
    X = torch.linalg.inv(A)
    return -torch.einsum("...ik,...lj->...ijkl", X, X)


# A mapped stack is the stack


@settings(max_examples=6, deadline=None, database=None)
@given(seed=st.integers(0, 2**32 - 1), in_dim=st.integers(-4, 3), out_dim=st.integers(0, 3))
def test_vmap_over_any_axis(seed, in_dim, out_dim):
    A = stack(2, 4, seed=seed)
    for inverter in (ExactInverter(), RefinedInverter(), BlockInverter(block_size=2)):
        mapped = vmap(inverter.invert, in_dims=in_dim, out_dims=out_dim)(A.movedim(0, in_dim))
        torch.testing.assert_close(mapped.movedim(out_dim, 0), inverter.invert(A), **TOLERANCE)


def check_maps(invert, tolerance):
    A = stack(2, 3)
    expected = invert(A)
    for mapped in (
        vmap(invert)(A),
        vmap(vmap(invert))(A),
        vmap(vmap(invert, in_dims=1), in_dims=-1, out_dims=-1)(A.permute(2, 1, 3, 0)).permute(3, 0, 1, 2),
    ):
        torch.testing.assert_close(mapped, expected, **tolerance)
    torch.testing.assert_close(
        vmap(invert, in_dims=2, out_dims=2)(A.movedim(0, 2)).movedim(2, 0), expected, **tolerance
    )


def test_maps_of_the_exact_ones(exact):
    check_maps(exact.invert, TOLERANCE)


def test_maps_of_the_learned_ones(learned):
    check_maps(learned.invert, LEARNED_TOLERANCE)


def test_missing_members_are_missing_under_vmap(exact):
    A = stack(3)
    A[1] = 0
    for found in (vmap(exact.invert)(A), vmap(exact.invert)(A.where(A != 0, torch.inf))):
        torch.testing.assert_close(found[[0, 2]], torch.linalg.inv(A[[0, 2]]), **TOLERANCE)
        assert found[1].isnan().all()
    for derivative in (jacrev, jacfwd):
        found = vmap(derivative(exact.invert))(A)
        torch.testing.assert_close(found[[0, 2]], jacobian(A[[0, 2]]), **TOLERANCE)
        assert (found[1] == 0).all()


# Derivatives


def test_first_derivatives_are_those_of_the_inverse(exact):
    A, G = stack(2), stack(2, seed=1)
    X, expected = torch.linalg.inv(A), jacobian(A)
    invert = exact.invert
    for found in (
        vmap(jacrev(invert))(A),
        vmap(jacfwd(invert))(A),
        jacrev(vmap(invert))(A).diagonal(dim1=0, dim2=3).movedim(-1, 0),
    ):
        torch.testing.assert_close(found, expected, **TOLERANCE)
    torch.testing.assert_close(jacfwd(invert)(A[0]), expected[0], **TOLERANCE)
    torch.testing.assert_close(vjp(invert, A)[1](G)[0], -X.mT @ G @ X.mT, **TOLERANCE)
    torch.testing.assert_close(jvp(invert, (A,), (G,))[1], -X @ G @ X, **TOLERANCE)
    torch.testing.assert_close(
        vmap(grad(lambda A: invert(A).sum()))(A), -(X.mT @ torch.ones_like(A) @ X.mT), **TOLERANCE
    )


@pytest.mark.parametrize("outer", [jacrev, jacfwd])
@pytest.mark.parametrize("inner", [jacrev, jacfwd])
def test_second_derivatives_in_every_order_of_modes(exact, outer, inner):
    A = stack(2)
    expected = vmap(hessian(lambda A: torch.linalg.inv(A).square().sum()))(A)
    found = vmap(outer(inner(lambda A: exact.invert(A).square().sum())))(A)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_plain_autograd_in_both_modes_batched_or_not(exact):
    A = stack(2).requires_grad_()
    modes = {"check_batched_grad": True, "fast_mode": True}
    assert torch.autograd.gradcheck(exact.invert, A, check_forward_ad=True, check_batched_forward_grad=True, **modes)
    assert torch.autograd.gradgradcheck(exact.invert, A, check_fwd_over_rev=True, **modes)


def test_derivatives_of_the_network_are_autograds_own(learned):
    A = stack(3)
    B = A.clone().requires_grad_()
    (expected,) = torch.autograd.grad(learned.invert(B).square().sum(), B)
    found = vmap(grad(lambda A: learned.invert(A).square().sum()))(A)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    backward, forward = (vmap(derivative(learned.invert))(A) for derivative in (jacrev, jacfwd))
    torch.testing.assert_close(backward, forward, rtol=1e-3, atol=1e-3)


def test_a_solver_sees_the_whole_stack_and_its_numbers():
    seen = []

    def solve(A):
        seen.append(tuple(A.shape))
        return torch.linalg.inv(A) if bool((A != 0).any()) else A

    A = stack(2, 3, 4)
    found = vmap(vmap(lambda A: with_exact_gradient(A, solve)))(A)
    torch.testing.assert_close(found, torch.linalg.inv(A))
    assert seen == [(24, 3, 3)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_tangents_have_the_dtype_of_the_answer(dtype):
    A = torch.eye(2, dtype=dtype)
    X, dX = jvp(BlockInverter().invert, (A,), (A,))
    assert X.dtype == dX.dtype == dtype
    torch.testing.assert_close(dX, -A)


def test_a_loaded_network_may_be_used_first_inside_a_transform(tiny_network):
    network = deepcopy(tiny_network)
    network.device_ = None
    A = stack()
    torch.testing.assert_close(jacrev(network.invert)(A), jacrev(tiny_network.invert)(A), **LEARNED_TOLERANCE)
    assert network.device_ is not None


# The networks themselves

NETWORKS = [{"block": block} for block in BLOCKS] + [{"start": start} for start in STARTS]
NETWORKS += [{"normalize": "none"}, {"rank": 0}]


def make_network(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = InverterResNet(2, 6, matrix_size=3, precision="float64", **options)
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return network.requires_grad_(False)


@pytest.mark.parametrize("options", slow_but(NETWORKS[:1], NETWORKS), ids=str)
def test_modules_under_transforms(options):
    network = make_network(**options)
    A = stack(2, 3, kind="spd" if options.get("start") == "identity" else "well")
    expected = torch.stack([network(B) for B in A])
    torch.testing.assert_close(vmap(network)(A), expected, **TOLERANCE)
    torch.testing.assert_close(vmap(vmap(lambda A: network(A[None])[0]))(A), expected, **TOLERANCE)
    torch.testing.assert_close(
        vmap(network, in_dims=1, out_dims=2)(A.transpose(0, 1)).movedim(2, 0), expected, **TOLERANCE
    )

    def one(A):
        return network(A[None])[0]

    backward, forward = vmap(jacrev(one))(A[0]), vmap(jacfwd(one))(A[0])
    assert (backward - forward).abs().max() <= 1e-5 * forward.abs().max()
    second = [
        vmap(outer(inner(lambda A: one(A).square().sum())))(A[0, :1])
        for outer, inner in ((jacfwd, jacrev), (jacrev, jacrev), (jacrev, jacfwd), (jacfwd, jacfwd))
    ]
    for found in second[1:]:
        assert (found - second[0]).abs().max() <= 1e-5 * second[0].abs().max()


@pytest.mark.parametrize("options", NETWORKS, ids=str)
def test_many_networks_on_one_stack(options):
    networks = [make_network(seed, **options) for seed in range(3)]
    parameters, buffers = stack_module_state(networks)
    A = stack(4)
    found = vmap(lambda state, buffers: functional_call(networks[0], (state, buffers), A))(parameters, buffers)
    torch.testing.assert_close(found, torch.stack([network(A) for network in networks]), **TOLERANCE)
