"""The figures of one run as JSON, for plots and tables that quote them."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def figures_parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """Return what reads the command line of a script whose figures are kept; ``quick`` says what it leaves out."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", metavar="FILE", type=Path, help="save the figures")
    return parser


def save_records(file: Path, machine: Mapping[str, Any], figures: Sequence[Record]) -> None:
    """Save where and what was measured, floats with five digits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n  ".join(json.dumps(_shortened(figure)) for figure in figures)
    file.write_text(f'{{\n "machine": {json.dumps(machine)},\n "figures": [\n  {lines}\n ]\n}}\n')


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def load_records(file: Path) -> tuple[Record, list[Record]]:
    """Return the machine and the figures."""
    content = json.loads(file.read_text())
    return content["machine"], content["figures"]
