"""Texts of matrices, right and wrong, and a second reading of them that shares nothing with that of skdmi."""

import re
import struct
from random import Random

import numpy as np

from benchmarks.lib.mutations import mutated, splice

NUMBERS = (
    *("0", "-0", "1", "-1", "+2.5", ".5", "5.", "1e5", "1E-7", "2.5e-324", "1e308", "1e309", "-1e999999999"),
    *("1e-999", "nan", "NaN", "-nan", "+NAN", "inf", "-inf", "Infinity", "-INFINITY", "007", "00.10", " 3 ", "\t4"),
    *("5\t ",),
)
"""What is a number in every reader of such files."""
NO_NUMBERS = (
    *("", " ", "x", "e5", "1e", "1e+", "--1", "+-1", "- 1", "1.2.3", "1..2", ".", "1 2", "1e5.0", "1e 5", "0x10"),
    *("0x1p3", "0b1", "0o7", "1_000", "1_0.0", "1e1_0", "1j", "(1)", "True", "None", "null", "NA", "N/A", "nan(1)"),
    *("infinit", "1d5", "1f", "1L", "1%", "$1", "=1+1", "'1'", '"1"', "1;2", "#1", "1#", "1\x00", "\x00", "\x1b[2J"),
    *("1\\", "\u0661", "\uff11", "\u00bd", "\u22121", "1\u00a0", "\u200b1", "\ufeff1", "1\u0301", "\u221e", "\ud7ff"),
    *("END", "9" * 400 + "x", "1e" + "9" * 60 + "x"),
)
LONG = ("9" * 400, "0" * 3000 + "1", "1." + "3" * 3000, "1e" + "9" * 60, "1e-" + "9" * 60, "x" * 100_000, "7" * 100_000)
SEPARATORS = (", ", " ,", " , ", ",\t", ",,", ";", "\t", " ", "", "\uff0c", ",\r", "\n", "|", ".")
LINE_ENDS = (
    *("\r\n", "\r", "\n\n", "\n \t\n", "\n\r", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "", "\\n"),
)
ENDS = (
    *("END ", "\tEND", "end", "End", "END,", ",END", "END END", "ENDE", "EN", "E N D", "\uff25\uff2e\uff24"),
    *("END\x00", "END#", "'END'", "", "\ufeffEND", "END1", "1,END", "---", "\x1a", "EOF"),
)
FIRST = (
    *("sep=,", "a,b,c", "#", "# 1,2", "%%MatrixMarket", "\x93NUMPY", "{", "[[1,2]]", "\ufeff", "\ufeff\ufeff", "END"),
    *("\x00",),
)
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp500", "cp1252")

_LINES = re.compile(r"\r\n|\r|\n")
_NUMBER = re.compile(
    r"[ \t\x0b\x0c]*+"
    r"([+-]?(?:(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[+-]?[0-9]++)?|inf(?:inity)?|nan))"
    r"[ \t\x0b\x0c]*+",
    re.IGNORECASE | re.ASCII,
)


def numbers_of_all_kinds(n: int) -> list[str]:
    """Return the texts of numbers: short ones, of all digits, and of any bits."""
    random = Random(0)
    found = list(NUMBERS)
    for _ in range(n):
        found += [
            str(random.randint(-9, 9)),
            repr(random.uniform(-1, 1)),
            repr(struct.unpack("<d", random.randbytes(8))[0]),
        ]
    return found


POOL = numbers_of_all_kinds(1000)


def a_token(random: Random) -> str:
    return random.choice(LONG if random.random() < 0.02 else NO_NUMBERS if random.random() < 0.4 else NUMBERS)


def a_text(random: Random, n_matrices: int) -> list[list[str]]:
    """Return the rows of valid matrices of one size, each matrix with a row END after it."""
    m = random.choice((1, 2, 2, 3, 3, 4, 7))
    rows = []
    for _ in range(n_matrices):
        rows += [random.choices(POOL, k=m) for _ in range(m)]
        rows.append(["END"])
    return rows


def change_rows(rows: list[list[str]], random: Random) -> None:
    """Change something of tokens and rows, in place."""
    k = random.randrange(len(rows))
    row = rows[k]
    match random.randrange(9):
        case 0 | 1:
            row[random.randrange(len(row))] = a_token(random)
        case 2:
            row.insert(random.randrange(len(row) + 1), a_token(random))
        case 3:
            del row[random.randrange(len(row))]
            row += [] if row else [""]
        case 4:
            del rows[k]
            rows += [] if rows else [[""]]
        case 5:
            rows.insert(k, list(rows[random.randrange(len(rows))]))
        case 6:
            rows.insert(random.randrange(len(rows) + 1), [random.choice(ENDS)])
        case 7:
            rows[random.choice([i for i, row in enumerate(rows) if row == ["END"]] or [k])] = [random.choice(ENDS)]
        case 8:
            rows.insert(0, [random.choice(FIRST)])


def spelled(rows: list[list[str]], random: Random, *, odd: float) -> str:
    """Return a text, a share of its separators and line ends odd; one kind of line end where all are as usual."""
    usual = random.choice(("\n", "\n", "\r\n", "\r"))
    lines = []
    for row in rows:
        between = random.choice(SEPARATORS) if random.random() < odd else ","
        after = random.choice(LINE_ENDS) if random.random() < odd else usual
        lines.append(between.join(row) + after)
    text = "".join(lines)
    return text.rstrip("\r\n") if random.random() < 0.1 else text


def make(random: Random, *, n_matrices: tuple[int, ...]) -> bytes:
    """Return a file that is valid, or was before it was changed."""
    rows = a_text(random, random.choice(n_matrices))
    if random.random() < 0.3 and len(rows) > 1:
        del rows[-1]  # The last END may be missing.
    for _ in range(random.choice((0, 0, 1, 1, 2, 4))):
        change_rows(rows, random)
    text = spelled(rows, random, odd=random.choice((0, 0, 0, 0, 0.1, 0.5)))
    encoding = random.choice(ENCODINGS) if random.random() < 0.05 else "utf-8"
    data = text.encode(encoding, errors="replace")
    if random.random() < 0.3:
        data = mutated(data, random) if data else random.randbytes(random.randrange(50))
        if random.random() < 0.1:
            data = splice(data, spelled(a_text(random, 2), random, odd=0).encode(), random)
    return data


def make_mx(random: Random) -> bytes:
    return make(random, n_matrices=(1, 1, 2, 3, 5, 9))


def make_csv(random: Random) -> bytes:
    return make(random, n_matrices=(1, 1, 1, 1, 2))


def parsed(data: bytes) -> np.ndarray | None:
    """Return the matrices of a text, or None where it is not one: a second reading, a token at a time."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    matrices: list[list[list[float]]] = []
    rows: list[list[float]] = []
    for line in filter(None, (line.strip() for line in _LINES.split(text))):
        if line == "END":
            if not rows or len(rows) != len(rows[0]):
                return None
            matrices.append(rows)
            rows = []
            continue
        found = [_NUMBER.fullmatch(token) for token in line.split(",")]
        if None in found:
            return None
        rows.append([float(token[1]) for token in found if token])
    if rows:
        matrices.append(rows)
    sizes = {len(matrix) for matrix in matrices} | {len(row) for matrix in matrices for row in matrix}
    return np.array(matrices) if len(sizes) == 1 else None
