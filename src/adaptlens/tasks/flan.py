"""Tasks from a catalog: hub datasets in clusters, with named fields and wordings.

The catalog that ships (`flan.yaml`) holds FLAN's tasks, which go by "flan:NAME[,FOLDER]"; any file
of its form can be read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from adaptlens import sandbox
from adaptlens.config import yaml_bounds
from adaptlens.errors import UserError, listed, unknown
from adaptlens.tasks.assembly import Settings, assemble
from adaptlens.tasks.hub_datasets import as_table, open_dataset
from adaptlens.tasks.items import Item
from adaptlens.tasks.split import SPLITS, Splits
from adaptlens.tasks.table import Table
from adaptlens.tasks.unpacking import MAX_YAML_BYTES, read_text
from adaptlens.types import Example, Kind, Task

SHIPPED = Path(__file__).with_name("flan.yaml")
PREFIX = "flan"
"""All tasks of the catalog that ships; a task or a cluster of it is `flan:NAME`."""
EXPORTS = "refs/convert/parquet"
"""Branch in which the hub keeps a dataset as Parquet, in CONFIGURATION/SPLIT/."""
MOST_ROWS = 30_000
"""Rows read of a split, as in FLAN."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A task of a catalog; what its parts mean is said at the head of `flan.yaml`."""

    name: str
    cluster: str
    source: str
    fields: Mapping[str, str]
    answer: str
    wordings: tuple[str, ...]
    splits: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] | str = ()
    export: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Tasks by name, and the tasks and clusters that a default mixture holds out."""

    name: str
    tasks: Mapping[str, Entry]
    held_out: tuple[str, ...] = ()

    def clusters(self) -> dict[str, list[str]]:
        """Return cluster -> names of its tasks."""
        found: dict[str, list[str]] = {}
        for entry in self.tasks.values():
            found.setdefault(entry.cluster, []).append(entry.name)
        return found

    def load(
        self,
        names: Sequence[str] | None = None,
        *,
        folder: Path | None = None,
        seed: int = 0,
        most_rows: int = MOST_ROWS,
        limit_train: int | None = None,
        limit_validation: int | None = None,
        limit_test: int | None = None,
    ) -> list[Task]:
        """Return tasks ready to be members of a mixture.

        Args:
            names: of tasks or clusters; None for all.
            folder: where each task's dataset lies, in a folder or file of its name, instead of the
                hub.
            seed: of the rows and of splits that have to be made.
            most_rows: the most rows read of a split.
            limit_train: the most training items kept.
            limit_validation: the most validation items kept.
            limit_test: the most test items kept.

        Raises:
            UserError: a name is unknown, or a dataset cannot be had or read.
        """
        clusters = self.clusters()
        wanted: dict[str, None] = {}
        for name in self.tasks if names is None else names:
            if name not in self.tasks and name not in clusters:
                raise unknown("task or cluster", name, (*clusters, *self.tasks))
            wanted.update(dict.fromkeys([name] if name in self.tasks else clusters[name]))
        settings = Settings(
            seed=seed,
            instruction="",
            limit_train=limit_train,
            limit_validation=limit_validation,
            limit_test=limit_test,
        )
        return [_task(self.tasks[name], settings, folder, most_rows) for name in wanted]


def catalog(path: Path = SHIPPED) -> Catalog:
    """Return the catalog in a YAML file.

    Raises:
        UserError: it is not YAML, or not of the form that the shipped one has.
    """
    text = read_text(path, MAX_YAML_BYTES)
    content = yaml_bounds.load(text, yaml.SafeLoader, path.name)
    if not isinstance(content, dict) or not isinstance(content.get("tasks"), dict):
        raise UserError(f"{path.name}: expected a mapping with the key tasks; see flan.yaml.")
    for key in content:
        if key not in ("tasks", "held_out"):
            raise unknown(f"key in {path.name}", str(key), ("tasks", "held_out"))
    entries = {
        str(name): _entry(str(name), given, path.name) for name, given in content["tasks"].items()
    }
    held_out = content.get("held_out") or ()
    if not isinstance(held_out, list | tuple):
        raise UserError(f"{path.name}: held_out must be a list of tasks or clusters; correct it.")
    held_out = tuple(map(str, held_out))
    clusters = {entry.cluster for entry in entries.values()}
    for name in held_out:
        if name not in entries and name not in clusters:
            raise unknown(f"held-out task in {path.name}", name, (*clusters, *entries))
    return Catalog(path.name, entries, held_out)


def is_named(name: str) -> bool:
    """Whether a name stands for tasks of the catalog that ships."""
    return name == PREFIX or name.startswith((f"{PREFIX}:", f"{PREFIX},"))


def named(name: str) -> tuple[str, ...]:
    """Return the tasks, as "flan:TASK[,FOLDER]", that "flan", a cluster or a task stands for.

    Raises:
        UserError: there is no such task or cluster.
    """
    asked, comma, folder = name.partition(",")
    asked = asked.removeprefix(PREFIX).removeprefix(":")
    found = catalog()
    clusters = found.clusters()
    if asked and asked not in clusters and asked not in found.tasks:
        raise unknown("task or cluster of FLAN", asked, (*clusters, *found.tasks))
    tasks = clusters.get(asked, [asked]) if asked else [*found.tasks]
    return tuple(f"{PREFIX}:{task}{comma}{folder}" for task in tasks)


def flan_task(name: str, settings: Settings) -> Task:
    """Return the one task "flan:TASK[,FOLDER]" of the catalog that ships.

    Of the settings, seed and limits are heeded.

    Raises:
        UserError: there is no such task, it is a cluster, or its dataset cannot be had or read.
    """
    every = named(name)
    if len(every) > 1:
        raise UserError(
            f"'{name}' is {len(every)} tasks ({listed(every, 120)}); expected one: name it, or "
            "give all of them to `study limits`."
        )
    task, _, folder = every[0].removeprefix(f"{PREFIX}:").partition(",")
    (found,) = catalog().load(
        [task],
        folder=Path(folder).expanduser() if folder else None,
        seed=settings.seed,
        limit_train=settings.limit_train,
        limit_validation=settings.limit_validation,
        limit_test=settings.limit_test,
    )
    return found


_KEYS = tuple(one.name for one in fields(Entry) if one.name != "name")
_NEEDED = ("cluster", "source", "fields", "answer", "wordings")


def _entry(name: str, given: Any, file: str) -> Entry:
    place = f"{file}, task '{name}'"
    if not isinstance(given, dict):
        raise UserError(f"{place}: expected a mapping of {', '.join(_KEYS)}; correct it.")
    for key in given:
        if key not in _KEYS:
            raise unknown(f"key in {place}", str(key), _KEYS)
    for key in _NEEDED:
        if not given.get(key):
            raise UserError(f"{place}: the key '{key}' is missing or empty; give it.")
    for key in ("cluster", "source", "answer", "export"):
        if not isinstance(given.get(key, ""), str):
            raise UserError(f"{place}: {key} must be a text; put it in quotation marks.")
    for key in ("fields", "splits", "words"):
        values = given.get(key, {})
        texts = isinstance(values, dict) and all(
            isinstance(text, str) for pair in values.items() for text in pair
        )
        if not texts:
            raise UserError(
                f"{place}: {key} must map texts to texts (put yes, no and numbers in quotes); "
                "correct it."
            )
    for key in given.get("splits", {}):
        if key not in SPLITS:
            raise unknown(f"split in {place}", key, SPLITS)
    options, wordings = given.get("options", ()), given["wordings"]
    right = isinstance(wordings, list) and isinstance(options, list | str | tuple)
    said = [*wordings, *options] if right else []
    if not right or not all(isinstance(text, str) for text in said):
        raise UserError(f"{place}: wordings and options must be lists of texts; correct it.")
    made = {**given, "wordings": tuple(given["wordings"])}
    made["options"] = tuple(options) if isinstance(options, list) else options
    return Entry(name=name, **made)


def _task(entry: Entry, settings: Settings, folder: Path | None, most_rows: int) -> Task:
    """Return the task of an entry, read from the hub or from a folder."""
    dataset, source = _opened(entry, folder)
    notes = []
    splits: Splits = {}
    parts: dict[str, tuple[tuple[str, str], ...]] = {}
    chosen = entry.splits or {name: name for name in SPLITS if name in dataset}
    for split, label in chosen.items():
        if label not in dataset:
            raise UserError(
                f"task '{entry.name}': {source} has no split '{label}'; it has "
                f"{', '.join(dataset)}; correct splits in the catalog."
            )
        rows = dataset[label]
        if len(rows) > most_rows:
            notes.append(f"{split}: {most_rows:,} of {len(rows):,} rows read, drawn by seed.")
            rows = rows.shuffle(seed=settings.seed).select(range(most_rows))
        table = as_table(rows, f"{entry.name} [{label}]")
        splits[split], unanswered = _items(entry, table, parts)
        if unanswered:
            notes.append(f"{split}: {unanswered:,} rows without one of the answers left out.")
    shared = tuple(dict.fromkeys(entry.words.values())) or entry.options
    by_item = isinstance(shared, str)
    kind: Kind = "choice" if shared else "generation"
    task = assemble(
        entry.name,
        splits,
        replace(
            settings,
            kind=None if by_item else kind,
            choices=None if by_item or not shared else list(shared),
        ),
        notes=notes,
    )

    def whole(examples: tuple[Example, ...]) -> tuple[Example, ...]:
        return tuple(replace(example, fields=parts[example.input]) for example in examples)

    return replace(
        task,
        train=whole(task.train),
        validation=whole(task.validation),
        test=whole(task.test),
        cluster=entry.cluster,
        wordings=entry.wordings,
        description=f"{entry.source}, of the cluster {entry.cluster}.",
    )


def _opened(entry: Entry, folder: Path | None) -> tuple[dict[str, Any], str]:
    """Return the splits of an entry's dataset, and what to call it."""
    if folder is None and entry.export:
        files = {
            label: f"{entry.export}/{label}/*.parquet" for label in entry.splits.values() or SPLITS
        }
        return open_dataset(entry.source, revision=EXPORTS, data_files=files), entry.source
    if folder is None:
        path, _, config = entry.source.partition(":")
        return open_dataset(path, config or None), entry.source
    found = [folder / entry.name, *sorted(folder.glob(f"{entry.name}.*"))]
    place = next((path for path in found if path.exists()), None)
    if place is None:
        raise UserError(
            f"task '{entry.name}': {folder} holds no folder or file of that name; put its data "
            "there, or leave out folder to take it from the hub."
        )
    if place.is_dir():
        return open_dataset(str(place)), place.name
    kind = {".jsonl": "json"}.get(place.suffix, place.suffix.lstrip("."))
    return open_dataset(kind, data_files=str(place)), place.name


def _items(
    entry: Entry, table: Table, parts: dict[str, tuple[tuple[str, str], ...]]
) -> tuple[list[Item], int]:
    """Return a split's items and how many rows have none of the answers; `parts` is added to."""
    items, unanswered = [], 0
    for number, row in zip(table.places, table.rows, strict=True):
        place = f"{table.name}, row {number}"
        target = _value(entry.answer, row, place).strip()
        target = entry.words.get(target, "") if entry.words else target
        options: tuple[str, ...] = ()
        if isinstance(entry.options, str):
            options = _options(entry.options, row, place)
        if not target or (options and target not in options):
            unanswered += 1
            continue
        named = tuple((name, _value(how, row, place)) for name, how in entry.fields.items())
        text = named[0][1]
        if len(named) > 1:
            text = "\n".join(f"{name.capitalize()}: {value}" for name, value in named)
        parts[text] = named
        items.append(Item(place, text, target, choices=options))
    return items, unanswered


def _value(how: str, row: Mapping[str, Any], place: str) -> str:
    """Return a column's text, or a template filled in with the row's columns."""
    if "{{" in how or "{%" in how:
        return sandbox.render(how, row, place)
    if how not in row:
        raise unknown(f"column in {place}", how, map(str, row))
    return "" if row[how] is None else str(row[how])


def _options(how: str, row: Mapping[str, Any], place: str) -> tuple[str, ...]:
    try:
        options = json.loads(_value(how, row, place))
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, list):
        raise UserError(
            f"{place}: options must write a JSON list, as '{{{{ column | tojson }}}}' does; "
            "correct the catalog."
        )
    return tuple(str(option).strip() for option in options)
