"""The format `.csv`: text of one single matrix and nothing else, as spreadsheets have it."""

from typing import BinaryIO

from skdmi.io.format import Format, Stack
from skdmi.io.text import TextWriter, read_text


class _Writer(TextWriter):
    def __init__(self, name: str, file: BinaryIO) -> None:
        super().__init__(name, file, end="")
        self._name = name
        self._n_matrices = 0

    def write(self, stack: Stack) -> None:
        self._n_matrices += len(stack)
        if self._n_matrices > 1:
            raise ValueError(f"{self._name}: more than one matrix for a .csv file; expected one; write .mx or .npy.")
        super().write(stack)


CSV = Format(read_text, _Writer)
