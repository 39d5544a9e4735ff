"""Jacobians of a robot arm with seven joints."""

import numpy as np

LINKS = (
    # a, d, alpha
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.107, np.pi / 2),
)
"""Of the Franka Emika Panda, modified Denavit-Hartenberg parameters in metres and radians (Franka Emika GmbH, "Robot
and interface specifications"): each joint turns about the z axis of its own frame."""


def jacobians(n: int, *, random_state: int = 0, bent: float | None = None) -> np.ndarray:
    """Return geometric Jacobians, ``(n, 6, 7)``, of random postures: velocities in m/s, then in rad/s, of the flange.

    With ``bent`` the elbow and the wrist are so far from being stretched, in radians, where the rank drops.
    """
    q = np.random.default_rng(random_state).uniform(-2.5, 2.5, (n, 7))
    if bent is not None:
        q[:, [1, 3, 5]] = bent
    return jacobians_of(q)


def jacobians_of(q: np.ndarray) -> np.ndarray:
    """Return the Jacobians of postures, ``(n, 7)`` to ``(n, 6, 7)``."""
    frame = np.tile(np.eye(4), (len(q), 1, 1))
    axes, origins = [], []
    for k, link in enumerate(LINKS):
        frame = frame @ _link(q[:, k], *link)
        axes.append(frame[:, :3, 2])
        origins.append(frame[:, :3, 3])
    flange = origins[-1]
    columns = [np.concatenate([np.cross(z, flange - p), z], axis=1) for z, p in zip(axes, origins, strict=True)]
    return np.stack(columns, axis=2)


def _link(theta: np.ndarray, a: float, d: float, alpha: float) -> np.ndarray:
    """Return the transformations of one link."""
    c, s, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
    zero, one = np.zeros_like(c), np.ones_like(c)
    rows = [
        [c, -s, zero, a * one],
        [s * ca, c * ca, -sa * one, -d * sa * one],
        [s * sa, c * sa, ca * one, d * ca * one],
        [zero, zero, zero, one],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
