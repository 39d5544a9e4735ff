"""``MatrixDisplay``: a matrix, its inverse and their product as heat maps."""

from typing import Any, Self

import numpy as np

from skdmi.inspection.drawing import as_array, check_axes, check_shapes, estimator_name, new_axes, refuse_complex

__all__ = ["MatrixDisplay"]

SMALLEST = 1e-17


class MatrixDisplay:
    r"""A, X and A X as heat maps, and the size of every entry of :math:`I - A X` on a logarithmic scale.

    Colours of the first three diverge from zero, each on a scale of its own. Entries of the fourth below 1e-17, zeros
    among them, have the colour of 1e-17. Make a display with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    A, X : ndarrays of shape (m, m)
        A matrix and its computed inverse.
    name : str, default=None
        Of the inverter, for the title.

    Attributes
    ----------
    axes_ : list of 4 matplotlib Axes
    figure_ : matplotlib Figure
    images_ : list of 4 matplotlib AxesImage
        Of A, X, A X and abs(I - A X).
    residual_norm : float
        :math:`\|I - A X\|_F`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.inspection import MatrixDisplay
    >>> display = MatrixDisplay.from_predictions(np.diag([2.0, 4.0]), np.diag([0.5, 0.5]))
    >>> display.residual_norm
    1.0
    """

    def __init__(self, *, A: np.ndarray, X: np.ndarray, name: str | None = None) -> None:
        self.A = A
        self.X = X
        self.name = name

    @property
    def residual_norm(self) -> float:
        r""":math:`\|I - A X\|_F`."""
        with np.errstate(over="ignore"):
            return float(np.linalg.norm(self._residual()))

    @classmethod
    def from_estimator(cls, estimator: Any, A: Any, *, axes: Any = None, name: str | None = None) -> Self:
        """Invert a matrix and draw both.

        Parameters
        ----------
        estimator : fitted inverter
        A : array-like of shape (m, m)
            One matrix.
        axes : sequence of 4 matplotlib Axes, default=None
            By default those of a new figure.
        name : str, default=None
            By default the class of the estimator.

        Returns
        -------
        display : MatrixDisplay
        """
        A = _one_matrix("A", A)
        name = estimator_name(estimator) if name is None else name
        return cls.from_predictions(A, as_array(estimator.transform(A[None]))[0], axes=axes, name=name)

    @classmethod
    def from_predictions(cls, A: Any, X: Any, *, axes: Any = None, name: str | None = None) -> Self:
        """Draw a matrix and its computed inverse.

        Parameters
        ----------
        A, X : array-likes of shape (m, m)
            Real.
        axes : sequence of 4 matplotlib Axes, default=None
            By default those of a new figure.
        name : str, default=None
            Of the inverter, for the title.

        Returns
        -------
        display : MatrixDisplay

        Raises
        ------
        ValueError
            If A or X is not one square matrix, their shapes differ, or either is complex.
        """
        A, X = _one_matrix("A", A), _one_matrix("X", X)
        check_shapes(A=A, X=X)
        return cls(A=A, X=X, name=name).plot(axes=axes)

    def plot(self, *, axes: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        axes : sequence of 4 matplotlib Axes, default=None
            By default those of a new figure.

        Returns
        -------
        self : MatrixDisplay
        """
        self.axes_ = check_axes(new_axes((9.6, 3.7), 1, 4) if axes is None else axes, 4)
        self.figure_ = self.axes_[0].figure
        R = self._residual()
        product = np.eye(len(R)) - R
        self.images_ = [
            _diverging(ax, matrix) for ax, matrix in zip(self.axes_, (self.A, self.X, product), strict=False)
        ]
        self.images_.append(_logarithmic(self.axes_[3], np.abs(R)))
        titles = ("$A$", "$X$", "$AX$", "$|I - AX|$")
        for ax, image, title in zip(self.axes_, self.images_, titles, strict=True):
            ax.set(title=title, xticks=[], yticks=[])
            bar = self.figure_.colorbar(image, ax=ax, location="bottom", shrink=0.9)
            bar.ax.minorticks_off()
        bar.set_label(rf"$\|I - AX\|_F$ = {self.residual_norm:.1e}")
        if self.name and axes is None:
            self.figure_.suptitle(self.name)
        return self

    def _residual(self) -> np.ndarray:
        A, X = self.A.astype(np.float64), self.X.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.eye(len(A)) - A @ X


def _diverging(ax: Any, matrix: np.ndarray) -> Any:
    largest = np.nanmax(np.abs(matrix), initial=0.0) or 1.0
    return ax.imshow(matrix, cmap="RdBu_r", vmin=-largest, vmax=largest)


def _logarithmic(ax: Any, sizes: np.ndarray) -> Any:
    """Draw sizes, on a scale of whole powers of ten."""
    from matplotlib.colors import LogNorm

    seen = np.clip(sizes[np.isfinite(sizes)], SMALLEST, None)
    low, high = (np.floor(np.log10(seen.min())), np.ceil(np.log10(seen.max()))) if seen.size else (-17, 0)
    norm = LogNorm(10.0**low, 10.0 ** max(high, low + 1), clip=True)
    return ax.imshow(np.maximum(sizes, SMALLEST), norm=norm, cmap="viridis")


def _one_matrix(name: str, array: Any) -> np.ndarray:
    matrix = as_array(array)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"{name} has shape {matrix.shape}; expected one matrix, (m, m).")
    refuse_complex(**{name: matrix})
    return matrix
