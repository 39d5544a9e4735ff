"""Models that come with skdmi, and those that do not any more."""

import re
from pathlib import Path

from skdmi.persistence.model import WEIGHTS

SHIPPED = Path(__file__).parents[1] / "pretrained"

_AS_UNTRAINED = (
    "it held the untrained iteration; NeuralMatrixInverter(depth={}, matrix_size=m, max_epochs=0).fit() is the same"
)
_NO_GAIN = (
    "it gained nothing over the untrained iteration; try NeuralMatrixInverter(depth={}, {}matrix_size=m, "
    "max_epochs=0).fit()"
)
RETIRED = {
    "dense-3x3": "it was less accurate than the untrained iteration; try 'uniform-3x3-short'",
    "general": _AS_UNTRAINED.format(4),
    "general-long": _AS_UNTRAINED.format(7),
    "spd": _NO_GAIN.format(3, "start='identity', "),
    "spd-long": _NO_GAIN.format(4, "start='identity', "),
    "uniform-16x16": _NO_GAIN.format(4, ""),
    "uniform-16x16-long": _AS_UNTRAINED.format(5),
    "uniform-32x32": _AS_UNTRAINED.format(5),
    "uniform-3x3": _AS_UNTRAINED.format(2),
    "uniform-3x3-long": _AS_UNTRAINED.format(4),
    "uniform-5x5": _AS_UNTRAINED.format(3),
    "uniform-5x5-long": _AS_UNTRAINED.format(4),
    "uniform-64x64": _AS_UNTRAINED.format(6),
    "uniform-8x8": _AS_UNTRAINED.format(4),
    "uniform-8x8-long": _AS_UNTRAINED.format(5),
}
"""Models that came with 0.1.0: why they do not any more, and what to use."""
_PREDECESSORS = re.compile(r"(.*/)?(gmrandazzo/.+|deepmatrixinversion-\d+x\d+|resnet_\d+layers_\d+x\d+_\d{14}\w*)")
"""What models of DeepMatrixInversion are called, on the hub and in its repository."""


def pretrained_names() -> list[str]:
    """Return the names of the models that come with skdmi.

    >>> "uniform-3x3-short" in pretrained_names()
    True
    """
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{WEIGHTS}"))


def shipped_directory(name: str) -> Path:
    """Return the directory of a shipped model, whatever is in the working directory."""
    return SHIPPED / name


def of_predecessor(path: Path) -> str | None:
    """Return what to use in place of a model of DeepMatrixInversion; None of any other path.

    >>> print(of_predecessor(Path("gmrandazzo/deepmatrixinversion-3x3")))
    'gmrandazzo/deepmatrixinversion-3x3' is a TensorFlow model of DeepMatrixInversion, which is not read here. Use ...
    """
    if not (_PREDECESSORS.fullmatch(path.as_posix()) or any(path.glob("*.keras"))):
        return None
    return (
        f"{path.as_posix()!r} is a TensorFlow model of DeepMatrixInversion, which is not read here. Use "
        f"'uniform-3x3-short' for 3 x 3 matrices, skdmi.inv without a model for any, or train one anew with dmxtrain."
    )
