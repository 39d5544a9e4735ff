"""The networks, torch modules from matrices ``(n, m, m)`` to approximate inverses, and the loss that trains them."""

from skdmi.iteration.learned import PolynomialInverse
from skdmi.modules.entrywise import DenseInverse, FeedbackInverse
from skdmi.modules.loss import IdentityLoss
from skdmi.modules.network import BLOCKS, NORMALIZATIONS, PRECISIONS, InverterResNet

__all__ = [
    "BLOCKS",
    "NORMALIZATIONS",
    "PRECISIONS",
    "DenseInverse",
    "FeedbackInverse",
    "IdentityLoss",
    "InverterResNet",
    "PolynomialInverse",
]
