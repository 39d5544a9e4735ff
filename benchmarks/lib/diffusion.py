"""Diffusion problems with random coefficients on a square grid."""

import numpy as np
import scipy.sparse as sp


def field(side: int, sigma: float, rng: np.random.Generator, length: float = 0.1) -> np.ndarray:
    """Return the exponential of a Gaussian field of standard deviation sigma, correlated over a share of the side."""
    frequency = np.fft.fftfreq(side)
    smooth = np.exp(-2 * (side * length) ** 2 * (frequency[:, None] ** 2 + frequency[None] ** 2))
    values = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * smooth).real
    return np.asarray(np.exp(sigma * values / values.std()))


def diffusion(a: np.ndarray) -> sp.csr_array:
    r"""Return the matrix of :math:`-\operatorname{div}(a \nabla u)`, u = 0 on the border, by finite volumes.

    Fluxes between cells are those of the harmonic means of their coefficients.
    """
    n = a.size
    number = np.arange(n).reshape(a.shape)
    pairs = [(number[:-1], number[1:], a[:-1], a[1:]), (number[:, :-1], number[:, 1:], a[:, :-1], a[:, 1:])]
    first, second = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in range(2))
    flux = np.concatenate([(2 * u * v / (u + v)).ravel() for _, _, u, v in pairs])
    diagonal = np.bincount(first, flux, n) + np.bincount(second, flux, n)
    border = np.zeros(a.shape)
    for edge in (np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
        border[edge] += 2 * a[edge]
    diagonal += border.ravel()
    rows = np.concatenate([first, second, np.arange(n)])
    columns = np.concatenate([second, first, np.arange(n)])
    return sp.csr_array((np.concatenate([-flux, -flux, diagonal]), (rows, columns)), shape=(n, n))


def sequence(n_systems: int, side: int, sigma: float, random_state: int = 0) -> list[sp.csr_array]:
    """Return systems with fresh coefficients each."""
    rng = np.random.default_rng(random_state)
    return [diffusion(field(side, sigma, rng)) for _ in range(n_systems)]
