"""Laws of the networks: with any weights, finite, free of scale, and no worse than where they start."""

import math
import re
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.linalg import matrix_norm

from skdmi.iteration import IDENTITY, STARTS, TRANSPOSE, iterate, minimal_residual, newton_schulz
from skdmi.linalg import residual
from skdmi.modules import BLOCKS, DenseInverse, FeedbackInverse, IdentityLoss, InverterResNet, PolynomialInverse
from skdmi.modules.network import FAMILY
from tests.marks import slow_but
from tests.matrices import KINDS
from tests.products import ProductCounter
from tests.tensors import DTYPES, assert_equal, norms_of, scaled, seeds, stack_of

WEIGHTS = [0.0, 0.3, 3.0]
# Every block, and the polynomial one from every start.
ENTRYWISE = [name for name, block in BLOCKS.items() if not block.takes_any_size]
NETWORKS = [pytest.param({"block": block}, id=block) for block in BLOCKS]
NETWORKS += [pytest.param({"start": start}, id=start) for start in STARTS if start != "transpose"]
FEW_NETWORKS = [NETWORKS[0], *(pytest.param(*each.values, id=each.id, marks=pytest.mark.slow) for each in NETWORKS[1:])]
property_test = settings(max_examples=10, deadline=None, database=None)


def network_of(block="polynomial", m=3, *, weights=0.3, seed=0, depth=4, width=16, **keywords) -> InverterResNet:
    """Return a network whose every parameter has been moved by normal noise of standard deviation `weights`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = InverterResNet(
            depth, width, block=block, matrix_size=None if block == "polynomial" else m, **keywords
        )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += weights * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return network


def nasty_stack(m=3, dtype=torch.float64) -> Tensor:
    """Return every kind of matrix, ill-conditioned, of low rank and with a single entry, largest entry about 1."""
    kinds = [stack_of(kind, 4, m, condition=1e12) for kind in KINDS]
    singular = [stack_of("singular", 4, m, rank=rank) / 100 for rank in range(1, m)]
    corner = torch.zeros(1, m, m, dtype=torch.float64)
    corner[0, 0, -1] = 1.0
    ones = torch.ones(1, m, m, dtype=torch.float64)
    return torch.cat([*kinds, *singular, corner, ones, torch.eye(m, dtype=torch.float64)[None]]).to(dtype)


# Finite, in shape and in dtype


@pytest.mark.parametrize("weights", slow_but([0.3], WEIGHTS))
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", slow_but([20], [1, 20]))
@pytest.mark.parametrize("options", NETWORKS)
def test_every_finite_matrix_has_a_finite_answer(options, m, dtype, precision, weights):
    network = network_of(**options, m=m, weights=weights, precision=precision)
    info = torch.finfo(dtype)
    shapes = nasty_stack(m, dtype)
    scales = [2.0**-60, 1.0, 2.0**60, info.tiny, info.smallest_normal * info.eps, info.max / 200]
    scales += [1e300, 1e-300] if dtype == torch.float64 else []
    stack = torch.cat([*(shapes * scale for scale in scales), torch.full((1, m, m), info.max, dtype=dtype)])
    assert stack.isfinite().all()
    with torch.no_grad():
        X = network(stack)
    assert X.shape == stack.shape
    assert X.dtype == dtype
    assert X.isfinite().all()
    assert_equal(X[(stack == 0).flatten(1).all(dim=1)].unique(), torch.zeros(1, dtype=dtype))


@pytest.mark.parametrize("options", FEW_NETWORKS)
def test_without_normalisation_answers_are_finite_too(options):
    for m, weights, dtype in product((1, 17), WEIGHTS, DTYPES):
        network = network_of(**options, m=m, weights=weights, normalize="none")
        largest = torch.finfo(dtype).max
        stack = torch.cat([nasty_stack(m, dtype) * scale for scale in (0.0, 2.0**-60, 1.0, 2.0**60, largest / 2)])
        assert network(stack).isfinite().all()


@pytest.mark.parametrize("block", BLOCKS)
def test_without_normalisation_entries_are_fed_as_they_are(block):
    A = stack_of(dtype=torch.float32)
    network = network_of(block, normalize="none")
    assert_equal(network(A), network.core(A))


@pytest.mark.parametrize("dtype", DTYPES)
def test_beyond_the_range_the_answer_saturates(dtype):
    info = torch.finfo(dtype)
    smallest = info.smallest_normal * info.eps
    A = torch.eye(2, dtype=dtype) * torch.tensor([smallest, -smallest], dtype=dtype)
    expected = torch.tensor([[info.max, 0.0], [0.0, -info.max]], dtype=dtype)
    assert_equal(network_of(weights=0.0)(A[None])[0], expected)


@pytest.mark.parametrize("weights", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("depth", slow_but([4], [1, 4, 6]))
@pytest.mark.parametrize("options", NETWORKS)
def test_gradients_of_the_loss_are_finite_on_the_nastiest_batch(options, depth, weights):
    network = network_of(**options, m=4, depth=depth, weights=weights)
    A = nasty_stack(4, torch.float32)
    A = torch.cat([A, A * 2.0**60, A * 2.0**-60])
    IdentityLoss(log_weight=0.1)(network(A), A).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("options", NETWORKS)
def test_gradients_reach_the_matrices(options):
    network = network_of(**options, m=3, weights=0.1, precision="float64")
    A = stack_of("spd", 2)
    analytic = A.clone().requires_grad_()
    network(analytic)[:, 0, 1].sum().backward()
    step = 1e-6 * stack_of("uniform", 2, seed=1)
    numeric = (network(A + step) - network(A - step))[:, 0, 1].sum() / 2
    torch.testing.assert_close((analytic.grad * step).sum(), numeric, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("options", NETWORKS)
def test_training_can_reach_every_parameter(options):
    network = network_of(**options, m=4, depth=4, weights=0.05)
    A = stack_of("uniform", 64, 4, dtype=torch.float32)
    IdentityLoss()(network(A), A).backward()
    idle = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert not idle


# Scale, order and precision


@pytest.mark.parametrize("dtype", slow_but([torch.float32], DTYPES))
@pytest.mark.parametrize("options", NETWORKS)
@property_test
@given(seed=seeds, power=st.integers(-60, 60))
def test_powers_of_two_leave_the_network_exactly(options, dtype, seed, power):
    network = network_of(**options, seed=seed)
    A = stack_of("uniform", 4, seed=seed, dtype=dtype)
    assert_equal(network(A * 2.0**power), network(A) * 2.0**-power)


@pytest.mark.parametrize("options", NETWORKS)
def test_other_factors_leave_the_network_up_to_rounding(options):
    network = network_of(**options, precision="float64")
    A = stack_of()
    torch.testing.assert_close(network(3e70 * A), network(A) / 3e70, rtol=1e-6, atol=1e-77)


@pytest.mark.parametrize("options", FEW_NETWORKS)
@property_test
@given(seed=seeds, order=st.permutations(range(8)))
def test_batching_and_order_do_not_matter(options, seed, order):
    network = network_of(**options, precision="float64", weights=0.1)
    A = stack_of("well", seed=seed)
    X = network(A)
    torch.testing.assert_close(network(A[order]), X[order], rtol=1e-7, atol=1e-8)
    for i in (0, 7):
        torch.testing.assert_close(network(A[i : i + 1])[0], X[i], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("options", NETWORKS)
def test_an_empty_stack_has_an_empty_answer(options):
    assert network_of(**options)(torch.zeros(0, 3, 3)).shape == (0, 3, 3)


@pytest.mark.parametrize("options", NETWORKS)
def test_autocast_outside_changes_nothing(options):
    network = network_of(**options)
    A = stack_of(dtype=torch.float32)
    expected = network(A)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (A @ A).dtype == torch.bfloat16
        assert_equal(network(A), expected)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("options", NETWORKS)
def test_the_precision_is_that_of_the_parameters_and_of_the_computation(options, precision):
    network = network_of(**options, precision=precision)
    dtype = getattr(torch, precision)
    assert {parameter.dtype for parameter in network.parameters()} == {dtype}
    seen = []
    network.core.register_forward_hook(lambda module, inputs, output: seen.extend([*inputs, output]))
    network(stack_of(dtype=torch.float64 if precision == "float32" else torch.float32))
    assert {tensor.dtype for tensor in seen} == {dtype}


@pytest.mark.parametrize("block", BLOCKS)
def test_the_global_random_state_decides_the_weights_and_nothing_else(block):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = InverterResNet(2, 8, block=block, matrix_size=3)
        torch.manual_seed(1)
        second = InverterResNet(2, 8, block=block, matrix_size=3)
        state = torch.get_rng_state()
        A = stack_of()
        assert_equal(first(A), second(A))
        assert_equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("default", [torch.float64, torch.float16])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("options", NETWORKS)
def test_a_generator_decides_the_weights_as_the_global_one_would_which_it_leaves_alone(options, precision, default):
    arguments = {"matrix_size": 3, "precision": precision, **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        expected = InverterResNet(2, 8, **arguments).state_dict()
        state, dtype = torch.get_rng_state(), torch.get_default_dtype()
        torch.set_default_dtype(default)
        try:
            with torch.device("meta"):
                network = InverterResNet(2, 8, **arguments, generator=torch.Generator().manual_seed(1))
        finally:
            torch.set_default_dtype(dtype)
        assert_equal(torch.get_rng_state(), state)
    for name, value in network.state_dict().items():
        assert value.dtype == expected[name].dtype
        assert_equal(value, expected[name])


# What the blocks are


@pytest.mark.parametrize(
    ("block", "core"),
    [
        ("polynomial", PolynomialInverse),
        ("feedback", FeedbackInverse),
        ("dense", DenseInverse),
    ],
)
def test_a_block_by_name(block, core):
    assert type(network_of(block).core) is core


@pytest.mark.parametrize("m", slow_but([1, 5], range(1, 9)))
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("start", STARTS)
def test_the_untrained_polynomial_network_is_the_iteration(start, depth, m):
    A = stack_of("spd", 16, m)
    X = network_of(depth=depth, weights=0.0, start=start, precision="float64")(A)
    of_norm_one = scaled(A)
    expected = iterate(of_norm_one, depth, start=STARTS[start])
    torch.testing.assert_close(A @ X, of_norm_one @ expected, rtol=1e-5, atol=1e-6)
    if start == "transpose":
        torch.testing.assert_close(X, minimal_residual(A, depth, rank=2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reach", [1.0, 0.2])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_network_is_the_iteration_with_a_rule_that_departs_no_further_than_its_reach(depth, reach):
    network = network_of(depth=depth, weights=1.0, precision="float64").core
    for block in network.blocks:
        block.reach = reach
    A = scaled(stack_of("uniform", m=5))
    departures = []

    def choose(step, R, problem):
        z = rule(step, R, problem)
        departures.append((z - problem.coordinates).norm(dim=-1))
        return z

    with torch.no_grad():
        rule = network.rule(A)
        assert_equal(iterate(A, depth, choose=choose), network(A))
    assert (torch.stack(departures) <= reach).all()
    assert (departures[0] > 0).all()
    if depth > 1:
        assert not departures[-1].any()


@pytest.mark.parametrize(("depth", "largest"), [(1, 0.2), (2, 1e-3), (4, 1e-12)])
def test_from_the_identity_an_untrained_network_soon_inverts_positive_definite_matrices(depth, largest):
    A = stack_of("spd", 16, 6)
    assert (norms_of(A, network_of(depth=depth, weights=0.0, start="identity", precision="float64")(A)) < largest).all()


@pytest.mark.parametrize("matrix_size", [5, (5, 7)])
@pytest.mark.parametrize("m", [4, 5, 6, 8])
def test_outside_its_sizes_a_trained_network_is_the_untrained_iteration(m, matrix_size):
    network = InverterResNet(2, 16, matrix_size=matrix_size, precision="float64")
    network.load_state_dict(network_of(depth=2, precision="float64").state_dict())
    A = stack_of("spd", 16, m)
    difference = (network(A) - minimal_residual(A, 2, rank=2)).abs().amax(dim=(-2, -1))
    if m == 5 or (m == 6 and matrix_size != 5):
        assert (difference > 1e-6).any()
    else:
        assert (difference < 1e-8).all()


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 3), (2, 2, 3, 4), (3,)], ids=str)
@pytest.mark.parametrize("options", NETWORKS)
def test_what_are_no_square_matrices_is_refused(options, shape):
    with pytest.raises(ValueError, match=r"square matrices, shape \(..., m, m\), got shape \("):
        network_of(**options)(torch.rand(shape))


@pytest.mark.parametrize("weights", WEIGHTS[:2])
@property_test
@given(seed=seeds, m=st.integers(1, 8))
def test_orthogonal_equivariance_without_deflation_with_any_weights(weights, seed, m):
    network = network_of(seed=seed, weights=weights, depth=3, rank=0, precision="float64")
    A, Q, P = stack_of("spd", 1, m, seed=seed), *stack_of("orthogonal", 2, m, seed=seed)
    torch.testing.assert_close(network(Q @ A @ P), P.mT @ network(A) @ Q.mT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("start", STARTS)
@property_test
@given(seed=seeds, m=st.integers(1, 8))
def test_similarity_equivariance_without_deflation_from_any_start(start, seed, m):
    network = network_of(seed=seed, depth=3, weights=0.1, start=start, rank=0, precision="float64")
    A, (Q,) = stack_of("spd", 1, m, seed=seed), stack_of("orthogonal", 1, m, seed=seed)
    torch.testing.assert_close(network(Q @ A @ Q.mT), Q @ network(A) @ Q.mT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", WEIGHTS[:2])
@pytest.mark.parametrize("rank", [1, 2, 4])
@property_test
@given(seed=seeds, m=st.integers(1, 8))
def test_permutations_of_rows_and_columns_commute_with_deflation(rank, weights, seed, m):
    network = network_of(seed=seed, weights=weights, depth=2, rank=rank, precision="float64")
    A, P, Q = stack_of("spd", 1, m, seed=seed), *stack_of("permutation", 2, m, seed=seed)
    torch.testing.assert_close(network(P @ A @ Q), Q.mT @ network(A) @ P.mT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", slow_but([0.3], [0.0, 0.02, 0.3, 3.0]))
@property_test
@given(seed=seeds, m=st.integers(1, 6), kind=st.sampled_from(["uniform", "condition", "spd"]))
def test_the_best_iterate_is_never_worse_than_the_multiple_of_the_identity(weights, seed, m, kind):
    network = network_of(seed=seed, weights=weights, start="identity")
    A = stack_of(kind, 4, m, seed=seed)
    start = matrix_norm(IDENTITY.function(A)[1])
    assert (matrix_norm(residual(A, network(A))) <= start + 1e-5 * math.sqrt(m)).all()


@pytest.mark.parametrize("block", ["polynomial", "feedback"])
@pytest.mark.parametrize("weights", slow_but([0.3], [0.0, 0.02, 0.3, 3.0]))
@property_test
@given(
    seed=seeds, m=st.integers(1, 6), kind=st.sampled_from(["uniform", "well", "condition", "orthogonal", "singular"])
)
def test_the_best_iterate_is_never_worse_than_the_start(block, weights, seed, m, kind):
    network = network_of(block, m, seed=seed, weights=weights)
    A = stack_of(kind, 4, m, seed=seed, rank=1)
    start = matrix_norm(TRANSPOSE.function(A.clamp(-1e3, 1e3))[1])
    assert (matrix_norm(residual(A, network(A))) <= start + 1e-5 * math.sqrt(m)).all()


@pytest.mark.parametrize("depth", [1, 3, 6])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_the_untrained_feedback_network_is_newton_schulz(m, depth):
    A = stack_of("well", 16, m)
    network = network_of("feedback", m, depth=depth, weights=0.0, precision="float64")
    expected = newton_schulz(A, TRANSPOSE.function(A)[0], depth)
    torch.testing.assert_close(network(A), expected)


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_the_untrained_dense_network_is_linear_after_one_layer(depth):
    # Blocks start as the identity, so depth adds nothing before training.
    network = network_of("dense", depth=depth, weights=0.0)
    A = stack_of(dtype=torch.float32)
    first, last = network.core.layers[0], network.core.layers[-1]
    torch.testing.assert_close(network.core(A), last(first(A.flatten(1)).relu()).reshape(A.shape))


def test_the_dense_network_has_the_published_number_of_parameters():
    network = InverterResNet(7, 128, block="dense", matrix_size=3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_712_713


@pytest.mark.parametrize("m", slow_but([6], [3, 6, 9]))
@pytest.mark.parametrize(
    ("options", "depth", "n_products"),
    [
        *(({}, depth, n) for depth, n in ((1, 5), (2, 8), (3, 11), (4, 15), (5, 18), (6, 21), (7, 25))),
        *(({"rank": 0}, depth, n) for depth, n in ((1, 5), (4, 15))),
        *(({"start": "identity"}, depth, n) for depth, n in ((1, 3), (2, 6), (3, 9), (4, 13))),
        *(({"block": "feedback"}, depth, 1 + 2 * depth) for depth in (1, 2, 5)),
        ({"block": "dense"}, 3, 0),
    ],
    ids=str,
)
def test_the_products_spent_are_the_products_counted(options, depth, n_products, m):
    network = network_of(**options, m=m, depth=depth)
    with ProductCounter(m, 8) as counter:
        network(stack_of(m=m, dtype=torch.float32))
    assert counter.n_products == network.n_products(m) == n_products


# What is refused


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"block": "convolutional"}, re.escape(f"block='convolutional'; expected one of {tuple(BLOCKS)}")),
        ({"normalize": "spectral"}, r"normalize='spectral'; expected one of \('frobenius', 'none'\)"),
        ({"start": "inverse"}, re.escape(f"start='inverse'; expected one of {(*STARTS, FAMILY)}")),
        ({"precision": "bfloat16"}, r"precision='bfloat16'; expected one of \('float32', 'float64'\)"),
        *(({"block": block}, rf"block='{block}' reads entries, so it needs .*matrix_size=m") for block in ENTRYWISE),
    ],
)
def test_unknown_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        InverterResNet(2, 8, **parameters)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_numpy_integer_is_a_size(block):
    network = InverterResNet(2, 8, block=block, matrix_size=np.int64(3))
    assert network(stack_of(m=3)).shape == (8, 3, 3)


@pytest.mark.parametrize("block", ENTRYWISE)
def test_blocks_that_read_entries_keep_to_one_size(block):
    with pytest.raises(RuntimeError, match="shape"):
        network_of(block, 3)(stack_of(m=4))


# The loss


@property_test
@given(seed=seeds, m=st.integers(1, 5), log_weight=st.sampled_from([0.0, 0.1, 2.0]), log_scale=st.floats(1e-4, 1.0))
def test_the_formula_of_the_loss(seed, m, log_weight, log_scale):
    A, X = stack_of("uniform", m=m, seed=seed), stack_of("uniform", m=m, seed=seed + 1)
    loss = IdentityLoss(log_weight, log_scale)(X, A)
    norms = [math.sqrt((torch.eye(m).double() - a @ x).square().sum().item()) for a, x in zip(A, X, strict=True)]
    expected = sum(r + log_weight * math.log(1 + r / log_scale) for r in norms) / len(norms)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("log_weight", [0.0, 0.1])
def test_the_loss_is_zero_with_zero_gradient_at_the_inverse(log_weight):
    A = stack_of("permutation", dtype=torch.float32)
    X = A.mT.clone().requires_grad_()
    loss = IdentityLoss(log_weight)(X, A)
    loss.backward()
    assert loss.item() == 0
    assert_equal(X.grad, torch.zeros_like(X))


def test_training_improves_on_the_untrained_iteration():
    A = stack_of("uniform", 256, 8, dtype=torch.float32)
    network = network_of(depth=2, weights=0.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = IdentityLoss()(network(A), A)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.99 * losses[0]
