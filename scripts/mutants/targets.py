"""What is changed, and which tests are to notice."""

_CERTIFICATE = ["tests/test_certificate_terms.py", "tests/test_certificate.py", "tests/test_certify.py"]
_BLOCKS = ["tests/test_blocks.py", "tests/test_block.py", "tests/test_large.py"]
_IO = ["tests/test_io.py", "tests/test_atomic.py"]
_PERSISTENCE = ["tests/test_persistence.py", "tests/test_persistence_files.py"]
_KERNELS = [
    "tests/test_certificate_terms.py",
    "tests/test_lanes.py",
    "tests/test_certify.py",
    "tests/test_determinant.py",
]
_LAPACK = [
    "tests/test_certificate_terms.py",
    "tests/test_lapack.py",
    "tests/test_cholesky_route.py",
    "tests/test_large.py",
]


def _files(room: str, names: str, tests: list[str]) -> dict[str, list[str]]:
    return {f"skdmi/{room}/{name}.py": tests for name in names.split()}


TARGETS: dict[str, dict[str, list[str]]] = {
    "certificate": _files("linalg", "certificate", _CERTIFICATE),
    "scaling": _files(
        "linalg", "scaling", ["tests/test_scaling.py", "tests/test_func.py", "tests/test_certificate.py"]
    ),
    "recursion": _files("linalg", "recursion blocks", _BLOCKS),
    "residuals": _files(
        "linalg", "residuals", ["tests/test_residuals.py", "tests/test_scaling.py", "tests/test_linalg.py"]
    ),
    "validation": {"skdmi/validation.py": ["tests/test_validation.py", "tests/test_inputs.py"]},
    "io": _files("io", "atomic csv format mx npy stacks text", _IO),
    "persistence": _files("persistence", "directories files format_1 model models rules shipped", _PERSISTENCE),
    "lanes": _files(
        "lanes", "checks", ["tests/test_certificate_terms.py", "tests/test_certify.py", "tests/test_tight.py"]
    )
    | _files("lanes", "compiler kernels", ["tests/test_compiler.py", "tests/test_lanes.py"])
    | _files("lanes", "determinants", ["tests/test_determinant.py"])
    | _files("lanes", "parts stack", ["tests/test_lanes.py", "tests/test_api.py"])
    | _files("lanes", "passes", ["tests/test_cholesky_route.py", "tests/test_lapack.py", "tests/test_large.py"])
    | _files("lanes", "network", ["tests/lanes/test_iteration.py"]),
    "kernels": _files("lanes", "inverse certificate check elimination exchange measures vectors", _KERNELS),
    "lapack": _files("lapack", "check cholesky passes proof residuals scaling stack", _LAPACK),
}
"""By name: files, with the tests of each, the nearest first; its own examples are always among them."""

SAMPLES = {"io": 60, "persistence": 60, "lanes": 40, "lapack": 40, "kernels": 3}
"""How many mutants of a file are tried, drawn at random, unless told; of other targets all. A kernel takes a minute."""
