"""Displays: what they compute, what they draw, what they refuse."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

import skdmi
from skdmi.inspection import InversionDisplay, MatrixDisplay, ResidualDisplay, TrainingDisplay
from tests.marks import slow_but
from tests.matrices import make_stack

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def draw(display):
    """Render, so that whatever matplotlib would warn of is an error here."""
    display.figure_.canvas.draw()
    return display


def test_the_module_imports_neither_matplotlib_nor_torch():
    program = "import sys, skdmi.inspection; print({'matplotlib', 'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'^Plotting needs matplotlib\. Try pip install "skdmi\[plot\]"\.$'):
        InversionDisplay.from_predictions(np.eye(2), np.eye(2))


# InversionDisplay


def test_exact_inverses_lie_on_the_diagonal(inverter):
    A = make_stack("well", 20)
    display = draw(InversionDisplay.from_estimator(inverter, A))
    np.testing.assert_array_equal(display.X_true, skdmi.ExactInverter().transform(A))
    np.testing.assert_array_equal(display.X_pred, inverter.transform(A))
    np.testing.assert_array_equal(display.points_.get_offsets(), np.c_[display.X_true.ravel(), display.X_pred.ravel()])
    assert display.ax_.get_title() == type(inverter).__name__
    if isinstance(inverter, skdmi.ExactInverter):
        assert (display.r2, display.mse, display.mae) == (1, 0, 0)


@pytest.mark.parametrize("container", [np.asarray, torch.from_numpy, lambda A: A.reshape(len(A), -1)])
def test_every_container_and_layout_gives_the_same_figures(container, tiny_network):
    A = make_stack("well", 20)
    expected = InversionDisplay.from_estimator(tiny_network, A)
    display = InversionDisplay.from_estimator(tiny_network, container(A))
    assert (display.r2, display.mse, display.mae) == (expected.r2, expected.mse, expected.mae)


def test_figures_are_those_of_sklearn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    X, noise = rng.standard_normal((2, 10, 3, 3))
    display = InversionDisplay.from_predictions(X, X + 0.1 * noise)
    true, predicted = X.ravel(), (X + 0.1 * noise).ravel()
    assert display.r2 == pytest.approx(metrics.r2_score(true, predicted))
    assert display.mse == pytest.approx(metrics.mean_squared_error(true, predicted))
    assert display.mae == pytest.approx(metrics.mean_absolute_error(true, predicted))
    (text,) = (text.get_text() for text in display.ax_.texts)
    assert [line.partition(" = ")[0] for line in text.splitlines()] == ["$R^2$", "MSE", "MAE"]


def test_the_truth_of_a_singular_matrix_is_its_pseudo_inverse():
    A = np.concatenate([make_stack("singular", 5), make_stack("zero", 1), make_stack("well", 5)])
    display = InversionDisplay.from_estimator(skdmi.ExactInverter(singular="pinv"), A.astype(np.float32))
    np.testing.assert_allclose(display.X_true, np.linalg.pinv(A.astype(np.float32).astype(float)), atol=1e-10)
    assert display.mae < 1e-6
    assert display.X_true.dtype == np.float64


def test_missing_entries_are_counted_and_left_out():
    X = make_stack("well", 4)
    display = draw(InversionDisplay.from_predictions(X, np.where(np.arange(4)[:, None, None] == 2, np.nan, X)))
    assert (display.n_missing, display.r2, len(display.points_.get_offsets())) == (9, 1, 27)
    assert "9 missing" in display.ax_.texts[0].get_text()


def test_real_and_imaginary_parts_both_count():
    X = np.array([[[1 + 2j]]])
    display = draw(InversionDisplay.from_predictions(X, X + 1j))
    assert (display.mse, display.mae, display.n_missing) == (0.5, 0.5, 0)
    np.testing.assert_array_equal(display.points_.get_offsets(), [[1, 1], [2, 3]])


@pytest.mark.parametrize("scale", ["linear", "asinh"])
def test_many_points_are_thinned_and_coloured_by_how_many_there_are(scale):
    X = make_stack("uniform", 2000)
    display = draw(InversionDisplay.from_predictions(X, X))
    display = draw(display.plot(scale=scale))
    assert display.points_.get_array().sum() == X.size
    assert len(display.points_.get_offsets()) < 1000
    assert display.ax_.get_xscale() == scale


def test_heavy_tails_bend_the_axes():
    X = make_stack("well", 4)
    assert draw(InversionDisplay.from_predictions(X, X)).ax_.get_xscale() == "linear"
    X[0] *= 1e5
    assert draw(InversionDisplay.from_predictions(X, X)).ax_.get_xscale() == "asinh"


@pytest.mark.parametrize("value", slow_but([0.0, 1e200], [0.0, 1.0, -3.0, 1e-30, 1e200]))
def test_equal_entries_are_drawn_and_have_no_r2(value):
    X = np.full((2, 2, 2), value)
    display = draw(InversionDisplay.from_predictions(X, X))
    assert np.isnan(display.r2)
    assert display.mse == 0
    draw(display.plot(scale="asinh"))


def test_inversion_display_refuses():
    X = np.eye(2)[None]
    with pytest.raises(ValueError, match=r"X_true has shape \(1, 2, 2\) and X_pred shape \(2, 2\)"):
        InversionDisplay.from_predictions(X, X[0])
    with pytest.raises(ValueError, match="No entry is finite"):
        InversionDisplay.from_predictions(X, X * np.nan)
    with pytest.raises(ValueError, match=r"scale='log'; expected one of \('auto'"):
        InversionDisplay.from_predictions(X, X).plot(scale="log")


# ResidualDisplay


def test_residuals_conditions_and_certificates_are_those_of_the_package():
    A = np.concatenate([make_stack("condition", 5, condition=c) for c in (10, 1e4)])
    inverter = skdmi.RefinedInverter()
    report = inverter.report(A)
    display = draw(ResidualDisplay.from_estimator(inverter, A))
    np.testing.assert_array_equal(display.residual_norm, skdmi.metrics.frobenius_residuals(A, report.inverse))
    np.testing.assert_array_equal(display.certified, report.certified)
    np.testing.assert_allclose(display.condition, np.repeat([10, 1e4], 5), rtol=1e-6)
    np.testing.assert_array_equal(
        display.points_["certified"].get_offsets(), np.c_[display.condition, display.residual_norm]
    )
    assert list(display.points_) == ["certified"]
    assert (display.ax_.get_xscale(), display.ax_.get_yscale()) == ("log", "log")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_correctly_rounded_inverse_lies_below_the_floor(dtype):
    A = np.concatenate([make_stack("condition", 50, condition=c, dtype=dtype) for c in (1.5, 100, 1e4)])
    X = np.linalg.inv(A.astype(np.longdouble).astype(np.float64)).astype(dtype)
    display = draw(ResidualDisplay.from_predictions(A, X))
    x, y = display.floor_.get_data()
    np.testing.assert_allclose(y, np.finfo(dtype).eps / 2 * np.sqrt(3) * x)
    if dtype == np.float32:  # In float64 LAPACK's own rounding is as large.
        assert np.all(display.residual_norm <= np.finfo(dtype).eps / 2 * np.sqrt(3) * display.condition * (1 + 1e-6))


def test_points_are_told_apart():
    A = np.repeat(np.eye(2)[None], 6, axis=0)
    X = A * np.array([1, 1, 3, -1, np.nan, 0.5])[:, None, None]
    display = draw(ResidualDisplay.from_predictions(A, X))
    counts = {name: len(points.get_offsets()) for name, points in display.points_.items()}
    assert counts == {"certified": 3, "uncertified": 2, "missing": 1}
    assert display.points_["missing"].get_offsets()[0, 1] == np.sqrt(2)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts[:3] == ["certified (3)", "uncertified (2)", "missing (1)"]


def test_singular_matrices_and_zero_residuals_find_a_place_on_logarithmic_axes():
    A = np.concatenate([make_stack("zero", 1), make_stack("singular", 2), make_stack("permutation", 2)])
    display = draw(ResidualDisplay.from_estimator(skdmi.ExactInverter(singular="pinv"), A))
    points = np.concatenate([np.asarray(points.get_offsets()) for points in display.points_.values()])
    assert len(points) == 5
    assert np.isfinite(points).all()
    (low, high), (bottom, top) = display.ax_.get_xlim(), display.ax_.get_ylim()
    assert np.all((low <= points[:, 0]) & (points[:, 0] <= high) & (bottom <= points[:, 1]) & (points[:, 1] <= top))


def test_residual_display_refuses():
    A = np.eye(2)[None]
    with pytest.raises(ValueError, match="got 3 columns"):
        ResidualDisplay.from_predictions(np.ones((2, 3)), A)
    with pytest.raises(ValueError, match=r"A has shape \(1, 2, 3\); expected \(n_matrices, m, m\)"):
        ResidualDisplay.from_predictions(np.ones((1, 2, 3)), A)
    with pytest.raises(ValueError, match="two stacks of one shape"):
        ResidualDisplay.from_predictions(A, np.eye(3)[None])
    with pytest.raises(ValueError, match="Complex"):
        ResidualDisplay.from_predictions(A, A + 1j)
    with pytest.raises(ValueError, match="A has a NaN or infinite entry"):
        ResidualDisplay.from_predictions(np.full((1, 2, 2), np.inf), A)


# TrainingDisplay


def test_training_is_drawn_from_the_history(tiny_network):
    display = draw(TrainingDisplay.from_estimator(tiny_network))
    rows = tiny_network.history_
    for lines, key in (
        (display.train_, "train_loss"),
        (display.valid_, "valid_loss"),
        (display.learning_rate_, "learning_rate"),
    ):
        (line,) = lines
        np.testing.assert_array_equal(line.get_xdata(), [row["epoch"] for row in rows])
        np.testing.assert_array_equal(line.get_ydata(), [row[key] for row in rows])
    assert display.axes_[0].get_yscale() == "log"
    assert "0.05" in display.axes_[0].get_ylabel()
    assert "log" not in TrainingDisplay(histories=[rows], log_weights=[0]).plot().axes_[0].get_ylabel()


def test_the_loss_of_the_first_weights_is_a_labelled_level_line(tiny_network):
    display = draw(TrainingDisplay.from_estimator(tiny_network))
    (line,) = display.first_
    assert set(line.get_ydata()) == {tiny_network.first_loss_}
    labels = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert labels == ["training", "validation", "first weights"]


def test_where_the_first_loss_is_not_known_there_is_no_line(tiny_network):
    old = copy.deepcopy(tiny_network)
    old.first_loss_ = None  # As in a model of 0.1.0.
    assert draw(TrainingDisplay.from_estimator(old)).first_ == []
    assert draw(TrainingDisplay(histories=[old.history_]).plot()).first_ == []
    both = draw(TrainingDisplay.from_estimator(skdmi.EnsembleInverter.from_fitted([old, tiny_network])))
    (line,) = both.first_
    assert (line.get_color(), line.get_label()) == ("C1", "first weights")


def test_an_ensemble_has_a_line_a_member(tiny_network):
    ensemble = skdmi.EnsembleInverter.from_fitted([tiny_network] * 3)
    for estimator, n_members in (
        (ensemble, 3),
        (skdmi.RefinedInverter(ensemble).fit(), 3),
        (skdmi.BlockInverter(skdmi.RefinedInverter(skdmi.load_pretrained("uniform-3x3-short"))), 1),
    ):
        assert len(draw(TrainingDisplay.from_estimator(estimator)).valid_) == n_members


def test_the_network_of_a_search_or_pipeline_is_found(tiny_network):
    from sklearn.model_selection import GridSearchCV, ShuffleSplit
    from sklearn.pipeline import make_pipeline

    options = {"depth": 1, "width": 4, "max_epochs": 1, "batches_per_epoch": 1, "batch_size": 8, "random_state": 0}
    search = GridSearchCV(skdmi.NeuralMatrixInverter(**options), {"width": [4]}, cv=ShuffleSplit(1, random_state=0))
    with pytest.warns(ConvergenceWarning):  # Of 1 x 1 matrices there is nothing to learn.
        search.fit(make_stack("well", 10, 1))
    for estimator in (search, make_pipeline(tiny_network)):
        assert len(TrainingDisplay.from_estimator(estimator).valid_) == 1


@pytest.mark.parametrize(
    "estimator", [skdmi.ExactInverter(), skdmi.RefinedInverter(), skdmi.NeuralMatrixInverter()], ids=str
)
def test_what_was_not_trained_has_no_training(estimator):
    with pytest.raises(ValueError, match=f"{type(estimator).__name__} holds no trained network"):
        TrainingDisplay.from_estimator(estimator)


# MatrixDisplay


def test_matrix_inverse_and_product_are_drawn(inverter):
    A = make_stack("well", 1)[0]
    display = draw(MatrixDisplay.from_estimator(inverter, A))
    X = inverter.transform(A[None])[0]
    expected = (A, X, A @ X, np.maximum(np.abs(np.eye(3) - A @ X), 1e-17))
    for image, matrix in zip(display.images_, expected, strict=True):
        np.testing.assert_allclose(image.get_array(), matrix, atol=1e-14)
    for image in display.images_[:3]:
        assert image.norm.vmin == -image.norm.vmax
    assert display.residual_norm == pytest.approx(inverter.residual_norms(A[None])[0], abs=1e-14)


@pytest.mark.parametrize("X", [np.zeros((2, 2)), np.full((2, 2), np.nan), np.eye(2), 1e200 * np.eye(2)])
def test_any_inverse_can_be_drawn(X):
    draw(MatrixDisplay.from_predictions(np.eye(2), X, name="any"))


def test_matrix_display_refuses():
    with pytest.raises(ValueError, match=r"A has shape \(1, 2, 2\); expected \(m, m\)"):
        MatrixDisplay.from_estimator(skdmi.ExactInverter(), np.eye(2)[None])
    with pytest.raises(ValueError, match="expected one shape"):
        MatrixDisplay.from_predictions(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="Complex"):
        MatrixDisplay.from_predictions(1j * np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="Got 2 axes; expected 4"):
        MatrixDisplay.from_predictions(np.eye(2), np.eye(2), axes=plt.subplots(1, 2)[1])


# All of them


def test_the_style_of_the_documentation_is_found_by_its_name(tiny_network):
    with plt.rc_context():
        plt.style.use("skdmi.inspection.paper")
        assert plt.rcParams["axes.prop_cycle"].by_key()["color"][0] == "#0072b2"
        display = draw(ResidualDisplay.from_estimator(tiny_network, make_stack("well", 4)))
        assert not display.ax_.spines["top"].get_visible()


def test_given_axes_are_used(tiny_network):
    A = make_stack("well", 4)
    figure, axes = plt.subplots(2, 4)
    displays = [
        InversionDisplay.from_estimator(tiny_network, A, ax=axes[0, 0]),
        ResidualDisplay.from_estimator(tiny_network, A, ax=axes[0, 1]),
        TrainingDisplay.from_estimator(tiny_network, axes=axes[0, 2:]),
        MatrixDisplay.from_estimator(tiny_network, A[0], axes=axes[1]),
    ]
    assert all(display.figure_ is figure for display in displays)
    assert displays[0].ax_ is axes[0, 0]
    assert displays[1].plot(ax=axes[0, 0]) is displays[1]
    assert len(plt.get_fignums()) == 1
