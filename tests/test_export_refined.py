"""Laws of the files of refined inverters: as few steps as serve, and errors that leave everything as it was."""

import copy
from functools import cache

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer

from skdmi import EnsembleInverter, ExactInverter, NeuralMatrixInverter, RefinedInverter
from skdmi.distributions import Affine, Uniform, Wishart
from skdmi.estimators.exporting import drawn
from tests.matrices import make_stack
from tests.models import untrained

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from skdmi.export import refined as choosing  # noqa: E402
from tests.onnx_files import check_file, open_session, relative_differences, run, said  # noqa: E402


def members(n, seed=1):
    return Affine.diffusion(3).sample(n, 9, random_state=seed).astype(np.float32)


def fitted(X=None, **parameters):
    parameters = {"depth": 2, "width": 4, "max_epochs": 0, "random_state": 0} | parameters
    return NeuralMatrixInverter(**parameters).fit(X)


def refined(inverter, **parameters):
    """Refine a fitted inverter; another fit is not needed."""
    return RefinedInverter(FrozenEstimator(inverter), **parameters)


def of_kind(kind, **options):
    return lambda n, m: make_stack(kind, n, m, dtype=np.float32, seed=7, **options)


MODELS = {
    "closed form": (lambda: fitted(matrix_size=3), of_kind("well"), 3),
    "elimination": (lambda: fitted(matrix_size=8), of_kind("well"), 8),
    "steps": (lambda: fitted(matrix_size=14), of_kind("well"), 14),
    "steps, any size": (lambda: untrained((2, 5)), of_kind("well"), 5),
    "identity": (lambda: fitted(matrix_size=14, start="identity"), of_kind("spd"), 14),
    "family": (lambda: fitted(members(100), start="family", n_atoms=4), lambda n, m: members(n, seed=2), 9),
    "constant family": (lambda: fitted(members(100), start="family", n_atoms=0), lambda n, m: members(n, seed=2), 9),
    "feedback": (lambda: fitted(matrix_size=3, block="feedback"), of_kind("spd"), 3),
    "not normalized": (
        lambda: fitted(matrix_size=3, net_params={"module__normalize": "none"}),
        of_kind("well"),
        3,
    ),
    "ensemble": (lambda: EnsembleInverter.from_fitted([untrained(4, depth) for depth in (1, 2)]), of_kind("well"), 4),
    "best of an ensemble": (
        lambda: EnsembleInverter.from_fitted([untrained(4, depth) for depth in (1, 2)], combine="best"),
        of_kind("well"),
        4,
    ),
}
each_model = pytest.mark.parametrize("name", MODELS)


@cache
def refined_of(name):
    return refined(MODELS[name][0]())


def stack_for(name, n):
    return MODELS[name][1](n, MODELS[name][2])


def exported(path, inverter, *arguments, **options):
    inverter.export(path, *arguments, **options)
    return onnx.load(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "inverse.onnx"


@each_model
def test_the_file_certifies_the_share_that_was_asked_for(name, path):
    A = stack_for(name, 500)
    model = exported(path, refined_of(name), A, share=0.95)
    check_file(model, refined_of(name)._size(), ["inverse", "rho", "residual_norm"])
    found, metadata = run(open_session(path), A), said(model)
    assert np.mean(found["rho"] < 1) >= 0.95
    assert metadata["inverter"] == "RefinedInverter"
    assert metadata["certified"] == np.mean(found["rho"] < 1)
    assert metadata["certified_of"] == 500
    assert metadata["steps"] in model.doc_string
    proved = found["rho"] < 1
    exact = np.linalg.inv(A.astype(np.float64))
    difference = relative_differences(found["inverse"], exact)
    assert (difference[proved & (found["rho"] < 0.1)] < 0.3).all()
    assert np.median(difference) < 1e-4


@each_model
def test_the_file_certifies_matrices_like_those_it_was_made_by(name, path):
    seen, unseen = stack_for(name, 1000)[:500], stack_for(name, 1000)[500:]
    refined_of(name).export(path, seen, share=0.95)
    assert np.mean(run(open_session(path), unseen)["rho"] < 1) > 0.85


def test_a_smaller_share_or_a_larger_tol_takes_no_more_nodes(path):
    A = make_stack("uniform", 500, 14, dtype=np.float32)
    inner = fitted(matrix_size=14)
    sizes = [
        len(exported(path, refined(inner, tol=tol), A, share=share).graph.node)
        for share, tol in ((0.5, 0.9), (0.5, "auto"), (0.9, "auto"), (0.97, "auto"))
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_tol_is_what_bounds_need_not_go_below(path):
    A = stack_for("identity", 300)
    for tol in (1e-1, 1e-3):
        refined(MODELS["identity"][0](), tol=tol).export(path, A, share=1)
        assert (run(open_session(path), A)["rho"] <= max(tol, 1e-3)).all()


def products_of(model):
    return sum(node.op_type == "MatMul" for node in model.graph.node)


def test_the_start_of_a_family_saves_products(path):
    A = Affine.diffusion(4).sample(300, 16, random_state=3)
    learned, plain = (
        refined(fitted(Affine.diffusion(4).sample(100, 16, random_state=1), start=start))
        for start in ("family", "transpose")
    )
    models = [exported(path, one, A, share=0.95) for one in (learned, plain)]
    assert "hyperpower" in said(models[0])["steps"]
    assert "fixed steps" in said(models[1])["steps"]
    assert products_of(models[0]) < products_of(models[1]) / 2


@pytest.mark.parametrize("m", [3, 14])
def test_without_matrices_they_are_drawn_from_the_distribution(path, m):
    inverter = refined(fitted(matrix_size=m, distribution=Uniform(min_abs_det=0.1 if m == 3 else 0)))
    one = exported(path, inverter, share=0.9)
    assert said(one)["certified_of"] == 4096
    assert said(one)["certified"] >= 0.9
    assert exported(path, inverter, share=0.9) == one


def test_matrices_of_several_sizes_are_drawn_at_the_ends_of_their_range(path):
    model = exported(path, refined(untrained((2, 5))), share=0.9)
    check_file(model, None, ["inverse", "rho", "residual_norm"])
    assert said(model)["certified_of"] == 4096
    for m in (1, 2, 3, 5, 9):
        assert (run(open_session(path), make_stack("well", 20, m, dtype=np.float32))["rho"] < 1).all()


@pytest.mark.parametrize("name", ["steps", "family"])
def test_what_is_returned_of_the_uncertified(name, path):
    A = np.concatenate([stack_for(name, 100), np.zeros_like(stack_for(name, 5))])
    keep, nan, mask, bare = (
        (refined_of(name).export(path, A[:100], share=0.9, **options), run(open_session(path), A))[1]
        for options in ({}, {"uncertified": "nan"}, {"uncertified": "mask"}, {"certificate": False})
    )
    proved = keep["rho"] < 1
    assert not proved[100:].any()
    np.testing.assert_array_equal(mask["certified"], proved)
    np.testing.assert_array_equal(np.isnan(nan["inverse"]).any(axis=(1, 2)), ~proved)
    assert list(bare) == ["inverse"]
    for other in (bare, mask):
        np.testing.assert_array_equal(other["inverse"], keep["inverse"])


def test_flat_rows_are_matrices_too(path):
    A = stack_for("closed form", 100)
    flat = RefinedInverter(fitted(matrix_size=3)).fit()
    assert exported(path, flat, A.reshape(100, 9)) == exported(path, flat, A)


def test_no_fit_is_needed_where_the_inner_inverter_is_fitted(path):
    refined(fitted(matrix_size=3)).export(path, stack_for("closed form", 100))
    assert (run(open_session(path), stack_for("closed form", 10))["rho"] < 1).all()


@pytest.mark.parametrize(("own", "expected"), [("exact", "nan"), ("nan", "nan"), ("raise", "nan"), ("keep", "keep")])
def test_what_is_not_certified_is_returned_only_where_the_inverter_returns_it(own, expected, path):
    inverter = RefinedInverter(FrozenEstimator(fitted(matrix_size=3)), uncertified=own)
    A = np.concatenate([stack_for("closed form", 10), make_stack("singular", 10, 3, dtype=np.float32)])
    inverter.export(path, A[:10])
    found = run(open_session(path), A)
    assert (np.isnan(found["inverse"]).all((1, 2)) == (expected == "nan") * ~(found["rho"] < 1)).all()
    inverter.export(path, A[:10], certificate=False)
    assert list(run(open_session(path), A)) == ["inverse"]


def test_steps_are_chosen_by_what_every_member_was_trained_on():
    members = [
        NeuralMatrixInverter(2, matrix_size=5, max_epochs=0, distribution=one, random_state=0).fit()
        for one in (Uniform(), Wishart())
    ]
    stacks = drawn(EnsembleInverter.from_fitted([*members, members[0]]))
    assert [stack.shape for stack in stacks] == [(2048, 5, 5)] * 2
    assert (stacks[1] == stacks[1].mT).all()


def test_bounds_that_further_steps_would_lower_are_not_called_uncertified(monkeypatch):
    bounds = iter(10.0 ** -np.arange(1, 20))
    monkeypatch.setattr(choosing, "_bounds", lambda model, stacks: np.full(50, next(bounds)))
    source, plan_of = fitted(matrix_size=3, block="feedback").module_, lambda plan: None
    monkeypatch.setattr(choosing, "MAX_PRODUCTS", 5)
    with pytest.raises(ValueError, match=r"50 of 50 matrices are certified, but the bounds of only 0 .* larger tol"):
        choosing.choose(source, 3, plan_of, [GOOD], share=1)
    bounds = iter(10.0 ** -np.arange(1, 20))
    assert choosing.choose(source, 3, plan_of, [GOOD], share=1, tol=0.01).share == 1


# Errors


GOOD = stack_for("closed form", 50)
SINGULAR = make_stack("singular", 50, 3, dtype=np.float32)
REFUSED = {
    "share beyond reach": (
        lambda: refined(fitted(matrix_size=3)),
        (SINGULAR,),
        {},
        ValueError,
        "no more than 0 of 50 .* certified",
    ),
    "no data to draw from": (
        lambda: refined(fitted(GOOD, depth=1)),
        (),
        {},
        ValueError,
        r"export\(path, X\)",
    ),
    "no inner inverter": (lambda: RefinedInverter().fit(GOOD), (GOOD,), {}, TypeError, "cannot be exported"),
    "an exact inner inverter": (
        lambda: RefinedInverter(ExactInverter()),
        (GOOD,),
        {},
        TypeError,
        "ExactInverter cannot",
    ),
    "a foreign inner inverter": (
        lambda: RefinedInverter(FunctionTransformer(np.linalg.inv)),
        (GOOD,),
        {},
        TypeError,
        "FunctionTransformer cannot",
    ),
    "an ensemble of exact ones": (
        lambda: RefinedInverter(EnsembleInverter.from_fitted([ExactInverter(), fitted(matrix_size=3)])),
        (GOOD,),
        {},
        TypeError,
        "ExactInverter cannot",
    ),
    "matrices of another size": (
        lambda: RefinedInverter(fitted(matrix_size=4)).fit(),
        (GOOD,),
        {},
        ValueError,
        "3 x 3|4 x 4",
    ),
    "an inverter that is not fitted": (
        lambda: RefinedInverter(NeuralMatrixInverter(matrix_size=3)),
        (GOOD,),
        {},
        NotFittedError,
        "not fitted",
    ),
    "matrices that are not finite": (
        lambda: refined(fitted(matrix_size=3)),
        (GOOD * np.nan,),
        {},
        ValueError,
        "NaN|finite",
    ),
    "a wrong policy": (
        lambda: refined(fitted(matrix_size=3)),
        (GOOD,),
        {"uncertified": "raise"},
        ValueError,
        "uncertified='raise'",
    ),
    "matrices beyond float32": (
        lambda: refined(fitted(matrix_size=3)),
        (GOOD.astype(np.float64) * 1e60,),
        {},
        ValueError,
        "beyond the range of float32",
    ),
    "a certificate that is neither true nor false": (
        lambda: refined(fitted(matrix_size=3)),
        (GOOD,),
        {"certificate": "no"},
        ValueError,
        "certificate='no'",
    ),
    "a policy without a certificate": (
        lambda: refined(fitted(matrix_size=3)),
        (GOOD,),
        {"uncertified": "nan", "certificate": False},
        ValueError,
        "certificate=True",
    ),
    **{
        f"share={share}": (
            lambda: refined(fitted(matrix_size=3)),
            (GOOD,),
            {"share": share},
            ValueError,
            "share=.*expected a number above 0",
        )
        for share in (0, -1, 1.5, "1", None, True, float("nan"))
    },
    **{
        f"opset={opset}": (
            lambda: refined(fitted(matrix_size=3)),
            (GOOD,),
            {"opset": opset},
            ValueError,
            "opset=",
        )
        for opset in (17, True, 18.0, 1000)
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_said_and_leaves_all_as_it_was(name, tmp_path):
    make, arguments, options, error, message = REFUSED[name]
    inverter, path = make(), tmp_path / "inverse.onnx"
    path.write_bytes(b"before")
    before = str(copy.deepcopy(inverter.__getstate__()))
    with pytest.raises(error, match=message):
        inverter.export(path, *arguments, **options)
    assert str(inverter.__getstate__()) == before
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["inverse.onnx"]


@pytest.mark.parametrize("inverter", [fitted(matrix_size=3), refined(fitted(matrix_size=3))])
def test_a_path_that_cannot_be_written_is_an_error_of_the_system(inverter, tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    arguments = (GOOD,) if isinstance(inverter, RefinedInverter) else ()
    for path in (tmp_path, tmp_path / "no folder" / "inverse.onnx", tmp_path / "file" / "inverse.onnx"):
        with pytest.raises(OSError, match=r".+"):
            inverter.export(path, *arguments)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"before"


@pytest.mark.parametrize("inverter", [NeuralMatrixInverter(), EnsembleInverter()])
def test_an_inverter_that_is_not_fitted_writes_nothing(inverter, path):
    with pytest.raises(NotFittedError, match="not fitted"):
        inverter.export(path)
    assert not path.exists()


def test_an_ensemble_of_what_has_no_file_is_refused(path):
    ensemble = EnsembleInverter.from_fitted([fitted(matrix_size=3), refined(fitted(matrix_size=3))])
    with pytest.raises(TypeError, match="cannot be exported"):
        ensemble.export(path)
    assert not path.exists()
