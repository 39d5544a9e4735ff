"""``NeuralMatrixInverter``: a residual network that learns to invert, in the shape of a scikit-learn estimator."""

import os
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal, Self

from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from torch import Tensor

from skdmi.distributions import Distribution
from skdmi.estimators.convergence import conclude, warn_of_few_members
from skdmi.estimators.devices import plain_modes, resolve_device
from skdmi.estimators.learning import Before, learn
from skdmi.estimators.network import NetworkInverter, to_arrays
from skdmi.estimators.schema import MAX_DEPTH, MAX_WIDTH
from skdmi.estimators.undo import unchanged_on_error
from skdmi.estimators.with_callbacks import WithCallbacks
from skdmi.modules import BLOCKS
from skdmi.modules.network import FAMILY
from skdmi.progress import one_training_ended
from skdmi.training import OPTIMIZERS, Outcome, constant, cosine, resolve_sizes
from skdmi.typing import BlockName, StartName


class NeuralMatrixInverter(WithCallbacks, NetworkInverter):
    r"""A residual network that learns to invert matrices from matrices generated on the fly.

    The network starts from a first inverse X, and each of its ``depth`` blocks adds to the running one; it is
    trained on fresh matrices only, with the identity loss :math:`\|I - A X\|_F`. With the default
    ``block="polynomial"`` the untrained network is a minimal-residual iteration with deflation
    (:func:`skdmi.iteration.minimal_residual`), and training adds foresight. Given members of a family of matrices,
    ``fit(X)`` also learns a start (:class:`skdmi.iteration.FamilyStart`) that can halve the products or better, and
    takes it only if it does. One network serves every m: within the sizes that it was trained for with what it has
    learned, elsewhere as the untrained iteration.

    Parameters
    ----------
    depth : int, default=4
        Number of residual blocks, at most 256, which a file can hold. From the start ``"transpose"`` a ``"polynomial"``
        network spends ``1 + 3 depth + ceil(depth / 3)`` products of m x m matrices, the last residual included.
    width : int, default=16
        Size of the hidden vector.
    block : {"polynomial", "feedback", "dense"}, default="polynomial"
        Kind of block, see :class:`skdmi.modules.InverterResNet`. All but the first are tied to one m.
    start : str, default="auto"
        What a ``"polynomial"`` network starts from: a name in :data:`skdmi.iteration.STARTS`, ``"transpose"``,
        :math:`c A^T`, for any matrix, or ``"identity"``, :math:`c I` in Jacobi's scaling, for positive definite ones;
        ``"family"``, a :class:`skdmi.iteration.FamilyStart` fitted to members; or ``"auto"``, which with X is the one
        from which held-out members need fewest operations, and without X ``"transpose"``.
    n_atoms : int or "auto", default="auto"
        Number of atoms of a family start; ``"auto"`` is the best of 0, 8, 16 and 32.
    matrix_size : int or tuple of int, default=None
        The size m. May be left out when ``fit`` is given X. With ``"polynomial"`` a tuple trains one network on several
        sizes, which then takes any.
    distribution : "auto", Distribution or callable, default="auto"
        Where training matrices come from, see :mod:`skdmi.distributions`. ``"auto"`` is ``Members()``, members of X and
        convex pairs of them, when ``fit`` is given X, else ``Uniform(-1, 1)``. A callable has the signature
        ``f(n_matrices, matrix_size, *, generator, device, dtype)``.
    max_epochs, batches_per_epoch, batch_size : int, default=20, 100, 1024
        Training sees ``max_epochs * batches_per_epoch * batch_size`` matrices, none of them twice; without epochs the
        inverter is the untrained iteration.
    learning_rate : float, default=2e-3
        Peak of a schedule that rises over the first 2.5 percent of training and falls to zero as a cosine.
    optimizer : {"adam", "adamw", "sgd"}, default="adamw"
    log_weight : float, default=0.05
        Weight of ``log(1 + r / 0.01)`` beside the residual norm r in the loss, see :class:`skdmi.modules.IdentityLoss`:
        it keeps the easy matrices worth improving. 0 is the identity loss alone.
    patience : int or float, default=0.25
        Stop when for so many epochs, below 1 a share of ``max_epochs`` and at least 5, the validation loss has not been
        the lowest so far, that of the first weights included. None never stops early.
    warm_start : bool, default=False
        Whether ``fit`` starts from the present weights, with a new schedule.
    callbacks : list of skorch callbacks, or of pairs (name, callback), default=None
        Cloned before use. What they record is in ``history_``; their parameters are ``callbacks__name__parameter``, as
        in skorch, and ``set_params(callbacks__name=None)`` drops one. Both input and target are one stack, so a score
        is a function, ``EpochScoring(lambda net, X, y: ...)``, of the matrices y and the inverses ``net.predict(X)``;
        scores of scikit-learn are refused. An open ``SummaryWriter`` of TensorBoard cannot be copied: training shares
        it, but for ``sklearn.base.clone``, hence inside another estimator, ``close`` it first; it opens again when
        written to.
    net_params : dict, default=None
        The last word to :class:`skorch.NeuralNet`, for example ``{"optimizer__weight_decay": 0.1, "compile": True}``;
        ``module__`` reaches the network: ``{"module__rank": 0, "module__precision": "float64"}``. What a parameter
        above says is refused here.
    device : str, default="auto"
        ``"auto"`` is CUDA if there is any, else the CPU; or any name of a torch device.
    checkpoint_dir : path, default=None
        Where ``fit`` keeps the state of an unfinished training, one file for each training that parameters, sizes and X
        determine: candidates and folds of a search and members of an ensemble may share it. The same ``fit`` in another
        process goes on from there, on the same machine to the very weights that it would have come to undisturbed,
        and returns at once what was finished; remove the file to train anew.
    checkpoint_every : int, default=1
        Number of epochs from one checkpoint to the next.
    random_state : int, RandomState instance or None, default=None
        Determines weights, training matrices, held-out members. An int makes ``fit`` reproducible.
    verbose : int, default=0
        1 prints a line an epoch, and shows on a terminal, of ``fit`` and ``transform``, the rate and the time that
        remains (:mod:`skdmi.progress`).

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The net, trimmed for prediction; its ``history`` is ``history_`` as skorch has it, without batches.
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
    best_epoch_ : int
        The epoch of ``history_`` whose weights are kept; 0: the first weights. None in a loaded model of 0.1.0.
    n_matrices_seen_ : int
    first_loss_, best_loss_ : float
        Validation loss of the first weights, and of those kept. The first is None in a loaded model of 0.1.0.
    history_ : list of dict
        A row an epoch: epoch, train_loss, valid_loss, learning_rate (its largest), n_matrices, seconds, and what
        callbacks recorded. Of that a file holds numbers, words, and lists and mappings of them.
    distribution_ : Distribution or callable
        What ``distribution`` came to mean.
    start_, n_atoms_ : str, int
        What ``start`` and ``n_atoms`` came to mean.
    gain_ : dict or None
        What held-out matrices cost, untrained beside trained: for ``"untrained"``, ``"trained"`` and, where a start was
        fitted, ``"fitted"``, the median and the 99th percentile of products and operations to residual norms of 0.1,
        0.01 and 1e-5; None of those that 12 steps do not reach. None where the block is not ``"polynomial"``.
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

    Equal seeds give bitwise equal weights on one machine with one number of torch threads, in several threads at once,
    too, and under any default dtype, default device or mode of torch. Another number of threads changes them by
    rounding, which training can enlarge.

    Ctrl-C leaves the best weights in the estimator, which is then fitted, and raises KeyboardInterrupt again.

    A training is known by its parameters, all but ``device``, ``verbose``, ``callbacks``, ``warm_start`` and those of
    checkpoints, by sizes, X, and the weights that a warm start goes on from; functions and classes among the parameters
    by their names. Of ``random_state=None`` the seed of the checkpoint is taken; an ensemble draws seeds for its
    members, so that it goes on only where its own ``random_state`` is an int. What ``callbacks`` recorded is kept, and
    ``EarlyStopping``, scores and learning rates of skorch go on; other callbacks begin anew with the first epoch after
    it. A checkpoint that cannot be written is a RuntimeWarning, and training goes on.

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
    ...     3, 8, matrix_size=3, max_epochs=2, batches_per_epoch=5, batch_size=64, learning_rate=1e-2, random_state=0
    ... ).fit()
    >>> A = Uniform(min_abs_det=0.1).sample(1000, 3, random_state=1)
    >>> inverter.transform(A).shape
    (1000, 3, 3)
    >>> inverter.score(A) > -1e-3
    True
    """

    _parameter_constraints: dict[str, Any] = {
        "depth": [Interval(Integral, 1, MAX_DEPTH, closed="both")],
        "width": [Interval(Integral, 1, MAX_WIDTH, closed="both")],
        "block": [StrOptions(set(BLOCKS))],
        "start": [str],
        "n_atoms": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "matrix_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "distribution": [StrOptions({"auto"}), callable],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "batches_per_epoch": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "log_weight": [Interval(Real, 0, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left"), Interval(RealNotInt, 0, 1, closed="neither"), None],
        "warm_start": ["boolean"],
        "callbacks": [list, tuple, None],
        "net_params": [dict, None],
        "device": [str],
        "checkpoint_dir": [str, os.PathLike, None],
        "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    distribution_: Distribution | Callable[..., Tensor]
    history_: list[dict[str, Any]]
    n_matrices_seen_: int
    n_iter_: int
    first_loss_: float
    best_epoch_: int
    best_loss_: float
    domain_: dict[str, Any]
    gain_: dict[str, Any] | None
    _seed: int

    def __init__(
        self,
        depth: int = 4,
        width: int = 16,
        *,
        block: BlockName = "polynomial",
        start: StartName | Literal["auto", "family"] = "auto",
        n_atoms: int | Literal["auto"] = "auto",
        matrix_size: int | tuple[int, ...] | None = None,
        distribution: Literal["auto"] | Distribution | Callable[..., Tensor] = "auto",
        max_epochs: int = 20,
        batches_per_epoch: int = 100,
        batch_size: int = 1024,
        learning_rate: float = 2e-3,
        optimizer: Literal["adam", "adamw", "sgd"] = "adamw",
        log_weight: float = 0.05,
        patience: int | float | None = 0.25,
        warm_start: bool = False,
        callbacks: list[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        device: str = "auto",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.depth = depth
        self.width = width
        self.block = block
        self.start = start
        self.n_atoms = n_atoms
        self.matrix_size = matrix_size
        self.distribution = distribution
        self.max_epochs = max_epochs
        self.batches_per_epoch = batches_per_epoch
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.log_weight = log_weight
        self.patience = patience
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Train on generated matrices; X says which, and checks them.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m), optional
            Fixes the size. With ``distribution="auto"`` training matrices are members of X and convex pairs of them,
            and a tenth of X is held out; with any other distribution X is the validation set.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        NeuralMatrixInverter
            This estimator, trained.

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
            If no epoch gains anything beyond chance, or the loss stops being finite; the best weights are kept. If X
            has fewer than 30 members to learn from.

        Examples
        --------
        >>> import numpy as np
        >>> NeuralMatrixInverter(max_epochs=0).fit(np.eye(3)[None]).matrix_size_  # untrained
        3
        """
        del y
        with unchanged_on_error(self):
            self._validate_params()
            resuming = self.warm_start and self.__sklearn_is_fitted__()
            from_trained = resuming and self.best_epoch_ != 0
            stack = self._open_to_learn(X, reset=True)
            schedule = cosine(self.max_epochs * self.batches_per_epoch)
            outcome = self._learn(stack, schedule, resuming=resuming)
        one_training_ended()
        if stack is not None and self.distribution == "auto" and (self.max_epochs or self.start_ == FAMILY):
            warn_of_few_members(len(stack))
        conclude(outcome, self.get_params(deep=False), from_trained=from_trained, is_fitted=self.start_ == FAMILY)
        return self

    def partial_fit(self, X: Any = None, y: Any = None) -> Self:
        """Train for one epoch more at constant learning rate, after a short warm-up; fit first if need be.

        A start that was fitted to a family follows it: its constant and its guard are adapted to X by running moments.

        Parameters
        ----------
        X : array-like of shape (n_matrices, m, m) or (n_matrices, m * m), optional
            As for ``fit``. Needed again where training matrices are made from X: the estimator keeps no data.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        NeuralMatrixInverter
            This estimator, trained further.

        Examples
        --------
        >>> inverter = NeuralMatrixInverter(depth=1, matrix_size=3, batches_per_epoch=2, batch_size=8)
        >>> inverter.partial_fit().n_matrices_seen_
        16
        """
        del y
        with unchanged_on_error(self):
            self._validate_params()
            resuming = self.__sklearn_is_fitted__()
            stack = self._open_to_learn(X, reset=not resuming)
            schedule = constant(self.batches_per_epoch)
            changes = {"max_epochs": 1, "checkpoint_dir": None}
            outcome = self._learn(stack, schedule, resuming=resuming, keep_last=True, **changes)
        conclude(outcome, self.get_params(deep=False), from_trained=resuming, is_fitted=self.start_ == FAMILY)
        return self

    def _learn(
        self,
        stack: Tensor | None,
        schedule: Callable[[int], float],
        *,
        resuming: bool,
        keep_last: bool = False,
        **changes: Any,
    ) -> Outcome:
        """Train from the present weights or from new ones, and put the outcome into the estimator."""
        if isinstance(self.distribution, type):
            name = self.distribution.__name__
            raise ValueError(f"distribution={name}, a class; expected an instance of it, such as {name}().")
        sizes = self._sizes(stack, resuming=resuming)
        before = None
        if resuming:
            before = Before(self.module_, self._architecture, self.distribution_, self._seed, self.n_matrices_seen_)
        parameters = self.get_params(deep=False) | changes
        sizes = tuple(m * (1 + self._is_complex()) for m in sizes)
        with plain_modes(resolve_device(self.device, loaded=False)):
            learned = learn(parameters, sizes, stack, before, schedule, keep_last=keep_last)
        outcome = learned.outcome
        earlier = self.history_ if resuming else []
        self.history_ = earlier + [{**row, "epoch": row["epoch"] + len(earlier)} for row in outcome.history]
        self.n_iter_ = len(self.history_)
        if not resuming:
            self.first_loss_ = outcome.first_loss
        if outcome.best_epoch or not resuming:
            self.best_epoch_ = len(earlier) + outcome.best_epoch
        self.n_matrices_seen_ = learned.n_matrices_seen
        self.best_loss_ = outcome.loss
        self.distribution_ = learned.distribution
        self.domain_ = learned.domain
        self.gain_ = learned.gain
        self._seed = learned.seed
        self._architecture = learned.architecture
        self._rebuild(to_arrays(outcome.state))
        self._place()
        return outcome

    def _sizes(self, stack: Tensor | None, *, resuming: bool) -> tuple[int, ...]:
        """Return the sizes to train for, and fix the size if it was named rather than seen."""
        seen = None if stack is None else stack.shape[-1] // (2 if self._is_complex() else 1)
        fitted = getattr(self, "matrix_size_", None) if resuming else None
        sizes = resolve_sizes(self.matrix_size, seen, fitted)
        takes_any = BLOCKS[self.block].takes_any_size
        if len(sizes) > 1 and not takes_any:
            raise ValueError(
                f"matrix_size={self.matrix_size!r}: block={self.block!r} is tied to one size; only 'polynomial' takes "
                f"several."
            )
        if stack is None and not resuming:
            self._set_size(None if takes_any and not isinstance(self.matrix_size, Integral) else sizes[0])
        return sizes
