"""``EnsembleInverter``: independently trained copies of an inverter, and what they find together."""

from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.ensemble._base import _set_random_states
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor

from skdmi import __version__
from skdmi.containers import computable
from skdmi.estimators.base import Answer, BaseInverter
from skdmi.estimators.convergence import collected, warn_of_members
from skdmi.estimators.exporting import Exportable, source_of
from skdmi.estimators.meta import MetaInverter, clone_and_fit, invert_with, requires_fit, unfrozen
from skdmi.estimators.network import CHUNK_ENTRIES
from skdmi.estimators.neural import NeuralMatrixInverter
from skdmi.estimators.saving import Storable
from skdmi.estimators.stored import read_checked
from skdmi.linalg.residuals import in_dtype_of, missing
from skdmi.metrics import frobenius_residuals
from skdmi.persistence import NEWEST, Hub, Model, member_name
from skdmi.processes import end_with_parent
from skdmi.progress import is_watched, progress


def mean_inverse(A: Tensor, inverses: Iterable[Tensor]) -> Tensor:
    r"""Return the mean of several inverses of each matrix, those that are NaN left out.

    .. math:: M_k = M_{k-1} + (X_k - M_{k-1}) / k

    a form of the mean that is exact where all inverses are equal, and needs no room for more than two of them.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, m, m)
    inverses : iterable of Tensors of shape (n_matrices, m, m)

    Returns
    -------
    X : Tensor of shape (n_matrices, m, m)
        NaN where no inverse was found. Differentiable in the inverses.

    Examples
    --------
    >>> found = [torch.tensor([[[0.25]]]), torch.tensor([[[torch.nan]]]), torch.tensor([[[0.75]]])]
    >>> mean_inverse(torch.tensor([[[2.0]]]), found)
    tensor([[[0.5000]]])
    """
    mean = torch.zeros_like(A)
    n_found = torch.zeros(len(A), 1, 1, dtype=A.dtype, device=A.device)
    for X in inverses:
        found = ~missing(X)[:, None, None]
        n_found = n_found + found
        mean = mean + torch.where(found, X - mean, 0.0) / n_found.clamp(min=1)
    return torch.where(n_found > 0, mean, torch.nan)


def best_inverse(A: Tensor, inverses: Iterable[Tensor]) -> Tensor:
    r"""Return, matrix by matrix, the inverse with the smallest :math:`\|I - A X\|_F`, measured in float64.

    Parameters
    ----------
    A : Tensor of shape (n_matrices, m, m)
    inverses : iterable of Tensors of shape (n_matrices, m, m)

    Returns
    -------
    X : Tensor of shape (n_matrices, m, m)
        The first of equally good ones; NaN where no inverse was found. Differentiable in the inverses.

    Examples
    --------
    >>> best_inverse(torch.tensor([[[2.0]]]), [torch.tensor([[[0.25]]]), torch.tensor([[[0.625]]])])
    tensor([[[0.6250]]])
    """
    best = torch.full_like(A, torch.nan)
    smallest = torch.full((len(A),), torch.inf, dtype=torch.float64, device=A.device)
    for X in inverses:
        norms = frobenius_residuals(A.detach(), X.detach())
        better = norms < smallest  # A NaN never is.
        best = torch.where(better[:, None, None], X, best)
        smallest = torch.where(better, norms, smallest)
    return best


COMBINATIONS: dict[str, Callable[[Tensor, Iterable[Tensor]], Tensor]] = {"mean": mean_inverse, "best": best_inverse}


class EnsembleInverter(Storable, Exportable, MetaInverter):
    r"""Independently trained copies of an inverter, whose answers are averaged or the best taken.

    ``fit`` clones the inverter ``n_estimators`` times, gives every parameter named ``random_state`` of every copy,
    nested ones too, an integer drawn from its own ``random_state``, and fits the copies side by side. With X the
    answer of member k to a matrix A, ``"mean"`` returns :math:`\frac{1}{n} \sum_k X_k`, and ``"best"`` the
    :math:`X_k` with the smallest :math:`\|I - A X_k\|_F`, which therefore is never worse than any member.

    Parameters
    ----------
    inverter : inverter or list of inverters, default=None
        What is copied; None is ``NeuralMatrixInverter()``. Copies of a frozen inverter would not differ, so more than
        one is an error. A list names each member; ``n_estimators`` must be their number.
    n_estimators : int, default=3
        Number of members.
    combine : {"mean", "best"}, default="mean"
        Members that have no inverse of a matrix (NaN) are left out of its mean. ``"best"`` spends one product more a
        member, in float64.
    n_jobs : int, default=None
        How many members are fitted at a time, by joblib. None is one; keep to it on a GPU.
    random_state : int, RandomState instance or None, default=None
        Determines the seed of every member.
    verbose : int, default=0
        1 shows on a terminal, of ``fit`` and ``transform``, the rate and the time that remains
        (:mod:`skdmi.progress`).

    Attributes
    ----------
    estimators_ : list of inverters
        The members, fitted.
    matrix_size_, n_features_in_ : int
        m and ``m * m``. Not set by members that take any size and were fitted without X.
    feature_names_in_ : ndarray of shape (m * m,)
        Column names, when ``fit`` saw a DataFrame.

    See Also
    --------
    RefinedInverter : Goes around an ensemble to certify what it finds.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmi import EnsembleInverter, NeuralMatrixInverter
    >>> network = NeuralMatrixInverter(depth=2, matrix_size=16, max_epochs=2, batches_per_epoch=5, batch_size=64)
    >>> ensemble = EnsembleInverter(network, n_estimators=2, combine="best", random_state=0).fit()
    >>> ensemble.transform(4 * np.eye(16)[None])[0, :2, :2].round(3)
    array([[0.25, 0.  ],
           [0.  , 0.25]])
    """

    _parameter_constraints: dict[str, Any] = {
        "inverter": [HasMethods(["fit", "transform"]), list, tuple, None],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "combine": [StrOptions(set(COMBINATIONS))],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _derives_itself = True
    _chunk_entries = CHUNK_ENTRIES
    estimators_: list[Any]

    def __init__(
        self,
        inverter: Any = None,
        n_estimators: int = 3,
        *,
        combine: str = "mean",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.inverter = inverter
        self.n_estimators = n_estimators
        self.combine = combine
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_fitted(cls, inverters: Iterable[Any], *, combine: str = "mean") -> Self:
        """Return an ensemble of inverters that are fitted already.

        Each goes inside frozen, as a member of the list that is the parameter ``inverter``: so the members survive
        ``clone``, searches and pickling, and ``fit`` only checks X against them.

        Parameters
        ----------
        inverters : iterable of fitted inverters
            For matrices of one size.
        combine : {"mean", "best"}, default="mean"

        Returns
        -------
        EnsembleInverter
            Fitted.

        Raises
        ------
        NotFittedError
            If one of them is not fitted.
        ValueError
            If there are none, or their sizes disagree.

        Examples
        --------
        >>> from skdmi import EnsembleInverter, load_pretrained
        >>> EnsembleInverter.from_fitted([load_pretrained("uniform-3x3-short")]).matrix_size_
        3
        """
        frozen = [one if isinstance(one, FrozenEstimator) else FrozenEstimator(one) for one in inverters]
        return cls(frozen, len(frozen), combine=combine).fit()

    @classmethod
    def _restored(cls, model: Model) -> Self:
        """Return the ensemble of a checked model."""
        if model.card["class"] != cls.__name__ or not model.is_ensemble:
            raise ValueError(f"{model.path} holds a {model.card['class']!r}, not a {cls.__name__}.")
        members = [restored(member) for member in model.members()]
        try:
            return cls.from_fitted(members, combine=model.card["combine"])
        except ValueError as error:
            raise ValueError(f"{model.path}: {error}") from error

    def _stored(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return card and weights, those of each member named by it."""
        self._check_ready()
        members = [unfrozen(one) for one in self._wrapped()]
        for member in members:
            if not isinstance(member, NeuralMatrixInverter | EnsembleInverter):
                raise TypeError(
                    f"A {type(member).__name__} cannot be saved: only a NeuralMatrixInverter, or an ensemble of them. "
                    f"Put the ensemble inside, RefinedInverter(EnsembleInverter(...)), or use joblib.dump."
                )
        stored = [member._stored() for member in members]
        card = {
            "class": type(self).__name__,
            "versions": {"skdmi": __version__},
            "combine": self.combine,
            "members": [one for one, _ in stored],
        }
        return card, {f"{member_name(i)}.{name}": a for i, (_, one) in enumerate(stored) for name, a in one.items()}

    def _source(self) -> Any:
        from skdmi.export.network import Combination  # imports onnx

        return Combination(self.combine, tuple(map(source_of, self._wrapped())))

    def _fit_wrapped(self, stack: np.ndarray | None, y: Any) -> None:
        """Fit every member, each to all of X."""
        members = [clone(inner) for inner in self._given()]
        random = check_random_state(self.random_state)
        for member in members:
            _set_random_states(member, random)
        done = []
        with progress(len(members), "members", verbose=self.verbose, label="ensemble") as bar:
            tasks = (delayed(fit_member)(one, stack, y) for one in members)
            as_they_come = "generator" if is_watched(self.verbose) else "list"
            for fitted_and_said in Parallel(n_jobs=self.n_jobs, return_as=as_they_come)(tasks):
                done.append(fitted_and_said)
                bar.advance()
        self.estimators_ = [fitted for fitted, _ in done]
        warn_of_members([text for _, texts in done for text in texts], len(done))

    def _invert(self, A: Tensor) -> Answer:
        given = computable(A)
        inverses = (invert_with(member, given) for member in self._wrapped())
        return Answer(in_dtype_of(A, COMBINATIONS[self.combine](given, inverses)))

    def _given(self) -> list[Any]:
        """Return what each member is a clone of."""
        inner = NeuralMatrixInverter() if self.inverter is None else self.inverter
        if isinstance(inner, list | tuple):
            if len(inner) != self.n_estimators:
                raise ValueError(
                    f"n_estimators={self.n_estimators}, but inverter is a list of {len(inner)}; give their number."
                )
            return list(inner)
        if self.n_estimators > 1 and _is_frozen(inner):
            raise ValueError(
                f"n_estimators={self.n_estimators} copies of a frozen inverter would all be equal. Set n_estimators=1, "
                f"leave the inverter unfrozen, or put several fitted ones together with EnsembleInverter.from_fitted."
            )
        return [inner] * self.n_estimators

    def _made(self) -> list[Any] | None:
        return getattr(self, "estimators_", None)

    def __sklearn_tags__(self) -> Any:
        tags = BaseInverter.__sklearn_tags__(self)
        inners = self.inverter if isinstance(self.inverter, list | tuple) else [self.inverter]
        tags.requires_fit = any(inner is None or requires_fit(inner) for inner in inners)
        return tags


def fit_member(inverter: Any, X: Any, y: Any = None) -> tuple[Any, list[str]]:
    """Return a fitted clone, and what its training would have warned of, for the ensemble to say once."""
    end_with_parent()
    with collected() as texts:
        return clone_and_fit(inverter, X, y), texts


def load_fitted(name_or_path: Any, hub: Hub = NEWEST) -> NeuralMatrixInverter | EnsembleInverter:
    """Load a fitted inverter of whichever class was saved.

    >>> load_fitted("uniform-3x3-short").matrix_size_
    3
    """
    return restored(read_checked(name_or_path, hub=hub))


def restored(model: Model) -> NeuralMatrixInverter | EnsembleInverter:
    """Return the inverter of a checked model."""
    return (EnsembleInverter if model.is_ensemble else NeuralMatrixInverter)._restored(model)


def _is_frozen(inverter: Any) -> bool:
    """Return whether a fit changes nothing because all that could be fitted is frozen."""
    if isinstance(inverter, type):
        return False  # A class, which clone will refuse.
    parts = [inverter, *inverter.get_params().values()]
    return any(isinstance(part, FrozenEstimator) for part in parts) and not requires_fit(inverter)
