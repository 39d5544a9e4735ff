"""``MatrixDisplay``: a matrix, its inverse and their product as heat maps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import skdmi
from skdmi.inspection.drawing import as_matrices, check_shapes, display_name, take_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SMALLEST = 1e-17


@dataclass(kw_only=True, eq=False, repr=False)
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

    A: np.ndarray
    X: np.ndarray
    name: str | None = None

    @property
    def residual_norm(self) -> float:
        r""":math:`\|I - A X\|_F`.

        Examples
        --------
        >>> from skdmi.inspection import MatrixDisplay
        >>> MatrixDisplay(A=np.eye(2), X=np.diag([1.0, 0.5])).residual_norm
        0.5
        """
        return float(skdmi.metrics.frobenius_residuals(self.A[None], self.X[None])[0])

    @classmethod
    def from_estimator(cls, estimator: Any, A: Any, *, axes: Any = None, name: str | None = None) -> Self:
        """Invert a matrix and draw both.

        Parameters
        ----------
        estimator : fitted inverter
            Anything whose ``transform`` returns inverses.
        A : array-like of shape (m, m)
            One matrix.
        axes : sequence of 4 matplotlib Axes, default=None
            By default those of a new figure.
        name : str, default=None
            By default the class of the estimator.

        Returns
        -------
        MatrixDisplay
            Drawn.

        Examples
        --------
        >>> from skdmi import ExactInverter
        >>> from skdmi.inspection import MatrixDisplay
        >>> len(MatrixDisplay.from_estimator(ExactInverter(), np.diag([2.0, 4.0])).images_)
        4
        """
        A = as_matrices("A", A, ndim=2)
        X = estimator.transform(A[None])[0]
        return cls.from_predictions(A, X, axes=axes, name=display_name(estimator, name))

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
        MatrixDisplay
            Drawn.

        Raises
        ------
        ValueError
            If A or X is not one square matrix, their shapes differ, or either is complex.

        Examples
        --------
        >>> from skdmi.inspection import MatrixDisplay
        >>> MatrixDisplay.from_predictions(np.eye(2), np.eye(2), name="mine").name
        'mine'
        """
        A, X = as_matrices("A", A, ndim=2), as_matrices("X", X, ndim=2)
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
        MatrixDisplay
            This display, whose attributes now hold what was drawn.

        Examples
        --------
        >>> from skdmi.inspection import MatrixDisplay
        >>> [ax.get_title() for ax in MatrixDisplay(A=np.eye(2), X=np.eye(2)).plot().axes_]
        ['$A$', '$X$', '$AX$', '$|I - AX|$']
        """
        taken = take_axes(axes, (9.6, 3.7), 1, 4)
        self.axes_: list[Axes] = taken
        from matplotlib.colors import CenteredNorm, LogNorm

        self.figure_: Figure = taken[0].figure
        with np.errstate(over="ignore", invalid="ignore"):
            product = self.A.astype(np.float64) @ self.X.astype(np.float64)
        sizes = np.maximum(np.abs(np.eye(len(product)) - product), SMALLEST)
        powers = np.log10(sizes[np.isfinite(sizes)])
        low, high = (np.floor(powers.min()), np.ceil(powers.max())) if powers.size else (-17, 0)
        logarithmic = LogNorm(10.0**low, 10.0 ** max(high, low + 1), clip=True)
        diverging = [
            ax.imshow(matrix, cmap="RdBu_r", norm=CenteredNorm())
            for ax, matrix in zip(self.axes_, (self.A, self.X, product), strict=False)
        ]
        self.images_: list[AxesImage] = [*diverging, self.axes_[3].imshow(sizes, norm=logarithmic, cmap="viridis")]
        titles = ("$A$", "$X$", "$AX$", "$|I - AX|$")
        for ax, image, title in zip(self.axes_, self.images_, titles, strict=True):
            ax.set(title=title, xticks=[], yticks=[])
            bar = self.figure_.colorbar(image, ax=ax, location="bottom", shrink=0.9)
            bar.ax.minorticks_off()
        bar.set_label(rf"$\|I - AX\|_F$ = {self.residual_norm:.1e}")
        if self.name and axes is None:
            self.figure_.suptitle(self.name)
        return self
