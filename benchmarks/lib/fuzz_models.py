"""Files of models, right and wrong: cards changed in their structure, headers that lie, weights, and bytes."""

import copy
import json
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from click.testing import CliRunner

import skdmi
from benchmarks.lib.fuzzing import Reader
from benchmarks.lib.mutations import mutated, splice
from skdmi.cli.info import info

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "0.1.0"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 65, 1.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), -float("inf")),
    *(10**6, 10**9, 10**12, 2**31, 2**63, -(2**63), 10**30, 10**300, "", " ", "x", "0", "3", "nan", "1e5", "None"),
    *(
        "\x00",
        "\x1b[31m",
        "a\nb",
        "é",
        "\u202e",
        "\ud800",
        "../../x",
        "%s%n",
        "{0}",
        "x" * 5000,
        "__class__",
        "os.abort",
    ),
    *(
        "polynomial",
        "dense",
        "feedback",
        "transpose",
        "family",
        "frobenius",
        "NeuralMatrixInverter",
        "EnsembleInverter",
    ),
    *([], [0], [1, 2], [3, -1], [10**9], [1.5], ["x"], [None], [[]], [[1, 2], [3]], [1] * 3000, {}, {"x": 1}, {"": []}),
    *({"name": "Uniform"}, {"name": "os.system"}, {"name": ["Uniform"]}, {"__reduce__": 1}),
)
"""What a field of a card may say."""
DTYPES = ("F32", "F64", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "", "f32", "<f4", "O", None, 4, ["F32"])
SHAPES = (
    [],
    [0],
    [1],
    [-1],
    [2, 2],
    [10**9],
    [2**62, 4],
    [2**64],
    [1.0],
    ["1"],
    None,
    3,
    [[1]],
    [1] * 100,
    [True],
    [0, 2**63],
)
OFFSETS = (
    [0, 0],
    [0, 4],
    [4, 0],
    [-4, 4],
    [0, 2**63],
    [2**64, 2**64],
    [0],
    [0, 1, 2],
    None,
    [0.0, 4.0],
    ["0", "4"],
    [True, 5],
)
VERSIONS = ("1", "2", "3", "999999999", "9" * 5000, "-1", "2.0", "", "x", "\u0662", 2, None, ["2"], {"2": 2})
TEXTS = (
    *("", "{", "[]", "null", "1", '"x"', "{}", "[" * 100_000, '{"a":' * 50_000, "{}{}", "\ufeff{}", "nan"),
    *("{'a': 1}", "//\n{}", '{"class": NaN}', '{"class": "NeuralMatrixInverter"}'),
    *('{"class": "EnsembleInverter", "members": []}', "9" * 5000, '{"a": 1, "a": 2}', '{"a": 1e999}'),
    *("[" + "1," * 400_000 + "1]", '{"a": "' + "x" * 100_000 + '"}', '{"\\ud800": 1}'),
)
DESCRIBED = 0.1
"""Share of cases that ``skdmi info`` describes; the others are loaded."""


class Content(NamedTuple):
    """The files of a model, by their path in its folder, and what is named to have it read."""

    files: dict[str, bytes]
    named: str


def _folder_as_files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.name in (WEIGHTS, CONFIG))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _saved_today(folder: Path) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        skdmi.load_pretrained(folder).estimator.save_pretrained(Path(scratch) / "model")
        describe(Path(scratch) / "model")  # loads what it needs, which then counts for no case
        return _folder_as_files(Path(scratch) / "model")


def describe(path: Path) -> str:
    """Return what ``skdmi info`` prints; its errors are one line, and are raised again."""
    result = CliRunner().invoke(info, [str(path)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code:
        raise ValueError(result.output.removesuffix("\n"))
    return result.output


def find_seeds() -> tuple[list[dict[str, bytes]], list[dict[str, bytes]]]:
    """Return valid models as they are saved today, and as 0.1.0 saved them."""
    folders = sorted(path for path in GOLDEN.iterdir() if path.is_dir())
    return [_saved_today(folder) for folder in folders], [_folder_as_files(folder) for folder in folders]


TODAY, OLD = find_seeds()


def make(random: Random) -> Content:
    """Return a model that is valid, or was before it was changed."""
    is_old = random.random() < 0.3
    files = dict(random.choice(OLD if is_old else TODAY))
    if random.random() < 0.97:
        name = random.choice(list(files))
        files[name] = changed(files[name], name, random)
    if random.random() < 0.03:
        del files[random.choice(list(files))]
    return Content(files, f"model/{WEIGHTS}" if not is_old and random.random() < 0.3 else "model")


def changed(data: bytes, name: str, random: Random) -> bytes:
    """Return the bytes of a file after a change of its structure, or of bytes anywhere."""
    kind = random.random()
    if kind < 0.15:
        data = mutated(data, random)
        return splice(data, random.choice(TODAY)[WEIGHTS], random) if random.random() < 0.1 else data
    if name.endswith(CONFIG):
        if kind < 0.2:
            return random.choice(TEXTS).encode(errors="replace")
        card = json.loads(data)
        change_values(card, random)
        return spelled(card)
    length = int.from_bytes(data[:8], "little")
    return change_file(json.loads(data[8 : 8 + length]), data[8 + length :], random)


def spelled(value: Any) -> bytes:
    """Return JSON in ASCII, NaN and infinities as Python has them."""
    return json.dumps(value, separators=(",", ":")).encode()


def change_file(header: dict[str, Any], data: bytes, random: Random) -> bytes:
    """Change card, header or data of a file of safetensors, and put it together again."""
    metadata = header.get("__metadata__", {})
    match random.choices(("card", "text", "metadata", "entry", "data"), (60, 4, 8, 18, 10))[0]:
        case "card" if "card" in metadata:
            card = json.loads(metadata["card"])
            change_values(card, random)
            metadata["card"] = json.dumps(card, separators=(",", ":"))
        case "text" if "card" in metadata:
            metadata["card"] = random.choice(TEXTS)
        case "metadata":
            header["__metadata__"] = change_metadata(dict(metadata), random)
        case "data":
            data = change_data(data, random)
        case _:
            change_entry(header, random)
    text = spelled(header)
    length = len(text) if random.random() < 0.98 else random.choice((0, 1, 7, 8, 2**20, 2**31, 2**63, 2**64 - 1))
    return length.to_bytes(8, "little") + text + data


def change_metadata(metadata: dict[str, Any], random: Random) -> Any:
    match random.randrange(4):
        case 0:
            metadata["version"] = random.choice(VERSIONS)
        case 1:
            metadata[random.choice(("format", "version", "card", "more"))] = random.choice(VALUES)
        case 2 if metadata:
            del metadata[random.choice(list(metadata))]
        case _:
            return random.choice(VALUES)
    return metadata


def change_entry(header: dict[str, Any], random: Random) -> None:
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return
    name = random.choice(names)
    match random.randrange(7):
        case 0:
            del header[name]
        case 1:
            header[random.choice(("", "x", "member-0.x", name + ".", "\x1b", "x" * 3000))] = header.pop(name)
        case 2:
            header[name + "2"] = dict(header[name])
        case 3:
            header[name] = random.choice(VALUES)
        case 4:
            header[name]["dtype"] = random.choice(DTYPES)
        case 5:
            header[name]["shape"] = random.choice((*SHAPES, header[name]["shape"][::-1]))
        case 6:
            header[name]["data_offsets"] = random.choice((*OFFSETS, header[random.choice(names)]["data_offsets"]))


def change_data(data: bytes, random: Random) -> bytes:
    match random.randrange(4):
        case 0:
            return data[: random.randrange(len(data) + 1)]
        case 1:
            return data + random.randbytes(random.choice((1, 4, 1000)))
        case 2:
            return random.randbytes(len(data))
        case _:
            weights = np.frombuffer(data[: len(data) // 4 * 4], "<f4").copy()
            weights[random.randrange(max(1, len(weights))) :][:1] = random.choice((np.nan, np.inf, 3e38, 1e-45, 0))
            return weights.tobytes() + data[len(data) // 4 * 4 :]


def change_values(card: Any, random: Random) -> None:
    """Change one to three values of a card, wherever they are."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = list(_places(card))
        if not places:
            return
        holder, key = random.choice(places)
        match random.randrange(8):
            case 0:
                del holder[key]
            case 1:
                other_holder, other_key = random.choice(places)
                holder[key] = copy.deepcopy(other_holder[other_key])
            case 2 if isinstance(holder, dict):
                holder[random.choice(("", "x", "class", "depth", "start", "members", "\x00", "n_estimators"))] = (
                    holder.pop(key)
                )
            case 3 if isinstance(holder, list):
                holder.extend(copy.deepcopy(holder[:500]))
            case 4:
                for _ in range(random.choice((1, 3, 70, 400))):
                    holder[key] = [holder[key]] if random.random() < 0.5 else {"x": holder[key]}
            case _:
                holder[key] = copy.deepcopy(random.choice(VALUES))


def _places(value: Any) -> Any:
    """Yield every place of a value, and of the values in it; of long lists, a few."""
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 5)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def write(folder: Path, content: Content) -> Path:
    shutil.rmtree(folder / "model", ignore_errors=True)
    for name, data in content.files.items():
        path = folder / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / content.named


def read(path: Path, random: Random) -> Any:
    """Load a model, or have it described as on the command line."""
    return describe(path) if random.random() < DESCRIBED else skdmi.load_pretrained(path)


LARGEST = 64
"""Size up to which a model that was read inverts, too."""


def judge(content: Content, model: Any) -> str | None:
    """Return what is wrong with a model that was read: it cannot invert, or gives something else than inverses."""
    del content
    if model is None or isinstance(model, str):
        return None
    inverter = model.estimator
    m = getattr(inverter, "matrix_size_", 2)
    m = m if isinstance(m, int) else 2
    if m > LARGEST:
        return None
    A = 2 * np.eye(m)[None].repeat(2, axis=0)
    try:
        X = model.transform(A)
    except Exception as error:
        return f"it was read, but to invert raises {type(error).__name__}: {error}"
    return None if X.shape == A.shape and X.dtype == A.dtype else f"inverses have shape {X.shape}, {X.dtype}"


READERS = {"model": Reader(make, write, read, judge)}
