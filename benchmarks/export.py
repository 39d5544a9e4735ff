"""Files for other runtimes: how large they are, how fast, and what they prove.

``python -m benchmarks.export [--quick] [--json FILE]`` runs exported files by onnxruntime, on one thread of a CPU, in
turns with ``numpy.linalg.inv`` and ``torch.linalg.inv`` on the same matrices in float32: medians of processor time, and
ratios to both. Files return certificates where nothing else is said. What is certified is checked in float64. The last
lines are the targets that were set before the work began.
"""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from sklearn.frozen import FrozenEstimator

from benchmarks.lib import exported_tables as tables
from benchmarks.lib.exported import File, count_false, residual_norms, time_files, written
from benchmarks.lib.families import FAMILIES
from benchmarks.lib.machine import facts, spell, start_as_it_is
from benchmarks.lib.records import Record, figures_parser, save_records
from scripts.train_pretrained import GRID
from skdmi import NeuralMatrixInverter, RefinedInverter, load_pretrained
from skdmi.distributions import Distribution, Uniform, Wishart
from skdmi.export import any_size, closed_form, elimination, export_certificate, fixed
from skdmi.iteration import IDENTITY

N_FIT, SEED_FIT, SEED_TEST, SEED_OTHERS, SEED_CHOICE = 300, 1, 2, 3, 4
DOUBLINGS = range(1, 23)
SHARES = (3, 8, 16, 32)
DEPARTING = {"uniform-16x16-short": 16, "uniform-3x3-short": 3}
KERNELS: dict[int, Distribution] = {
    16: GRID,
    32: next(family.distribution for family in FAMILIES if family.name == "kernels-32"),
}
CEILING = "LAPACK in float64, rounded"


@dataclass(frozen=True)
class Setting:
    """How much is run."""

    n_shares: int = 20_000
    n_members: int = 3_000
    atoms: tuple[int, ...] = (8, 12, 16, 20, 24, 32)
    entries: int = 2**18
    repeats: int = 15


FULL, QUICK = Setting(), Setting(1_000, 1_000, (12,), 2**12, 1)


def uniform(n_matrices: int, m: int) -> np.ndarray:
    return Uniform().sample(n_matrices, m, random_state=SEED_TEST).astype(np.float32)


def general() -> dict[int, list[File]]:
    """Return files that nothing was learned for."""
    found = {m: [File(f"closed_form({m})", closed_form(m))] for m in (2, 3, 4)}
    found |= {m: [File(f"elimination({m})", elimination(m))] for m in (5, 8, 12)}
    for m in (8, 12, 16, 32, 64):
        found.setdefault(m, []).append(File(tables.FIXED.format(m), fixed(m)))
    for m in (3, 8, 16, 32):
        found[m].append(File(tables.ANY, any_size()))
    found[16].append(File("export_certificate(16)", export_certificate(16)))
    return found


def networks() -> dict[int, dict[str, NeuralMatrixInverter]]:
    """Return networks that were, or were not, trained on U[-1,1]."""
    untrained = NeuralMatrixInverter(4, matrix_size=16, max_epochs=0, random_state=0).fit()
    shipped = {name: load_pretrained(name) for name in DEPARTING}
    return {
        3: {"uniform-3x3-short": shipped["uniform-3x3-short"]},
        16: {"untrained, depth 4": untrained, "uniform-16x16-short": shipped["uniform-16x16-short"]},
    }


def speed(files: Sequence[File], A: np.ndarray, setting: Setting, **eager: torch.nn.Module) -> list[Record]:
    """Return times of files with so many matrices at once, and what they prove of all of A."""
    proved = {}
    for file in files:
        found = file.invert(A)
        proved[file.name] = {"certified": found.certified.mean().item(), "rho": np.median(found.rho).item()}
    by_name = {file.name: file for file in files}
    work = {"entries": setting.entries, "repeats": setting.repeats, "eager": eager}
    rows = [row | proved.get(row["method"], {}) for n in tables.BATCHES for row in time_files(by_name, A, n, **work)]
    order = list(dict.fromkeys(row["method"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["method"]))


def network_speed(m: int, inverters: Mapping[str, NeuralMatrixInverter], setting: Setting) -> list[Record]:
    """Return times of networks in torch, of their files, and of those that RefinedInverter makes of them."""
    files, eager = [], {}
    for name, inverter in inverters.items():
        eager[f"{name}, torch"] = inverter.module_
        files.append(written(f"{name}, as it answers", inverter))
        refined = RefinedInverter(FrozenEstimator(inverter)).fit(uniform(2, m))
        files.append(written(f"{name}, refined", refined, uniform(4096, m), uncertified="keep"))
    return speed(files, uniform(setting.n_members, m), setting, **eager)


def shares(files: Mapping[int, Sequence[File]], setting: Setting) -> Iterator[Record]:
    """Yield what files certify of uniform matrices, in these and in other units of rows, beside the ceiling."""
    for m, own in files.items():
        A = uniform(setting.n_shares, m)
        exponents = np.random.default_rng(m).integers(-30, 31, (len(A), m, 1))
        B = np.ldexp(A, exponents).astype(np.float32)
        ceiling = File(CEILING, export_certificate(m))
        for file in [*(file for file in own if len(file.model.graph.input) == 1), ceiling]:
            found, scaled = file.invert(A), file.invert(B)
            yield {
                "method": file.name,
                "m": m,
                "n": len(A),
                "certified": found.certified.mean().item(),
                "rho": np.median(found.rho).item(),
                "lost": int(np.count_nonzero(found.certified & ~scaled.certified)),
                "gained": int(np.count_nonzero(scaled.certified & ~found.certified)),
                "false": count_false(file, A, found) + count_false(file, B, scaled),
            }


def departures(setting: Setting) -> Iterator[Record]:
    """Yield what learned departures leave, beside the same network without, and others of no more time."""
    for name, m in DEPARTING.items():
        A = uniform(setting.n_shares, m)
        learned, *others = peers_of(name, m)
        steps = [File(f"fixed({m}, condition={2**k})", fixed(m, condition=2.0**k)) for k in DOUBLINGS]
        files = {file.name: file for file in [learned, *others, *steps]}
        work = {"entries": setting.entries, "repeats": setting.repeats, "first": learned.name}
        rows = {row["method"]: row for row in time_files(files, A, tables.BATCHES[-1], **work)}
        within = [file for file in steps if rows[file.name]["over_first"] <= 1]
        for file in [learned, *others, *within[-1:]]:
            found = file.invert(A)
            median, p99 = np.quantile(residual_norms(A, found.inverse), (0.5, 0.99)).tolist()
            left = {"median": median, "p99": p99, "certified": found.certified.mean().item()}
            yield rows[file.name] | left | {"n": len(A)}


def peers_of(name: str, m: int) -> list[File]:
    """Return a learned network as a file; then without departures, deeper networks untrained, and the closed form."""
    learned = load_pretrained(name)
    inverters = {f"{name}, depth {learned.depth}": learned, "the same without departures": without_departures(learned)}
    for depth in (learned.depth + 1, learned.depth + 2):
        network = NeuralMatrixInverter(depth, matrix_size=m, max_epochs=0, random_state=0)
        inverters[f"untrained, depth {depth}"] = network.fit()
    files = [written(title, inverter) for title, inverter in inverters.items()]
    return files + ([File(f"closed_form({m})", closed_form(m))] if m <= 4 else [])


def without_departures(inverter: NeuralMatrixInverter) -> NeuralMatrixInverter:
    """Return a network whose last layers are zero, as before training."""
    plain = copy.deepcopy(inverter)
    for block in plain.module_.core.blocks:
        torch.nn.init.zeros_(block.departure.write.weight)
        torch.nn.init.zeros_(block.departure.write.bias)
    return plain


def families(m: int, setting: Setting) -> tuple[list[Record], list[Record]]:
    """Return what fitted families take and prove, by atoms and tolerance; and, timed anew, the fastest of enough."""
    family = KERNELS[m]
    X, chosen_by, A = (
        family.sample(n, m, random_state=seed)
        for n, seed in ((N_FIT, SEED_FIT), (setting.n_members, SEED_CHOICE), (setting.n_members, SEED_TEST))
    )
    A = A.astype(np.float32)
    others = {"uniform": Uniform(), "Wishart": Wishart()}
    draws = {name: d.sample(setting.n_members, m, random_state=SEED_OTHERS) for name, d in others.items()}
    files, said = {}, {}
    for atoms in setting.atoms:
        network = NeuralMatrixInverter(start="family", n_atoms=atoms, max_epochs=0, random_state=0).fit(X)
        plain_units = "diagonal" if network.module_.core.start.plain == IDENTITY else "rows"
        for tol in ("auto", 1e-2, 1e-1):
            name = f"{tables.FAMILY.format(m)}, {atoms} atoms, tol={tol}"
            inverter = RefinedInverter(FrozenEstimator(network), tol=tol)
            file = written(name, inverter, chosen_by, plain_units=plain_units, uncertified="keep")
            files[name], said[name] = file, {"atoms": atoms, "tol": tol} | prove(file, A, draws)
    rows = time_files(files, A, 1000, entries=setting.entries, repeats=setting.repeats)
    rows = [row | said[row["method"]] | {"n": len(A), "n_fit": N_FIT} for row in rows if row["method"] in files]
    enough = [row for row in rows if 100 * row["certified"] >= tables.CERTAIN]
    fastest = [files[min(enough, key=lambda row: row["over_numpy"])["method"]]] if enough else []
    return rows, speed(fastest, A, setting)


def prove(file: File, A: np.ndarray, others: Mapping[str, np.ndarray]) -> Record:
    """Return the shares of members and of others that a file certifies, and how many of these falsely."""
    found = file.invert(A)
    row: Record = {
        "steps": file.steps,
        "certified": found.certified.mean().item(),
        "rho": np.median(found.rho).item(),
        "false": count_false(file, A, found),
    }
    for name, stack in others.items():
        B = stack.astype(np.float32)
        answers = file.invert(B)
        row[name] = answers.certified.mean().item()
        row["false"] += count_false(file, B, answers)
    return row


def main() -> None:
    parser = figures_parser(__doc__, "few matrices, few runs")
    options = parser.parse_args()
    setting = QUICK if options.quick else FULL
    machine: dict[str, Any] = facts() | {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}
    print(spell(machine))
    print(f"onnxruntime {machine['onnxruntime']}, CPU, one thread, files of onnx {machine['onnx']}")
    found: list[Record] = []

    def keep(part: str, rows: Sequence[Record]) -> Sequence[Record]:
        found.extend({"part": part, **row} for row in rows)
        return rows

    files = general()
    fast = keep(
        "general",
        [row for m, own in sorted(files.items()) for row in speed(own, uniform(setting.n_members, m), setting)],
    )
    tables.print_speed("Files that nothing was learned for, U[-1,1]", fast)
    certified = keep("shares", list(shares({m: files[m] for m in SHARES}, setting)))
    tables.print_shares(certified)
    rows = keep("networks", [row for m, own in networks().items() for row in network_speed(m, own, setting)])
    tables.print_speed("Networks, U[-1,1]", rows)
    tables.print_departures(keep("departures", list(departures(setting))))
    learned = [families(m, setting) for m in KERNELS]
    tables.print_families(keep("families", [row for by_atoms, _ in learned for row in by_atoms]))
    fastest = keep("fastest", [row for _, timed in learned for row in timed])
    tables.print_speed("The fastest that certify 99.9 % of fresh members, timed anew", fastest)
    tables.print_targets(tables.export_targets([*fast, *fastest], certified))
    if options.json:
        save_records(options.json, machine, found)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    start_as_it_is()
    main()
