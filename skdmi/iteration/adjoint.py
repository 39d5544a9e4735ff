"""Backward passes by hand: fewer operations than autograd makes of what a step computes."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

Tensors: TypeAlias = tuple[Tensor, ...]
Gradients: TypeAlias = tuple[Tensor | None, ...]


def with_adjoint(adjoint: Callable[..., Gradients]) -> Callable[..., Callable[..., Tensors]]:
    """Give a function of tensors a backward pass by hand, for first derivatives in reverse mode.

    The function returns two tuples of tensors, its outputs and what the backward pass needs of intermediate results,
    by differentiable operations: in forward mode, under ``torch.func``, where it is compiled or exported, and for
    derivatives of derivatives, autograd differentiates those. So either way the outputs have the same bits.

    Parameters
    ----------
    adjoint : callable
        ``adjoint(needed, inputs, outputs, kept, gradients)`` returns the gradients of all inputs, or None where
        ``needed``, a tuple of bool, says that none is wanted, from those of all outputs, or None where nothing was
        made of one.

    Examples
    --------
    >>> @with_adjoint(lambda needed, inputs, outputs, kept, gradients: (2 * inputs[0] * gradients[0],))
    ... def square(a):
    ...     return (a * a,), ()
    >>> a = torch.ones(1, requires_grad=True)
    >>> torch.autograd.grad(square(a)[0], a)
    (tensor([2.]),)
    """

    def decorate(function: Callable[..., tuple[Tensors, Tensors]]) -> Callable[..., Tensors]:
        @wraps(function)
        def call(*inputs: Tensor, **options: int) -> Tensors:
            if _is_for_autograd(inputs):
                return function(*inputs, **options)[0]
            return _ByHand.apply(partial(function, **options), adjoint, *inputs)

        return call

    return decorate


def zeros_for_none(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    """Return zeros for the gradients of what was not used."""
    return [torch.zeros_like(A) if G is None else G for G, A in zip(gradients, like, strict=True)]


def _is_for_autograd(inputs: Tensors) -> bool:
    """Return whether nothing is to be differentiated, or not in reverse mode alone."""
    return (
        not torch.is_grad_enabled()
        or not any(A.requires_grad for A in inputs)
        or forward_ad._current_level >= 0
        or torch._C._are_functorch_transforms_active()
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
    )


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], adjoint: Callable[..., Gradients], *inputs: Tensor) -> Tensors:
        ctx.set_materialize_grads(False)
        outputs, kept = function(*inputs)
        ctx.save_for_backward(*inputs, *outputs, *kept)
        ctx.function, ctx.adjoint, ctx.counts = function, adjoint, (len(inputs), len(inputs) + len(outputs))
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        saved, (first, second) = ctx.saved_tensors, ctx.counts
        inputs, outputs, kept = saved[:first], saved[first:second], saved[second:]
        needed = ctx.needs_input_grad[2:]
        if all(G is None for G in gradients):
            return (None,) * (2 + first)
        if torch.is_grad_enabled() or any(_is_batched(G) for G in gradients):  # a derivative of this one, or many
            return None, None, *_by_autograd(ctx.function, needed, inputs, gradients)
        return None, None, *ctx.adjoint(needed, inputs, outputs, kept, gradients)


def _is_batched(gradient: Tensor | None) -> bool:
    """Return whether a gradient stands for many, as ``torch.autograd.grad(is_grads_batched=True)`` asks for."""
    return gradient is not None and torch._C._functorch.is_legacy_batchedtensor(gradient)


def _by_autograd(
    function: Callable[..., Any], needed: tuple[bool, ...], inputs: Tensors, gradients: Gradients
) -> Gradients:
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = tuple(A.view_as(A) for A in inputs)  # one that depends on another is differentiated by itself
        wanted = [A for A, is_needed in zip(inputs, needed, strict=True) if is_needed]
        all_outputs = function(*inputs)[0]
    pairs = [(Y, G) for Y, G in zip(all_outputs, gradients, strict=True) if G is not None and Y.requires_grad]
    outputs, gradients = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, gradients, create_graph=create_graph, allow_unused=True))
    return tuple(next(found) if is_needed else None for is_needed in needed)
