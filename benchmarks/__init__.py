"""Scripts that print, each ``python -m benchmarks.NAME``; what they share is in ``benchmarks.lib``."""
