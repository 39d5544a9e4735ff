"""What is said of a training that came to nothing, and said once where several networks are trained."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from skdmi.estimators.policies import users_stacklevel
from skdmi.training import Outcome
from skdmi.training.starting import ENOUGH_MEMBERS

_COLLECTOR: ContextVar[list[str] | None] = ContextVar("_COLLECTOR", default=None)


def conclude(outcome: Outcome, parameters: dict[str, Any], *, from_trained: bool, is_fitted: bool) -> None:
    """Raise Ctrl-C again, and warn of a training that diverged or gained nothing; arguments as of `describe_failure`.

    Raises
    ------
    KeyboardInterrupt
        If that is how it ended.
    """
    if outcome.ended == "interrupted":
        raise KeyboardInterrupt
    failure = describe_failure(outcome, parameters, from_trained=from_trained, is_fitted=is_fitted)
    if failure is not None:
        warn_once(failure)


def describe_failure(
    outcome: Outcome, parameters: dict[str, Any], *, from_trained: bool, is_fitted: bool
) -> str | None:
    """Return what happened and what to try where a training diverged or gained nothing; None where it gained.

    Parameters
    ----------
    outcome : Outcome
    parameters : dict
        Of the inverter that was trained.
    from_trained : bool
        Whether training went on from weights that an earlier one had gained.
    is_fitted : bool
        Whether the first weights hold a start that was fitted to a family, so that they are not those of anybody.
    """
    rate = parameters["learning_rate"]
    if outcome.ended == "diverged":
        kept = "the best weights until then" if outcome.best_epoch else "the weights before training"
        return (
            f"The loss stopped being finite after {len(outcome.history)} epochs; {kept} are kept. Try a smaller "
            f"learning_rate than {rate}."
        )
    if outcome.best_epoch or not outcome.history or is_fitted:
        return None
    if from_trained:
        return (
            f"Training gained nothing on these matrices beyond chance, so the weights that it went on from are kept. "
            f"Try a smaller learning_rate than {rate}, or other matrices."
        )
    first = "network" if parameters["block"] == "dense" else "iteration"
    return (
        f"Training gained nothing on these matrices beyond chance, so the inverter is the untrained {first}. "
        f"max_epochs=0 gives the same at once; there may be something to learn with fewer steps than "
        f"depth={parameters['depth']}, or, where fit(X) is given members of one family, in a start for them."
    )


def warn_of_few_members(n_members: int) -> None:
    """Warn that a family is to be learned from too few of its members.

    >>> with collected() as said:
    ...     warn_of_few_members(12)
    >>> said[0][:37]
    'There is little to learn from 12 matr'
    """
    if n_members < ENOUGH_MEMBERS:
        warn_once(
            f"There is little to learn from {n_members} matrices: 30 members of a family give it away roughly, 100 "
            f"well. Give fit more of them, or a distribution that describes them."
        )


def warn_of_checkpoint(path: Path, error: Exception) -> None:
    """Warn at the user's line that a checkpoint cannot be written.

    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_of_checkpoint(Path("C"), OSError(28, "No space left on device"))
    >>> str(caught[0].message)
    'The checkpoint C cannot be written: [Errno 28] No space left on device. Training goes on, and tries again.'
    """
    text = f"The checkpoint {path} cannot be written: {str(error).removesuffix('.')}. "
    warnings.warn(f"{text}Training goes on, and tries again.", RuntimeWarning, stacklevel=users_stacklevel())


def warn_once(text: str) -> None:
    """Warn at the user's line, or inside `collected` leave it to whoever collects."""
    collector = _COLLECTOR.get()
    if collector is None:
        warnings.warn(text, ConvergenceWarning, stacklevel=users_stacklevel())
    else:
        collector.append(text)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect what trainings would warn of, in this thread.

    >>> with collected() as texts:
    ...     warn_once("Nothing was gained.")
    >>> texts
    ['Nothing was gained.']
    """
    texts: list[str] = []
    token = _COLLECTOR.set(texts)
    try:
        yield texts
    finally:
        _COLLECTOR.reset(token)


def warn_of_members(texts: Iterable[str], n_members: int, what: str = "members") -> None:
    """Warn once of each text that was collected from the trainings of several networks.

    >>> with collected() as said:
    ...     warn_of_members(["Nothing was gained."] * 2, 3)
    >>> said
    ['2 of 3 members: Nothing was gained.']
    """
    for text, n in Counter(texts).items():
        warn_once(f"{n} of {n_members} {what}: {text}")
