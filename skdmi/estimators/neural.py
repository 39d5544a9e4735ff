"""``NeuralMatrixInverter``: a residual network that learns to invert, in the shape of a scikit-learn estimator."""

import copy
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from skdmi.distributions import Distribution
from skdmi.estimators.base import BaseInverter, unchanged_on_error
from skdmi.estimators.card import fitted_from_config, parameters_from_config, to_config
from skdmi.estimators.devices import resolve_device
from skdmi.iteration import STARTS
from skdmi.modules import BLOCKS, NORMALIZATIONS, PRECISIONS, InverterResNet
from skdmi.persistence import load_model, save_model
from skdmi.training import (
    OPTIMIZERS,
    MatrixStream,
    Outcome,
    Problem,
    constant,
    cosine,
    pose_problem,
    prediction_net,
    train,
)

__all__ = ["NeuralMatrixInverter"]

CHUNK_ENTRIES = 2**17
_PLACING = threading.Lock()


class NeuralMatrixInverter(BaseInverter):
    r"""A residual network that learns to invert matrices from matrices generated on the fly.

    The network starts from :math:`X = c A^T`, and each of its ``depth`` blocks adds to the running inverse X; it is
    trained on fresh matrices only, with the identity loss :math:`\|I - A X\|_F`, so nothing is ever inverted to teach
    it. With the default ``block="polynomial"`` the untrained network is a minimal-residual iteration
    with deflation (:func:`skdmi.iteration.minimal_residual`), and training adds foresight. One trained network serves
    every m: from the smallest to the largest size that it was trained for with foresight, elsewhere as the untrained
    iteration.

    Parameters
    ----------
    depth : int, default=4
        Number of residual blocks. From the start ``"transpose"`` a ``"polynomial"`` network spends
        ``1 + 3 depth + ceil(depth / 3)`` products of m x m matrices, the last residual included.
    width : int, default=16
        Size of the hidden vector.
    expansion : int, default=2
        Width of the hidden layers inside a block, in units of ``width``.
    block : {"polynomial", "feedback", "gated", "dense"}, default="polynomial"
        Kind of block, see :class:`skdmi.modules.InverterResNet`. All but the first are tied to one m.
    start : {"transpose", "identity", "characteristic"}, default="transpose"
        What a ``"polynomial"`` network starts from: :math:`c A^T`, for any matrix; :math:`c I`, for symmetric positive
        definite ones; or the inverse by the characteristic polynomial (:func:`skdmi.linalg.characteristic_start`),
        which up to about m = 12 leaves little to learn.
    normalize : {"frobenius", "none"}, default="frobenius"
        Whether the scale of A is taken out exactly before the network and given back after it.
    matrix_size : int or tuple of int, default=None
        m. May be left out when ``fit`` is given X. With ``"polynomial"`` a tuple trains one network on several sizes,
        which then takes any.
    distribution : "auto", Distribution or callable, default="auto"
        Where training matrices come from, see :mod:`skdmi.distributions`. ``"auto"`` is ``Resampled()`` of X when
        ``fit`` is given X, else ``Uniform(-1, 1)``. A callable has the signature
        ``f(n_matrices, matrix_size, *, generator, device, dtype)``.
    max_epochs, batches_per_epoch, batch_size : int, default=20, 100, 1024
        Training sees ``max_epochs * batches_per_epoch * batch_size`` matrices, none of them twice.
    learning_rate : float, default=2e-3
        Peak of a schedule that rises over the first 2.5 percent of training and falls to zero as a cosine.
    optimizer : {"adam", "adamw", "sgd"}, default="adamw"
    log_weight : float, default=0.05
        Weight of ``log(1 + r / 0.01)`` beside the residual norm r in the loss, see :class:`skdmi.modules.IdentityLoss`:
        it keeps the easy matrices worth improving. 0 is the identity loss alone.
    early_stopping : bool, default=False
        Stop after ``patience`` epochs without a better validation loss.
    patience : int, default=10
    validation_fraction : float, default=0.1
        Share of X that is held out for validation, when training matrices are made from X.
    warm_start : bool, default=False
        Whether ``fit`` starts from the present weights, with a new schedule.
    callbacks : list of skorch callbacks, default=None
        Cloned before use. An open ``SummaryWriter`` of TensorBoard cannot be copied: training shares it, but for
        ``sklearn.base.clone``, hence inside another estimator, ``close`` it first; it opens again when written to.
    net_params : dict, default=None
        The last word to :class:`skorch.NeuralNet`, for example ``{"optimizer__weight_decay": 0.1}``.
    device : str, default="auto"
        ``"auto"`` is CUDA if there is any, else the CPU; or any name of a torch device.
    precision : {"float32", "float64"}, default="float32"
        Of the network, whatever the dtype of X.
    compile : bool, default=False
        Whether to train through ``torch.compile``.
    random_state : int, RandomState instance or None, default=None
        Determines weights, training matrices, held-out members. An int makes ``fit`` reproducible.
    verbose : int, default=0
        1 prints a line an epoch, 2 shows progress within it.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The net, trimmed for prediction.
    module_ : skdmi.modules.InverterResNet
        The network.
    device_ : torch.device or None
        Where it runs; None in a loaded model until it is used.
    matrix_size_, n_features_in_ : int
        m and ``m * m``. Not set after ``fit()`` for several sizes.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, when ``fit`` saw a DataFrame.
    n_iter_ : int
        Number of epochs.
    n_matrices_seen_ : int
    best_loss_ : float
        Validation loss of the weights kept.
    history_ : list of dict
        A row an epoch: epoch, train_loss, valid_loss, learning_rate (its largest), n_matrices, seconds.
    distribution_ : Distribution or callable
        What ``distribution`` came to mean.
    domain_ : dict
        Quantiles of the scale :math:`\|A\|_F / \sqrt m` and the condition number of 4,096 training matrices. What
        lies outside was not trained for; the residual norm tells.

    See Also
    --------
    ExactInverter : LAPACK behind the same interface.
    skdmi.iteration.minimal_residual : The untrained network.

    Notes
    -----
    The weights kept are those with the lowest validation loss after any epoch, or those before the first if no epoch's
    gain on them is beyond chance. The optimizer never outlives a call, and each epoch's matrices depend on
    ``random_state`` and the number of matrices seen, so an unpickled copy continues as the original would.

    Ctrl-C leaves the best weights in the estimator, which is then fitted, and raises KeyboardInterrupt again.

    References
    ----------
    Chow and Saad, "Approximate inverse preconditioners via sparse-sparse iterations", SIAM J. Sci. Comput. 19(3), 1998,
    for the iteration that the network starts from; Randazzo, DeepMatrixInversion, 2024, for training on generated
    matrices with the identity loss.

    Examples
    --------
    >>> from skdmi import NeuralMatrixInverter
    >>> from skdmi.distributions import Uniform
    >>> inverter = NeuralMatrixInverter(
    ...     depth=3, width=8, matrix_size=3, max_epochs=2, batches_per_epoch=5, batch_size=64, random_state=0
    ... ).fit()
    >>> A = Uniform(min_abs_det=0.1).sample(1000, 3, random_state=1)
    >>> inverter.transform(A).shape
    (1000, 3, 3)
    >>> inverter.score(A) > -1e-3
    True
    """

    _parameter_constraints: dict[str, Any] = {
        "depth": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "expansion": [Interval(Integral, 1, None, closed="left")],
        "block": [StrOptions(set(BLOCKS))],
        "start": [StrOptions(set(STARTS))],
        "normalize": [StrOptions(set(NORMALIZATIONS))],
        "matrix_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "distribution": [StrOptions({"auto"}), callable],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batches_per_epoch": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "log_weight": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "callbacks": [list, tuple, None],
        "net_params": [dict, None],
        "device": [str],
        "precision": [StrOptions(set(PRECISIONS))],
        "compile": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    module_: InverterResNet
    device_: torch.device | None
    distribution_: Distribution | Callable[..., Tensor]
    history_: list[dict[str, Any]]
    n_matrices_seen_: int
    _seed: int
    _architecture: dict[str, Any]

    def __init__(
        self,
        depth: int = 4,
        width: int = 16,
        *,
        expansion: int = 2,
        block: str = "polynomial",
        start: str = "transpose",
        normalize: str = "frobenius",
        matrix_size: int | tuple[int, ...] | None = None,
        distribution: str | Distribution | Callable[..., Tensor] = "auto",
        max_epochs: int = 20,
        batches_per_epoch: int = 100,
        batch_size: int = 1024,
        learning_rate: float = 2e-3,
        optimizer: str = "adamw",
        log_weight: float = 0.05,
        early_stopping: bool = False,
        patience: int = 10,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        device: str = "auto",
        precision: str = "float32",
        compile: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.depth = depth
        self.width = width
        self.expansion = expansion
        self.block = block
        self.start = start
        self.normalize = normalize
        self.matrix_size = matrix_size
        self.distribution = distribution
        self.max_epochs = max_epochs
        self.batches_per_epoch = batches_per_epoch
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.log_weight = log_weight
        self.early_stopping = early_stopping
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.precision = precision
        self.compile = compile
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Train on generated matrices; X says which, and checks them.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m), optional
            Fixes the size. With ``distribution="auto"`` training matrices are endless variations on X, of which
            ``validation_fraction`` is held out; with any other distribution X is the validation set.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        self : NeuralMatrixInverter

        Raises
        ------
        ValueError
            If a parameter is not allowed, sizes disagree, X is refused, or ``device`` is not there; the estimator is
            then as it was.
        KeyboardInterrupt
            After Ctrl-C, with the best weights so far in the estimator.

        Warns
        -----
        ConvergenceWarning
            If the loss stops being finite; the best weights until then are kept.
        """
        del y
        with unchanged_on_error(self):
            self._validate_params()
            resuming = self.warm_start and self.__sklearn_is_fitted__()
            stack = None if X is None else self._open_stack(X)
            schedule = cosine(self.max_epochs * self.batches_per_epoch)
            outcome = self._learn(stack, self.max_epochs, schedule, resuming=resuming, keep_last=False)
        return self._finish(outcome)

    def partial_fit(self, X: Any = None, y: Any = None) -> Self:
        """Train for one epoch more at constant learning rate, after a short warm-up; fit first if need be.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m), optional
            As for ``fit``. Needed again where training matrices are made from X: the estimator keeps no data.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        self : NeuralMatrixInverter
        """
        del y
        with unchanged_on_error(self):
            self._validate_params()
            resuming = self.__sklearn_is_fitted__()
            stack = None if X is None else self._open_stack(X, reset=not resuming)
            schedule = constant(self.batches_per_epoch)
            outcome = self._learn(stack, 1, schedule, resuming=resuming, keep_last=True)
        return self._finish(outcome)

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write the model as a directory of ``config.json`` and ``model.safetensors``, whole or not at all.

        ``device``, ``callbacks``, RandomState objects, and a distribution or ``net_params`` that JSON cannot hold are
        not stored.

        Parameters
        ----------
        directory : path
            Made if it is not there; replaced if it holds a model.

        Raises
        ------
        FileExistsError
            If the path exists and holds anything but a model.
        NotFittedError
            If the inverter is not fitted.
        """
        self._check_ready()
        save_model(directory, to_config(self), _to_arrays(self.module_.state_dict()))

    @classmethod
    def from_pretrained(cls, name_or_directory: str | os.PathLike[str]) -> Self:
        """Load a model, fitted: one that ``save_pretrained`` wrote, or one that comes with skdmi.

        Parameters
        ----------
        name_or_directory : str or path
            A directory, or a name such as ``"uniform-3x3"``.

        Raises
        ------
        FileNotFoundError
            If there is no such model.
        ValueError
            If it is damaged, or not of this class.

        Examples
        --------
        >>> from skdmi import NeuralMatrixInverter
        >>> NeuralMatrixInverter.from_pretrained("uniform-3x3").matrix_size_
        3
        """
        config, weights = load_model(name_or_directory)
        if config.get("class") != cls.__name__:
            raise ValueError(f"{name_or_directory} holds a {config.get('class')!r}, not a {cls.__name__}.")
        try:
            inverter = cls(**parameters_from_config(config))
            inverter.__dict__.update(fitted_from_config(config))
            inverter._rebuild(weights)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"The configuration of {name_or_directory} does not fit its weights, or this skdmi: {error!r}."
            ) from error
        return inverter

    def _invert(self, A: Tensor) -> Tensor:
        fixed = self.module_.matrix_size
        m = A.shape[-1]
        if fixed is not None and fixed != m:
            raise ValueError(
                f"The network takes {fixed} x {fixed} matrices, got {m} x {m}; 'polynomial' takes any size."
            )
        network, home = self.module_, self._place()
        device = home if A.device.type == "cpu" else A.device
        if device != home:
            network = _apart(lambda: copy.deepcopy(self.module_).to(device))
        n_chunk = max(1, CHUNK_ENTRIES // (m * m)) if device.type == "cpu" else len(A)
        return torch.cat([network(part.to(device)).to(A.device) for part in A.split(n_chunk)])

    def _place(self) -> torch.device:
        """Move a loaded network to the device that its parameters ask for, once."""
        with _PLACING:
            if self.device_ is None:
                device = resolve_device(self.device, loaded=True)
                _apart(lambda: self.module_.to(device))
                self.device_ = device
            return self.device_

    def _sizes(self, stack: Tensor | None, *, resuming: bool) -> tuple[int, ...]:
        given = self.matrix_size
        if given is None:
            if stack is not None:
                return (stack.shape[-1],)
            if resuming and hasattr(self, "matrix_size_"):
                return (self.matrix_size_,)
            raise ValueError("matrix_size=None and no X: name the size, matrix_size=3, or give fit an X that has it.")
        sizes = tuple(given) if isinstance(given, tuple | list) else (given,)
        if not sizes or not all(isinstance(m, Integral) and m > 0 for m in sizes):
            raise ValueError(f"matrix_size={given!r}; expected a positive int, or a tuple of them.")
        if len(sizes) > 1 and self.block != "polynomial":
            raise ValueError(
                f"matrix_size={given!r}: block={self.block!r} is tied to one size; only 'polynomial' takes several."
            )
        if stack is not None and stack.shape[-1] not in sizes:
            m = stack.shape[-1]
            raise ValueError(f"X holds {m} x {m} matrices, but matrix_size={given!r}. Leave one of the two out.")
        return sizes

    def _pose(self, stack: Tensor | None, *, resuming: bool) -> Problem:
        """Decide what to train on, and fix the size if it was named rather than seen."""
        if isinstance(self.distribution, type):
            name = self.distribution.__name__
            raise ValueError(f"distribution={name}, a class; expected an instance of it, such as {name}().")
        sizes = self._sizes(stack, resuming=resuming)
        if stack is None and not resuming:
            takes_any = self.block == "polynomial" and not isinstance(self.matrix_size, Integral)
            self._set_size(None if takes_any else sizes[0])
        known = resuming and stack is None and isinstance(self.distribution, str)
        return pose_problem(
            self.distribution_ if known else self.distribution,
            sizes,
            stack,
            validation_fraction=self.validation_fraction,
            scale_free=self.normalize != "none",
            seed=self._seed if resuming else _resolve_seed(self.random_state),
        )

    def _learn(
        self,
        stack: Tensor | None,
        max_epochs: int,
        schedule: Callable[[int], float],
        *,
        resuming: bool,
        keep_last: bool,
    ) -> Outcome:
        """Train from the present weights or from new ones, and put the outcome into the estimator."""
        problem = self._pose(stack, resuming=resuming)
        domain = problem.domain()
        architecture = self._build_architecture(problem.sizes, resuming=resuming)
        device = resolve_device(self.device, loaded=False)
        dtype = PRECISIONS[architecture["precision"]]
        stream = MatrixStream(
            problem.draw,
            problem.sizes,
            batch_size=self.batch_size,
            batches_per_epoch=self.batches_per_epoch,
            seed=problem.seed,
            n_matrices_seen=self.n_matrices_seen_ if resuming else 0,
            device=device,
            dtype=dtype,
        )
        n_batches = max(1, self.batches_per_epoch // 10)
        outcome = train(
            architecture,
            self.module_.state_dict() if resuming else None,
            stream,
            problem.validation(n_batches, self.batch_size, device=device, dtype=dtype),
            max_epochs=max_epochs,
            learning_rate=self.learning_rate,
            schedule=schedule,
            log_weight=self.log_weight,
            optimizer=self.optimizer,
            patience=self.patience if self.early_stopping else None,
            callbacks=self.callbacks or (),
            net_params=self.net_params,
            compile=self.compile,
            keep_last=keep_last,
            verbose=int(self.verbose),
        )
        earlier = self.history_ if resuming else []
        self.history_ = earlier + [{**row, "epoch": row["epoch"] + len(earlier)} for row in outcome.history]
        self.n_iter_ = len(self.history_)
        self.n_matrices_seen_ = stream.n_matrices_seen
        self.best_loss_ = outcome.loss
        self.distribution_ = problem.distribution
        self.domain_ = domain
        self._seed = problem.seed
        self._architecture = architecture
        self._rebuild(_to_arrays(outcome.state))
        self._place()
        return outcome

    def _finish(self, outcome: Outcome) -> Self:
        if outcome.ended == "interrupted":
            raise KeyboardInterrupt
        if outcome.ended == "diverged":
            warnings.warn(
                f"The loss stopped being finite after {self.n_iter_} epochs; the best weights until then are kept. "
                f"Try a smaller learning_rate than {self.learning_rate}.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _build_architecture(self, sizes: tuple[int, ...], *, resuming: bool) -> dict[str, Any]:
        """Return the arguments of the network; when training goes on, only the sizes of a polynomial one may change."""
        names = ("depth", "width", "expansion", "block", "start", "normalize", "precision")
        architecture = {name: getattr(self, name) for name in names}
        if self.block == "polynomial":
            earlier = self._architecture["matrix_size"] if resuming else sizes
            architecture["matrix_size"] = [min(*sizes, *earlier), max(*sizes, *earlier)]
        else:
            architecture["matrix_size"] = sizes[0]
        for name, value in (self.net_params or {}).items():
            if name.startswith("module__"):
                architecture[name.removeprefix("module__")] = value
        changed = _differing(architecture, self._architecture) if resuming else []
        if changed:
            raise ValueError(
                f"The architecture has changed ({', '.join(changed)}), so training cannot go on from the present "
                f"weights; fit with warm_start=False."
            )
        return architecture

    def _rebuild(self, weights: dict[str, np.ndarray]) -> None:
        """Make the network on the CPU from its architecture and weights; the device comes at first use."""
        with torch.random.fork_rng(devices=[]):
            network = InverterResNet(**self._architecture)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        self.module_ = network.eval()
        self.net_ = prediction_net(network, torch.device("cpu"))
        self.device_ = None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if self.__sklearn_is_fitted__():
            for name in ("net_", "module_", "device_"):
                del state[name]
            state["_weights"] = _to_arrays(self.module_.state_dict())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("_weights", None)
        super().__setstate__(state)
        if weights is not None:
            self._rebuild(weights)


def _differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Name the arguments in which two architectures differ; the sizes of a polynomial network may grow."""
    grows = first["block"] == second["block"] == "polynomial"
    return [name for name in first if first[name] != second.get(name) and not (grows and name == "matrix_size")]


def _apart(move: Callable[[], InverterResNet]) -> InverterResNet:
    """Move a network in a thread of its own: transforms of ``torch.func``, which forbid it, belong to one thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(move).result()


def _resolve_seed(random_state: Any) -> int:
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _to_arrays(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().numpy() for name, value in state.items()}
