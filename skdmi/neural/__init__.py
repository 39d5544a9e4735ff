"""The learned inverter."""

from skdmi.neural.estimator import NeuralMatrixInverter

__all__ = ["NeuralMatrixInverter"]
