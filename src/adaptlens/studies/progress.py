"""How far a plan is in its run, and what is left of it will take."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.canonical import digest
from adaptlens.cells import Cell, Study, group, missing
from adaptlens.store import Run
from adaptlens.store.atomic import writing

if TYPE_CHECKING:
    from adaptlens.studies.driver import Settings


@dataclass(frozen=True)
class Progress:
    """How far a condition of a plan is: its cells, and its draws wanted and done."""

    cells: tuple[Cell, ...]
    draws: int
    draws_done: int

    @property
    def named(self) -> dict[str, Any]:
        """The columns that say which condition it is."""
        cell = self.cells[0]
        return {
            "model": cell.model.name,
            "task": cell.task.name,
            "condition": cell.label,
        }

    @property
    def counted(self) -> dict[str, int]:
        """The columns that say how far it is."""
        return {"draws": self.draws, "draws_done": self.draws_done}


def is_there(folder: Path) -> bool:
    """Say whether a folder exists.

    Raises:
        UserError: its name cannot be one.
    """
    with writing(folder):
        return folder.exists()


def progress(study: Study, out: str | Path | None) -> list[Progress]:
    """Return how far each condition is, in the order of the cells, in the run that is its own.

    Args:
        study: the plan.
        out: the run folder; the study's default where it is None. It may be missing.
    """
    folder = Path(out) if out else own_folder(study)
    done = Run.open(folder).whole_specs() if is_there(folder) else []
    left: Counter[str] = Counter()
    for cell in missing(study.cells, done):
        left[group(cell.spec())] += len(cell.draws)
    conditions: dict[str, list[Cell]] = {}
    for key, cell in zip(study.groups(), study.cells, strict=True):
        conditions.setdefault(key, []).append(cell)
    found = []
    for key, cells in conditions.items():
        draws = sum(len(cell.draws) for cell in cells)
        found.append(Progress(tuple(cells), draws, draws - left[key]))
    return found


def planned_work(study: Study, out: str | Path | None) -> list[dict[str, Any]]:
    """Return one row per condition: what is measured, draws wanted and done."""
    return [
        {
            **one.named,
            "measured": " ".join(measured.name for measured in one.cells[0].measurements),
            **one.counted,
        }
        for one in progress(study, out)
    ]


def foreseen(
    study: Study,
    config: "Settings",
    rows: Sequence[Mapping[str, Any]],
    progress: Callable[[str], None],
    *,
    again: bool = False,
) -> list[dict[str, Any]]:
    """Return a plan's rows with the seconds, memory and disk that each condition will take.

    Args:
        study: the plan.
        config: its settings.
        rows: one per condition, in the order of the cells, as `planned_work` gives them.
        progress: told what is done next.
        again: try out models whose pace is known from an earlier plan, too.

    Raises:
        UserError: a model cannot be loaded.
    """
    from adaptlens.engines.forecast import forecast

    found = forecast(study, config, progress, again=again)
    return [{**row, **own} for row, own in zip(rows, found, strict=True)]


def own_folder(study: Study) -> Path:
    """Return the study's default folder, or the first numbered one that holds no other study.

    What is in a folder is another study where cells are done and none is of a condition of this
    one: the same file read in another way, or another file of that name. Its page would be lost.
    """
    wanted, folder = {*study.groups()}, default_folder(study)
    for number in itertools.count(2):
        done = Run.open(folder).whole_specs() if is_there(folder) else []
        if not done or wanted & {group(spec) for spec in done}:
            return folder
        folder = default_folder(study).with_name(f"{default_folder(study).name}-{number}")
    raise AssertionError("numbers do not end")


def default_folder(study: Study) -> Path:
    """Return runs/MODELS-TASKS, so that the same command finds its run again.

    Studies other than the comparison come first in the name.
    """
    models = dict.fromkeys(cell.model.name for cell in study.cells)
    names = dict.fromkeys(cell.task.name for cell in study.cells)
    text = f"{_joined([*models])}-{_joined([*names])}"
    text = text if study.name == "compare" else f"{study.name}-{text}"
    return Path("runs") / "".join(c if c.isalnum() or c in "+-._" else "_" for c in text)


def _joined(names: Sequence[str]) -> str:
    """Return A+B+C; of more names, or long ones, the first, how many more, and a digest of all."""
    text = "+".join(names)
    if len(names) <= 3 and len(text) <= 60:
        return text
    more = f"+{len(names) - 1}-more" if len(names) > 1 else ""
    return f"{names[0][:40]}{more}-{digest(list(names))[:8]}"
