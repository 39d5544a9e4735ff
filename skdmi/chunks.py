"""How many matrices are worked on at a time: the one rule."""

CHUNK_ENTRIES = 2**18
"""Entries of float64 that fill about 2 MB: larger chunks are no faster, and text takes a dozen times the memory."""


def chunk_size(m: int, n_entries: int | None = None) -> int:
    """Return how many m x m matrices have ``n_entries`` entries together, by default `CHUNK_ENTRIES`; at least one.

    >>> chunk_size(16), chunk_size(1000)
    (1024, 1)
    """
    return max(1, (n_entries or CHUNK_ENTRIES) // m**2)
