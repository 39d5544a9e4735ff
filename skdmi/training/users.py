"""Callbacks of users: what they may be, the names that skorch gives them, and what is kept of what they find."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics._scorer import _BaseScorer
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    InputShapeSetter,
    LoadInitState,
    PassthroughScoring,
    ProgressBar,
)
from skorch.callbacks.scoring import ScoringBase, convert_sklearn_metric_function
from torch import Tensor

from skdmi.arrays import described
from skdmi.typing import Net

PREFIX = "callbacks__"
OURS = ("keeper", "schedule", "clipping", "epoch_timer", "train_loss", "valid_loss", "print_log")
"""Names of the callbacks that training itself has."""
COLUMNS: dict[str, type] = {
    "epoch": int,
    "train_loss": float,
    "train_loss_best": bool,
    "train_batch_count": int,
    "valid_loss": float,
    "valid_loss_best": bool,
    "valid_batch_count": int,
    "learning_rate": float,
    "n_matrices": int,
    "dur": float,
}
"""What training itself records in a row of skorch's history."""
TAKEN = {*COLUMNS, "batches", "seconds"}
"""Names of columns under which nothing of a user would be found again, or would stand in place of a loss."""
REFUSED: dict[type, str] = {
    LoadInitState: "it would load weights after the first were measured: go on by warm_start=True or checkpoint_dir",
    InputShapeSetter: "the network takes its size from X or matrix_size",
}
COUNTED: dict[type, tuple[str, ...]] = {
    EarlyStopping: ("misses_", "dynamic_threshold_", "best_epoch_"),
    PassthroughScoring: ("best_score_",),
    ScoringBase: ("best_score_",),
}
"""What skorch's own callbacks count while they run, and begin anew otherwise."""
FUNCTION = (
    "Expected a function: scoring=lambda net, X, y: float(skdmi.metrics.frobenius_residuals(y, net.predict(X)).mean())."
)
PLAIN = (bool, int, float, str, type(None))


def named_callbacks(callbacks: Any) -> list[tuple[str, Any]]:
    """Return callbacks under the names that skorch gives them: their own, or those of classes, numbered if need be.

    >>> [name for name, _ in named_callbacks([Callback(), ("score", None), Callback()])]
    ['Callback_1', 'score', 'Callback_2']
    """
    pairs = [_pair(item) for item in callbacks] if isinstance(callbacks, list | tuple) else []
    n_of_class = Counter(_class_name(callback) for name, callback in pairs if name is None)
    seen: Counter[str] = Counter()
    named = []
    for name, callback in pairs:
        if name is None:
            name = _class_name(callback)
            seen[name] += 1
            name = f"{name}_{seen[name]}" if n_of_class[name] > 1 else name
        named.append((name, callback))
    return named


def _pair(item: Any) -> tuple[str | None, Any]:
    if isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str):
        return item[0], item[1]
    return None, item


def _class_name(callback: Any) -> str:
    return callback.__name__ if isinstance(callback, type) else type(callback).__name__


def callback_parameters(callbacks: Any) -> dict[str, Any]:
    """Return callbacks and their parameters, by the names that ``set_params`` knows them by.

    Parameters
    ----------
    callbacks : list or tuple or None
        Of skorch's, some perhaps as pairs of a name and a callback.

    Returns
    -------
    dict
        ``callbacks__name`` to a callback, ``callbacks__name__parameter`` to a value.

    Examples
    --------
    >>> sorted(callback_parameters([("stop", EarlyStopping(patience=2))]))[:3]
    ['callbacks__stop', 'callbacks__stop__load_best', 'callbacks__stop__lower_is_better']
    """
    parameters: dict[str, Any] = {}
    for name, callback in named_callbacks(callbacks):
        parameters[f"{PREFIX}{name}"] = callback
        if isinstance(callback, Callback):
            of_callback = callback.get_params()
            parameters |= {f"{PREFIX}{name}__{parameter}": value for parameter, value in of_callback.items()}
    return parameters


def with_callback_parameters(callbacks: Any, changes: Mapping[str, Any]) -> Any:
    """Return callbacks of which some are others, or None for none, or have other parameters.

    Parameters
    ----------
    callbacks : list or tuple
        As the parameter ``callbacks`` of an estimator has them.
    changes : mapping
        Of ``name`` to a callback or None, or of ``name__parameter`` to a value.

    Returns
    -------
    list or tuple
        Others of the kind that was given; those given are left as they are.

    Raises
    ------
    TypeError
        If there is no list of them, or a class cannot be made with that parameter alone.
    ValueError
        If there is no callback of that name, or it has no such parameter.

    Examples
    --------
    >>> (_, stop), = with_callback_parameters([("stop", EarlyStopping())], {"stop__patience": 2})
    >>> stop.patience
    2
    """
    if callbacks is not None and not isinstance(callbacks, list | tuple):
        raise TypeError(f"callbacks is {described(callbacks)}; expected a list of callbacks of skorch.")
    items: list[Any] = list(callbacks or ())
    places = {name: place for place, (name, _) in enumerate(named_callbacks(items))}
    for change in sorted(changes, key=lambda change: "__" in change):  # A callback itself comes before its parameters.
        name, _, parameter = change.partition("__")
        if name not in places:
            known = ", ".join(map(repr, places)) or "none"
            raise ValueError(f"Invalid parameter {PREFIX}{change}: no callback is called {name!r}; there are {known}.")
        value, place = changes[change], places[name]
        if not parameter:
            items[place] = (name, value)
            continue
        callback = _pair(items[place])[1]
        if isinstance(callback, type):
            items[place] = (name, _made(name, callback, **{parameter: value}))
        elif not isinstance(callback, Callback):
            raise ValueError(
                f"{PREFIX}{change}: the callback {name!r} is {described(callback)}, which has no parameters."
            )
        else:
            callback.set_params(**{parameter: value})
    return tuple(items) if isinstance(callbacks, tuple) else items


def prepared(
    callbacks: Sequence[Any], *, n_batches: int, several_sizes: bool, sink: Callable[[str], None] | None = None
) -> list[tuple[str, Any]]:
    """Return copies of users' callbacks, named and checked, as a training takes them.

    Parameters
    ----------
    callbacks : sequence
        Of callbacks of skorch or their classes, or pairs ``(name, callback)``; one that is None is left out.
    n_batches : int
        Of an epoch, those that validate included: for a ``ProgressBar`` that would count them.
    several_sizes : bool
        Whether matrices are of several sizes, which no array can hold together.
    sink : callable, optional
        Prints in place of ``print`` what callbacks say.

    Raises
    ------
    TypeError
        If one is no callback, or a class that needs arguments.
    ValueError
        If a name is taken, or a callback cannot work in such a training; it says why.
    """
    named = [(name, callback) for name, callback in named_callbacks(callbacks) if callback is not None]
    doubled = [name for name, n in Counter(name for name, _ in named).items() if n > 1]
    if doubled:
        raise ValueError(f"Several callbacks are called {doubled[0]!r}; expected names of their own.")
    copies = []
    for name, callback in named:
        if name in OURS or "__" in name:
            taken = "has two underscores" if "__" in name else "is that of a callback of the training itself"
            raise ValueError(f"The name {name!r} of a callback {taken}; expected another.")
        if isinstance(callback, type) and issubclass(callback, Callback):
            callback = _made(name, callback)
        if not isinstance(callback, Callback):
            raise TypeError(
                f"callbacks holds {described(callback)}; expected callbacks of skorch, or pairs (name, callback)."
            )
        _refuse(name, callback, several_sizes)
        callback = copied(callback)
        if isinstance(callback, ProgressBar) and callback.batches_per_epoch == "auto":
            callback.batches_per_epoch = n_batches  # The stream has no length that could be asked for.
        if sink and getattr(callback, "sink", None) is print:
            callback.sink = sink
        copies.append((name, callback))
    return copies


def _made(name: str, kind: type, /, **parameters: Any) -> Any:
    try:
        return kind(**parameters)
    except TypeError as error:
        raise TypeError(
            f"The callback {name!r} is the class {kind.__name__}, which cannot be made like this: {error}. "
            f"Expected an instance of it."
        ) from error


def _refuse(name: str, callback: Callback, several_sizes: bool) -> None:
    """Refuse what cannot work where both input and target are stacks of matrices."""
    for kind, reason in REFUSED.items():
        if isinstance(callback, kind):
            raise ValueError(f"The callback {name!r} is a {kind.__name__}; {reason}.")
    if getattr(callback, "f_pickle", None):
        raise ValueError(
            f"The callback {name!r} would pickle the net, but a net in training cannot be pickled. "
            f"Expected f_pickle=None: f_params has the weights, and the fitted inverter pickles."
        )
    _refuse_taken(name, getattr(callback, "event_name", None))
    if not isinstance(callback, ScoringBase):
        return
    scoring = convert_sklearn_metric_function(callback.scoring)
    if scoring is None or isinstance(scoring, str | _BaseScorer):
        raise ValueError(
            f"The callback {name!r} scores by {callback.scoring!r}, which compares predictions with targets in two "
            f"dimensions; here predictions are inverses, (n_matrices, m, m), and targets the matrices themselves. "
            f"{FUNCTION}"
        )
    if (getattr(scoring, "__module__", None) or "").startswith("skdmi.metrics"):
        raise ValueError(
            f"The callback {name!r} scores by {scoring.__name__}, which is not given an inverter here, but the net. "
            f"{FUNCTION}"
        )
    _refuse_taken(name, callback.name or getattr(scoring, "__name__", None))
    if several_sizes and isinstance(callback, EpochScoring) and callback.use_caching:
        raise ValueError(
            f"The callback {name!r} collects the matrices of an epoch in one array, but they are of several sizes. "
            f"Expected use_caching=False, and a scoring(net, X, y) that goes through the pairs of X itself; or a "
            f"BatchScoring."
        )


def _refuse_taken(name: str, column: str | None) -> None:
    if column in TAKEN:
        raise ValueError(
            f"The callback {name!r} records {column!r}, which training itself does; expected another name."
        )


def copied(callback: Any) -> Any:
    """Return a clone of a callback, or where it holds what cannot be copied, one that shares it."""
    try:
        return clone(callback, safe=False)
    except TypeError:
        return copy.copy(callback)


def recorded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what users' callbacks recorded in a row of skorch's history; numbers of numpy and torch as Python's.

    >>> recorded({"epoch": 1, "batches": [], "score": np.float32(0.5)})
    {'score': 0.5}
    """
    return {name: _plain(value) for name, value in row.items() if name not in COLUMNS and name != "batches"}


def keepable(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of recorded values that a file can hold: numbers, words, None, and lists and mappings of them.

    Parameters
    ----------
    columns : mapping
        Values by name.

    Returns
    -------
    dict
        Without the others.

    Examples
    --------
    >>> keepable({"score": 0.5, "by size": {"3": [0.1]}, "net": object()})
    {'score': 0.5, 'by size': {'3': [0.1]}}
    """
    return {name: value for name, value in columns.items() if isinstance(name, str) and _is_plain(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, Tensor | np.ndarray) and value.ndim == 0):
        return value.item()
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(type(name) is str and _is_plain(part) for name, part in value.items())
    return type(value) in PLAIN


def counts(net: Net) -> dict[str, dict[str, Any]]:
    """Return what callbacks have counted so far, by their names."""
    return {
        name: {count: _plain(vars(one)[count]) for count in kept if count in vars(one)}
        for name, one, kept in _counting(net)
    }


def restore_counts(net: Net, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Let callbacks count on from where `counts` found those of their names; others begin anew."""
    for name, callback, kept in _counting(net):
        callback.__dict__.update({count: value for count, value in found.get(name, {}).items() if count in kept})


def _counting(net: Net) -> Iterator[tuple[str, Callback, tuple[str, ...]]]:
    for name, callback in net.callbacks_:
        for kind, kept in COUNTED.items():
            if isinstance(callback, kind):
                yield name, callback, kept
