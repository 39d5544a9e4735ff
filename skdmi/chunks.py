"""How many matrices are worked on at a time: the one rule."""

__all__ = ["chunk_size"]

CHUNK_ENTRIES = 2**18
"""Entries of float64 that fill about 2 MB: larger chunks are no faster."""


def chunk_size(m: int, n_entries: int = CHUNK_ENTRIES) -> int:
    """Return how many m x m matrices have ``n_entries`` entries together; at least one.

    >>> chunk_size(16), chunk_size(1000)
    (1024, 1)
    """
    return max(1, n_entries // m**2)
