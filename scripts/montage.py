"""Spatial covariances of the electroencephalogram: a family for a shipped model, in place of recordings.

The montage is that of 19 electrodes of the ten-twenty system (H. H. Jasper, "The ten-twenty electrode system of the
International Federation", Electroencephalogr. Clin. Neurophysiol. 10, 1958), on the sphere on which nasion, inion and
both preauricular points lie on one great circle around the vertex Cz, so that 10 % of an arc between two of them are 18
degrees: the outer ring at 72 degrees from Cz, the inner electrodes at 36, and F3, F4, P3, P4 halfway between their
neighbours. Nomenclature (T7 for T3, P8 for T6) and the percentages: R. Oostenveld and P. Praamstra, "The five percent
electrode system for high-resolution EEG and ERP measurements", Clin. Neurophysiol. 112, 2001.
"""

import numpy as np

RING = {"Fp1": -18, "Fp2": 18, "F7": -54, "F8": 54, "T7": -90, "T8": 90, "P7": -126, "P8": 126, "O1": -162, "O2": 162}
"""Azimuths of the outer ring in degrees, from the nose to the right."""
INNER = {"Fz": 0, "C3": -90, "C4": 90, "Pz": 180}
BETWEEN = {"F3": ("F7", "Fz"), "F4": ("F8", "Fz"), "P3": ("P7", "Pz"), "P4": ("P8", "Pz")}
REACH = 0.8
"""The angle in radians, 7 cm on a head of 9 cm radius, at which the squared exponential has fallen to exp(-1/2)."""
SENSOR_NOISE = 0.0075
"""Variance of the noise of each sensor, where that of the signal is 1; with it the condition number is about 1000."""


def positions() -> dict[str, np.ndarray]:
    """Return unit vectors by name: x to the right, y to the nose, z to the vertex.

    >>> found = positions()
    >>> len(found), found["T8"].round(3).tolist()
    (19, [0.951, 0.0, 0.309])
    """
    found = {"Cz": _on_sphere(0, 0)}
    found |= {name: _on_sphere(72, azimuth) for name, azimuth in RING.items()}
    found |= {name: _on_sphere(36, azimuth) for name, azimuth in INNER.items()}
    for name, (one, other) in BETWEEN.items():
        middle = found[one] + found[other]
        found[name] = middle / np.linalg.norm(middle)
    return found


def _on_sphere(from_vertex: float, azimuth: float) -> np.ndarray:
    theta, phi = np.deg2rad([from_vertex, azimuth])
    return np.array([np.sin(theta) * np.sin(phi), np.sin(theta) * np.cos(phi), np.cos(theta)])


def spatial_covariance() -> np.ndarray:
    r"""Return the covariance of 19 electrodes, :math:`c_{ij} = \exp(-\theta_{ij}^2 / 2 s^2) + \sigma^2 [i = j]`.

    :math:`\theta_{ij}` is the angle between two electrodes, s the reach, :math:`\sigma^2` the noise of a sensor: what
    volume conduction leaves of many independent sources. Rounded to six digits, for the card.

    >>> C = spatial_covariance()
    >>> C.shape, round(np.log10(np.linalg.cond(C)))
    ((19, 19), 3)
    """
    P = np.stack(list(positions().values()))
    angles = np.arccos(np.clip(P @ P.T, -1, 1))
    covariance = np.exp(-(angles**2) / (2 * REACH**2))
    np.fill_diagonal(covariance, 1 + SENSOR_NOISE)
    return covariance.round(6)
