"""``ResidualDisplay``: the residual norm of every inverse against the condition number of its matrix."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import skdmi
from skdmi.inspection.drawing import as_matrices, display_name, take_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SMALLEST_RESIDUAL = 1e-17
LARGEST_CONDITION = 1e17
GROUPS: dict[str, dict[str, Any]] = {
    "certified": {"color": "C0", "marker": "o", "linewidths": 0, "alpha": 0.5},
    "uncertified": {"color": "C1", "marker": "^", "linewidths": 0, "alpha": 0.8},
    "missing": {"color": "black", "marker": "x", "linewidths": 1},
}


@dataclass(kw_only=True, eq=False, repr=False)
class ResidualDisplay:
    r"""Residual norms :math:`\|I - A X\|_F` against condition numbers :math:`\kappa_2(A)`: a point a matrix.

    Two lines tell what the points mean. The *floor* is

    .. math:: u \sqrt m\, \kappa_2(A)

    with u the unit roundoff of the dtype of X: the true inverse, rounded to that dtype, has a residual norm of at most
    that. The line at 1 is the one *below which A is nonsingular*, whatever X is, as far as rounding in the residual
    norm allows. Points are told apart by whether X has a certificate (:func:`skdmi.linalg.certify`), which proves the
    same with all rounding counted, and in another norm: near the line there are points with one above, without below.

    A missing inverse (NaN) is drawn at :math:`\sqrt m`, the residual norm of the zero matrix; a residual norm below
    1e-17 at 1e-17, a condition number above 1e17 at 1e17. Make a display with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    condition : ndarray of shape (n_matrices,)
        Condition numbers in the 2-norm.
    residual_norm : ndarray of shape (n_matrices,)
        NaN where there is no inverse.
    certified : ndarray of bool, shape (n_matrices,)
        Whether the inverse has a certificate.
    matrix_size : int
        The size m of the matrices.
    dtype : dtype
        Of the inverses, for the floor.
    name : str, default=None
        Of the inverter, for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : dict of str to matplotlib PathCollection
        The points, by ``"certified"``, ``"uncertified"`` and ``"missing"``; only those that there are.
    floor_ : matplotlib Line2D
    certificate_ : matplotlib Line2D
        The line at 1.

    See Also
    --------
    InversionDisplay : True against computed entries.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.inspection import ResidualDisplay
    >>> A = np.array([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 0.5]]])
    >>> display = ResidualDisplay.from_predictions(A, A / 8)
    >>> display.condition, display.residual_norm.round(3), display.certified
    (array([2., 2.]), array([1.118, 1.305]), array([False,  True]))
    """

    condition: np.ndarray
    residual_norm: np.ndarray
    certified: np.ndarray
    matrix_size: int
    dtype: Any = np.float64
    name: str | None = None

    @classmethod
    def from_estimator(cls, estimator: Any, A: Any, *, ax: Any = None, name: str | None = None) -> Self:
        """Invert A and draw the residual norms.

        Parameters
        ----------
        estimator : fitted inverter
            Anything whose ``transform`` returns inverses.
        A : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            Matrices of the size that it is fitted for.
        ax : matplotlib Axes, default=None
            By default that of a new figure.
        name : str, default=None
            By default the class of the estimator.

        Returns
        -------
        ResidualDisplay
            Drawn.

        Examples
        --------
        >>> from skdmi import ExactInverter
        >>> from skdmi.inspection import ResidualDisplay
        >>> ResidualDisplay.from_estimator(ExactInverter(), np.diag([2.0, 4.0])[None]).name
        'ExactInverter'
        """
        return cls.from_predictions(A, estimator.transform(A), ax=ax, name=display_name(estimator, name))

    @classmethod
    def from_predictions(cls, A: Any, X_pred: Any, *, ax: Any = None, name: str | None = None) -> Self:
        """Draw the residual norms of computed inverses, whoever computed them.

        Parameters
        ----------
        A, X_pred : array-likes of shape (n_matrices, m, m) or (n_matrices, m * m)
            Real; A finite.
        ax : matplotlib Axes, default=None
            By default that of a new figure.
        name : str, default=None
            Of the inverter, for the title.

        Returns
        -------
        ResidualDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the shapes differ, or A is not finite, or either is complex.

        Examples
        --------
        >>> from skdmi.inspection import ResidualDisplay
        >>> display = ResidualDisplay.from_predictions(np.eye(2)[None], np.full((1, 2, 2), np.nan))
        >>> list(display.points_)
        ['missing']
        """
        import torch

        A, X = as_matrices("A", A), as_matrices("X_pred", X_pred)
        norms = skdmi.metrics.frobenius_residuals(A, X)
        if not np.isfinite(A).all():
            raise ValueError("A has a NaN or infinite entry; expected finite matrices.")
        found = np.isfinite(X).all(axis=(1, 2))
        return cls(
            condition=np.linalg.cond(A.astype(np.float64)),
            residual_norm=np.where(found, norms, np.nan),
            certified=skdmi.linalg.certify(torch.from_numpy(A), torch.from_numpy(X)).certified.numpy(),
            matrix_size=A.shape[-1],
            dtype=X.dtype,
            name=name,
        ).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            By default that of a new figure.

        Returns
        -------
        ResidualDisplay
            This display, whose attributes now hold what was drawn.

        Examples
        --------
        >>> from skdmi.inspection import ResidualDisplay
        >>> A = np.diag([2.0, 4.0])[None]
        >>> display = ResidualDisplay.from_predictions(A, np.linalg.inv(A))
        >>> display.plot().ax_.get_xscale()
        'log'
        """
        (ax,) = take_axes(ax, (6.2, 3.6))
        self.ax_: Axes = ax
        self.figure_: Figure = ax.figure
        missing = ~np.isfinite(self.residual_norm)
        condition = np.minimum(self.condition, LARGEST_CONDITION)
        norms = np.maximum(np.where(missing, self.matrix_size**0.5, self.residual_norm), SMALLEST_RESIDUAL)
        masks = (self.certified, ~self.certified & ~missing, missing)
        self.points_: dict[str, PathCollection] = {}
        for (label, marker), mask in zip(GROUPS.items(), masks, strict=True):
            if n_points := np.count_nonzero(mask):
                shown = {"s": np.clip(4000 / n_points, 4, 16), "rasterized": True, "label": f"{label} ({n_points:,})"}
                self.points_[label] = ax.scatter(condition[mask], norms[mask], **marker, **shown)
        ends = np.array([condition.min() / 1.5, condition.max() * 1.5])
        floor = np.finfo(self.dtype).eps / 2 * self.matrix_size**0.5 * ends
        self.floor_: Line2D
        (self.floor_,) = ax.plot(ends, floor, "--", color="black", linewidth=0.9, label="rounding of $A^{-1}$")
        self.certificate_: Line2D = ax.axhline(
            1.0, color="black", linewidth=0.9, linestyle=":", label="nonsingular below"
        )
        ylim = min(norms.min(), floor[0]) / 3, max(norms.max(), 1.0) * 10
        ax.set(xscale="log", yscale="log", xlim=ends, ylim=ylim, title=self.name or "")
        ax.set(xlabel=r"Condition number $\kappa_2(A)$", ylabel=r"Residual norm $\|I - AX\|_F$")
        legend = ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        for handle in legend.legend_handles[: len(self.points_)]:
            handle.set(alpha=1.0, sizes=[24])
        return self
