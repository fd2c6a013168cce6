"""The log of a cell: one event a line; no result depends on it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adaptlens.canonical import read_tagged_json
from adaptlens.store.atomic import append_line, read_bytes, write_atomically, writing
from adaptlens.store.sealed import Damaged, load_bytes

LOG = "log.jsonl"


def append_event(cell_folder: Path, line: str) -> None:
    """Append an event, already written as JSON, to the log of a cell."""
    append_line(cell_folder / LOG, line)


def read_events(cell_folder: Path) -> list[dict[str, Any]]:
    """Return the events logged for a cell, oldest first; a torn last line is dropped.

    Raises:
        Damaged: a line is no event, or something else stands in the log's place.
    """
    path = cell_folder / LOG
    if not path.exists() and not path.is_symlink():
        return []
    events = []
    for number, line in enumerate(load_bytes(path).split(b"\n")[:-1], start=1):
        try:
            event = read_tagged_json(line)
        except (ValueError, RecursionError):
            event = None
        if not (
            isinstance(event, dict)
            and isinstance(event.get("event"), str)
            and isinstance(event.get("time"), str)
        ):
            raise Damaged(path, f"is damaged (line {number} is no event)")
        events.append(event)
    return events


def span(cell_folders: Iterable[Path]) -> tuple[str, str] | None:
    """Return when the first of some cells was begun and the last was finished, as logs say it.

    None where a log says neither, or cannot be read: the numbers do not depend on it.
    """
    begun, ended = [], []
    for folder in cell_folders:
        try:
            events = read_events(folder)
        except Damaged:
            return None
        begun += [event["time"] for event in events if event["event"] == "claimed"][-1:]
        ended += [event["time"] for event in events if event["event"] == "finished"][-1:]
    return (min(begun), max(ended)) if begun and ended else None


def last_outcome(events: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the latest event that says where the cell stands, or None."""
    ends = ("claimed", "failed", "released")
    return next((event for event in reversed(events) if event["event"] in ends), None)


def was_finished(cell_folder: Path) -> bool:
    """Say whether the log, where it can be read, says that the cell was finished."""
    try:
        return any(event["event"] == "finished" for event in read_events(cell_folder))
    except Damaged:
        return False


def cut_torn_line(cell_folder: Path) -> None:
    """Take a last line without an end off the log, which a killed process left."""
    path = cell_folder / LOG
    with writing(path):
        try:
            content = read_bytes(path)
        except FileNotFoundError:
            return
        if content and not content.endswith(b"\n"):
            write_atomically(path, content[: content.rfind(b"\n") + 1])
