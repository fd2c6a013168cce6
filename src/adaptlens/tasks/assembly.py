"""From items to a task: answers settled, duplicates and leaks out, splits made, limits kept."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adaptlens.errors import UserError, listed, unknown
from adaptlens.tasks import answers, item_options, split, templates
from adaptlens.tasks.items import Item
from adaptlens.tasks.records import Asked, Layout, items, layout, left_out
from adaptlens.tasks.sources import SUFFIXES, read_tables
from adaptlens.tasks.table import Table
from adaptlens.tasks.unpacking import MAX_FILE_BYTES, unpacked_name
from adaptlens.types import Example, Kind, Task, Template


@dataclass(frozen=True)
class Settings:
    """What a user may say about the data; every None is decided from the data and noted.

    `templates` are texts for `templates.parse`; `fields` what templates call text and answer;
    `label_words` as `choices`, with a word for every raw answer; `group` is the column that says
    which items belong together. `input` may name several columns ("title,text" or a list).
    `answers_as` says what numbers among the answers mean where items bring options: their texts,
    or their places counted from 0 or from 1.
    """

    input: Asked = None
    target: str | None = None
    choices: answers.Choices | None = None
    instruction: str | None = None
    kind: Kind | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    limit_train: int | None = None
    limit_validation: int | None = None
    limit_test: int | None = None
    header: bool | None = None
    drop_empty: bool = False
    max_file_bytes: int = MAX_FILE_BYTES
    difficulty: str | None = None
    templates: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    label_words: str | Mapping[str, str] | None = None
    group: str | None = None
    answers_as: str | None = None

    def __post_init__(self) -> None:
        """Check the numbers and the kind."""
        for name in ("templates", "fields"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("limit_train", "limit_validation", "limit_test", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(
                    f"{name} is {value}; expected at least 1; leave it out or raise it."
                )
        if self.fields and (len(self.fields) != 2 or not all(self.fields)):
            raise UserError(
                f"--fields {','.join(self.fields)}: expected two names, of the text and of the "
                "answer, as Review,Sentiment."
            )
        if self.label_words is not None and self.choices is not None:
            raise UserError(
                "--choices and --label-words were both given; expected one of them: both say which "
                "answers there are and the words for them."
            )
        if self.kind not in (None, "choice", "generation"):
            raise unknown("kind of task", self.kind, ("choice", "generation"))
        if self.answers_as not in (None, *item_options.ANSWERS_AS):
            raise unknown("reading of answers", str(self.answers_as), item_options.ANSWERS_AS)

    @property
    def named(self) -> list[str]:
        """The columns that were named, alone and as parts of a list."""
        given = [self.input] if isinstance(self.input, str) else [*(self.input or ())]
        parts = [part.strip() for name in given for part in name.split(",")]
        others = [name for name in (self.target, self.group) if name is not None]
        return list(dict.fromkeys((*given, *parts, *others)))

    @property
    def answers_option(self) -> str:
        """The option that listed the answers, or would."""
        return "--choices" if self.label_words is None else "--label-words"

    @property
    def options(self) -> answers.Choices | None:
        """The answers there are, or raw answers and the words for them; None where not said.

        Raises:
            UserError: label words without a raw answer before each.
        """
        words = self.label_words
        if isinstance(words, str) and not all("=" in word for word in words.split(",")):
            raise UserError(
                f"--label-words {words}: expected a word for each raw answer, as 0=bad,1=good; "
                "write them so, or use --choices for answers that stay as they are."
            )
        return self.choices if words is None else words

    @functools.cached_property
    def asked(self) -> tuple[Template, ...]:
        """The templates given; the task's instruction stands before them if one was given."""
        instructed = bool(self.instruction)
        return templates.parse_all(self.templates, instructed=instructed)

    def limit(self, name: str) -> int | None:
        """Return the most items wanted of a split; None means all."""
        limits = (self.limit_train, self.limit_validation, self.limit_test)
        return limits[split.SPLITS.index(name)]


def file_task(path: Path, settings: Settings) -> Task:
    """Return the task of one file, cut into splits unless it names its own."""
    tables = _read(path, settings)
    notes = []
    bare = unpacked_name(path)
    siblings = sorted(
        other.name
        for other in path.parent.glob(f"*{path.suffix}")
        if other != path and split_of(unpacked_name(other).stem) and split_of(bare.stem)
    )
    if siblings:
        notes.append(
            f"Only {path.name} was read; name the folder to use {', '.join(siblings)} beside it "
            "as the other splits."
        )
    return parted_task(bare.stem, path.name, tables, settings, notes)


def parted_task(
    name: str,
    source: str,
    tables: Mapping[str, Table],
    settings: Settings,
    notes: Sequence[str] = (),
) -> Task:
    """Return the task of tables by whatever splits are called, or of a single one.

    Args:
        name: of the task.
        source: what holds the tables, for errors.
        tables: by split; under "" one that is cut, unless its `split` column does so.
        settings: the user's wishes.
        notes: what was done so far.
    """
    parts = _parted(tables[""]) if "" in tables else _by_split(tables, source)
    return tables_task(name, parts, settings, notes)


def folder_task(path: Path, settings: Settings) -> Task:
    """Return the task of a folder's train, dev/valid/validation and test files.

    Raises:
        UserError: if the folder has no training file, or two files claim one split.
    """
    found: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()):
        bare = unpacked_name(file)
        name = split_of(bare.stem)
        if file.is_file() and name and bare.suffix.lower() in SUFFIXES:
            found.setdefault(name, []).append(file)
    if not found:
        raise UserError(
            f"folder {path.name} holds no file named train, dev, valid, validation or test "
            "(.csv, .tsv, .jsonl, .json, .parquet); expected at least train; name one file, or "
            "rename them."
        )
    for name, files in found.items():
        if len(files) > 1:
            raise UserError(
                f"folder {path.name}: {', '.join(f.name for f in files)} all claim the {name} "
                "split; expected one file a split; name one file, or move the others away."
            )
    tables = {}
    for name, (file,) in found.items():
        read = _read(file, settings)
        if "" not in read:
            raise UserError(
                f"{file.name} holds several splits itself ({', '.join(read)}); expected one list "
                f"of records; name the file instead of its folder."
            )
        tables[name] = read[""]
    return tables_task(path.name, tables, settings, ())


def _read(path: Path, settings: Settings) -> dict[str, Table]:
    return read_tables(
        path,
        header=settings.header,
        named=settings.named,
        max_file_bytes=settings.max_file_bytes,
    )


def split_of(stem: str) -> str | None:
    """Return the split that a file's name speaks of ("sst2_dev" -> "validation"), if just one."""
    words = stem.casefold().replace("_", "-").replace(".", "-").split("-")
    named = {split.SPLIT_NAMES[word] for word in words if word in split.SPLIT_NAMES}
    return named.pop() if len(named) == 1 else None


def _by_split(tables: Mapping[str, Table], source: str) -> dict[str, Table]:
    """Return the tables under the names train, validation and test."""
    result: dict[str, Table] = {}
    for label, table in tables.items():
        name = split.SPLIT_NAMES.get(label.strip().casefold())
        if name is None or name in result:
            raise UserError(
                f"{source} names the split '{label}'{'' if name is None else ' twice'}; expected "
                "train, validation (or dev) and test, each once; rename it."
            )
        result[name] = table
    return result


def _parted(table: Table) -> dict[str, Table]:
    """Return the rows by their `split` column; all as one pool where there is none."""
    column = next((c for c in table.columns if c.casefold() == "split"), None)
    if column is None:
        return {"train": table}
    parts: dict[str, list[int]] = {}
    for i, row in enumerate(table.rows):
        parts.setdefault(str(row.get(column)).strip(), []).append(i)
    tables = {
        label: replace(
            table, rows=[table.rows[i] for i in at], places=[table.places[i] for i in at], notes=()
        )
        for label, at in parts.items()
    }
    named = _by_split(tables, f"{table.name}, column '{column}',")
    first = next(iter(named))
    note = f"The splits are those of column '{column}'."
    named[first] = replace(named[first], notes=(*table.notes, note))
    return named


def tables_task(
    name: str, tables: dict[str, Table], settings: Settings, notes: Sequence[str]
) -> Task:
    """Return the task of tables by split; the training table decides how rows are read."""
    first = tables.get("train") or next(iter(tables.values()))
    named = dict.fromkeys(c for t in settings.asked for c in templates.columns_named(t))
    how = layout(first, settings.input, settings.target, fields=list(named), group=settings.group)
    collected = [*notes, *first.notes, how.note, *left_out(first, how)]
    splits: dict[str, list[Item]] = {}
    for label, table in tables.items():
        _check_same_columns(first, table, how)
        if table is not first:
            collected += table.notes
        splits[label], found = items(table, how, drop_empty=settings.drop_empty)
        collected += found
    splits, found_options = item_options.resolved(splits, settings.answers_as)
    task = assemble(name, splits, settings, notes=[*collected, *found_options])
    return replace(task, columns=task.columns or how.headings, clustered_by=how.group)


def _check_same_columns(first: Table, table: Table, how: Layout) -> None:
    missing = [column for column in how.columns if column not in table.columns]
    if missing:
        raise UserError(
            f"{table.name} has no column '{missing[0]}', which {first.name} has; its columns are "
            f"{listed(table.columns)}; expected the same columns in every split; rename them."
        )


def assemble(
    name: str,
    splits: split.Splits,
    settings: Settings,
    *,
    default_instruction: str = "",
    shell: Task | None = None,
    notes: Sequence[str] = (),
) -> Task:
    """Return the task of items by split; splits that are missing are made.

    Args:
        name: of the task.
        splits: items under "train", "validation", "test".
        settings: the user's wishes.
        default_instruction: used where neither the user nor the items give one.
        shell: gives template, lengths, stops and description.
        notes: what was done to the data so far.

    Raises:
        UserError: if an answer is not among the options, all answers are the same, or too few
            items remain.
    """
    collected = list(notes)
    splits, kind, shared, found = answers.settle(
        name, splits, settings.kind, settings.options, option=settings.answers_option
    )
    collected += found
    splits, instruction, found = answers.instruct(
        splits, kind, shared, settings.instruction, default_instruction
    )
    collected += found
    before = len(collected)
    filled = [label for label, given in splits.items() if given]
    for label in splits:
        splits[label], found = split.without_duplicates(
            splits[label], label, one_answer=kind == "choice"
        )
        collected += found
    splits, found = split.without_leaks(splits)
    collected += found
    for label in filled:
        if not splits[label]:
            raise UserError(
                f"'{name}': nothing is left of the {label} split after leaving out rows ("
                f"{' '.join(collected[before:])}); expected splits of different items; give "
                "other data."
            )
    splits, found = split.complete(splits, settings.seed, stratified=bool(shared), name=name)
    collected += found
    collected += answers.unseen(splits) if kind == "choice" and shared else []
    examples = {}
    for label, wanted in splits.items():
        limit = settings.limit(label)
        if limit is not None and limit < len(wanted):
            collected.append(
                f"{label}: {limit} of {len(wanted)} items used, sampled by content and seed "
                f"{settings.seed}."
            )
            wanted = wanted[:limit]
        examples[label] = tuple(
            Example(
                split.digest(item),
                item.input,
                item.target,
                item.choices,
                item.instruction,
                item.group,
                item.fields,
                item.accepted,
                item.given,
            )
            for item in wanted
        )
    if shell is None:
        shell = Task(name, kind, (), (), ())
        if kind == "generation" and settings.max_new_tokens is None:
            longest = max(len(item.target) for given in splits.values() for item in given)
            shell = replace(shell, max_new_tokens=min(max(longest // 2, 32), 256))
            collected.append(
                f"Generated answers end after at most {shell.max_new_tokens} tokens (half the "
                f"{longest} characters of the longest answer, but 32 to 256)."
            )
    return replace(
        shell,
        name=name,
        kind=kind,
        train=examples["train"],
        validation=examples["validation"],
        test=examples["test"],
        instruction=instruction,
        choices=shared,
        max_new_tokens=settings.max_new_tokens or shell.max_new_tokens,
        templates=settings.asked,
        columns=settings.fields,
        notes=tuple(collected),
    )
