"""Print the lowest version that pyproject.toml declares of every package, as pip constraints.

    python .ci/lowest.py [EXTRA ...] > lowest.txt

Of a package that is declared several times, here and in the extras named, the highest of the lowest
versions. torch is left out: which build there is depends on the machine.
"""

import re
import sys
import tomllib
from pathlib import Path

DECLARED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*>=\s*([0-9][0-9.a-z]*)")


def lowest(project: dict, extras: list[str]) -> dict[str, str]:
    """Return package to lowest version; packages declared without one are left out."""
    declared = [*project["dependencies"]]
    for extra in extras:
        declared += project["optional-dependencies"][extra]
    found: dict[str, str] = {}
    for one in declared:
        if (match := DECLARED.match(one)) and match[1] != "torch":
            found[match[1]] = max(found.get(match[1], "0"), match[2], key=_order)
    return found


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


if __name__ == "__main__":
    text = Path(__file__).parent.parent.joinpath("pyproject.toml").read_text("utf-8")
    for name, version in lowest(tomllib.loads(text)["project"], sys.argv[1:]).items():
        print(f"{name}=={version}")
