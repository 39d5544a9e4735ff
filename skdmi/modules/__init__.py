"""The networks, torch modules from matrices ``(n, m, m)`` to approximate inverses, and the loss that trains them."""

from skdmi.modules.entrywise import DenseInverse, FeedbackInverse, GatedInverse
from skdmi.modules.loss import IdentityLoss
from skdmi.modules.network import BLOCKS, NORMALIZATIONS, PRECISIONS, InverterResNet
from skdmi.modules.polynomial import STARTS, PolynomialInverse

__all__ = [
    "BLOCKS",
    "NORMALIZATIONS",
    "PRECISIONS",
    "STARTS",
    "DenseInverse",
    "FeedbackInverse",
    "GatedInverse",
    "IdentityLoss",
    "InverterResNet",
    "PolynomialInverse",
]
