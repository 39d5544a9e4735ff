"""What of scikit-learn's common checks cannot pass, why, and what takes its place."""

import math

import torch

from skdmi.containers import CONTAINERS
from skdmi.validation import check_layout

_COLUMNS = "scikit-learn feeds {} columns, not a square number; replaced by test_padded_twin_passes[{}] and {}"

_REPLACED_BY = {
    "check_fit_score_takes_y": (3, "test_y_is_ignored"),
    "check_estimators_overwrite_params": (2, "test_fit_leaves_parameters_alone"),
    "check_dont_overwrite_parameters": (3, "test_fit_leaves_parameters_alone"),
    "check_estimators_fit_returns_self": (2, "test_fit_leaves_parameters_alone"),
    "check_readonly_memmap_input": (2, "test_containers.py::test_memory_mapped_arrays"),
    "check_estimators_dtypes": (5, "test_containers.py::test_float32_and_float64_are_kept"),
    "check_dtype_object": (10, "test_containers.py::test_array_likes_give_numpy_in_the_same_layout"),
    "check_pipeline_consistency": (3, "test_pipeline"),
    "check_estimators_nan_inf": (3, "test_containers.py::test_non_finite_entries_are_refused"),
    "check_estimators_pickle": (3, "test_copies_agree"),
    "check_f_contiguous_array_estimator": (3, "test_containers.py::test_array_likes_give_numpy_in_the_same_layout"),
    "check_transformer_data_not_an_array": (3, "test_containers.py::test_a_container_needs_no_more_than_..."),
    "check_transformer_general": (3, "test_fit_transform_is_fit_then_transform"),
    "check_transformer_preserve_dtypes": (3, "test_containers.py::test_float32_and_float64_are_kept"),
    "check_methods_sample_order_invariance": (3, "test_base.py::test_permuting_a_stack_permutes_the_answer"),
    "check_methods_subset_invariance": (3, "test_base.py::test_the_answer_to_a_matrix_does_not_depend_on_..."),
    "check_fit2d_1sample": (10, "test_one_matrix_is_enough"),
    "check_dict_unchanged": (3, "test_transform_leaves_the_estimator_alone"),
    "check_fit_idempotent": (2, "test_fit_is_idempotent"),
    "check_fit_check_is_fitted": (2, "test_fit_is_idempotent"),
    "check_n_features_in": (2, "test_base.py::test_fit_fixes_the_size_in_both_layouts"),
    "check_fit2d_predict1d": (3, "test_containers.py::test_other_numbers_of_axes_are_refused"),
}
_STATELESS_ONLY = {"check_transformers_unfitted_stateless": (5, "test_exact.py::test_it_needs_no_fit_...")}


def expected_failed_checks(estimator):
    """Return the reasons, one a check, for what fails on the real class; everything else must pass."""
    replaced = _REPLACED_BY if estimator.__sklearn_tags__().requires_fit else _REPLACED_BY | _STATELESS_ONLY
    reasons = {check: _COLUMNS.format(columns, check, test) for check, (columns, test) in replaced.items()}
    return reasons | takes_complex(estimator)


def takes_complex(estimator):
    """Return the reason of the one check that a padded twin fails, too."""
    return {"check_complex_data": "complex stacks are taken: test_complex_estimators.py"}


def open_padded_door(monkeypatch):
    """Make every inverter its padded twin: it takes any number of columns, and still goes through the whole door.

    A row is filled up with zeros to the next square, and a multiple of the identity is added that makes the matrix
    diagonally dominant, so that every inverse is finite (asserted): with zeros alone all answers would be NaN, and
    would pass.
    """

    given = CONTAINERS["numpy"]

    def read(X, validate):
        flat = given.read(X, validate)
        m = math.isqrt(flat.shape[1] - 1) + 1
        padded = torch.nn.functional.pad(flat, (0, m * m - flat.shape[1]))
        dominance = 1 + 2 * padded.abs().sum(dim=1, keepdim=True)
        return padded + dominance * torch.eye(m, dtype=flat.dtype).flatten()

    def apply(answer, X, keeps_shape):
        found = answer(X, 0)
        assert found.isfinite().all()
        return (found.flatten(1)[:, : X.shape[1]] if keeps_shape else found).numpy()

    def check_axes(shape, size, name, *, table=None):
        if len(shape) != 2:
            check_layout(shape, size, name, table=table)

    monkeypatch.setitem(CONTAINERS, "numpy", given._replace(read=read, apply=apply))
    monkeypatch.setattr("skdmi.estimators.base.check_layout", check_axes)
