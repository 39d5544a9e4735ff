"""Many small matrices at once, one in each lane of a vector register: kernels that numba compiles."""
