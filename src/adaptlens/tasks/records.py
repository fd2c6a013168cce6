"""From the rows of a table to items: which columns hold the text, the answer and the options.

Recognized without being told: messages (role/content), Alpaca and Dolly (instruction, input or
context, output or response), prompt/completion, columns with usual names, several columns that
make one input (premise and hypothesis, context and question, title and text), and options in the
layouts that `options` knows. What is not read is named.
"""

import difflib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adaptlens.errors import UserError, listed
from adaptlens.tasks.conversations import conversation
from adaptlens.tasks.item_options import options_of
from adaptlens.tasks.items import Item, as_text
from adaptlens.tasks.names import INPUT_NAMES, TARGET_NAMES, by_name, folded, heading, read_together
from adaptlens.tasks.table import Table, some

_FEW = 20

Asked = str | Sequence[str] | None
"""Columns of the input: one, several ("text,title" or a list), or None to look for them."""


@dataclass(frozen=True)
class Layout:
    """How rows become items.

    Attributes:
        note: what was recognized, in one sentence.
        columns: all that are read.
        read: a row and its place to an item.
        headings: what the data call the input and the answer; "" where that is not one column.
        group: the column of what belongs together; "" where there is none.
    """

    note: str
    columns: tuple[str, ...]
    read: Callable[[Mapping[str, Any], str], Item]
    headings: tuple[str, str] = ("", "")
    group: str = ""


def layout(
    table: Table,
    input: Asked = None,
    target: str | None = None,
    *,
    fields: Sequence[str] = (),
    group: str | None = None,
) -> Layout:
    """Return how the rows of a table are read.

    Args:
        table: the (training) table whose columns decide.
        input: columns of the text, by name or 0-based number; None looks for usual names.
        target: column of the answer, likewise.
        fields: further columns to keep, which templates name; the first of them is the text where
            none has a usual name.
        group: column that says which rows belong together, likewise by name or number.

    Raises:
        UserError: if a named column does not exist, or no column can be recognized.
    """
    kept = {name: _named(table, name, "--template") for name in fields}
    found = _layout(table, input, target, list(kept.values()))
    cluster = None if group is None else _named(table, group, "--group")
    note = found.note
    if kept:
        note += f" Templates also read {', '.join(map(repr, kept.values()))}."
    if cluster:
        note += f" Rows with the same '{cluster}' count as one group."

    def read(row: Mapping[str, Any], place: str) -> Item:
        return replace(
            found.read(row, place),
            fields=tuple((n, as_text(row.get(c), c, place)) for n, c in kept.items()),
            group="" if cluster is None else as_text(row.get(cluster), cluster, place),
        )

    more = [*kept.values(), *([cluster] if cluster else [])]
    every = tuple(dict.fromkeys((*found.columns, *more)))
    return replace(found, note=note, columns=every, read=read, group=cluster or "")


def left_out(table: Table, how: Layout) -> list[str]:
    """Return notes that name every column that is not read, with a warning where one holds text."""
    others = [c for c in table.columns if c not in how.columns and folded(c) != "split"]
    texts = [column for column in others if holds_text(table, column)]
    notes = []
    if bare := [repr(column) for column in others if column not in texts]:
        notes.append(f"{table.name}: columns that are not read: {', '.join(bare)}.")
    if texts:
        notes.append(
            f"Warning: {table.name} holds text that is not read, in "
            f"{', '.join(map(repr, texts))}; name columns with --input A,B or in a --template to "
            "have them in the prompt."
        )
    return notes


def holds_text(table: Table, column: str) -> bool:
    """Return whether most of a column's filled cells are words, or lists or records of any."""
    filled = [v for row in table.rows[:200] if (v := row.get(column)) not in (None, "", [], {})]
    return bool(filled) and sum(map(_is_words, filled)) > len(filled) / 2


def _is_words(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_words, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_is_words, value))
    if not isinstance(value, str):
        return False
    text = value.strip()
    words = text.split()
    spoken = [word for word in words if re.fullmatch(r"[^\W\d_]+[-'\u2019\w]*\W*", word)]
    return len(spoken) > 1 or (len(words) == 1 and bool(re.fullmatch(r"[^\W\d_]+\W?", text)))


def _layout(table: Table, input: Asked, target: str | None, fields: Sequence[str] = ()) -> Layout:
    known = by_name(table.columns)
    if input is None and target is None and (found := _whole_record(table, known)):
        return found
    sources, answer = columns(table, input, target, fields)
    if answer in fields:
        raise UserError(
            f"a template shows the column '{answer}' of {table.name}, which holds the answers; "
            "expected {target} alone to give them away; name another column, or another --target."
        )
    options = options_of(table, answer, sources)
    own = known.get("instruction")
    own = None if own in (*sources, answer) else own
    named = sources[0] if len(sources) == 1 else ""
    note = f"The input is {_columns_named(sources)}, the answer column '{answer}'"
    note += f", {options.note}" if options else ""
    note += f", the instruction column '{own}'." if own else "."
    if options:
        note += " The options are scored as answers; {options} in a --template shows them."

    def read(row: Mapping[str, Any], place: str) -> Item:
        text = joined(row, sources, place)
        instruction = as_text(row.get(own), own, place) if own else ""
        choices, labels = options.read(row, place) if options else ((), ())
        given = as_text(row.get(answer), answer, place)
        return Item(place, text, given, instruction, choices, labels=labels)

    every = (*sources, answer, *(options.columns if options else ()), *([own] if own else ()))
    return Layout(note, every, read, (named, answer))


def _columns_named(columns: Sequence[str]) -> str:
    if len(columns) == 1:
        return f"column '{columns[0]}'"
    return f"columns {', '.join(map(repr, columns))}, each on a line that begins with its name"


def joined(row: Mapping[str, Any], columns: Sequence[str], place: str) -> str:
    """Return the text of a row's input: its column, or a line "Name: text" for each of several.

    A column that is empty in this row has no line; one that has only a number has no name.
    """
    if len(columns) == 1:
        return as_text(row.get(columns[0]), columns[0], place)
    lines = []
    for column in columns:
        if text := as_text(row.get(column), column, place):
            name = heading(column)
            lines.append(f"{name}: {text}" if name else text)
    return "\n".join(lines)


def _whole_record(table: Table, known: Mapping[str, str]) -> Layout | None:
    """Return the layout of conversations and of instruction records, where the table has one."""
    talk = known.get("messages") or known.get("conversations")
    if talk is not None:
        return Layout(
            f"Each record's '{talk}' was read as a conversation: the last user message is the "
            "input, the last assistant message the answer, a system message the instruction.",
            (talk,),
            lambda row, place: conversation(row.get(talk), place),
            (talk, ""),
        )
    if {"prompt", "completion"} <= known.keys():
        both = (known["prompt"], known["completion"])
        if all(isinstance(row.get(name), list) for row in table.rows for name in both):
            return Layout(
                "Each record's prompt and completion were read as one conversation.",
                both,
                lambda row, place: conversation([*row[both[0]], *row[both[1]]], place),
                both,
            )
    for text, answer in (("input", "output"), ("context", "response")):
        if {"instruction", answer} <= known.keys():
            told, given = known["instruction"], known[answer]
            more = known.get(text)
            return Layout(
                f"Records were read as instruction, {text} and {answer}; where there is no {text}, "
                "the instruction is the input.",
                (told, given, *([more] if more else [])),
                functools.partial(_instructed, (told, more, given)),
                (told, given),
            )
    return None


def columns(
    table: Table, input: Asked, target: str | None, fields: Sequence[str] = ()
) -> tuple[tuple[str, ...], str]:
    """Return the names of the columns that make the input, and of the answer column."""
    sources = inputs_named(table, input)
    answer = _named(table, target) if target is not None else None
    if answer is None:
        answer = _usual(table, TARGET_NAMES, sources)
    if not sources:
        free = [c for c in table.columns if c != answer and holds_text(table, c)]
        sources = read_together(free)
    if not sources and (usual := _usual(table, INPUT_NAMES, (answer,))):
        sources = (usual,)
    if answer is None and sources:
        answer = _usual(table, TARGET_NAMES, sources)
    if not sources:
        sources = tuple(field for field in fields if field != answer)[:1]
    others = [
        c
        for c in table.columns
        if c not in (*sources, answer)
        and folded(c) not in ("split", "id", "idx", "index")
        and not c.startswith("Unnamed: ")
    ]
    if not sources and answer is None and len(others) == 2:
        few = [len({str(row.get(c)) for row in table.rows}) for c in others]
        label_first = few[0] <= _FEW < few[1]
        source, answer = reversed(others) if label_first else others
        sources = (source,)
    elif len(others) == 1:
        sources, answer = sources or (others[0],), answer or others[0]
    if not sources or answer is None or answer in sources:
        missing = "input" if not sources else "answer"
        raise UserError(
            f"{table.name}: no column is recognizable as the {missing}; its columns are "
            f"{listed(table.columns)}; name them with --input and --target (--input A,B joins "
            "several)."
        )
    return sources, answer


def inputs_named(table: Table, input: Asked) -> tuple[str, ...]:
    """Return the columns that a user named as the input; a name may itself hold a comma."""
    if input is None:
        return ()
    if isinstance(input, str):
        whole = input in table.columns or "," not in input
        input = [input] if whole else [name.strip() for name in input.split(",")]
    found = [_named(table, name) for name in input]
    if len(set(found)) < len(found) or not found:
        raise UserError(
            f"--input {','.join(input)} names a column twice, or none; expected different columns, "
            "as --input title,text; correct it."
        )
    return tuple(found)


def _named(table: Table, name: str, options: str = "--input and --target") -> str:
    if name in table.columns:
        return name
    if name.isdecimal() and len(name) < 10 and int(name) < len(table.columns):
        return table.columns[int(name)]
    nearest = difflib.get_close_matches(name[:200], table.columns, n=1, cutoff=0.5)
    hint = f" (did you mean '{nearest[0]}'?)" if nearest else ""
    by_number = ", or a number counted from 0"
    raise UserError(
        f"{table.name} has no column '{name}'{hint}; its columns are {listed(table.columns)}; "
        f"give {options} one of these names{'' if options == '--template' else by_number}."
    )


def _usual(table: Table, names: Sequence[str], taken: Sequence[str | None]) -> str | None:
    known = by_name(c for c in table.columns if c not in taken)
    return next((known[name] for name in names if name in known), None)


def _instructed(parts: tuple[str, str | None, str], row: Mapping[str, Any], place: str) -> Item:
    told, given, answer = parts
    instruction = as_text(row.get(told), told, place)
    text = as_text(row.get(given), given, place) if given else ""
    target = as_text(row.get(answer), answer, place)
    if not text:
        return Item(place, instruction, target)
    return Item(place, text, target, instruction)


def items(
    table: Table, how: Layout, *, drop_empty: bool = False
) -> tuple[list[Item], tuple[str, ...]]:
    """Return the items of a table and notes on rows left out.

    Raises:
        UserError: if a row has no text or no answer and `drop_empty` is false.
    """
    if not table.rows:
        raise UserError(
            f"{table.name} has no rows below its column names ({', '.join(table.columns)}); "
            "expected examples; check the file."
        )
    read = [
        how.read(row, f"{table.name}, {table.unit} {place}")
        for row, place in zip(table.rows, table.places, strict=True)
    ]
    notes = []
    if early := sum(item.earlier_turns for item in read):
        notes.append(f"{table.name}: {early} conversations have earlier exchanges, left out.")
    empty = [
        place
        for item, place in zip(read, table.places, strict=True)
        if not (item.input and item.target)
    ]
    if not empty:
        return read, tuple(notes)
    where = f"{table.unit}{'s' if len(empty) > 1 else ''} {some(empty)}"
    if not drop_empty:
        raise UserError(
            f"{table.name}: {len(empty)} of {len(read)} rows have an empty (or NaN) input or "
            f"answer ({where}); expected text in both; fill them in, or leave these "
            "rows out with drop_empty: true beside the task's path in --config."
        )
    kept = [item for item in read if item.input and item.target]
    if not kept:
        raise UserError(
            f"{table.name} has no rows with both an input and an answer ({len(read)} were left "
            "out as empty); expected examples; check --input and --target."
        )
    notes.append(f"{table.name}: {len(empty)} rows without input or answer left out ({where}).")
    return kept, tuple(notes)
