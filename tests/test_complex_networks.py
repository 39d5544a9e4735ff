"""Networks that learn from complex matrices: as embeddings within, as complex inverters without."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

import skdmi
from skdmi import BlockInverter, EnsembleInverter, NeuralMatrixInverter, RefinedInverter
from skdmi.distributions import KroneckerChannel, Members, Resampled, from_dict
from skdmi.linalg import complex_to_real, real_to_complex
from skdmi.linalg.complex import nearest_complex
from skdmi.metrics import frobenius_residuals, neg_mean_frobenius_residual, neg_mean_operations
from tests.models import untrained

CHANNELS = KroneckerChannel(is_complex=True)
H = CHANNELS.sample(80, 3, random_state=1)
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


def fitted(inverter, *given):
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return inverter.fit(*given)


@pytest.fixture(scope="module")
def network():
    settings = {"max_epochs": 2, "batches_per_epoch": 5, "batch_size": 64, "random_state": 0}
    return fitted(NeuralMatrixInverter(3, 4, matrix_size=3, distribution=CHANNELS, **settings))


def test_channels_are_complex_hermitian_and_definite_and_known_by_their_description():
    assert H.dtype == np.complex128
    np.testing.assert_array_equal(H, H.conj().swapaxes(1, 2))
    assert (np.linalg.eigvalsh(H) > 0).all()
    assert abs(H.imag).max() > 0.1
    assert from_dict(CHANNELS.to_dict()) == CHANNELS
    assert from_dict({"name": "KroneckerChannel"}) == KroneckerChannel()
    mean = KroneckerChannel(transmit_correlation=0.6, noise=0.1, is_complex=True).sample(20_000, 2, random_state=0)
    np.testing.assert_allclose(mean.mean(0), [[1.1, 0.6], [0.6, 1.1]], atol=0.02)
    with pytest.raises(ValueError, match="is_complex='yes'; expected True or False"):
        KroneckerChannel(is_complex="yes")


def test_a_distribution_makes_the_network_complex(network):
    assert (network.matrix_size_, network.n_features_in_, network.is_complex_) == (3, 9, True)
    assert network.distribution_ == CHANNELS
    X = network.transform(H)
    assert X.dtype == H.dtype
    assert frobenius_residuals(H, X).mean() < 0.1
    flat = network.transform(H.reshape(80, 9).astype(np.complex64))
    assert (flat.dtype, flat.shape) == (np.complex64, (80, 9))
    np.testing.assert_allclose(flat.reshape(80, 3, 3), X, **ROUNDING)
    np.testing.assert_allclose(network.residual_norms(H), frobenius_residuals(H, X))
    assert network.score(H) == pytest.approx(neg_mean_frobenius_residual(network, H))


def test_answers_are_the_means_of_what_the_network_says_twice(network):
    image = torch.from_numpy(complex_to_real(H))
    with torch.no_grad():
        said = network.module_(image)
    np.testing.assert_allclose(network.transform(H), nearest_complex(said), rtol=1e-2, atol=1e-2)
    mean = complex_to_real(nearest_complex(said).numpy())
    assert (frobenius_residuals(image, mean) <= frobenius_residuals(image, said) + 1e-12).all()


def test_real_stacks_are_complex_ones_without_imaginary_part(network):
    real = H.real.copy()
    X = network.transform(real)
    assert X.dtype == real.dtype
    np.testing.assert_allclose(X, network.transform(real + 0j).real, **ROUNDING)
    report = RefinedInverter(FrozenEstimator(network)).report(real)
    assert report.inverse.dtype == real.dtype
    np.testing.assert_allclose(report.inverse, np.linalg.inv(real), rtol=1e-8, atol=1e-8)


def test_a_phase_on_every_antenna_passes_through_the_untrained_iteration():
    inverter = NeuralMatrixInverter(3, matrix_size=3, distribution=CHANNELS, start="transpose", max_epochs=0).fit()
    phases = np.exp(1j * np.arange(3))
    turned = inverter.transform(phases[:, None] * H * phases.conj())
    np.testing.assert_allclose(turned, phases[:, None] * inverter.transform(H) * phases.conj(), rtol=1e-3, atol=1e-2)


SKEW = np.triu(np.ones((3, 3)), 1) - np.tril(np.ones((3, 3)), -1)
FAMILY = np.diag([4.0, 3j, 6.0]) + np.linspace(-1, 1, 80)[:, None, None] * (1 + 0.5j) * SKEW
GIVEN = {"stack": FAMILY, "flat": FAMILY.reshape(80, 9), "torch": torch.from_numpy(FAMILY), "list": FAMILY.tolist()}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_examples_make_the_network_complex(given):
    learner = fitted(NeuralMatrixInverter(2, 4, start="family", n_atoms=2, max_epochs=0, random_state=0), given)
    assert (learner.matrix_size_, learner.is_complex_, learner.start_) == (3, True, "family")
    assert learner.distribution_ == Members()
    constant = learner.module_.core.start.constant.detach()
    np.testing.assert_allclose(constant, complex_to_real(nearest_complex(constant).numpy()), atol=1e-5)
    plain = NeuralMatrixInverter(2, 4, start="transpose", max_epochs=0).fit(FAMILY)
    assert learner.score(FAMILY) > plain.score(FAMILY)
    assert learner.out_of_domain(FAMILY).mean() < 0.1
    assert learner.out_of_domain(H).mean() > 0.5


def test_what_would_leave_the_family_is_refused():
    for distribution in (Resampled(), skdmi.distributions.Uniform()):
        with pytest.raises(ValueError, match=r"X is complex, and distribution=.* draws real matrices"):
            NeuralMatrixInverter(matrix_size=3, distribution=distribution, max_epochs=0).fit(H)
    learner = untrained(3)
    with pytest.raises(ValueError, match="Complex data not supported here"):
        learner.partial_fit(H)
    assert not learner.is_complex_


def test_a_fit_settles_it_anew(network):
    learner = fitted(NeuralMatrixInverter(2, 4, max_epochs=0), H)
    assert learner.fit(H.real).is_complex_ is False
    with pytest.raises(ValueError, match="Complex data"):
        learner.transform(H)
    assert fitted(learner, H).is_complex_


@pytest.mark.parametrize("block", ["polynomial", "feedback", "dense"])
def test_files_and_pickles_keep_it(block, tmp_path):
    learner = NeuralMatrixInverter(2, 4, block=block, matrix_size=3, distribution=CHANNELS, max_epochs=0).fit()
    learner.save_pretrained(tmp_path)
    X = learner.transform(H)
    for copy in (skdmi.load_pretrained(tmp_path), pickle.loads(pickle.dumps(learner))):
        np.testing.assert_array_equal(copy.transform(H), X)
    assert "complex, 3 x 3" in (tmp_path / "README.md").read_text()


def test_training_goes_on(network):
    learner = pickle.loads(pickle.dumps(network))
    seen = learner.n_matrices_seen_
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        learner.partial_fit()
        learner.partial_fit(H)
    assert learner.n_matrices_seen_ == seen + 2 * 5 * 64
    assert learner.transform(H).dtype == H.dtype


def test_a_search_chooses_depth_and_width():
    grid = {"depth": [1, 3], "width": [2, 4]}
    learner = NeuralMatrixInverter(start="transpose", max_epochs=0)
    for scoring in (None, neg_mean_operations):
        search = GridSearchCV(learner, grid, cv=2, scoring=scoring).fit(H)
        assert search.best_estimator_.is_complex_
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert GridSearchCV(learner, grid, cv=2).fit(H).best_params_["depth"] == 3


def test_what_goes_around_a_complex_network(network):
    truth = np.linalg.inv(H)
    for inverter in (
        RefinedInverter(FrozenEstimator(network)),
        RefinedInverter(FrozenEstimator(network), tight=True),
        RefinedInverter(EnsembleInverter.from_fitted([network, network], combine="best")),
    ):
        np.testing.assert_allclose(inverter.transform(H), truth, rtol=1e-9, atol=1e-9)
    report = RefinedInverter(FrozenEstimator(network)).report(H)
    assert report.certified.all()
    assert set(report.source) == {"refined"}
    ensemble = fitted(EnsembleInverter(NeuralMatrixInverter(2, 4, max_epochs=0), n_estimators=2, random_state=0), H)
    assert ensemble.transform(H).dtype == H.dtype
    with pytest.raises(ValueError, match="real matrices stand beside those for complex ones"):
        EnsembleInverter.from_fitted([network, untrained(3)])
    with pytest.raises(ValueError, match="leaves of a BlockInverter are real"):
        BlockInverter(FrozenEstimator(network)).fit(np.kron(np.eye(2), H))


def test_leaves_of_complex_matrices_are_real():
    large = np.kron(np.eye(2), H) + 0.01
    inverter = BlockInverter(untrained(3)).fit(large)
    np.testing.assert_allclose(inverter.transform(large), np.linalg.inv(large), rtol=1e-9, atol=1e-9)


def test_derivatives_pass_through_the_network():
    settings = {"distribution": CHANNELS, "max_epochs": 0, "net_params": {"module__precision": "float64"}}
    learner = NeuralMatrixInverter(2, 4, matrix_size=3, start="transpose", **settings).fit()
    A = torch.from_numpy(H[:2]).requires_grad_()
    assert torch.autograd.gradcheck(learner.invert, A)
    real = torch.from_numpy(H[:2].real.copy()).requires_grad_()
    assert torch.autograd.gradcheck(learner.invert, real)


@pytest.mark.parametrize("refines", [False, True])
def test_files_for_other_runtimes_take_embeddings(network, tmp_path, refines):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "inverse.onnx"
    inverter = RefinedInverter(FrozenEstimator(network)) if refines else network
    inverter.export(path, **({"share": 0.9} if refines else {}))
    image = complex_to_real(H).astype(np.float32)
    X, *_ = onnxruntime.InferenceSession(path).run(None, {"A": image})
    assert X.shape == image.shape
    np.testing.assert_allclose(real_to_complex(X), inverter.transform(H), rtol=1e-2, atol=1e-2)


def test_models_of_earlier_versions_are_real():
    model = skdmi.load_pretrained("uniform-3x3-short").estimator
    assert not model._is_complex()
    assert model.transform(H.real).dtype == np.float64
