"""The package of tests/outside as if it were installed: a folder to put on the path."""

import shutil
import tomllib
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "outside"


def installed(folder: Path) -> Path:
    """Return a folder with the package and what an installer writes beside it."""
    about = tomllib.loads((SOURCE / "pyproject.toml").read_text("utf-8"))["project"]
    shutil.copytree(SOURCE / about["name"], folder / about["name"])
    metadata = folder / f"{about['name']}-{about['version']}.dist-info"
    metadata.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {about['name']}", f"Version: {about['version']}"]
    (metadata / "METADATA").write_text("\n".join(lines) + "\n", "utf-8")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in about["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(groups), "utf-8")
    return folder
