"""Laws of the files of fitted inverters: they answer as the inverters do, for any number of matrices."""

from functools import cache, partial

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator

from skdmi import EnsembleInverter, NeuralMatrixInverter
from skdmi.distributions import Affine
from skdmi.iteration.learned import PolynomialInverse
from skdmi.modules import InverterResNet
from skdmi.persistence import pretrained_names
from tests.matrices import make_stack

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from skdmi.export.finish import Ending  # noqa: E402
from skdmi.export.fitted import as_it_is  # noqa: E402
from skdmi.export.network import Combination  # noqa: E402
from tests.onnx_files import (  # noqa: E402
    COUNTS,
    check_file,
    float64_residuals,
    open_session,
    relative_differences,
    run,
    run_by_reference,
    said,
)

WELL = partial(make_stack, "well", dtype=np.float32)
SPD = partial(make_stack, "spd", dtype=np.float32)


def members_of(distribution, n_matrices, m, seed=1):
    return distribution.sample(n_matrices, m, random_state=seed).astype(np.float32)


def rotated(n_matrices, m, seed=1):
    """Return members of a family whose diagonals are of both signs: no place for the start of Jacobi."""
    basis = make_stack("uniform", 4, m, seed=0)
    weights = np.random.default_rng(seed).uniform(-0.1, 0.1, (n_matrices, 4))
    Q = make_stack("orthogonal", 1, m, seed=0)
    return (Q @ (np.eye(m) + np.tensordot(weights, basis, 1) / m)).astype(np.float32)


def untrained(m=5, departs=True, depth=3, net=None, **parameters):
    """Return an inverter with first weights, and some noise on them: without that a network does not depart."""
    net_params = {f"module__{name}": value for name, value in (net or {}).items()}
    inverter = NeuralMatrixInverter(
        depth, 8, matrix_size=m, max_epochs=0, random_state=0, net_params=net_params, **parameters
    ).fit()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in inverter.module_.core.blocks.parameters() if departs else []:
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return inverter


def family(draw, n_atoms, departs=False):
    inverter = NeuralMatrixInverter(2, 4, start="family", n_atoms=n_atoms, max_epochs=0, random_state=0)
    inverter.fit(draw(100))
    with torch.no_grad():
        for block in inverter.module_.core.blocks if departs else []:
            block.departure.write.bias += 0.1
    return inverter


def ensemble(combine, *members):
    return EnsembleInverter.from_fitted([make() for make in members], combine=combine)


DIFFUSION = partial(members_of, Affine.diffusion(3), m=9)
ROTATED = partial(rotated, m=6)
TWO = (untrained, partial(untrained, net={"rank": 0}))
SHIPPED = {
    name: (
        partial(NeuralMatrixInverter.from_pretrained, name),
        partial(members_of, NeuralMatrixInverter.from_pretrained(name).distribution_),
    )
    for name in pretrained_names()
    if hasattr(NeuralMatrixInverter.from_pretrained(name).distribution_, "sample")
    and not NeuralMatrixInverter.from_pretrained(name).distribution_.uses_data
}
MODELS = {
    "transpose": (partial(untrained, start="transpose", departs=False), WELL, [5]),
    "transpose, departing": (partial(untrained, start="transpose"), WELL, [5]),
    "identity": (partial(untrained, start="identity", departs=False), SPD, [5]),
    "identity, departing": (partial(untrained, start="identity"), SPD, [5]),
    "one by one": (partial(untrained, 1), WELL, [1]),
    "any size": (partial(untrained, (2, 3, 8)), WELL, [1, 2, 3, 5, 8, 11]),
    "any size, identity": (partial(untrained, (2, 3), start="identity"), SPD, [1, 2, 3, 4]),
    "rank 0": (partial(untrained, net={"rank": 0}), WELL, [5]),
    "float64": (partial(untrained, net={"precision": "float64"}), WELL, [5]),
    "not normalized": (partial(untrained, 3, net={"normalize": "none"}), WELL, [3]),
    "feedback": (partial(untrained, 3, departs=False, block="feedback"), WELL, [3]),
    "dense": (partial(untrained, 3, departs=False, block="dense"), WELL, [3]),
    "dense, not normalized": (
        partial(untrained, 3, departs=False, block="dense", net={"normalize": "none"}),
        WELL,
        [3],
    ),
    "family, identity": (partial(family, DIFFUSION, 4), DIFFUSION, [9]),
    "family, identity, departing": (partial(family, DIFFUSION, 4, departs=True), DIFFUSION, [9]),
    "family, identity, constant": (partial(family, DIFFUSION, 0), DIFFUSION, [9]),
    "family, transpose": (partial(family, ROTATED, 4), ROTATED, [6]),
    "family, transpose, constant": (partial(family, ROTATED, 0), ROTATED, [6]),
    "mean": (partial(ensemble, "mean", *TWO), WELL, [5]),
    "best": (partial(ensemble, "best", *TWO), WELL, [5]),
    "any size, best": (partial(ensemble, "best", *2 * [partial(untrained, (2, 3))]), WELL, [2, 6]),
    "mean of mixed": (
        partial(ensemble, "mean", partial(untrained, 3, net={"normalize": "none"}), partial(untrained, 3)),
        WELL,
        [3],
    ),
    "nested and frozen": (
        partial(ensemble, "mean", lambda: FrozenEstimator(untrained()), partial(ensemble, "best", *TWO)),
        WELL,
        [5],
    ),
}
CASES = {**MODELS, **{name: (make, draw, None) for name, (make, draw) in SHIPPED.items()}}
each_model = pytest.mark.parametrize("name", CASES)


@cache
def inverter_of(name):
    return CASES[name][0]()


def sizes_of(name):
    return CASES[name][2] or [inverter_of(name)._size()]


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """The path of the file of a model, written once."""
    folder = tmp_path_factory.mktemp("files")

    @cache
    def write(name):
        path = folder / f"{list(CASES).index(name)}.onnx"
        inverter_of(name).export(path)
        return path

    return write


def test_every_shipped_model_is_here():
    assert {"uniform-3x3-short", "uniform-16x16-short"} <= set(SHIPPED)
    assert len(SHIPPED) == len(pretrained_names())


@each_model
def test_files_are_valid_and_hold_nothing_needless(name, file_of):
    model, inverter = onnx.load(file_of(name)), inverter_of(name)
    check_file(model, inverter._size(), ["inverse", "rho", "residual_norm"])
    metadata = said(model)
    assert metadata["inverter"] == type(inverter).__name__
    assert all({"network", "trained_on", "n_matrices_seen"} <= member.keys() for member in metadata["members"])


@each_model
def test_answers_are_those_of_transform_but_for_rounding(name, file_of):
    # Of matrices on which the iteration converges: what has not converged amplifies rounding without a bound, and so
    # does a residual that is computed from an ill-conditioned matrix. Shipped models see the latter too.
    inverter, session = inverter_of(name), open_session(file_of(name))
    tolerance = 2e-2 if name in SHIPPED else 2e-3
    for m in sizes_of(name):
        A = CASES[name][1](200, m=m)
        expected, found = inverter.transform(A), run(session, A)["inverse"]
        mine, theirs = float64_residuals(A, found), float64_residuals(A, expected)
        difference = relative_differences(found, expected)
        near = np.full(len(A), True) if m == 1 else theirs < np.median(theirs) + 1e-6
        assert near.mean() >= 0.4
        assert (difference[near] <= tolerance).all()
        assert np.median(difference) <= 1e-4
        assert np.quantile(mine, 0.9) <= 1.02 * np.quantile(theirs, 0.9) + 1e-4


@each_model
def test_the_reference_of_onnx_agrees_with_onnxruntime(name, file_of):
    model, session = onnx.load(file_of(name)), open_session(file_of(name))
    for m in sizes_of(name):
        A = CASES[name][1](20, m=m)
        expected, found = run_by_reference(model, A), run(session, A)
        assert {key: (value.shape, value.dtype) for key, value in found.items()} == {
            key: (value.shape, value.dtype) for key, value in expected.items()
        }
        assert np.median(relative_differences(found["inverse"], expected["inverse"])) <= 1e-4
        np.testing.assert_allclose(np.median(found["rho"]), np.median(expected["rho"]), rtol=0.2, atol=1e-5)


@each_model
def test_any_number_of_matrices(name, file_of):
    session = open_session(file_of(name))
    for m in sizes_of(name):
        A = CASES[name][1](1000, m=m)
        whole = run(session, A)
        for n in COUNTS:
            part = run(session, A[:n])
            assert part["inverse"].shape == (n, m, m)
            assert part["rho"].shape == part["residual_norm"].shape == (n,)
            if n:
                # Whether five rows are multiplied as a thousand are is the runtime's choice.
                assert np.median(relative_differences(part["inverse"], whole["inverse"][:n])) <= 1e-3


@each_model
def test_residual_norms_are_those_of_what_is_returned(name, file_of):
    session = open_session(file_of(name))
    for m in sizes_of(name):
        A = CASES[name][1](200, m=m)
        found = run(session, A)
        true = float64_residuals(A, found["inverse"])
        allowed = np.linalg.norm(np.abs(A).astype(float) @ np.abs(found["inverse"]), axis=(1, 2)) * (m + 8) * 2.0**-24
        np.testing.assert_array_less(np.abs(found["residual_norm"] - true), allowed + (m * m + 8) * 2.0**-24 * true)
        proved = found["rho"] < 1
        assert (true[proved] <= np.sqrt(m) * found["rho"][proved] * 1e3).all()


@pytest.mark.parametrize("name", ["transpose, departing", "any size", "family, identity", "mean", "dense"])
def test_bad_matrices_have_no_certificate_and_spoil_no_other(name, file_of):
    session, m = open_session(file_of(name)), sizes_of(name)[-1]
    A = CASES[name][1](40, m=m)
    bad = A.copy()
    bad[3], bad[7, 0, -1], bad[11, -1, 0], bad[15], bad[16] = np.nan, np.nan, np.inf, -np.inf, 0
    bad[20], bad[21], bad[22], bad[23] = 1e30, 3e38, 1e-30 * A[22], 1e-40
    spoilt = np.isin(np.arange(40), [3, 7, 11, 15, 16, 20, 21, 22, 23])
    expected, found = run(session, A), run(session, bad)
    assert not (found["rho"][spoilt] < 1).any()
    # No kernel chooses by the numbers in it, so all bits are the same.
    for key in expected:
        np.testing.assert_array_equal(found[key][~spoilt], expected[key][~spoilt])


@pytest.mark.parametrize("name", ["transpose", "any size", "family, identity", "feedback", "best"])
def test_nan_mask_and_no_certificate_leave_the_inverse_as_it_is(name, tmp_path):
    inverter, m = inverter_of(name), sizes_of(name)[-1]
    A = np.concatenate([CASES[name][1](20, m=m), make_stack("singular", 20, m, dtype=np.float32)])
    found = {}
    for key, options in {
        "keep": {},
        "nan": {"uncertified": "nan"},
        "mask": {"uncertified": "mask"},
        "none": {"certificate": False},
    }.items():
        inverter.export(tmp_path / f"{key}.onnx", **options)
        found[key] = run(open_session(tmp_path / f"{key}.onnx"), A)
    proved = found["keep"]["rho"] < 1
    assert proved.any()
    assert not proved[20:].any()
    assert list(found["none"]) == ["inverse"]
    np.testing.assert_array_equal(found["mask"]["certified"], proved)
    for key in ("mask", "none"):
        np.testing.assert_array_equal(found[key]["inverse"], found["keep"]["inverse"])
    expected = np.where(proved[:, None, None], found["keep"]["inverse"], np.nan)
    np.testing.assert_array_equal(found["nan"]["inverse"], expected)


def test_what_a_network_has_learned_is_in_the_file(tmp_path):
    inverter, without = untrained(8, depth=1), untrained(8, depth=1, departs=False)
    inverter.export(tmp_path / "inverse.onnx")
    A = WELL(500, m=8)
    found = run(open_session(tmp_path / "inverse.onnx"), A)["inverse"]
    assert np.median(relative_differences(found, inverter.transform(A))) < 1e-5
    assert np.median(relative_differences(found, without.transform(A))) > 1e-3


def test_an_export_changes_nothing_in_the_inverter(tmp_path):
    inverter = untrained()
    A = WELL(20, m=5)
    before, expected = str(inverter.__getstate__()), inverter.transform(A)
    inverter.export(tmp_path / "inverse.onnx")
    assert str(inverter.__getstate__()) == before
    np.testing.assert_array_equal(inverter.transform(A), expected)
    first = (tmp_path / "inverse.onnx").read_bytes()
    inverter.export(tmp_path / "inverse.onnx")
    assert (tmp_path / "inverse.onnx").read_bytes() == first


def test_what_is_of_ones_own_is_refused(tmp_path):
    class Network(InverterResNet):
        pass

    class Core(PolynomialInverse):
        pass

    own_network, own_core = untrained(3, departs=False), untrained(3, departs=False)
    own_network.module_.__class__, own_core.module_.core.__class__ = Network, Core
    for inverter, name in ((own_network, "Network"), (own_core, "Core")):
        with pytest.raises(ValueError, match=f"A network of your own, {name}, cannot be exported"):
            inverter.export(tmp_path / "inverse.onnx")
    two = Combination("first", (untrained(3).module_,))
    with pytest.raises(ValueError, match="combine='first', a way of your own"):
        as_it_is(two, 3, Ending(), {})
    assert list(tmp_path.iterdir()) == []
