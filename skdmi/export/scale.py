"""Scaling inside a graph: by powers of two, made without operators for exponents."""

from typing import NamedTuple

import numpy as np

from skdmi.export.graph import Value

_SPLITTER = 2.0**23 + 1
_BELOW_ONE = 1 - 2.0**-24


class Scaled(NamedTuple):
    r"""A stack in other units, :math:`B = D_1^{-1} A D_2^{-1}`, and the way back, :math:`D_2^{-1} X_B D_1^{-1}`."""

    B: Value
    units: Value | None
    """The products of an entry of D1 and one of D2, in the shape of A; or one number a matrix; None for ones."""
    rows: Value | None
    """The diagonal of D1; None for one number a matrix."""
    spread: Value
    r"""How far units are from 1: the largest of them or of their inverses, or up to twice that, one number a matrix;
    times the square of the norm of B, unless that is at most :math:`2 m^{3/2}` for every A; times :math:`2^{30}` where
    units were not taken out of B."""
    n_factors: int
    """How many multiplications, each with its rounding, lead from A to B, and at most as many from the inverse of B
    to that of A, those within ``units`` included."""

    def restored(self, X: Value) -> Value:
        """Return the inverse of A for one of B."""
        return X if self.units is None else X / self._of_inverse(self.units)

    def scaled_inverse(self, X: Value) -> Value:
        """Return the inverse of B for one of A."""
        return X if self.units is None else X * self._of_inverse(self.units)

    def residual_norm(self, R: Value) -> Value:
        """Return ``||I - A X||_F`` for ``R = I - B X_B``."""
        return (R if self.rows is None else R * self.rows / self.rows.mT).norm()

    def _of_inverse(self, units: Value) -> Value:
        return units if self.rows is None else units.graph.as_inverse(units)


def power_of_two(x: Value) -> Value:
    r"""Return the largest power of two that is at most x, for positive x from 2^-126 to about 2^103: three operations.

    .. math:: q = \mathrm{fl}((2^{23} + 1)\, x), \qquad
       2^{\lfloor \log_2 x \rfloor} = \mathrm{fl}(q - \mathrm{fl}((1 - 2^{-24})\, q))

    What is not in this range gives zero, NaN or infinity. On a runtime that fuses the last two operations into one the
    result is about x / 2, a scale still, but one that costs a rounding.

    References
    ----------
    Rump, "Error estimation of floating-point summation and dot product", BIT Numer. Math. 52, 2012 (algorithm ufp).
    """
    q = x * np.full((1, 1, 1), _SPLITTER)
    return q - q * np.full((1, 1, 1), _BELOW_ONE)


def equilibrate(A: Value) -> Scaled:
    """Bring the absolute sum of every row, then of every column, to [1, 2) by powers of two."""
    layout = A.graph.layout
    rows = power_of_two(A.reduce("L1", layout.row_sums, keep=True))
    columns = power_of_two((A / rows).reduce("L1", layout.column_sums, keep=True))
    units = rows * columns
    return Scaled(A / units, units, rows, _distance_from_one(units), 2)


def equilibrate_symmetric(A: Value) -> Scaled:
    """Bring the diagonal to [1, 4) by powers of two, the same for rows and columns; NaN unless it is positive."""
    diagonal = (A * A.graph.identity).reduce("Sum", A.graph.layout.row_sums, keep=True)
    rows = power_of_two(A.graph.op("Sqrt", diagonal))
    units = rows * rows.mT
    B = A / units
    return Scaled(B, units, rows, _distance_from_one(units) * B.square_norm(), 2)


def normalize(A: Value) -> Scaled:
    r"""Bring the Frobenius norm to :math:`\sqrt m`, as a network sees its matrices: for norms from 1e-18 to 1e18."""
    units = _network_units(A)
    return Scaled(A / units, units, None, _distance_from_one(units), 1)


def leave(A: Value) -> tuple[Scaled, Value]:
    """Leave A as it is, and return the units in which a network would see it, ``(n, 1, 1)``.

    Products of A and its inverse are the same in any one unit, and so is the proof, except that more squares underflow:
    for norms from 1e-16 to 1e16.
    """
    units = _network_units(A)
    return Scaled(A, None, None, _distance_from_one(units) * 2.0**30, 0), units


def _network_units(A: Value) -> Value:
    return A.norm(keep=True) / A.graph.root


def _distance_from_one(units: Value) -> Value:
    """Return the largest of positive numbers, or of their inverses, or up to twice that."""
    return (units + units.graph.op("Reciprocal", units)).reduce("Max")
