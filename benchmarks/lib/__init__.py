"""What the benchmarks share, and what tests and tables take from them."""
