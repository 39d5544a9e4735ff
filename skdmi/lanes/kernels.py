"""The kernels, and how they stand, in a line."""

from importlib.util import find_spec

from skdmi.lanes.checks import CHECK
from skdmi.lanes.compiler import Kernel, count_lanes, processor
from skdmi.lanes.complex_stack import COMPLEX_INVERSE
from skdmi.lanes.determinants import DETERMINANT
from skdmi.lanes.network import ITERATION
from skdmi.lanes.passes import LARGE
from skdmi.lanes.pseudo_inverses import PSEUDO_INVERSE
from skdmi.lanes.roots import ROOT
from skdmi.lanes.stack import INVERSE

KERNELS: dict[str, Kernel] = {
    "inverses": INVERSE,
    "large matrices": LARGE,
    "networks": ITERATION,
    "certificates": CHECK,
    "determinants": DETERMINANT,
    "pseudo-inverses": PSEUDO_INVERSE,
    "complex inverses": COMPLEX_INVERSE,
    "inverse roots": ROOT,
}
"""By what they compute."""


def describe() -> str:
    """Return how the kernels stand on this machine.

    >>> print(describe())
    kernels...
    """
    if find_spec("llvmlite") is None:
        return 'kernels: none, numba is not installed; LAPACK serves. Try pip install "skdmi[fast]".'
    states = [f"{what} {_state(kernel)}" for what, kernel in KERNELS.items()]
    return f"kernels for {processor()[0]}, {count_lanes()} lanes: {', '.join(states)}"


def _state(kernel: Kernel) -> str:
    if kernel.is_ready():
        return "ready"
    return f"none ({kernel.trouble})" if kernel.trouble else "not compiled (skdmi info --compile)"
