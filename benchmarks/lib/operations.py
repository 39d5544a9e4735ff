"""What a method spends on a matrix, counted as it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from skdmi.linalg import products as with_batch_last
from skdmi.linalg.products import multiply_small


@dataclass(frozen=True)
class Operations:
    """Floating-point operations a matrix, multiplications and additions counted apart."""

    products: float
    """``2 m^3`` for each product."""
    coefficients: float
    """Other multiply-adds: the coefficient network and its inner products."""
    elementwise: float
    """Sums of matrices, scaling, activations, reductions: one for each element that is written, or read by a sum."""

    @property
    def total(self) -> float:
        return self.products + self.coefficients + self.elementwise

    @property
    def share(self) -> float:
        """Share of the products among products and coefficients."""
        return self.products / max(self.products + self.coefficients, 1)

    @property
    def strict_share(self) -> float:
        """Share of the products among all operations."""
        return self.products / max(self.total, 1)


def count_operations(inverse: Callable[[Tensor], Any], A: Tensor, n_products: int = 0) -> Operations:
    """Count what a method spends on a matrix of a stack; the last residual included, whether or not it computes it."""
    counter = _Counter()
    with torch.no_grad(), counter, mock.patch.object(with_batch_last, "multiply_small", counter.multiply_small):
        inverse(A)
    products = n_products * 2.0 * A.shape[-1] ** 3
    return Operations(products, max(0.0, counter.products / len(A) - products), counter.elementwise / len(A))


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.products = self.elementwise = 0.0
        self.is_inside_product = False

    def multiply_small(self, A: Tensor, B: Tensor) -> Tensor:
        """Multiply with the batch last, which is made of other operations, as one product."""
        self.is_inside_product = True
        C = multiply_small(A, B)
        self.is_inside_product = False
        self.products += 2 * A.shape[1] * C.numel()
        return C

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if self.is_inside_product:
            return result
        if operation._overloadpacket in flop_registry:
            self.products += flop_registry[operation._overloadpacket](*args, **(kwargs or {}), out_val=result)
        elif isinstance(result, Tensor) and result.is_floating_point():
            if torch.Tag.pointwise in operation.tags:
                self.elementwise += result.numel()
            elif operation._opname in ("sum", "mean", "linalg_vector_norm"):
                self.elementwise += args[0].numel()
        return result
