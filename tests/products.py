"""Products of stacks of matrices, counted as they are made."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class ProductCounter(TorchDispatchMode):
    """Count the products of m x m matrices for each of ``n_matrices``; with 1, of all together."""

    def __init__(self, m, n_matrices=1):
        super().__init__()
        self.m = m
        self.n_matrices = n_matrices
        self.n_products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default):
            first, second = args[-2:]
            if first.shape[-2:] == second.shape[-2:] == (self.m, self.m):
                self.n_products += len(first) // self.n_matrices
        return function(*args, **(kwargs or {}))
