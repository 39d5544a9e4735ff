"""What a type checker is promised of the public names; ``make lint`` checks this file, nothing runs it.

A line with ``type: ignore`` is one that a checker must refuse: where it does not, the comment is one too many, which is
an error itself.
"""

from typing import assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import skdmi
from skdmi import (
    BlockInverter,
    CertificateReport,
    EnsembleInverter,
    ExactInverter,
    InversionReport,
    LogDeterminant,
    NeuralMatrixInverter,
    RefinedInverter,
)
from skdmi.datasets import AuditReport, judge
from skdmi.distributions import Distribution, Uniform, from_dict
from skdmi.export import fixed
from skdmi.inspection import ResidualDisplay
from skdmi.iteration import Refinement, iterate, refine
from skdmi.linalg import Certificate, PositiveDefinite, complex_to_real, equilibrate, exact_inverse, residual
from skdmi.metrics import frobenius_residuals, relative_inverse_errors
from skdmi.modules import InverterResNet
from skdmi.typing import FloatArray, FrozenInverter

Single = NDArray[np.float32]
Double = NDArray[np.float64]


def containers_come_back(single: Single, double: Double, integers: NDArray[np.int64], tensor: Tensor) -> None:
    assert_type(skdmi.inv(single), Single)
    assert_type(skdmi.inv(double), Double)
    assert_type(skdmi.inv(integers), Double)
    assert_type(skdmi.inv([[2.0, 1.0], [1.0, 3.0]]), Double)
    assert_type(skdmi.inv(tensor, tight=True), Tensor)
    assert_type(skdmi.pinv(single, damping=0.1), Single)
    assert_type(skdmi.pinv(integers), Double)
    assert_type(skdmi.pinv(tensor, rtol=1e-9), Tensor)
    assert_type(skdmi.inv_sqrt(single), Single)
    assert_type(skdmi.inv_sqrt([[2.0]], indefinite="raise"), Double)
    assert_type(skdmi.inv_sqrt(tensor), Tensor)
    inverter = ExactInverter()
    assert_type(inverter.transform(single), Single)
    assert_type(inverter.transform(double.astype(np.complex128)), NDArray[np.complex128])
    assert_type(inverter.transform([[[1.0]]]), Double)
    assert_type(inverter.transform(tensor), Tensor)
    assert_type(inverter.invert(tensor), Tensor)
    assert_type(inverter.residual_norms(single), Double)
    assert_type(inverter.residual_norms(tensor), Tensor)
    assert_type(inverter.score(double), float)
    assert_type(NeuralMatrixInverter().out_of_domain(single), NDArray[np.bool_])


def one_liners(double: Double, tensor: Tensor) -> None:
    report = skdmi.certify(double, tensor, structure="spd")
    assert_type(report, CertificateReport)
    assert_type(report.certified, NDArray[np.bool_])
    assert_type(report.error_bound, Double)
    assert_type(skdmi.slogdet(double), LogDeterminant[Double])
    assert_type(skdmi.slogdet(tensor), LogDeterminant[Tensor])
    assert_type(skdmi.slogdet(tensor).log_abs_det, Tensor)
    model = skdmi.load_pretrained("uniform-3x3-short")
    assert_type(model, FrozenInverter)
    assert_type(model.transform(double), Double)
    assert_type(model.transform(tensor), Tensor)


def estimators(double: Double) -> None:
    assert_type(ExactInverter(singular="pinv").fit(double), ExactInverter)
    assert_type(NeuralMatrixInverter(block="feedback").fit(double), NeuralMatrixInverter)
    assert_type(NeuralMatrixInverter().partial_fit(double), NeuralMatrixInverter)
    assert_type(NeuralMatrixInverter.from_pretrained("uniform-3x3-short"), NeuralMatrixInverter)
    assert_type(EnsembleInverter.from_fitted([ExactInverter()]), EnsembleInverter)
    assert_type(BlockInverter(ExactInverter(), block_size=4).transform(double), Double)
    report = RefinedInverter(uncertified="nan").report(double)
    assert_type(report, InversionReport)
    assert_type(report.converged, NDArray[np.bool_])
    assert_type(NeuralMatrixInverter().best_loss_, float)
    assert_type(NeuralMatrixInverter().module_, InverterResNet)


def functions(double: Double, tensor: Tensor) -> None:
    assert_type(residual(tensor, tensor), Tensor)
    assert_type(exact_inverse(tensor), Tensor)
    assert_type(equilibrate(tensor).row_exponent, Tensor)
    assert_type(skdmi.linalg.certify(tensor, tensor), Certificate)
    assert_type(skdmi.linalg.certify_positive_definite(tensor), PositiveDefinite)
    assert_type(skdmi.linalg.slogdet(tensor), LogDeterminant[Tensor])
    assert_type(complex_to_real(tensor), Tensor)
    assert_type(complex_to_real(double + 1j), FloatArray)
    assert_type(refine(tensor), Refinement)
    assert_type(iterate(tensor, 3), Tensor)
    assert_type(frobenius_residuals(tensor, tensor), Tensor)
    assert_type(frobenius_residuals(double, double), Double)
    assert_type(relative_inverse_errors([[[2.0]]], double), Double)
    assert_type(Uniform().sample(3, 2), Double)
    assert_type(from_dict({"name": "Uniform"}), Distribution)
    assert_type(judge(np.linalg.inv), AuditReport)
    assert_type(ResidualDisplay.from_predictions(double, double), ResidualDisplay)
    assert_type(skdmi.metrics.certified_share(ExactInverter(), double), float)


def what_is_refused(double: Double, tensor: Tensor) -> None:
    NeuralMatrixInverter(block="poly")  # type: ignore[arg-type]
    NeuralMatrixInverter(start="random")  # type: ignore[arg-type]
    NeuralMatrixInverter(optimizer="lbfgs")  # type: ignore[arg-type]
    InverterResNet(precision="float16")  # type: ignore[arg-type]
    ExactInverter(singular="ignore")  # type: ignore[arg-type]
    RefinedInverter(uncertified="warn")  # type: ignore[arg-type]
    skdmi.inv(double, singular="ignore")  # type: ignore[call-overload]
    skdmi.inv(double, tolerance=1e-9)  # type: ignore[call-overload]
    skdmi.certify(double, double, structure="symmetric")  # type: ignore[arg-type]
    skdmi.certify(double)  # type: ignore[call-arg]
    fixed(3, uncertified="raise")  # type: ignore[arg-type]
    residual(double, tensor)  # type: ignore[arg-type]
    ExactInverter().invert(double)  # type: ignore[arg-type]
    skdmi.inverse(double)  # type: ignore[attr-defined]


def torch_alone(network: InverterResNet) -> None:
    assert_type(network.n_products(3), int)
    assert_type(network.dtype, torch.dtype)
