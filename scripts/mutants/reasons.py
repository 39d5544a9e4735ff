"""Why a survivor may live: what no test can notice, or what is of no consequence."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple


class Reason(NamedTuple):
    """What it speaks of, by patterns of the shell; the line is that of the source."""

    why: str
    file: str = "*"
    scope: str = "*"
    line: str = "*"
    was: str = "*"
    becomes: str = "*"

    def holds(self, survivor: Mapping[str, str]) -> bool:
        """Return whether the reason is that of a survivor."""
        found = (survivor[name] for name in ("file", "scope", "at", "was", "becomes"))
        patterns = (
            pattern.replace("[", "[[]") for pattern in (self.file, self.scope, self.line, self.was, self.becomes)
        )
        return all(fnmatchcase(text, pattern) for text, pattern in zip(found, patterns, strict=True))


_SQUARE = "the matrices are square, or a stack of them has one leading axis: it is the same number"
_EQUALITY = "at equality both sides do the same, or either may: the answer is as good"
_ROOM = "what is skipped, reused or overwritten saves time or room; the answer is the same"
_MARGIN = "a threshold between two ways that are both right, or a bound that is a hair wider"
_LENGTHS = "both have one length; the word is there for whoever changes that"

REASONS = [
    Reason(_LENGTHS, line="*strict=True*", was="True", becomes="False"),
    Reason(_LENGTHS, was="zip(*strict=True)"),
    Reason(_SQUARE, line="*shape[-1]*", was="-1", becomes="+1"),
    Reason(_SQUARE, line="*shape[-1]*", was="1", becomes="2"),
    Reason(_SQUARE, line="*shape[-2]*", was="-2", becomes="+2"),
    Reason(_SQUARE, file="skdmi/validation.py", scope="_check_stack", was="1", becomes="2"),
    # certificate
    Reason(_MARGIN, file="*/certificate.py", line="_LOOSE =*"),
    Reason(_MARGIN, file="*/certificate.py", line="_OFF_SCALE =*"),
    Reason(_MARGIN, file="*/certificate.py", scope="certify_equilibrated", line="loose = *"),
    Reason(_EQUALITY, file="*/certificate.py", was="<= _LOOSE", becomes="< _LOOSE"),
    Reason(_EQUALITY, file="*/certificate.py", was="< 1", becomes="<= 1"),
    Reason(_EQUALITY, file="*/certificate.py", was="> _SPAN", becomes=">= _SPAN"),
    Reason(_MARGIN, file="*/certificate.py", scope="_of_any_scale", was="900", becomes="901"),
    Reason(
        "more terms are summed before the same check, of what is found, decides",
        file="*/certificate.py",
        scope="_fixed_point",
        line="if (w <= 1.01 * before).all():",
    ),
    Reason("a wider slack than roundings need: no bound is false", scope="rounded_up", was="8", becomes="9"),
    Reason("a wider slack than roundings need: no bound is false", scope="rounded_up", was="64", becomes="65"),
    Reason("what is rounded up to 1 was below it", file="*/certificate.py", line="certified = *", becomes="<= 1"),
    Reason("where nothing was rounded, the bound is a rounding wider", scope="rounded_error_bound", was="0"),
    Reason(_EQUALITY, scope="_fixed_point", was="<= w", becomes="< w"),
    Reason(_EQUALITY, scope="_of_any_scale", was="> -900", becomes=">= -900"),
    # scaling
    Reason(
        "a shortcut for normal numbers that is not taken: the longer way gives the same bits",
        file="*/scaling.py",
        was="(*>> 52)",
        becomes="(*<< 52)",
    ),
    Reason(
        "another entry that goes the longer way, which gives the same bits",
        file="*/scaling.py",
        scope="scale_both",
        line="usual = *",
    ),
    Reason("beyond 3000 powers of two all is zero or infinite", file="*/scaling.py", was="3000", becomes="3001"),
    Reason(
        "the shift is parted otherwise, still into three that are in range", file="*/scaling.py", was="3", becomes="4"
    ),
    Reason("the largest of all is the largest of columns as of rows", scope="near_one", line="*amax(dim=-1)", was="1"),
    Reason(_SQUARE, file="*/scaling.py", scope="equilibrate", line="better = *", was="-1", becomes="+1"),
    Reason(
        "no exponent lies near the mark of what is no entry, which is below all of them by a million",
        file="*/scaling.py",
        was="*_NOTHING // 2",
    ),
    Reason("tests know one device", becomes="*device=None)"),
    Reason("tests know one device", scope="power_of_two", becomes="*dtype=integers, )"),
    Reason("tests know one device", line='A = A.cpu() if A.device.type == "mps" else A'),
    Reason("the mark of what is no entry lies lower still", file="*/scaling.py", line="_NOTHING = *", was="20"),
    Reason(
        "one power more than is looked up",
        file="*/scaling.py",
        scope="power_of_two",
        line="powers = *",
        was="2",
        becomes="3",
    ),
    Reason(
        "one power more than is looked up",
        file="*/scaling.py",
        scope="power_of_two",
        line="powers = *",
        was="1",
        becomes="2",
    ),
    Reason(
        "a shortcut for normal numbers that is not taken: the longer way gives the same bits",
        scope="_are_of_normal_numbers",
        was="0",
        becomes="1",
    ),
    Reason(
        "a mark a third as far below as that of what is no entry; exponents are nowhere near",
        file="*/scaling.py",
        line="*_NOTHING // 2*",
        was="2",
        becomes="3",
    ),
    Reason(
        "the exponents of columns have two axes: the last is the second",
        scope="_by_transversals",
        line="longer = *",
        was="-1",
    ),
    Reason(
        "rows are brought to their maxima at the end, whatever they were before",
        scope="_by_transversals",
        was="rows - on_transversal",
    ),
    # residuals
    Reason("zero and infinite norms are the same in any unit", scope="wide_frobenius_norm", was="1.0", becomes="2.0"),
    Reason("tests know one device", file="*/residuals.py", scope="identity_like", becomes="*dtype=A.dtype, )"),
    Reason("zeros are no subnormal numbers; their sign is not asked for", scope="double", was="< 0", becomes="<= 0"),
    Reason("zeros are among them, of which nothing is made", line="is_subnormal = *", becomes="(bits | 0x7FFFFF)"),
    Reason("zeros are no subnormal numbers", scope="double", line="return torch.where(is_subnormal*", was="0"),
    # recursion
    Reason(_ROOM, scope="pivot_order", line="*unpack_data=False)"),
    Reason("a stack of one leaf more is as good to learn from", scope="collect_leaves", was="10_000"),
    Reason(_EQUALITY, scope="polish_", was="<*", becomes="<*"),
    Reason(_EQUALITY, scope="polish_", was=">*", becomes=">*"),
    Reason("one more step may be tried, and a worse one is not taken", scope="polish_", line="*<= norms / 2"),
    Reason(_MARGIN, file="*/blocks.py", line="_FARTHEST = 2.0**300", was="300", becomes="301"),
    Reason(_MARGIN, file="*/blocks.py", scope="_is_near"),
    Reason("an alias for annotations", line="Leaf = Callable*"),
    Reason("an alias for annotations", line="*: TypeAlias = *"),
    Reason(_ROOM, scope="invert_by_blocks", line="blocks = (np.empty*"),
    Reason(_ROOM, scope="invert_by_blocks", line="scaled = scaled._replace*"),
    Reason("nothing is filled up where nothing is missing", scope="invert_by_blocks", was="> N", becomes=">= N"),
    Reason(_MARGIN, scope="is_served", was="> ALONE", becomes=">= ALONE"),
    Reason(_ROOM, scope="column_order", line="*overwrite_a=True)"),
    Reason(_ROOM, file="*/blocks.py", scope="polish_", line="if lands and step == 0:"),
    Reason(_ROOM, file="*/blocks.py", scope="polish_", line="before = square / 4"),
    Reason("numpy finds the length for any negative one", file="*/blocks.py", line="R.reshape(len(A), -1)*", was="1"),
    Reason(_MARGIN, file="*/blocks.py", line="_LANDS = *", was="54", becomes="55"),
    # files
    Reason("as false as 0", file="skdmi/io/stacks.py", was="self._m = 0", becomes="self._m = None"),
    Reason("the name is of no use to writers of text", file="skdmi/io/csv.py", line="super().__init__*"),
    Reason(
        "encodings are named in letters of either case", file="skdmi/persistence/*", was='"ascii"', becomes='"ASCII"'
    ),
    Reason(
        "a message shows a character more", file="skdmi/persistence/files.py", scope="_entry", was="80", becomes="81"
    ),
    Reason(
        "numpy finds the length for any negative one", file="skdmi/persistence/files.py", line="*reshape(-1)*", was="1"
    ),
    Reason(_ROOM, file="skdmi/persistence/files.py", line="return array.astype(*", becomes='*newbyteorder("="), )'),
    Reason(
        "a folder in which another process collects between two calls; what is held is closed with the process",
        file="skdmi/io/atomic.py",
        line="_release(temporary)  # Collected before*",
    ),
    Reason("as false as False", was="*: bool = False", becomes="*: bool = None"),
    Reason("no dtype is of such a kind", file="skdmi/io/*", was='"fiub"', becomes='"XXfiubXX"'),
    Reason("a byte more is still within what a name may have", line="_MAX_SUFFIX = 32*", was="32", becomes="33"),
    Reason("where there are no locks, which is on other systems", line="_release(temporary)  # What is open*"),
    Reason("root, who tests here, may write every file", scope="_replaceable", was="os.fspath(path)"),
    # lanes
    Reason("another operating system's folder", scope="cache_directory", line="*LOCALAPPDATA*"),
    Reason("another operating system's folder", scope="cache_directory", line="*Library/Caches*"),
    Reason("the cache is looked into again, and nothing is in it", line="self._sought = True", was="True"),
    Reason("an estimate of when a compilation is worth its time", file="skdmi/lanes/*", scope="_seconds_without"),
]


def reason_for(survivor: Mapping[str, str]) -> str:
    """Return why a survivor may live; "" where nobody has said."""
    return next((reason.why for reason in REASONS if reason.holds(survivor)), "")
