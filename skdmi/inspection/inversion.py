"""``InversionDisplay``: true against predicted entries of inverses."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import skdmi
from skdmi.inspection.drawing import as_array, as_matrices, check_shapes, display_name, take_axes, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SCALES = ("auto", "linear", "asinh")
MANY = 5000
"""More points than this are coloured by how dense they lie."""
N_TICKS = 5
HEAVY_TAIL = 30
"""A tail is heavy if it reaches this many times beyond three quarters of the entries."""


@dataclass(kw_only=True, eq=False, repr=False)
class InversionDisplay:
    r"""Entries of computed inverses against those of the true ones.

    A perfect inverter has all points on the diagonal. With t the true and p the computed entries, n of each,

    .. math:: R^2 = 1 - \frac{\sum (t - p)^2}{\sum (t - \bar t)^2}, \quad
       \mathrm{MSE} = \frac{1}{n} \sum (t - p)^2, \quad \mathrm{MAE} = \frac{1}{n} \sum |t - p|

    over the entries of the inverses that are there. Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    X_true, X_pred : ndarrays of one shape
        True and computed inverses, real or complex.
    r2, mse, mae : float
        R2 is NaN where all true entries are equal.
    n_missing : int
        Number of entries left out, since one of the two is NaN or infinite.
    name : str, default=None
        Of the inverter, for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : matplotlib PathCollection
    identity_ : matplotlib Line2D
        The line of perfect inverses.

    See Also
    --------
    ResidualDisplay : How good each inverse is, without a true one.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi.inspection import InversionDisplay
    >>> X = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    >>> display = InversionDisplay.from_predictions(X, X + 0.5)
    >>> display.mse, display.mae, display.r2
    (0.25, 0.5, 0.8)
    """

    X_true: np.ndarray
    X_pred: np.ndarray
    r2: float
    mse: float
    mae: float
    n_missing: int = 0
    name: str | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Any, A: Any, *, X_true: Any = None, ax: Any = None, name: str | None = None
    ) -> Self:
        """Invert A and draw the inverses against the true ones.

        Parameters
        ----------
        estimator : fitted inverter
            Anything whose ``transform`` returns inverses.
        A : array-like of shape (n_matrices, m, m) or (n_matrices, m * m)
            Matrices of the size that it is fitted for.
        X_true : array-like of the shape of A, default=None
            By default the inverses of LAPACK in float64; where a matrix is singular to working precision, its
            Moore-Penrose pseudo-inverse.
        ax : matplotlib Axes, default=None
            By default that of a new figure.
        name : str, default=None
            By default the class of the estimator.

        Returns
        -------
        InversionDisplay
            Drawn.

        Examples
        --------
        >>> from skdmi import ExactInverter
        >>> from skdmi.inspection import InversionDisplay
        >>> InversionDisplay.from_estimator(ExactInverter(), np.diag([2.0, 4.0])[None]).mae
        0.0
        """
        X_pred = as_matrices("estimator.transform(A)", estimator.transform(A))
        if X_true is None:
            X_true = skdmi.ExactInverter(singular="pinv").transform(as_matrices("A", A).astype(np.float64))
        return cls.from_predictions(as_matrices("X_true", X_true), X_pred, ax=ax, name=display_name(estimator, name))

    @classmethod
    def from_predictions(cls, X_true: Any, X_pred: Any, *, ax: Any = None, name: str | None = None) -> Self:
        """Draw computed inverses against true ones.

        Parameters
        ----------
        X_true, X_pred : array-likes of one shape
            Of complex entries the real and the imaginary parts count.
        ax : matplotlib Axes, default=None
            By default that of a new figure.
        name : str, default=None
            Of the inverter, for the title.

        Returns
        -------
        InversionDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the shapes differ, or no entry is finite in both.

        Examples
        --------
        >>> from skdmi.inspection import InversionDisplay
        >>> X = np.array([[[1.0, 2.0], [3.0, np.nan]]])
        >>> InversionDisplay.from_predictions(X, X).n_missing
        1
        """
        X_true, X_pred = as_array(X_true), as_array(X_pred)
        check_shapes(X_true=X_true, X_pred=X_pred)
        true, predicted = finite_entries(X_true, X_pred)
        if len(true) == 0:
            raise ValueError("No entry is finite in both X_true and X_pred; expected at least one to draw.")
        n_missing = int(np.count_nonzero(~(np.isfinite(X_true) & np.isfinite(X_pred))))
        unexplained, mse, mae = figures_of_merit(true, predicted)
        return cls(
            X_true=X_true, X_pred=X_pred, r2=1 - unexplained, mse=mse, mae=mae, n_missing=n_missing, name=name
        ).plot(ax=ax)

    def plot(self, *, ax: Any = None, scale: str = "auto") -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            By default that of a new figure.
        scale : {"auto", "linear", "asinh"}, default="auto"
            Of both axes. ``"asinh"`` is linear near zero and logarithmic beyond; ``"auto"`` chooses it where the
            entries of the inverses have a heavy tail, as those of nearly singular matrices do.

        Returns
        -------
        InversionDisplay
            This display, whose attributes now hold what was drawn.

        Examples
        --------
        >>> from skdmi.inspection import InversionDisplay
        >>> X = np.array([[[1.0, 2.0], [3.0, 4.0]]])
        >>> display = InversionDisplay.from_predictions(X, X).plot(scale="asinh")
        >>> display.ax_.get_xscale()
        'asinh'
        """
        if scale not in SCALES:
            raise ValueError(f"Got scale={scale!r}; expected one of {SCALES}.")
        (ax,) = take_axes(ax, (4.8, 4.2))
        from matplotlib.ticker import AsinhLocator

        self.ax_: Axes = ax
        self.figure_: Figure = ax.figure
        true, predicted = finite_entries(self.X_true, self.X_pred)
        entries = np.concatenate([true, predicted])
        low, high, largest = entries.min(), entries.max(), 1.05 * np.abs(entries).max() or 1.0
        bulk = np.quantile(np.abs(true), 0.75) or largest
        bent = scale == "asinh" or (scale == "auto" and largest > HEAVY_TAIL * bulk)
        if bent:
            ax.set_xscale("asinh", linear_width=bulk / 2)
            ax.set_yscale("asinh", linear_width=bulk / 2)
            with np.errstate(over="ignore"):
                ticks = AsinhLocator(bulk / 2, N_TICKS).tick_values(-largest, largest)
            ax.set(xticks=ticks, yticks=ticks)
            ax.minorticks_off()
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        limits = (-largest, largest) if bent else (low - margin, high + margin)
        ax.set(xlim=limits, ylim=limits, aspect="equal", title=self.name or "")
        ax.set(xlabel="True entry of $A^{-1}$", ylabel="Computed entry of $X$")
        self._draw_points(true, predicted, bulk if bent else None)
        self.identity_: Line2D
        (self.identity_,) = ax.plot(limits, limits, color="black", linewidth=0.7, alpha=0.7, zorder=1)
        ax.text(0.04, 0.96, self._figures(), transform=ax.transAxes, va="top", fontsize="small")
        return self

    def _draw_points(self, true: np.ndarray, predicted: np.ndarray, bulk: float | None) -> None:
        """Draw all points if they are few; else one of each small cell, coloured by how many fall into it."""
        options: dict[str, Any] = {"linewidths": 0, "rasterized": True}
        self.points_: PathCollection
        if len(true) <= MANY:
            self.points_ = self.ax_.scatter(true, predicted, s=8, alpha=0.5, **options)
            return
        index, count = thin(*(v if bulk is None else np.arcsinh(v / bulk) for v in (true, predicted)))
        self.points_ = self.ax_.scatter(true[index], predicted[index], c=count, norm="log", s=4, **options)
        self.figure_.colorbar(self.points_, ax=self.ax_, label="Number of entries", shrink=0.9)

    def _figures(self) -> str:
        r2 = f"1 \N{MINUS SIGN} {1 - self.r2:.1e}" if 0.9999 < self.r2 < 1 else f"{self.r2:.4g}"
        lines = [f"$R^2$ = {r2}", f"MSE = {self.mse:.2e}", f"MAE = {self.mae:.2e}"]
        return "\n".join(lines + [f"{self.n_missing} missing"] * bool(self.n_missing))


def figures_of_merit(true: np.ndarray, predicted: np.ndarray) -> tuple[float, float, float]:
    """Return 1 - R2, MSE and MAE; the first, which R2 would round away, is NaN where all true entries are equal.

    >>> figures_of_merit(np.array([0.0, 2.0]), np.array([0.0, 1.0]))
    (0.5, 0.5, 0.5)
    """
    with np.errstate(all="ignore"):
        error = predicted - true
        mse = np.mean(error**2)
        unexplained = mse / np.var(true) if np.ptp(true) else np.nan
        return float(unexplained), float(mse), float(np.mean(np.abs(error)))


def finite_entries(X_true: np.ndarray, X_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries that are finite in both, real and imaginary parts side by side, in float64."""
    finite = np.isfinite(X_true) & np.isfinite(X_pred)
    true, predicted = X_true[finite], X_pred[finite]
    if np.iscomplexobj(true) or np.iscomplexobj(predicted):
        true, predicted = (np.concatenate([entries.real, entries.imag]) for entries in (true, predicted))
    return true.astype(np.float64), predicted.astype(np.float64)
