"""Stacks of square matrices in files, read and written as streams.

========  =================================================================================================
``.mx``   Text: a row of comma-separated numbers a line, and a line ``END`` after each matrix.
``.npy``  A NumPy array of shape ``(n_matrices, m, m)``, or ``(m, m)`` for one matrix.
``.csv``  Text: one single matrix, a row of comma-separated numbers a line. What is ``.mx`` inside is read too.
========  =================================================================================================

The suffix tells the format, or ``format``, its name without the dot, whatever the file is called. Pipes and devices of
other names are ``.mx``.

=====================  ====================================================================================
:func:`iter_stacks`    read a file chunk by chunk
:func:`read_stack`     read a whole file
:func:`write_stack`    write a file from an array or a stream
:func:`atomic_path`    write any file whole or not at all
=====================  ====================================================================================

Reading and writing take the memory of a few chunks, however many matrices the file holds; a file is written whole or
not at all, pipes and devices aside. So ``write_stack(path, map(invert, iter_stacks(path)))`` inverts a file larger than
memory in place.
"""

from skdmi.io.atomic import atomic_path
from skdmi.io.stacks import iter_stacks, read_stack, write_stack

__all__ = ["atomic_path", "iter_stacks", "read_stack", "write_stack"]
