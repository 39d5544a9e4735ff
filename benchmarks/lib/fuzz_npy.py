"""Files of numpy, right and wrong, and what numpy itself reads of them."""

import io
from random import Random

import numpy as np

from benchmarks.lib.mutations import mutated, splice

DTYPES = ("<f8", "<f8", "<f4", ">f8", ">f4", "<f2", "<f16", "<i8", ">i4", "|i1", "|u1", "<u8", "|b1")
NO_NUMBERS = ("<c8", "<c16", "|O", "|S3", "<U2", "|V8", "<M8[s]", "<m8[D]")
DESCRIPTIONS = (
    *("'|O'", "'O'", "'object'", "'<f8'", "'f8'", "'float'", "'d'", "'<f99'", "'<f-8'", "'<f8 '", "''", "' '", "'<'"),
    *("None", "8", "1.5", "True", "[]", "()", "{}", "['<f8']", "('<f8',)", "('<f8', (2, 2))", "('<f8', (10**9,))"),
    *("'<f8,<f8'", "[('a', '<f8')]", "[('a', '|O')]", "[('a', '<f8'), ('a', '<f8')]", "[('', '<f8')]"),
    *("[(('t', 'a'), '<f8', (2,))]", "{'names': ['a'], 'formats': ['<f8']}", "{'a': ('<f8', 0)}"),
    *("'(1000000000,)f8'", "'V1000000000000'", "'S0'", "'<U0'", "'V0'", "'<M8[99999999999999999999s]'", "'<M8'"),
    *("'\\x00'", "'" + "f" * 300 + "'", "[('a', [('b', '|O')])]", "b'<f8'", "(" * 150 + ")" * 150),
    *("[" * 90 + "'<f8'" + "]" * 90, "-" * 2000 + "1", "'<g'", "'>i3'", "'=f8'", "'|f8'", "'<b1'"),
)
SHAPES = (
    *("()", "(3,)", "(2, 2)", "(1, 2, 2)", "(0, 2, 2)", "(2, 0, 0)", "(0,)", "(2, 3, 3)", "(1, 1, 2, 2)"),
    *("(2, 2, 3)", "[1, 2, 2]", "(-1, 2, 2)", "(1, -2, -2)", "(2.0, 2, 2)", "(1L, 2L, 2L)", "(True, 2, 2)"),
    *("('1', 2, 2)", "(None, 2, 2)", "2", "None", "(10**9, 2, 2)", "(1000000000, 2, 2)"),
    *("(9223372036854775807, 2, 2)", "(4611686018427387904, 2, 2)", "(1, 2, 2), 3", "(18446744073709551616, 2, 2)"),
    *("(1, 65536, 65536)", "(1, 4294967296, 4294967296)", "(0, 10**9, 10**9)", "(1,) * 3", "(" + "1, " * 70 + ")"),
    *("(" + "9" * 5000 + ", 2, 2)", "(1, 2, 2", "(1 2 2)", "(1, 2, 2,)", "((1, 2), 2)", "(1e3, 2, 2)"),
    *("(0, 1000000000, 1000000000)", "(9223372036854775807, 0, 0)", "(-9223372036854775808, 1, 1)", "(1j, 1, 1)"),
    *("(1, 1, 1)",),
)
ORDERS = ("True", "False", "1", "0", "None", "'True'", "[]", "true")
HEADERS = (
    *("", "{", "}", "{}", "[]", "None", "1", "()", "'", "\x00", "{1: 2}", "{'descr'}", "{**{}}"),
    *("__import__('os').abort()", "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 2), }#", "(" * 3000),
    *("{'a':" * 95 + "1" + "}" * 95, "9" * 6000, "'\\N{DIGIT ONE}'", "'\\x'", "'\\d'", "\t{}", "{} {}", "\\"),
    *("f'{1}'", "lambda: 0", "{'descr': '<f8'", "~" * 3000 + "1", "\u00e9", "\ud800"),
)
KEYS = ("descr", "fortran_order", "shape")
MAGIC = b"\x93NUMPY"
LENGTHS = (0, 1, 2, 10, 63, 118, 119, 9999, 10_000, 10_001, 65_535, 2**31 - 1, 2**31, 2**32 - 1)


def make(random: Random) -> bytes:
    """Return a file that is valid, or was before it was changed."""
    data = saved(random) if random.random() < 0.25 else written(random)
    if random.random() < 0.35:
        data = mutated(data, random)
    if random.random() < 0.03:
        data = splice(data, saved(random), random)
    return data


def an_array(random: Random) -> np.ndarray:
    n, m = random.choice((1, 1, 2, 3)), random.choice((1, 2, 2, 3))
    dtype = np.dtype(random.choice(NO_NUMBERS if random.random() < 0.1 else DTYPES))
    if dtype.hasobject:
        return np.full((n, m, m), None, dtype=object)
    array = np.frombuffer(random.randbytes(n * m * m * dtype.itemsize), dtype).reshape(n, m, m)
    if dtype.kind == "b":
        array = array.view(np.uint8) % 2 == 1
    if dtype.kind == "f" and random.random() < 0.5:
        array = np.array([random.uniform(-1, 1) for _ in range(n * m * m)]).reshape(n, m, m).astype(dtype)
    return array[0] if random.random() < 0.2 else np.asfortranarray(array) if random.random() < 0.2 else array


def saved(random: Random) -> bytes:
    """Return what numpy writes."""
    file = io.BytesIO()
    np.lib.format.write_array(file, an_array(random), random.choice(((1, 0), (2, 0), (3, 0))))
    return file.getvalue()


def written(random: Random) -> bytes:
    """Return a file whose header is written by hand, and lies more often than not."""
    array = an_array(random)
    fields = {
        "descr": repr(array.dtype.str),
        "fortran_order": str(not array.flags.c_contiguous),
        "shape": str(array.shape),
    }
    for key, choices in (("descr", DESCRIPTIONS), ("fortran_order", ORDERS), ("shape", SHAPES)):
        if random.random() < 0.3:
            fields[key] = random.choice(choices)
    entries = [f"{key!r}: {value}" for key, value in fields.items()]
    match random.randrange(12):
        case 0:
            del entries[random.randrange(3)]
        case 1:
            entries.append(f"{random.choice((*KEYS, 'more', ''))!r}: {random.choice(SHAPES + DESCRIPTIONS)}")
        case 2:
            random.shuffle(entries)
    header = "{" + ", ".join(entries) + random.choice((", }", "}", "}}", "")) if random.random() < 0.3 else None
    header = header or "{" + ", ".join(entries) + ", }"
    if random.random() < 0.05:
        header = random.choice(HEADERS)
    return packed(header, array, random)


def packed(header: str, array: np.ndarray, random: Random) -> bytes:
    """Return magic, version, length and text of a header, and data, now and then cut off or more than there is."""
    version = random.choice(((1, 0), (1, 0), (2, 0), (3, 0)))
    encoded = header.encode("utf-8" if version == (3, 0) else "latin-1", errors="replace")
    encoded += b" " * (-(len(encoded) + 11) % 64) + b"\n"
    length = len(encoded) if random.random() < 0.93 else random.choice(LENGTHS)
    width = 2 if version == (1, 0) else 4
    if random.random() < 0.03:
        version = random.choice(((0, 0), (1, 1), (1, 9), (4, 0), (255, 255)))
    data = b"" if array.dtype.hasobject else array.tobytes(order="A")
    if random.random() < 0.1:
        data = data[: random.randrange(len(data) + 1)] + random.randbytes(random.choice((0, 0, 1, 100)))
    return MAGIC + bytes(version) + (length % 256**width).to_bytes(width, "little") + encoded + data


def parsed(data: bytes) -> np.ndarray | None:
    """Return the matrices that numpy finds, or None where it finds none."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:
        return None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        return None
    stack = array[None] if array.ndim == 2 else array
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or 0 in stack.shape:
        return None
    return stack.astype(np.float32 if array.dtype.kind == "f" and array.dtype.itemsize == 4 else np.float64)
