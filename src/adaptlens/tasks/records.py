"""From the rows of a table to items: which columns hold the text, the answer and the options.

Recognised without being told: messages (role/content), Alpaca (instruction, input, output),
prompt/completion, and columns with usual names.
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adaptlens.errors import UserError
from adaptlens.tasks.files import CHOICES_NAMES, INPUT_NAMES, TARGET_NAMES, Table, some

USER_ROLES = ("user", "human")
ASSISTANT_ROLES = ("assistant", "gpt")
_FEW = 20


@dataclass(frozen=True, slots=True)
class Item:
    """One row as texts, and where it stands ("train.csv, line 17").

    `earlier_turns` marks a conversation whose exchanges before the last are not in `input`;
    `fields` are further columns, by name; `group` says which items belong together.
    """

    place: str
    input: str
    target: str
    instruction: str = ""
    choices: tuple[str, ...] = ()
    earlier_turns: bool = False
    fields: tuple[tuple[str, str], ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Layout:
    """How rows become items: what was recognised, in one sentence, and the reading itself."""

    note: str
    columns: tuple[str, ...]
    read: Callable[[Mapping[str, Any], str], Item]


def layout(
    table: Table,
    input: str | None = None,
    target: str | None = None,
    *,
    fields: Sequence[str] = (),
    group: str | None = None,
) -> Layout:
    """Return how the rows of a table are read.

    Args:
        table: the (training) table whose columns decide.
        input: column of the text, by name or 0-based number; None looks for a usual name.
        target: column of the answer, likewise.
        fields: further columns to keep, which templates name; the first of them is the text where
            none has a usual name.
        group: column that says which rows belong together, likewise by name or number.

    Raises:
        UserError: if a named column does not exist, or no column can be recognised.
    """
    kept = {name: _named(table, name, "--template") for name in fields}
    found = _layout(table, input, target, list(kept.values()))
    cluster = None if group is None else _named(table, group, "--group")
    if not kept and cluster is None:
        return found
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
    return replace(found, note=note, columns=(*found.columns, *more), read=read)


def _layout(
    table: Table, input: str | None, target: str | None, fields: Sequence[str] = ()
) -> Layout:
    if input is None and target is None:
        folded = {column.casefold(): column for column in table.columns}
        talk = folded.get("messages") or folded.get("conversations")
        if talk is not None:
            return Layout(
                f"Each record's '{talk}' was read as a conversation: the last user message is the "
                "input, the last assistant message the answer, a system message the instruction.",
                (talk,),
                lambda row, place: _conversation(row.get(talk), place),
            )
        if {"prompt", "completion"} <= folded.keys() and _holds_messages(
            table, folded["prompt"], folded["completion"]
        ):
            both = (folded["prompt"], folded["completion"])
            return Layout(
                "Each record's prompt and completion were read as one conversation.",
                both,
                lambda row, place: _conversation([*row[both[0]], *row[both[1]]], place),
            )
        if {"instruction", "output"} <= folded.keys():
            return Layout(
                "Records were read as Alpaca: instruction, input, output; where the input is "
                "empty, the instruction is the input.",
                (folded["instruction"], folded["output"]),
                lambda row, place: _alpaca(row, folded, place),
            )
    source, answer = columns(table, input, target, fields)
    if answer in fields:
        raise UserError(
            f"a template shows the column '{answer}' of {table.name}, which holds the answers; "
            "expected {target} alone to give them away; name another column, or another --target."
        )
    options = next((c for c in table.columns if c.casefold() in CHOICES_NAMES), None)
    if options in (source, answer) or not _holds_lists(table, options):
        options = None
    own = "instruction" if "instruction" in table.columns else None
    note = f"The input is column '{source}', the answer column '{answer}'"
    note += f", the options column '{options}'." if options else "."

    def read(row: Mapping[str, Any], place: str) -> Item:
        text = as_text(row.get(source), source, place)
        instruction = as_text(row.get(own), own, place) if own not in (None, source) else ""
        if options is None:
            return Item(place, text, as_text(row.get(answer), answer, place), instruction)
        choices = tuple(as_text(c, options, place) for c in row.get(options) or ())
        return Item(place, text, _pick(row.get(answer), choices, place), instruction, choices)

    return Layout(note, (source, answer), read)


def columns(
    table: Table, input: str | None, target: str | None, fields: Sequence[str] = ()
) -> tuple[str, str]:
    """Return the names of the text column and of the answer column."""
    source = _named(table, input) if input is not None else None
    answer = _named(table, target) if target is not None else None
    if source is None:
        source = _usual(table, INPUT_NAMES, answer)
    if answer is None:
        answer = _usual(table, TARGET_NAMES, source)
    if source is None:
        source = next((field for field in fields if field != answer), None)
    others = [c for c in table.columns if c not in (source, answer) and c.casefold() != "split"]
    if source is None and answer is None and len(others) == 2:
        few = [len({str(row.get(c)) for row in table.rows}) for c in others]
        label_first = few[0] <= _FEW < few[1]
        source, answer = reversed(others) if label_first else others
    elif len(others) == 1:
        source, answer = source or others[0], answer or others[0]
    if source is None or answer is None or source == answer:
        missing = "input" if source is None else "answer"
        raise UserError(
            f"{table.name}: no column is recognisable as the {missing}; its columns are "
            f"{', '.join(table.columns)}; name them with --input and --target, or write an "
            "lm-eval task YAML to join several columns."
        )
    return source, answer


def _named(table: Table, name: str, options: str = "--input and --target") -> str:
    if name in table.columns:
        return name
    if name.isdecimal() and int(name) < len(table.columns):
        return table.columns[int(name)]
    nearest = difflib.get_close_matches(name, table.columns, n=1, cutoff=0.5)
    hint = f" (did you mean '{nearest[0]}'?)" if nearest else ""
    by_number = ", or a number counted from 0"
    raise UserError(
        f"{table.name} has no column '{name}'{hint}; its columns are {', '.join(table.columns)}; "
        f"give {options} one of these names{'' if options == '--template' else by_number}."
    )


def _usual(table: Table, names: tuple[str, ...], taken: str | None) -> str | None:
    folded = {c.casefold(): c for c in reversed(table.columns) if c != taken}
    return next((folded[name] for name in names if name in folded), None)


def _holds_lists(table: Table, column: str | None) -> bool:
    return column is not None and all(isinstance(row.get(column), list) for row in table.rows)


def _holds_messages(table: Table, *names: str) -> bool:
    return all(_holds_lists(table, name) for name in names)


def as_text(value: Any, column: str | None, place: str) -> str:
    """Return a cell as text without surrounding blanks; "" where it is null or NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (list, dict, bytes)):
        raise UserError(
            f"{place}: column '{column}' holds a {type(value).__name__}; expected text or a "
            "number; choose other columns with --input and --target, or flatten it."
        )
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    if re.search("[\ud800-\udfff]", text):
        raise UserError(
            f"{place}: column '{column}' holds half of a surrogate pair, which is no text; "
            "expected valid Unicode; write the character itself, or its whole \\u pair."
        )
    return "" if text in ("nan", "NaN") else text


def _pick(value: Any, choices: tuple[str, ...], place: str) -> str:
    """Return the option an answer points to: itself, its 0-based number, or its letter."""
    answer = as_text(value, "answer", place)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not answer or (answer in choices and not is_number):
        return answer
    if answer.isdecimal() and int(answer) < len(choices):
        return choices[int(answer)]
    if len(answer) == 1 and 0 <= ord(answer.upper()) - ord("A") < len(choices):
        return choices[ord(answer.upper()) - ord("A")]
    raise UserError(
        f"{place}: the answer '{answer}' is not among its options "
        f"{', '.join(map(repr, choices))}; expected one of them, its number counted from 0, or its "
        "letter; correct the row."
    )


def _alpaca(row: Mapping[str, Any], folded: Mapping[str, str], place: str) -> Item:
    instruction = as_text(row.get(folded["instruction"]), "instruction", place)
    text = as_text(row.get(folded.get("input", "")), "input", place)
    target = as_text(row.get(folded["output"]), "output", place)
    if not text:
        return Item(place, instruction, target)
    return Item(place, text, target, instruction)


def _conversation(messages: Any, place: str) -> Item:
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise UserError(
            f"{place}: the messages are not a list of records; expected "
            '[{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]; '
            "correct the record."
        )
    turns = [
        (
            str(m.get("role", m.get("from"))).casefold(),
            as_text(m.get("content", m.get("value")), "content", place),
        )
        for m in messages
    ]
    roles = {role for role, _ in turns}
    strange = roles - {*USER_ROLES, *ASSISTANT_ROLES, "system", "developer"}
    if strange or not roles & {*USER_ROLES} or not roles & {*ASSISTANT_ROLES}:
        found = ", ".join(sorted(roles)) or "none"
        raise UserError(
            f"{place}: the roles are {found}; expected a user message and an assistant message "
            "(a system message may precede them); correct the record."
        )
    end = max(i for i, (role, _) in enumerate(turns) if role in ASSISTANT_ROLES)
    asked = [i for i, (role, _) in enumerate(turns[:end]) if role in USER_ROLES]
    if not asked:
        raise UserError(
            f"{place}: no user message precedes the last assistant message; expected one; correct "
            "the record."
        )
    instruction = "\n".join(text for role, text in turns[:end] if role in ("system", "developer"))
    earlier = len(asked) > 1
    return Item(place, turns[asked[-1]][1], turns[end][1], instruction, earlier_turns=earlier)


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
