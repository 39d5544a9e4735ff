"""A worked problem: the normal equations of problem 11.3 of Box and Draper, "Empirical Model-Building", 1987."""

import numpy as np

BOX_DRAPER = """
5.0 25.0 162 45.9   8.0 25.0 162 53.3   5.0 30.0 162 57.5   8.0 30.0 162 58.8   5.0 25.0 172 60.6
8.0 25.0 172 58.0   5.0 30.0 172 58.6   8.0 30.0 172 52.4   6.5 27.5 167 56.9   6.5 27.5 177 55.4
6.5 27.5 157 46.9   6.5 32.5 167 57.5   6.5 22.5 167 55.0   9.5 27.5 167 58.9   3.5 27.5 167 50.3
6.5 20.0 177 61.1   6.5 20.0 177 62.9   7.5 34.0 160 60.0   7.5 34.0 160 60.6
"""
TERMS = ("1", "x1", "x2", "x3", "x1 x2", "x1 x3", "x2 x3", "x1^2", "x2^2", "x3^2")


def normal_equations() -> tuple[np.ndarray, np.ndarray]:
    """Return matrix and right side of the least squares problem 11.3 of Box and Draper, 10 x 10.

    A second-order response surface for a consecutive chemical system, in three settings coded to [-1, 1].
    """
    table = np.array(BOX_DRAPER.split(), dtype=float).reshape(-1, 4)
    settings, result = table[:, :3], table[:, 3]
    low, high = settings.min(axis=0), settings.max(axis=0)
    x1, x2, x3 = (2 * (settings - low) / (high - low) - 1).T
    Z = np.stack([x1**0, x1, x2, x3, x1 * x2, x1 * x3, x2 * x3, x1**2, x2**2, x3**2], axis=1)
    return Z.T @ Z, Z.T @ result
