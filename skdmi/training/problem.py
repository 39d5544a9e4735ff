"""What to train on: where matrices come from, and which ones check the training, given a distribution and perhaps X."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor
from torch.linalg import matrix_norm

from skdmi.distributions import Distribution, Members, Resampled, Uniform
from skdmi.linalg.complex import embedded
from skdmi.linalg.scaling import split_exponent
from skdmi.training.stream import Draw, MatrixBatches, draw_stack, stream_seed

VALIDATION_FRACTION = 0.1
DOMAIN_MATRICES = 4096
DOMAIN_QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)


@dataclass(frozen=True)
class Problem:
    """A posed training problem.

    Parameters
    ----------
    distribution : Distribution or callable
        The description, without data.
    draw : callable
        The distribution, bound to the data that it needs.
    sizes : tuple of int
        The sizes m to train for.
    seed : int
        Of all that is drawn.
    members : Tensor, optional
        The part of X that training matrices are made from.
    checks : Tensor, optional
        The matrices that validate; by default they are drawn apart.

    Examples
    --------
    >>> problem = pose_problem("auto", [3], torch.eye(3).expand(20, 3, 3), scale_free=True, seed=0)
    >>> problem.distribution, len(problem.members), len(problem.checks)
    (Members(), 18, 2)
    """

    distribution: Distribution | Draw
    draw: Draw
    sizes: tuple[int, ...]
    seed: int
    members: Tensor | None = None
    checks: Tensor | None = None

    def validation(self, n_batches: int, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> MatrixBatches:
        """Return ``checks``, or fresh batches.

        Parameters
        ----------
        n_batches : int
            How many fresh ones of each size.
        batch_size : int
            Matrices in a batch.
        device : torch.device
            Where they are drawn and kept.
        dtype : torch.dtype
            Of the matrices.

        Returns
        -------
        MatrixBatches
            The same ones for the same seed.

        Examples
        --------
        >>> problem = pose_problem("auto", [3], None, scale_free=True, seed=0)
        >>> len(problem.validation(2, 16, device=torch.device("cpu"), dtype=torch.float32))
        2
        """
        if self.checks is not None:
            return MatrixBatches(self.checks.to(device, dtype).split(batch_size))
        generator = torch.Generator(device).manual_seed(stream_seed("validation", self.seed))
        drawn = [
            draw_stack(self.draw, n_batches * batch_size, m, generator=generator, device=device, dtype=dtype)
            for m in self.sizes
        ]
        return MatrixBatches([batch for A in drawn for batch in A.split(batch_size)])

    def family(self, n_matrices: int) -> Tensor:
        """Return members of the family to fit a start to: those of X, or else fresh ones.

        Parameters
        ----------
        n_matrices : int
            How many; of X at most.

        Returns
        -------
        Tensor of shape (n_matrices, m, m)
            Of the first of the sizes, float64 and on the CPU.

        Examples
        --------
        >>> pose_problem("auto", [3], None, scale_free=True, seed=0).family(5).shape
        torch.Size([5, 3, 3])
        """
        if self.members is not None:
            return self.members[:n_matrices]
        generator = torch.Generator().manual_seed(stream_seed("family", self.seed))
        cpu, (m, *_) = torch.device("cpu"), self.sizes
        return draw_stack(self.draw, n_matrices, m, generator=generator, device=cpu, dtype=torch.float64)

    def domain(self) -> dict[str, Any]:
        """Return quantiles of scale and condition number over 4,096 training matrices, as JSON can hold them.

        Of variations on X the members of X stand for the matrices: members are brought near 1 before they are varied.

        Returns
        -------
        dict
            ``"quantiles"``, the shares; ``"scale"``, of root mean squares of entries, and ``"condition"``, a list each;
            and ``"n_matrices"``.

        Raises
        ------
        ValueError
            If a matrix is not finite.

        Examples
        --------
        >>> pose_problem("auto", [2], torch.eye(2).expand(20, 2, 2), scale_free=True, seed=0).domain()["condition"]
        [1.0, 1.0, 1.0, 1.0, 1.0]
        """
        stacks = self._sample()
        if self.members is not None and isinstance(self.distribution, Members | Resampled):
            stacks = [self.members[:DOMAIN_MATRICES]]
        if not all(A.isfinite().all() for A in stacks):
            raise ValueError(f"The distribution {self.distribution!r} draws matrices that are not finite.")
        scale = torch.cat([matrix_norm(A) / A.shape[-1] ** 0.5 for A in stacks]).numpy()
        condition = torch.cat([torch.linalg.cond(A) for A in stacks]).clamp_max(2.0**53).numpy()
        return {
            "quantiles": list(DOMAIN_QUANTILES),
            "scale": np.quantile(scale, DOMAIN_QUANTILES).tolist(),
            "condition": np.quantile(condition, DOMAIN_QUANTILES).tolist(),
            "n_matrices": len(scale),
        }

    def _sample(self) -> list[Tensor]:
        generator = torch.Generator().manual_seed(stream_seed("domain", self.seed))
        share, cpu = max(1, DOMAIN_MATRICES // len(self.sizes)), torch.device("cpu")
        return [
            draw_stack(self.draw, share, m, generator=generator, device=cpu, dtype=torch.float32).double()
            for m in self.sizes
        ]


def pose_problem(
    distribution: str | Distribution | Draw,
    sizes: Sequence[int],
    stack: Tensor | None,
    *,
    scale_free: bool,
    seed: int,
) -> Problem:
    """Decide what the X of a fit, a checked stack ``(n_matrices, m, m)`` or None, is for.

    With a distribution that makes matrices from X, members of X are training material and a tenth is held out to
    validate (none of fewer than two matrices); with any other, X validates, and may set the range.

    Parameters
    ----------
    distribution : "auto", Distribution or callable
        Where matrices come from; ``"auto"`` is ``Members()`` with X, else ``Uniform()``.
    sizes : sequence of int
        The sizes to train for.
    stack : Tensor of shape (n_matrices, m, m) or None
        X, checked; of complex matrices the embeddings, and their size in ``sizes``, as where a distribution
        ``is_complex``.
    scale_free : bool
        Whether the network takes out the scale of A. If so, members are first brought near 1 by powers of two, so that
        float32 can hold them.
    seed : int
        Of what is held out, and of all that is drawn.

    Returns
    -------
    Problem
        Bound to X.

    Raises
    ------
    ValueError
        If the distribution needs X and there is none.

    Examples
    --------
    >>> pose_problem("auto", [3], None, scale_free=True, seed=0).distribution
    Uniform()
    """
    if isinstance(distribution, str):
        distribution = Uniform() if stack is None else Members()
    uses_data = getattr(distribution, "uses_data", False)
    sizes = tuple(sizes)
    if stack is None:
        if uses_data:
            raise ValueError(f"{distribution!r} makes training matrices from X, which was not given: call fit(X).")
        return Problem(distribution, real_draw(distribution), sizes, seed)
    stack = stack.double().cpu()
    scaled = split_exponent(stack)[0] if scale_free else stack
    bind = getattr(distribution, "bind", None)
    if bind is None or not uses_data:
        draw = distribution if bind is None else bind(stack.numpy())
        described = draw if isinstance(draw, Distribution) else distribution
        return Problem(described, real_draw(draw), sizes, seed, checks=scaled)
    n_held_out = min(max(1, round(VALIDATION_FRACTION * len(stack))), len(stack) - 1)
    order = np.random.default_rng(stream_seed("held out", seed)).permutation(len(stack))
    held_out, kept = torch.from_numpy(order[:n_held_out]), torch.from_numpy(order[n_held_out:])
    draw = bind(scaled[kept].numpy())
    checks = scaled[held_out] if n_held_out else None
    return Problem(distribution, draw, (stack.shape[-1],), seed, members=stack[kept], checks=checks)


def draws_complex(distribution: Any) -> bool:
    """Return whether a distribution says that it draws complex matrices.

    >>> draws_complex("auto")
    False
    """
    return bool(getattr(distribution, "is_complex", False))


def real_stack(stack: Tensor | None, distribution: Any, *, is_complex: bool) -> Tensor | None:
    """Return the stack of a fit as it is, or the embeddings of complex matrices.

    Raises
    ------
    ValueError
        If the distribution would draw real matrices beside complex ones.
    """
    if not is_complex:
        return stack
    if not (isinstance(distribution, str | Members) or draws_complex(distribution)):
        raise ValueError(
            f"X is complex, and distribution={distribution!r} draws real matrices. Expected one that draws complex "
            f"ones, such as KroneckerChannel(is_complex=True), or 'auto' or Members(), which learn from X."
        )
    return None if stack is None else embedded(stack)


def real_draw(draw: Draw) -> Draw:
    """Return what draws the embeddings of complex matrices, or what draws real ones as it is.

    >>> real_draw(Uniform())
    Uniform()
    """
    if not draws_complex(draw):
        return draw
    return lambda n_matrices, size, **where: embedded(draw(n_matrices, size // 2, **where))


def resolve_seed(random_state: Any) -> int:
    """Return a seed: fresh for None, the number itself, or one that a RandomState draws.

    Parameters
    ----------
    random_state : int, RandomState or None
        As scikit-learn takes it.

    Returns
    -------
    int
        At least 0.

    Examples
    --------
    >>> resolve_seed(7)
    7
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def resolve_sizes(named: Any, seen: int | None = None, fitted: int | None = None) -> tuple[int, ...]:
    """Return the sizes to train for: those named, or else that of X, or else, where training goes on, the fitted one.

    Parameters
    ----------
    named : int, tuple of int or None
        The parameter ``matrix_size`` of an estimator.
    seen : int, optional
        The size of X.
    fitted : int, optional
        The size that was trained for before.

    Returns
    -------
    tuple of int
        One or more sizes.

    Raises
    ------
    ValueError
        If there is none of these, the named ones are no sizes, or that of X is not among them.

    Examples
    --------
    >>> resolve_sizes((3, 5)), resolve_sizes(None, seen=4)
    ((3, 5), (4,))
    """
    if named is None:
        known = fitted if seen is None else seen
        if known is None:
            raise ValueError("matrix_size=None and no X: name the size, matrix_size=3, or give fit an X that has it.")
        return (known,)
    sizes: tuple[Any, ...] = tuple(named) if isinstance(named, tuple | list) else (named,)
    if not sizes or not all(isinstance(m, Integral) and int(m) > 0 for m in sizes):
        raise ValueError(f"matrix_size={named!r}; expected a positive int, or a tuple of them.")
    if seen is not None and seen not in sizes:
        raise ValueError(f"X holds {seen} x {seen} matrices, but matrix_size={named!r}. Leave one of the two out.")
    return sizes
