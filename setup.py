"""The README as a package index shows it: links to files lead to the repository's address."""

import re
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent


def for_index(readme: str, address: str) -> str:
    """Return a README whose links to files of the repository, and whose images, are absolute."""
    images = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:|#)", rf"\g<1>{address}/raw/main/", readme)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?![a-z]+:|#)", rf"\g<1>{address}/blob/main/", images)


if __name__ == "__main__":
    from setuptools import setup

    project = tomllib.loads((FOLDER / "pyproject.toml").read_text("utf-8"))["project"]
    setup(
        long_description=for_index(
            (FOLDER / "README.md").read_text("utf-8"), project["urls"]["Documentation"]
        ),
        long_description_content_type="text/markdown",
    )
