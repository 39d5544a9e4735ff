"""Refinement: the laws of its answer whatever the start, and that each matrix goes its own way."""

import numpy as np
import pytest
import torch
from torch.linalg import matrix_norm

from skdmi.iteration import count_products, minimal_residual, refine
from skdmi.linalg import residual
from tests.matrices import make_stack
from tests.products import ProductCounter

REGULAR = ("uniform", "well", "condition", "spd", "orthogonal", "permutation")
SIZES = (1, 2, 3, 5, 8, 17, 33)


def tensors(*args, **kwargs):
    return torch.from_numpy(make_stack(*args, **kwargs))


STARTS = {
    "nothing": lambda A, noise: None,
    "close": lambda A, noise: torch.linalg.inv(A) * (1 + 1e-4 * noise),
    "exact": lambda A, noise: torch.linalg.inv(A),
    "minus": lambda A, noise: -torch.linalg.inv(A),
    "zero": lambda A, noise: 0 * noise,
    "transpose": lambda A, noise: A.mT,
    "random": lambda A, noise: noise,
    "nan": lambda A, noise: torch.nan * noise,
    "huge": lambda A, noise: 1e200 * noise,
    "largest": lambda A, noise: torch.full_like(A, torch.finfo(A.dtype).max),
    "singular": lambda A, noise: noise * torch.eye(A.shape[-1])[0].to(A.dtype),
}


def start_from(A, start):
    generator = torch.Generator().manual_seed(0)
    return STARTS[start](A, torch.randn(A.shape, generator=generator, dtype=A.dtype))


def assert_law(A, X, *, tol=0.0, factor=10):
    """Both residuals are what rounding explains, up to ``tol``."""
    A64, X64 = A.double(), X.double()
    for first, second in ((A64, X64), (X64, A64)):
        rounding = factor / 2 * torch.finfo(A.dtype).eps * matrix_norm(first.abs() @ second.abs())
        assert (matrix_norm(residual(first, second)) <= rounding + tol).all()


# Laws


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_both_residuals_are_what_rounding_explains(kind, m, dtype):
    A = tensors(kind, m=m, dtype=dtype)
    refined = refine(A)
    assert_law(A, refined.inverse)
    assert_law(A, refined.inverse.to(A.dtype))
    true = matrix_norm(residual(A.double(), refined.inverse))
    assert (refined.residual_norm <= 4 * true + 1e-14).all()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("m", [1, 3, 8])
def test_from_any_start(start, m):
    A = torch.cat([tensors(m=m), tensors("condition", m=m, condition=1e4)])
    assert_law(A, refine(A, start_from(A, start)).inverse)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6, 1e7])
def test_both_residuals_of_ill_conditioned_matrices(condition):
    A = tensors("condition", 50, 8, condition=condition)
    assert_law(A, refine(A).inverse)


@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-6, 1e-9])
def test_tolerance_is_met_on_both_sides(tol):
    A = torch.cat([tensors("condition", 20, 5, condition=condition) for condition in (1e1, 1e3, 1e5)])
    refined = refine(A, tol=tol)
    assert (refined.residual_norm <= tol).all()
    assert (matrix_norm(residual(A, refined.inverse, left=True)) <= tol).all()
    assert refined.n_products.sum() < refine(A).n_products.sum()


@pytest.mark.parametrize("scale", [2.0**-1000, 1e-200, 1e200, 2.0**1000])
def test_scale_changes_nothing(scale):
    A = tensors(m=4)
    scaled, plain = refine(scale * A), refine(A)
    assert_law(A, scaled.inverse * scale)
    if scale == 2.0 ** np.round(np.log2(scale)):
        torch.testing.assert_close(scaled.inverse * scale, plain.inverse, rtol=0, atol=0)
        torch.testing.assert_close(scaled.n_steps, plain.n_steps)


def test_one_over_a_number():
    A = torch.tensor([3.0, -1e300, 1e-300, 7e-5], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(refine(A).inverse, 1 / A, rtol=1e-15, atol=0)


@pytest.mark.parametrize("kind", ["singular", "zero"])
@pytest.mark.parametrize("start", ["nothing", "random", "nan"])
def test_singular_matrices_stay_at_one_and_are_soon_given_up(kind, start):
    A = tensors(kind, m=4)
    refined = refine(A, start_from(A, start))
    assert (refined.residual_norm >= 1 - 1e-9).all()
    assert refined.inverse.isfinite().all()
    assert refined.n_steps.max() <= 24


def test_an_exact_start_takes_no_step():
    A = tensors("permutation", m=5)
    refined = refine(A, A.mT)
    torch.testing.assert_close(refined.inverse, A.mT, rtol=0, atol=0)
    assert (refined.n_steps == 0).all()
    assert (refined.n_products == 2).all()  # the right and the left residual


# Each matrix goes its own way


def mixed_stack():
    """Matrices that finish after different numbers of steps, among them never."""
    kinds = ("well", "singular", "uniform", "condition", "permutation", "zero")
    return torch.cat([tensors(kind, 3, 4, condition=1e5) for kind in kinds])


def test_a_stack_gives_what_its_members_give_one_by_one():
    A = mixed_stack()
    together = refine(A)
    assert len(together.n_steps.unique()) > 3
    alone = [refine(member[None]) for member in A]
    assert (together.n_steps == torch.cat([one.n_steps for one in alone])).double().mean() > 0.8
    for i, one in enumerate(alone):
        if one.residual_norm < 0.5:
            torch.testing.assert_close(together.inverse[i], one.inverse[0], rtol=1e-10, atol=1e-10)


def test_permuting_a_stack_permutes_the_answer():
    A = mixed_stack()
    order = torch.randperm(len(A), generator=torch.Generator().manual_seed(0))
    regular = refine(A).residual_norm[order] < 0.5
    permuted, plain = refine(A[order]).inverse, refine(A).inverse[order]
    torch.testing.assert_close(permuted[regular], plain[regular], rtol=1e-10, atol=1e-10)


def test_finished_matrices_cost_nothing():
    A = torch.cat([tensors("permutation", 1000, 3), tensors("condition", 2, 3, condition=1e5)])
    with ProductCounter(3) as counter:
        refined = refine(A, torch.cat([A[:1000].mT, torch.zeros_like(A[1000:])]))
    assert (refined.n_steps[:1000] == 0).all()
    assert (refined.residual_norm < 1e-9).all()
    of_the_others = refined.n_products[1000:].sum() + 4 * 2
    assert counter.n_products <= 2 * 1000 + of_the_others  # the first residual and the left one


def test_chunks_do_not_show(monkeypatch):
    A = mixed_stack()
    whole = refine(A)
    monkeypatch.setattr("skdmi.iteration.refinement.chunk_size", lambda m: 5)
    regular = whole.residual_norm < 0.5
    torch.testing.assert_close(refine(A).inverse[regular], whole.inverse[regular], rtol=1e-10, atol=1e-10)


def test_empty_stack():
    refined = refine(torch.empty(0, 3, 3))
    assert refined.inverse.shape == (0, 3, 3)
    assert refined.n_steps.shape == (0,)


# Steps and products


@pytest.mark.parametrize("max_steps", range(6))
def test_max_steps_is_honoured_and_more_are_never_worse(max_steps):
    A = tensors("uniform", 50, 6)
    refined, more = refine(A, max_steps=max_steps), refine(A, max_steps=max_steps + 1)
    assert (refined.n_steps <= max_steps).all()
    assert (more.residual_norm <= refined.residual_norm.clamp_min(1e-12)).all()


def test_no_steps_return_the_start():
    A = tensors(m=3)
    X = torch.linalg.inv(A) * 1.01
    torch.testing.assert_close(refine(A, X, max_steps=0).inverse, X, rtol=0, atol=0)


@pytest.mark.parametrize("r", [1e-2, 1e-3, 1e-5, 1e-6, 1e-9])
def test_near_the_goal_a_step_costs_two_products_or_three(r):
    A = torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    refined = refine(A, (1 - r / 3**0.5) * A)
    orders = {1e-2: (2, 2, 2), 1e-3: (2, 3), 1e-5: (2, 2), 1e-6: (3,), 1e-9: (2,)}[r]
    assert (refined.n_steps == len(orders)).all()
    assert (refined.n_products == 2 + sum(orders)).all()  # the first residual and the left one


@pytest.mark.parametrize("start", ["nothing", "close", "random"])
@pytest.mark.parametrize("kind", [*REGULAR, "singular", "zero"])
@pytest.mark.parametrize("tol", [0.0, 1e-6])
def test_products_are_counted_but_for_one_that_scales_where_rows_look_unbalanced(tol, kind, start):
    A = tensors(kind, 20, 6, condition=1e6)
    X = start_from(A + 1e-3 * torch.eye(6), start)
    with ProductCounter(6) as counter:
        refined = refine(A, X, tol=tol)
    counted = refined.n_products.sum().item()
    assert counted <= counter.n_products <= counted + len(A)
    if kind in ("permutation", "zero"):
        assert counter.n_products == counted


def test_fewer_products_than_the_iteration_without_an_active_set():
    A = tensors("uniform", 500, 5)
    worst = refine(A, tol=1e-9)
    n_steps = next(n for n in range(20) if matrix_norm(residual(A, minimal_residual(A, n))).max() < 1e-9)
    assert worst.n_products.double().mean() < count_products(n_steps)


@pytest.mark.parametrize("m", [5, 8, 16, 33])
def test_deflation_saves_products_from_afar_and_loses_no_matrix(m, monkeypatch):
    A = torch.cat([tensors("uniform", 50, m), tensors("condition", 50, m, condition=1e6)])
    deflated = refine(A)
    monkeypatch.setattr("skdmi.iteration.refinement.SOLVED", m)
    plain = refine(A)
    assert deflated.n_products.double().mean() < 0.95 * plain.n_products.double().mean()
    assert (deflated.converged | ~plain.converged).all()


@pytest.mark.parametrize("m", [4, 8])
def test_where_deflation_is_rounding_it_is_left_out(m, monkeypatch):
    A = tensors("condition", 100, m, condition=1e10)
    deflated = refine(A).residual_norm < 0.5
    monkeypatch.setattr("skdmi.iteration.refinement.SOLVED", m)
    assert deflated.sum() >= 0.9 * (refine(A).residual_norm < 0.5).sum()


# Whatever the user has set


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_global_settings_change_no_bit(dtype):
    A = tensors("uniform", 20, 16).to(dtype)
    expected = refine(A)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = refine(A)
    finally:
        torch.set_float32_matmul_precision(before)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_no_graph_is_kept():
    A = tensors(m=3).requires_grad_()
    assert not refine(A).inverse.requires_grad


@pytest.mark.parametrize("leading", [(), (2, 3)])
def test_any_leading_axes(leading):
    A = torch.from_numpy(make_stack("well", 6, 4))[: max(1, len(leading) * 3)].reshape(*leading, 4, 4)
    for start in (None, A.mT / 10):
        refined = refine(A, start)
        assert refined.residual_norm.shape == refined.n_steps.shape == refined.n_products.shape == leading
        torch.testing.assert_close(refined.inverse, torch.linalg.inv(A))
