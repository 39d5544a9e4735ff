"""Products of stacks of matrices, counted as they are made."""

from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skdmi.linalg import products

BATCHED = (torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default, torch.ops.aten.baddbmm_.default)


class ProductCounter(TorchDispatchMode):
    """Count the products of m x m matrices for each of ``n_matrices``; with 1, of all together."""

    def __init__(self, m, n_matrices=1):
        super().__init__()
        self.m = m
        self.n_matrices = n_matrices
        self.n_products = 0

    def __enter__(self):
        multiply_small = products.multiply_small

        def counted(A, B):
            self.count(A.movedim(-1, 0), B.movedim(-1, 0))
            return multiply_small(A, B)

        self.patch = mock.patch.object(products, "multiply_small", counted)
        self.patch.start()
        return super().__enter__()

    def __exit__(self, *exception):
        self.patch.stop()
        return super().__exit__(*exception)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in BATCHED:
            self.count(*args[-2:])
        return function(*args, **(kwargs or {}))

    def count(self, first, second):
        if first.shape[-2:] == second.shape[-2:] == (self.m, self.m):
            self.n_products += len(first) // self.n_matrices
