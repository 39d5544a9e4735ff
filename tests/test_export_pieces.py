"""The pieces of exported graphs, each against the function that it stands for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skdmi.iteration import IDENTITY, TRANSPOSE, deflate, least_residual, newton_schulz, take_step
from tests.matrices import make_stack

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from skdmi.export import cofactors, deflation, gauss_jordan, minimal, scale, starts, steps
from skdmi.export.graph import LAST, Graph
from tests.onnx_files import open_session, run

U = 2.0**-24


def evaluate(m, build, A, layout=None):
    """Return what a graph makes of A: ``build(graph, A)`` gives matrices by name."""
    graph = Graph(m) if layout is None else Graph(m, layout)
    for name, value in build(graph, graph.input("A")).items():
        graph.output(name, value, is_inverse=True)
    return run(open_session(graph.model("A piece", {})), A)


def scaled_stack(kind, m, n_matrices=50):
    """Return float32 matrices with the norm that a network sees."""
    A = make_stack(kind, n_matrices, m, dtype=np.float32)
    return (A / np.linalg.norm(A, axis=(1, 2), keepdims=True) * np.sqrt(m)).astype(np.float32)


def assert_near(found, expected, factor=200):
    """Assert that stacks differ by rounding, relative to the norm of each matrix."""
    expected = np.asarray(expected)
    norms = np.linalg.norm(expected, axis=(1, 2))
    assert (np.linalg.norm(found - expected, axis=(1, 2)) <= factor * U * norms).all()


@pytest.mark.parametrize("number", [1.0, 1.5, 2.0 - 2**-23, 3e-30, 2.0**-126, 2.0**100, 1e31])
def test_power_of_two(number):
    A = np.array([[[number]]], np.float32)
    found = evaluate(1, lambda graph, A: {"p": scale.power_of_two(A)}, A)["p"]
    assert found.item() == 2.0 ** np.floor(np.log2(A.item()))


@pytest.mark.parametrize("layout", [None, LAST])
def test_equilibrated_rows_and_columns_lie_between_one_and_two(layout):
    A = make_stack("uniform", 50, 4, dtype=np.float32)
    exponents = np.random.default_rng(0).integers(-30, 31, (2, 50, 4))
    A = A * 2.0 ** exponents[0][:, :, None] * 2.0 ** exponents[1][:, None, :]
    found = evaluate(4, lambda graph, A: {"B": graph.as_inverse(scale.equilibrate(A).B)}, A.astype(np.float32), layout)
    columns = np.abs(found["B"].swapaxes(1, 2)).sum(1)
    assert ((columns >= 1 - 4 * U) & (columns <= 2 + 8 * U)).all()


def test_normalized_matrices_have_the_norm_that_a_network_sees():
    A = 1e-9 * make_stack("uniform", 50, 5, dtype=np.float32)
    B = evaluate(5, lambda graph, A: {"B": scale.normalize(A).B}, A)["B"]
    np.testing.assert_allclose(np.linalg.norm(B, axis=(1, 2)), np.sqrt(5), rtol=1e-6)


def test_symmetric_scaling_keeps_symmetry():
    A = make_stack("spd", 50, 5, dtype=np.float64)
    d = 2.0 ** np.random.default_rng(0).integers(-20, 21, (50, 5))
    A = (d[:, :, None] * (A + A.swapaxes(1, 2)) * d[:, None, :]).astype(np.float32)
    B = evaluate(5, lambda graph, A: {"B": scale.equilibrate_symmetric(A).B}, A)["B"]
    assert (B.swapaxes(1, 2) == B).all()
    diagonal = np.diagonal(B, axis1=1, axis2=2)
    assert ((diagonal >= 1) & (diagonal < 4)).all()


@pytest.mark.parametrize("m", [None, 1, 2, 3, 8])
@pytest.mark.parametrize(("start", "kind"), [(TRANSPOSE, "uniform"), (IDENTITY, "spd")])
def test_starts(start, kind, m):
    A = scaled_stack(kind, m or 5)

    def build(graph, A):
        begun = starts.begin(graph, start, A)
        return {"X": begun.X * graph.identity if begun.diagonal else begun.X, "R": begun.R}

    found = evaluate(m, build, A)
    X, R = start.function(torch.from_numpy(A))
    assert_near(found["X"], torch.diag_embed(X.squeeze(-1)) if start == IDENTITY and A.shape[-1] > 1 else X)
    assert np.abs(found["R"] - R.numpy()).max() < 200 * U


def test_a_start_of_ones_own_is_refused():
    own = TRANSPOSE._replace(n_products=2)
    with pytest.raises(ValueError, match="start of your own"):
        evaluate(3, lambda graph, A: {"X": starts.begin(graph, own, A).X}, scaled_stack("uniform", 3))


@pytest.mark.parametrize("m", [None, 2, 3, 8])
@pytest.mark.parametrize("kind", ["uniform", "well"])
def test_a_step_of_least_residual(kind, m):
    A = scaled_stack(kind, m or 5)

    def build(graph, A):
        begun = starts.begin(graph, TRANSPOSE, A)
        X, R = minimal.take_step(graph, begun.X, begun.R, minimal.least_residual, 1)
        return {"X": X, "R": R}

    found = evaluate(m, build, A)
    X, R = take_step(*TRANSPOSE.function(torch.from_numpy(A)), least_residual)
    # Where directions nearly depend on each other, as at small m, coefficients are rounding: half of them have none.
    difference = np.linalg.norm(found["X"] - X.numpy(), axis=(1, 2)) / np.linalg.norm(X.numpy(), axis=(1, 2))
    assert np.median(difference) < 2e-5
    norms, expected = np.linalg.norm(found["R"], axis=(1, 2)), torch.linalg.matrix_norm(R).numpy()
    assert np.median(np.abs(norms - expected)) < 2e-5


@pytest.mark.parametrize("m", [None, 2, 4, 9])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_deflation(rank, m):
    size = m or 6
    rank = min(rank, size // 2)
    A = scaled_stack("uniform", size)

    def build(graph, A):
        begun = starts.begin(graph, TRANSPOSE, A)
        X, R = deflation.deflate(graph, A, begun.X, begun.R, rank)
        return {"X": X, "R": R}

    found = evaluate(m, build, A)
    before = TRANSPOSE.function(torch.from_numpy(A).double())[1]
    X, R = deflate(torch.from_numpy(A).double(), *TRANSPOSE.function(torch.from_numpy(A).double()), rank)
    difference = np.linalg.norm(found["R"] - R.numpy(), axis=(1, 2))
    assert np.median(difference) < 1e-5
    assert np.median(np.linalg.norm(found["X"] - X.numpy(), axis=(1, 2))) < 1e-4
    columns = np.linalg.norm(found["R"], axis=1)
    assert (columns <= torch.linalg.vector_norm(before, dim=1).numpy() * (1 + 1e-5) + 1e-6).all()


def test_a_deflation_takes_no_more_than_half_of_any_size():
    A = scaled_stack("uniform", 3)

    def build(graph, A):
        begun = starts.begin(graph, TRANSPOSE, A)
        return {"R": deflation.deflate(graph, A, begun.X, begun.R, 2)[1]}

    R = deflate(torch.from_numpy(A), *TRANSPOSE.function(torch.from_numpy(A)), 2)[1].numpy()
    difference = np.linalg.norm(evaluate(None, build, A)["R"] - R, axis=(1, 2))
    assert np.median(difference) < 1e-5


@pytest.mark.parametrize("m", [None, 3, 8])
def test_two_steps_are_those_of_newton_and_schulz(m):
    A = scaled_stack("well", m or 5)

    def build(graph, A):
        begun = starts.begin(graph, TRANSPOSE, A)
        return {"X": steps.take_steps(graph, A, begun.X, begun.R, [2.0, 2.0])}

    expected = newton_schulz(torch.from_numpy(A), TRANSPOSE.function(torch.from_numpy(A))[0], 2)
    assert_near(evaluate(m, build, A)["X"], expected)


@given(
    ratio=st.floats(1, 1e12),
    largest=st.floats(0.1, 10),
    places=st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_equalizing_steps_bring_all_eigenvalues_to_one(ratio, largest, places):
    scale_by, alphas = steps.equalizing_steps(ratio, largest)
    eigenvalues = scale_by * largest * np.array([*places, 0, 1]) ** 4 * (1 - 1 / ratio) + scale_by * largest / ratio
    for alpha in alphas:
        eigenvalues = eigenvalues * (alpha - eigenvalues)
    assert np.abs(eigenvalues - 1).max() < 2e-6


@pytest.mark.parametrize("ratio", [1e4, 1e8, 1e12])
def test_rounding_takes_no_eigenvalue_below_zero(ratio):
    scale_by, alphas = steps.equalizing_steps(ratio, 1.0)
    eigenvalues = np.float32(scale_by) * np.linspace(0.999, 1, 10_001, dtype=np.float32)
    for alpha in alphas:
        eigenvalues = eigenvalues * (np.float32(alpha) - eigenvalues)
    assert (np.abs(eigenvalues - 1) < 1e-5).all()


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_cofactors(m):
    A = scaled_stack("well", m)
    assert_inverts(evaluate(m, lambda graph, A: {"X": cofactors.cofactor_inverse(graph, A)}, A, LAST)["X"], A)


@pytest.mark.parametrize("m", [2, 5, 12])
@pytest.mark.parametrize("kind", ["uniform", "permutation", "orthogonal"])
def test_elimination(kind, m):
    if kind == "permutation":
        random = np.random.default_rng(0)
        A = np.array([np.eye(m, dtype=np.float32)[random.permutation(m)] for _ in range(50)])
    else:
        A = scaled_stack(kind, m)
    assert_inverts(evaluate(m, lambda graph, A: {"X": gauss_jordan.eliminated_inverse(graph, A)}, A, LAST)["X"], A)


def assert_inverts(X, A):
    m = A.shape[-1]
    A = A.astype(np.float64)
    residual = np.linalg.norm(np.eye(m) - A @ X, axis=(1, 2))
    assert (residual <= 100 * m * U * np.linalg.cond(A)).all()


def test_a_node_that_is_there_is_not_added_again():
    graph = Graph(2)
    A = graph.input("A")
    assert (A @ A).name == (A @ A).name
    assert graph.constant(2.0).name == graph.constant(2.0).name != graph.constant([2]).name
