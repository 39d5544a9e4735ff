"""The format `.mx`: text of any number of matrices, each with a line END after it."""

from functools import partial

from skdmi.io.format import Format
from skdmi.io.text import END, TextWriter, read_text

MX = Format(read_text, partial(TextWriter, end=f"{END}\n"))
