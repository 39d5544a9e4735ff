"""Learned inversion of stacks of small square matrices, in the shape of scikit-learn estimators."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

__all__ = [
    "BlockInverter",
    "CertificateReport",
    "EnsembleInverter",
    "ExactInverter",
    "InverseRootReport",
    "InverseSquareRoot",
    "InversionReport",
    "LogDeterminant",
    "NeuralMatrixInverter",
    "PseudoInversionReport",
    "PseudoInverter",
    "RefinedInverter",
    "certify",
    "datasets",
    "distributions",
    "exceptions",
    "inspection",
    "inv",
    "inv_sqrt",
    "io",
    "iteration",
    "linalg",
    "load_pretrained",
    "metrics",
    "modules",
    "pinv",
    "preconditioners",
    "progress",
    "shipped_models",
    "slogdet",
]

_BESIDE = ["export"]
"""What needs an extra, so that ``import *`` leaves it out."""
_HOMES = {
    "BlockInverter": "skdmi.estimators.block",
    "CertificateReport": "skdmi.estimators.certification",
    "EnsembleInverter": "skdmi.estimators.ensemble",
    "ExactInverter": "skdmi.estimators.exact",
    "InverseRootReport": "skdmi.estimators.inverse_root",
    "InverseSquareRoot": "skdmi.estimators.inverse_root",
    "InversionReport": "skdmi.estimators.report",
    "LogDeterminant": "skdmi.estimators.determinants",
    "NeuralMatrixInverter": "skdmi.estimators.neural",
    "PseudoInversionReport": "skdmi.estimators.pseudo_report",
    "PseudoInverter": "skdmi.estimators.pseudo",
    "RefinedInverter": "skdmi.estimators.refined",
    "certify": "skdmi.estimators.certification",
    "inv": "skdmi.api",
    "inv_sqrt": "skdmi.estimators.inv_sqrt",
    "load_pretrained": "skdmi.api",
    "pinv": "skdmi.estimators.pinv",
    "shipped_models": "skdmi.estimators.shipped",
    "slogdet": "skdmi.estimators.determinants",
}

if TYPE_CHECKING:
    from skdmi import datasets, distributions, exceptions, inspection, io, iteration, linalg, metrics, modules
    from skdmi import export as export
    from skdmi import preconditioners as preconditioners
    from skdmi import progress as progress
    from skdmi.api import inv, load_pretrained
    from skdmi.estimators.block import BlockInverter
    from skdmi.estimators.certification import CertificateReport, certify
    from skdmi.estimators.determinants import LogDeterminant, slogdet
    from skdmi.estimators.ensemble import EnsembleInverter
    from skdmi.estimators.exact import ExactInverter
    from skdmi.estimators.inv_sqrt import inv_sqrt
    from skdmi.estimators.inverse_root import InverseRootReport, InverseSquareRoot
    from skdmi.estimators.neural import NeuralMatrixInverter
    from skdmi.estimators.pinv import pinv
    from skdmi.estimators.pseudo import PseudoInverter
    from skdmi.estimators.pseudo_report import PseudoInversionReport
    from skdmi.estimators.refined import RefinedInverter
    from skdmi.estimators.report import InversionReport
    from skdmi.estimators.shipped import shipped_models
else:  # A type checker would take any name for one that is there.

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        if name in __all__ or name in _BESIDE:
            return import_module(f"skdmi.{name}")
        raise AttributeError(f"module 'skdmi' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_BESIDE, "__version__"]
