"""``TrainingDisplay``: loss and learning rate, epoch by epoch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from skdmi.inspection.drawing import take_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WHERE_INVERTERS_STAND = ("estimators_", "inverter_", "best_estimator_", "estimator", "inverter")


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingDisplay:
    r"""Training and validation loss, a level line where they began, and below them the learning rate, by the epoch.

    The loss is the one that is minimised, :math:`\operatorname{mean}(r + w \log(1 + r / 0.01))` with
    :math:`r = \|I - A X\|_F` and w the ``log_weight`` of the inverter: not the mean residual norm alone. Make a display
    with `from_estimator`.

    Parameters
    ----------
    histories : list of lists of dict
        The ``history_`` of every network.
    log_weights : list of float, default=()
        The ``log_weight`` w of every network, for the name of the axis.
    first_losses : list of float or None, default=()
        The ``first_loss_`` of every network, None where it is not known.
    name : str, default=None
        For the title.

    Attributes
    ----------
    axes_ : list of 2 matplotlib Axes
        Of the loss, and of the learning rate.
    figure_ : matplotlib Figure
    train_, valid_, learning_rate_ : lists of matplotlib Line2D
        A line a network.
    first_ : list of matplotlib Line2D
        The validation loss of the first weights, a line for each network of which it is known.

    Examples
    --------
    >>> from skdmi import load_pretrained
    >>> from skdmi.inspection import TrainingDisplay
    >>> display = TrainingDisplay.from_estimator(load_pretrained("uniform-3x3-short"))
    >>> len(display.valid_)
    1
    """

    histories: Sequence[Sequence[Mapping[str, Any]]]
    log_weights: Sequence[float] = ()
    first_losses: Sequence[float | None] = ()
    name: str | None = None

    @classmethod
    def from_estimator(cls, estimator: Any, *, axes: Any = None, name: str | None = None) -> Self:
        """Draw the training of a fitted inverter.

        Parameters
        ----------
        estimator : fitted inverter
            One that was trained, or one around such: a ``RefinedInverter``, an ensemble (a line a member), a search.
        axes : sequence of 2 matplotlib Axes, default=None
            Of the loss and of the learning rate; by default those of a new figure.
        name : str, default=None
            For the title.

        Returns
        -------
        TrainingDisplay
            Drawn.

        Raises
        ------
        ValueError
            If there is no fitted network inside.

        Examples
        --------
        >>> from skdmi import load_pretrained
        >>> from skdmi.inspection import TrainingDisplay
        >>> len(TrainingDisplay.from_estimator(load_pretrained("uniform-3x3-short")).train_)
        1
        """
        networks = list(_networks(estimator))
        if not any(network.history_ for network in networks):
            raise ValueError(
                f"{type(estimator).__name__} holds no trained network; expected one fitted for an epoch or more."
            )
        return cls(
            histories=[network.history_ for network in networks],
            log_weights=[network.log_weight for network in networks],
            first_losses=[getattr(network, "first_loss_", None) for network in networks],
            name=name,
        ).plot(axes=axes)

    def plot(self, *, axes: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        axes : sequence of 2 matplotlib Axes, default=None
            Of the loss and of the learning rate; by default those of a new figure.

        Returns
        -------
        TrainingDisplay
            This display, whose attributes now hold what was drawn.

        Examples
        --------
        >>> from skdmi import load_pretrained
        >>> from skdmi.inspection import TrainingDisplay
        >>> display = TrainingDisplay.from_estimator(load_pretrained("uniform-3x3-short"), name="short")
        >>> display.plot().axes_[0].get_title()
        'short'
        """
        above, below = take_axes(axes, (5.6, 4.2), 2, sharex=True, height_ratios=(3, 1))
        self.axes_: list[Axes] = [above, below]
        self.figure_: Figure = above.figure
        self.train_: list[Line2D] = []
        self.valid_: list[Line2D] = []
        self.learning_rate_: list[Line2D] = []
        self.first_: list[Line2D] = []
        many = len(self.histories) > 1
        for k, history in enumerate(self.histories):
            epochs, train, valid, rates = (
                [row[key] for row in history] for key in ("epoch", "train_loss", "valid_loss", "learning_rate")
            )
            shown = {"color": f"C{k}", "marker": "." if len(history) < 30 else None}
            labels = (None, f"member {k}") if many else ("training", "validation")
            self.train_ += above.plot(epochs, train, "--", linewidth=0.9, alpha=0.8, label=labels[0], **shown)
            self.valid_ += above.plot(epochs, valid, "-", linewidth=1.4, label=labels[1], **shown)
            self.learning_rate_ += below.plot(epochs, rates, linewidth=1.2, **shown)
        for k, loss in enumerate(self.first_losses):
            if loss is not None:
                label = None if self.first_ else "first weights"
                self.first_.append(above.axhline(loss, color=f"C{k}", linestyle=":", linewidth=1.2, label=label))
        self._scale_losses()
        above.set(ylabel=self._loss_name(), title=self.name or "")
        title = {"title": "dashed: training", "title_fontsize": "small"} if many else {}
        above.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, **title)
        below.set(xlabel="Epoch", ylabel="Learning rate", ylim=(0, None))
        below.yaxis.set_major_formatter("{x:g}")
        below.xaxis.get_major_locator().set_params(integer=True)
        return self

    def _scale_losses(self) -> None:
        """Make the axis of losses logarithmic, with plain ticks if it spans less than a power of ten."""
        from matplotlib.ticker import MaxNLocator, NullLocator

        losses = [row[key] for history in self.histories for row in history for key in ("train_loss", "valid_loss")]
        axes = self.axes_[0]
        if not any(loss > 0 for loss in losses):  # of 1 x 1 matrices, say
            return
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high < 10 * low:
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:g}")

    def _loss_name(self) -> str:
        weights = set(self.log_weights)
        if weights == {0}:
            return "Loss\n" r"mean of $r = \|I - AX\|_F$"
        w = f"{weights.pop():g}" if len(weights) == 1 else "w"
        return "Loss\n" rf"mean of $r + {w}\,\log(1 + r/0.01)$"


def _networks(estimator: Any) -> Iterator[Any]:
    """Yield the fitted networks of an estimator: itself, or those that stand inside it."""
    if hasattr(estimator, "history_"):
        yield estimator
        return
    if hasattr(estimator, "steps"):
        inside = estimator.steps[-1][1]
    else:
        found = (getattr(estimator, name, None) for name in WHERE_INVERTERS_STAND)
        inside = next((one for one in found if one is not None), ())
    for inner in inside if isinstance(inside, list | tuple) else [inside]:
        yield from _networks(inner)
