"""What is changed, and which tests are to notice."""

_CERTIFICATE = ["tests/test_certificate_terms.py", "tests/test_certificate.py", "tests/test_certify.py"]
_BLOCKS = ["tests/test_block.py", "tests/test_blocks.py", "tests/test_large.py"]
TARGETS: dict[str, dict[str, list[str]]] = {
    "certificate": {"skdmi/linalg/certificate.py": _CERTIFICATE},
    "scaling": {"skdmi/linalg/scaling.py": ["tests/test_scaling.py", "tests/test_certificate.py"]},
    "recursion": {"skdmi/linalg/recursion.py": _BLOCKS, "skdmi/linalg/blocks.py": _BLOCKS},
    "residuals": {"skdmi/linalg/residuals.py": ["tests/test_residuals.py", "tests/test_linalg.py"]},
    "validation": {"skdmi/validation.py": ["tests/test_inputs.py", "tests/test_base.py"]},
}
"""By name: files, with the tests of each; its own examples are always among them."""
