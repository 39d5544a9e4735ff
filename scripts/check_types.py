"""How much of what the package exports has a type: ``basedpyright --verifytypes``, which takes a while.

``python -m scripts.check_types [--checker pyright]`` prints the share, and what has no type; it fails below `LEAST`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LEAST = 0.97


def completeness(checker: str) -> dict[str, Any]:
    """Return what the checker says of the package, which is that of this checkout, however it is installed."""
    # It asks the first python on the path where packages are, whatever it is told; and to look into an editable
    # installation it would have to run its finder.
    where = {"PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", "")]), "PYTHONPATH": str(ROOT)}
    command = [str(BIN / checker), "--verifytypes", "skdmi", "--ignoreexternal", "--outputjson"]
    ended = subprocess.run(command, env=os.environ | where, cwd=ROOT, capture_output=True, text=True)
    try:
        return json.loads(ended.stdout)["typeCompleteness"]
    except (json.JSONDecodeError, KeyError) as error:
        raise SystemExit(f"{checker} said nothing of the package:\n{ended.stdout}{ended.stderr}") from error


def main() -> None:
    """Print what is found; fail if it is too little."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checker", default="basedpyright")
    parser.add_argument("--list", action="store_true", help="name what has no type")
    options = parser.parse_args()
    found = completeness(options.checker)
    if not Path(found["packageRootDirectory"]).samefile(ROOT / "skdmi"):
        raise SystemExit(f"{options.checker} looked at {found['packageRootDirectory']}.")
    untyped = [
        symbol["name"]
        for symbol in found["symbols"]
        if symbol["isExported"] and (not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])
    ]
    share, n_symbols = found["completenessScore"], sum(found["exportedSymbolCounts"].values())
    if options.list or share < LEAST:
        print("\n".join(untyped))
    print(f"{options.checker}: {share:.1%} of {n_symbols} exported names have a type; at least {LEAST:.0%} must.")
    if share < LEAST:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
