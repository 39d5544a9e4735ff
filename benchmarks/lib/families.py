"""Families of matrices to learn, and what inverts their members step by step, learned or not."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.linalg import matrix_norm

from benchmarks.lib.peers import sketched_operations, sketched_products, sketched_steps, unit_scale
from skdmi.distributions import (
    Affine,
    Covariance,
    DiagonallyDominant,
    Distribution,
    GaussianProcessKernel,
    KroneckerChannel,
    Normal,
    Spectrum,
    Toeplitz,
    Uniform,
    Wishart,
)
from skdmi.iteration import FamilyStart, Start, count_operations, count_products, iterate, least_residual
from skdmi.iteration.learned import PolynomialInverse
from skdmi.iteration.steps import Rule
from skdmi.linalg import residual
from skdmi.modules import InverterResNet
from skdmi.modules.cost import MAX_STEPS, network_steps_to

TOLERANCES = (1e-1, 1e-2, 1e-5)
STATED = TOLERANCES.index(1e-2)
MOST_DRAWN = 6
"""Steps of the curves of residual norms; `MAX_STEPS` of the search for a tolerance."""


@dataclass(frozen=True)
class Family:
    """A family of matrices, and how long a network is trained on it."""

    name: str
    title: str
    distribution: Distribution
    m: int
    is_definite: bool
    epochs: tuple[int, int, int]
    """``max_epochs``, ``batches_per_epoch``, ``batch_size``."""
    must: float = 0.0
    """Products to a residual norm of 1e-2, the 99th percentile, that a trained network must reach; below 1 as a part of
    those of the best untrained iteration, 0 where nothing is asked."""
    hoped: float = 0.0

    def sample(self, n_matrices: int, seed: int) -> np.ndarray:
        return self.distribution.sample(n_matrices, self.m, random_state=seed)


def stamp(m: int, sources: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the matrix of currents from a to b in the measure of voltages between c and d, for each (a, b, c, d)."""
    matrix = np.zeros((m, m))
    for a, b, c, d in sources:
        for row, column, sign in ((a, c, 1), (a, d, -1), (b, c, -1), (b, d, 1)):
            matrix[row, column] += sign
    return matrix


def circuit(m: int) -> Affine:
    """Return nodal matrices of a circuit: leaks to the ground, two kinds of resistors, controlled current sources.

    Resistors join the nodes of a ring and as many random pairs; m / 2 sources have random ends.
    """
    rng = np.random.default_rng(5)
    edges = [(k, (k + 1) % m) for k in range(m)] + [tuple(rng.choice(m, 2, replace=False)) for _ in range(m)]
    kinds = np.array_split(rng.permutation(len(edges)), 2)
    resistors = [stamp(m, [edges[i] * 2 for i in kind]) for kind in kinds]
    sources = stamp(m, [rng.choice(m, 4, replace=False) for _ in range(m // 2)])
    return Affine([np.eye(m), *resistors, sources], low=(1, 0.1, 0.1, 0.1), high=(1, 10, 10, 3))


def permuted(family: Affine) -> Affine:
    """Return a family with its rows in one other order, where a diagonal scaling is of no use."""
    matrices = np.array(family.matrices)
    order = np.random.default_rng(0).permutation(matrices.shape[1])
    return Affine(matrices[:, order], family.low, family.high, family.log)


def scattered(m: int) -> list[tuple[float, ...]]:
    """Return points in the unit square, always the same."""
    return [tuple(point) for point in np.random.default_rng(m).uniform(size=(m, 2))]


def core(m: int, condition: float) -> np.ndarray:
    """Return a positive definite matrix of random eigenvectors, always the same."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((m, m)))[0]
    return (Q * np.geomspace(1, 1 / condition, m)) @ Q.T


ADVECTION = Affine.advection_diffusion(8)
FAMILIES = [
    Family("kernels-32", "Kernels", GaussianProcessKernel(scattered(32)), 32, True, (15, 20, 256), 8, 5),
    Family("kernels-64", "Kernels", GaussianProcessKernel(scattered(64)), 64, True, (10, 10, 256), 8, 5),
    Family("diffusion", "Diffusion", Affine.diffusion(6), 36, True, (15, 20, 256), 7, 5),
    Family("advection", "Advection and diffusion", ADVECTION, 64, False, (10, 10, 256), 1 / 2, 1 / 3),
    Family("permuted", "The same, rows permuted", permuted(ADVECTION), 64, False, (10, 10, 256), 1 / 2, 1 / 3),
    Family("circuit", "Circuit", circuit(48), 48, False, (10, 15, 256), 1 / 2, 1 / 3),
    Family("covariances", "Covariances", Covariance(core(32, 1e3)), 32, True, (15, 20, 256), 11, 9),
    Family("channels", "Channels", KroneckerChannel(), 16, True, (15, 20, 512)),
    Family("uniform", "U[-1,1]", Uniform(), 16, False, (15, 20, 512)),
]


def off_family(family: Family, n_matrices: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield stacks of matrices, n in all, that are not of the family: other families of its size, and its distortions.

    Distortions are members in another order of rows, transposed, and with a tenth of noise.
    """
    m = family.m
    members = family.sample(n_matrices, 77)
    noise = np.random.default_rng(78).standard_normal(members.shape)
    noise *= np.linalg.norm(members, axis=(1, 2), keepdims=True) / np.linalg.norm(noise, axis=(1, 2), keepdims=True)
    kinds: dict[str, Distribution | np.ndarray] = {
        "uniform": Uniform(),
        "normal": Normal(),
        "Wishart": Wishart(),
        "orthogonal": Spectrum("log-uniform", max_cond=1),
        "condition to 1000": Spectrum("log-uniform"),
        "diagonally dominant": DiagonallyDominant(),
        "Toeplitz": Toeplitz(),
        "channels": KroneckerChannel(),
        "kernels on a line": GaussianProcessKernel(),
        "rows permuted": members[:, np.random.default_rng(79).permutation(m)],
        "columns permuted": members[:, :, np.random.default_rng(80).permutation(m)],
        "0.1 noise": members + 0.1 * noise,
        "0.01 noise": members + 0.01 * noise,
    }
    if not family.is_definite:
        kinds["transposed"] = members.mT
    kinds |= {other.name: other.distribution for other in FAMILIES if other.m == m}
    del kinds[family.name]
    for k, (name, kind) in enumerate(kinds.items()):
        n = n_matrices * (k + 1) // len(kinds) - n_matrices * k // len(kinds)
        yield name, kind[:n] if isinstance(kind, np.ndarray) else kind.sample(n, m, random_state=1000 + k)


class Course:
    """An iteration that can be stopped after any step."""

    name: str
    start: Start | FamilyStart

    def products(self, n_steps: int) -> int:
        raise NotImplementedError

    def operations(self, n_steps: int, m: int) -> float:
        raise NotImplementedError

    def norms(self, A: Tensor, n_steps: int) -> Tensor:
        """Return residual norms in float64 after 0 to n steps, ``(1 + n_steps, n_matrices)``."""
        raise NotImplementedError

    def steps(self, A: Tensor) -> Tensor:
        """Return the steps to `TOLERANCES`, ``(n_tolerances, n_matrices)``, infinite beyond `MAX_STEPS`."""
        raise NotImplementedError

    def run(self, A: Tensor, n_steps: int) -> Tensor:
        """Invert A, of any scale, with so many steps."""
        raise NotImplementedError

    @property
    def n_bytes(self) -> int:
        """Of the numbers that are kept for any A."""
        start = self.start
        return sum(T.nbytes for T in start.state_dict().values()) if isinstance(start, FamilyStart) else 0


@dataclass
class Deflated(Course):
    """MR-3 with deflation from a start, by the rule of a network, learned or not."""

    name: str
    network: InverterResNet
    is_trained: bool = False
    _of_depth: dict[int, InverterResNet] = field(default_factory=dict)

    @property
    def core(self) -> PolynomialInverse:
        assert isinstance(self.network.core, PolynomialInverse)
        return self.network.core

    @property
    def start(self) -> Start | FamilyStart:
        return self.core.start

    @property
    def n_bytes(self) -> int:
        return sum(T.nbytes for T in self.network.state_dict().values()) if self.is_trained else super().n_bytes

    def products(self, n_steps: int) -> int:
        return max(0, count_products(n_steps, self.start))

    def operations(self, n_steps: int, m: int) -> float:
        return count_operations(m, n_steps, self.start, self.core.rank)

    @torch.no_grad()
    def norms(self, A: Tensor, n_steps: int) -> Tensor:
        return torch.stack([residual_norms(A, self._answer(A, n)) for n in range(n_steps + 1)])

    def _answer(self, A: Tensor, n_steps: int) -> Tensor:
        return iterate(A, n_steps, start=self.start, rank=self.core.rank, choose=self._rule(A, n_steps))

    def _rule(self, A: Tensor, n_steps: int) -> Rule:
        """Return the rule of the network, which has nothing to foresee at a last step that is not its own."""
        learned = self.core.rule(A)
        if n_steps == self.core.depth:
            return learned
        return lambda step, R, problem: (learned if step < n_steps else least_residual)(step, R, problem)

    def steps(self, A: Tensor) -> Tensor:
        return network_steps_to(self.core, A, TOLERANCES)

    def run(self, A: Tensor, n_steps: int) -> Tensor:
        return self.of_depth(n_steps)(A)

    def of_depth(self, n_steps: int) -> InverterResNet:
        """Return the network with another number of steps."""
        if n_steps not in self._of_depth:
            network = copy.deepcopy(self.network)
            network.core.depth = n_steps
            self._of_depth[n_steps] = network
        return self._of_depth[n_steps]


@dataclass
class Sketched(Course):
    """Polynomial steps that are fitted to a sketch of each residual, see `sketched_steps`."""

    start: Start | FamilyStart
    start_name: str
    degree: int

    @cached_property
    def name(self) -> str:
        return f"sketched, degree {self.degree}, {self.start_name}"

    def products(self, n_steps: int) -> int:
        return sketched_products(n_steps, self.start, self.degree)

    def operations(self, n_steps: int, m: int) -> float:
        return sketched_operations(m, n_steps, self.start, self.degree)

    @torch.no_grad()
    def norms(self, A: Tensor, n_steps: int) -> Tensor:
        return torch.stack([residual_norms(A, X) for X in sketched_steps(A, self.start, n_steps, self.degree)])

    def steps(self, A: Tensor) -> Tensor:
        norms = self.norms(A, 2 * MAX_STEPS)
        goals = torch.tensor(TOLERANCES, dtype=norms.dtype)[:, None, None]
        reached = norms <= goals
        return torch.where(reached.any(dim=1), reached.int().argmax(dim=1).double(), torch.inf)

    def run(self, A: Tensor, n_steps: int) -> Tensor:
        scale = unit_scale(A)
        *_, X = sketched_steps(scale * A, self.start, n_steps, self.degree)
        return scale * X


def residual_norms(A: Tensor, X: Tensor) -> Tensor:
    """Return residual norms in float64."""
    return matrix_norm(residual(A.double(), X.double()))


def rounding_floor(A: Tensor, X: Tensor) -> Tensor:
    r"""Return what of a residual norm float32 may be to blame for: :math:`2 \epsilon \, \| |A| |X| \|_F`."""
    return 2 * torch.finfo(torch.float32).eps * matrix_norm(A.double().abs() @ X.double().abs())


def quantiles(values: Tensor) -> list[float | None]:
    """Return median and 99th percentile, None where they are infinite."""
    found = [values.double().quantile(share, interpolation="higher").item() for share in (0.5, 0.99)]
    return [value if value < torch.inf else None for value in found]
