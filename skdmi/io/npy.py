"""The format `.npy`: a NumPy array, of the bytes that ``numpy.save`` writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from skdmi.chunks import chunk_size as default_size
from skdmi.io.format import Format, PathLike, Stack, as_stack, float_dtype


def _read(path: PathLike, chunk_size: int | None) -> Iterator[Stack]:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # On a damaged header also SyntaxError, TokenError and OverflowError.
        raise ValueError(
            f"{path}: not a readable .npy file of numbers ({error}); expected what numpy.save writes; save it again."
        ) from error
    stack = as_stack(f"{path}: the array", array)
    if len(stack) == 0:
        raise ValueError(f"{path}: the file holds no matrix; expected at least one.")
    step = chunk_size or default_size(stack.shape[1])
    for start in range(0, len(stack), step):
        yield np.array(stack[start : start + step], dtype=float_dtype(stack), order="C")


def _write(path: PathLike, temporary: Path, stacks: Iterator[Stack]) -> int:
    """Write the header twice: NumPy pads it so that the number of matrices, known only at the end, has room."""
    n_matrices = 0
    header: dict[str, Any] = {}
    with open(temporary, "wb") as file:
        for stack in stacks:
            if not header:
                header = {"descr": stack.dtype.str, "fortran_order": False, "shape": (0, *stack.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            elif not np.can_cast(stack.dtype, header["descr"]):
                raise ValueError(
                    f"{path}: a {stack.dtype} stack after float32 ones; expected float32; convert all to one dtype."
                )
            file.write(np.ascontiguousarray(stack, dtype=header["descr"]).data)
            n_matrices += len(stack)
        if n_matrices:
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, header | {"shape": (n_matrices, *header["shape"][1:])})
    return n_matrices


NPY = Format(_read, _write)
