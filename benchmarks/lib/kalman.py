"""A bank of Kalman filters, whose every step inverts a stack of innovation covariances."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skdmi.distributions import Wishart

TRANSITION = np.eye(4) + 0.1 * np.eye(4, k=2)
"""Places and speeds in the plane, a tenth of a second later."""


@dataclass(frozen=True)
class Bank:
    """Filters that see the whole state through noises of their own."""

    process_noise: np.ndarray
    """Covariances of shape (n_filters, 4, 4), as those of the measurements."""
    measurement_noise: np.ndarray
    measured: np.ndarray
    """Of shape (n_filters, 4), the same at every step."""

    @classmethod
    def draw(cls, n_filters: int) -> "Bank":
        noises = (Wishart().sample(n_filters, 4, random_state=seed) for seed in (0, 1))
        return cls(*noises, np.random.default_rng(2).standard_normal((n_filters, 4, 1)))

    def innovations(self) -> np.ndarray:
        """Return the covariances that the first step inverts."""
        return TRANSITION @ TRANSITION.T + self.process_noise + self.measurement_noise

    def run(self, n_steps: int, invert: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return states and their covariances after so many steps."""
        x = np.zeros_like(self.measured)
        P = np.broadcast_to(np.eye(4), self.process_noise.shape)
        for _ in range(n_steps):
            x = TRANSITION @ x
            P = TRANSITION @ P @ TRANSITION.T + self.process_noise
            gain = P @ invert(P + self.measurement_noise)
            x = x + gain @ (self.measured - x)
            P = P - gain @ P
            P = (P + P.mT) / 2
        return x, P
