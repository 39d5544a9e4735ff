"""Put the demonstration page together: ``python -m scripts.build_demo FOLDER``, then serve FOLDER over http.

The page is ``docs/demo/``; beside it come the file that it runs, written anew, and the runtime, from npm. Where there
is no npm, or no network, the page comes without the runtime and says how to add it.
"""

import shutil
import sys
from pathlib import Path

import click

from scripts.npm_packages import Unavailable, install
from skdmi.export import any_size, save

PAGE = Path(__file__).parents[1] / "docs" / "demo"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def build(folder: Path) -> None:
    """Write all but the runtime."""
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    save(any_size(), folder / "any_size.onnx")


def add_runtime(folder: Path) -> None:
    """Copy the runtime beside the page.

    Raises
    ------
    Unavailable
        If npm cannot install it.
    """
    packages = install("onnxruntime-web")
    for name in RUNTIME:
        shutil.copy(packages / "node_modules" / "onnxruntime-web" / "dist" / name, folder)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Put the demonstration page together in FOLDER."""
    build(folder)
    try:
        add_runtime(folder)
    except Unavailable as error:
        print(f"The page is without its runtime. {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
