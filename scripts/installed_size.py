"""Print what skdmi and each of its extras take on the disk, of what is installed here: the figures of docs/install.rst.

python -m scripts.installed_size
"""

import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FOR_USERS = ("fast", "plot", "dask", "pandas", "tensorboard", "export", "hub")


def needed(requirements: Iterable[str]) -> set[str]:
    """Return the names of the packages that requirements bring, those of others included."""
    seen: set[tuple[str, str]] = set()
    waiting = list(map(Requirement, requirements))
    while waiting:
        requirement = waiting.pop()
        for extra in ["", *requirement.extras]:
            key = (requirement.name.lower().replace("_", "-"), extra)
            if key in seen:
                continue
            seen.add(key)
            try:
                others = map(Requirement, distribution(requirement.name).requires or [])
            except PackageNotFoundError:
                continue
            waiting += [one for one in others if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def size(name: str) -> int:
    """Return the bytes of an installed package, compiled bytecode included; 0 of one that is not installed."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return 0
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = needed(project["dependencies"])
    print(f"torch {distribution('torch').version}: {size('torch') / 1e6:,.0f} MB")
    print(f"core, with torch: {sum(map(size, core)) / 1e6:,.0f} MB")
    for extra in FOR_USERS:
        added = needed(project["optional-dependencies"][extra]) - core
        print(f"{extra}: + {sum(map(size, added)) / 1e6:,.0f} MB ({', '.join(sorted(added))})")


if __name__ == "__main__":
    main()
