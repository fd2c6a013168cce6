"""No way out of a run: links inside it are refused, wherever it is read, written or cleared.

A run may come from elsewhere (an archive, a shared disk). A link in it would have this program
write, cut or remove what lies outside. The run folder itself may be reached through links.
"""

import os
from pathlib import Path

from adaptlens.errors import UserError

MARKER, CELLS = "run.json", "cells"
"""A folder that holds both is a run."""


def refuse_links(path: Path) -> None:
    """Raise UserError where `path`, or a folder between it and the run it is in, is a link."""
    place = os.path.abspath(path)
    while True:
        above = os.path.dirname(place)
        if above == place:
            return
        if os.path.islink(place) and _is_inside_run(above):
            raise link_refused(Path(place))
        place = above


def link_refused(path: Path) -> UserError:
    """Return the error for a link in a run."""
    return UserError(
        f"'{path}' is a link, and nothing in a run is read or written through links; put what it "
        "points to in its place, or remove it."
    )


def _is_inside_run(folder: str) -> bool:
    """Say whether a folder is a run or lies in one, by its name as it is written."""
    while True:
        if os.path.lexists(os.path.join(folder, MARKER)) and os.path.lexists(
            os.path.join(folder, CELLS)
        ):
            return True
        above = os.path.dirname(folder)
        if above == folder:
            return False
        folder = above
