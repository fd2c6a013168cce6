"""The options that items bring along, in the layouts there are, and which of them is the answer."""

import ast
import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adaptlens.errors import UserError, listed, one_line
from adaptlens.tasks.items import Item, as_text
from adaptlens.tasks.names import CHOICES_NAMES, by_name, folded
from adaptlens.tasks.spellings import key
from adaptlens.tasks.table import Table

ANSWERS_AS = ("text", "from-0", "from-1")

_PREFIXES = (
    "option|options|opt|op|choice|choices|answer|ans|sol|solution|ending|alternative|candidate"
    "|mc|mc_answer|hypothesis|hyp|response"
)
_RUN = re.compile(rf"(?P<prefix>(?:{_PREFIXES})_?|)(?P<place>[a-j]|\d)")
_WRONG = re.compile(r"(?:distractor|incorrect_answer|wrong_answer|incorrect|wrong)s?_?\d*")
_RIGHT = ("correct_answer", "best_answer", "right_answer", "correct")
_TEXT_KEYS = ("text", "content", "value", "option", "answer", "choice")
_LABEL_KEYS = ("label", "key", "id", "letter", "option_id")
_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")
_NUMBER = re.compile(r"(\d{1,9})(?:\.0+)?")
_LONGEST_LIST = 100_000

Offered = tuple[tuple[str, ...], tuple[str, ...]]
"""Options of one row, and the labels that point to them (as many, or none)."""


@dataclass(frozen=True)
class Options:
    """Where the options of a row stand, how that is said, and how they are read."""

    columns: tuple[str, ...]
    note: str
    read: Callable[[Mapping[str, Any], str], Offered]


def options_of(table: Table, answer: str, taken: Sequence[str] = ()) -> Options | None:
    """Return how a table's rows hold their options; None where they bring none.

    Known are a list of texts, of records with text and label, or of {"text": [...], "label":
    [...]}, or letters and their texts, in a column with a usual name, as JSON or as the text of
    it; and a column for every option (A, B, C; option_a; choice1; ending0; correct_answer and
    distractor1).

    Args:
        table: the rows.
        answer: the column of the answers.
        taken: columns that hold the input.
    """
    free = [c for c in table.columns if c not in taken and c != answer]
    for column in free:
        if folded(column) in CHOICES_NAMES and _holds_options(table, column):
            return Options(
                (column,),
                f"the options column '{column}'",
                functools.partial(_in_column, column),
            )
    if folded(answer) in _RIGHT:
        wrong = tuple(c for c in free if _WRONG.fullmatch(folded(c)))
        if wrong:
            return Options(
                wrong,
                f"the other options {listed(wrong)} (options are in alphabetical order)",
                lambda row, place: _with_distractors(row, answer, wrong, place),
            )
    run = _run(free)
    if not run or not _points(table, answer, run):
        return None
    return Options(
        run, f"the options {listed(run)}", lambda row, place: _in_columns(row, run, place)
    )


def _run(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the longest run of columns that are lettered from a, or numbered from 0 or 1."""
    known = by_name(columns)
    best: tuple[str, ...] = ()
    for name in known:
        match = _RUN.fullmatch(name)
        if not match or match["place"] not in "a01" or (match["place"] in "01" and not match[1]):
            continue
        names = []
        place = match["place"]
        while match["prefix"] + place in known:
            names.append(known[match["prefix"] + place])
            place = chr(ord(place) + 1)
        if len(names) > max(1, len(best)):
            best = tuple(names)
    return best


def _points(table: Table, answer: str, run: Sequence[str]) -> bool:
    """Return whether nearly every answer is an option's text, letter, number or column."""
    names = {folded(column) for column in run}
    good = asked = 0
    for row in table.rows[:1000]:
        said = as_text(row.get(answer), answer, "") if _is_plain(row.get(answer)) else ""
        if not said:
            continue
        asked += 1
        texts = {str(row.get(column)).strip() for column in run}
        number = _NUMBER.fullmatch(said)
        good += bool(
            said in texts
            or folded(said) in names
            or (number and int(number[1]) <= len(run))
            or ((letter := _LETTER.fullmatch(said)) and _index(letter[1]) < len(run))
        )
    return asked > 0 and good >= 0.9 * asked


def _is_plain(value: Any) -> bool:
    return not isinstance(value, list | dict | bytes | tuple | set)


def _holds_options(table: Table, column: str) -> bool:
    """Return whether most cells are options; a row whose cell is not is then refused."""
    good = sum(_parsed(row.get(column)) is not None for row in table.rows)
    return good > len(table.rows) / 2


def _parsed(value: Any) -> list[Any] | dict[str, Any] | None:
    """Return options as a list or a record, read from text where they are written as one."""
    if isinstance(value, list) or (isinstance(value, dict) and value):
        return value
    if not isinstance(value, str) or len(value) > _LONGEST_LIST or value.strip()[:1] not in "[{":
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        return found if found and isinstance(found, list | dict) else None
    return None


def _in_column(column: str, row: Mapping[str, Any], place: str) -> Offered:
    """Return options and labels of one cell."""
    value = _parsed(row.get(column))
    if isinstance(value, dict):
        known = {folded(str(name)): part for name, part in value.items()}
        texts, labels = known.get("text"), known.get("label")
        if isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels):
            return _texts(texts, column, place), _texts(labels, column, place)
        if isinstance(texts, list) and len(value) == 1:
            return _texts(texts, column, place), ()
        if all(map(_is_plain, value.values())):
            return _texts(list(value.values()), column, place), tuple(map(str, value))
    if isinstance(value, list):
        if value and all(isinstance(part, dict) for part in value):
            return _of_records(value, column, place)
        return _texts(value, column, place), ()
    raise UserError(
        f"{place}: column '{column}' holds options in a form that is not known; expected a list of "
        'texts, or {"text": [...], "label": [...]}; write them so.'
    )


def _of_records(parts: Sequence[Mapping[str, Any]], column: str, place: str) -> Offered:
    texts, labels = [], []
    for part in parts:
        known = {folded(str(name)): value for name, value in part.items()}
        label = next((known[name] for name in _LABEL_KEYS if name in known), None)
        text = next((known[name] for name in _TEXT_KEYS if name in known), None)
        if text is None:
            raise UserError(
                f"{place}: an option in column '{column}' has the keys {listed(list(part))}; "
                'expected {"label": "A", "text": ...}; write it so.'
            )
        texts.append(text)
        labels.append(label)
    given = [label for label in labels if label is not None]
    return _texts(texts, column, place), _texts(given, column, place) if len(given) == len(
        texts
    ) else ()


def _texts(values: Sequence[Any], column: str, place: str) -> tuple[str, ...]:
    return tuple(as_text(value, column, place) for value in values)


def _in_columns(row: Mapping[str, Any], run: Sequence[str], place: str) -> Offered:
    """Return options that have a column each; empty ones at the end are no options."""
    texts = [as_text(row.get(column), column, place) for column in run]
    while texts and not texts[-1]:
        texts.pop()
    if "" in texts:
        raise UserError(
            f"{place}: the option in column '{run[texts.index('')]}' is empty, and later ones are "
            "not; expected empty options at the end only; fill it in."
        )
    return tuple(texts), tuple(folded(column) for column in run[: len(texts)])


def _with_distractors(
    row: Mapping[str, Any], answer: str, wrong: Sequence[str], place: str
) -> Offered:
    texts = [as_text(row.get(answer), answer, place)]
    for column in wrong:
        value = row.get(column)
        parts = value if isinstance(value, list) else [value]
        texts += [text for part in parts if (text := as_text(part, column, place))]
    # Content alone decides their order, so that it does not give the answer away.
    return tuple(sorted(text for text in texts if text)), ()


def resolved(
    splits: Mapping[str, Sequence[Item]], answers_as: str | None = None
) -> tuple[dict[str, list[Item]], list[str]]:
    """Return the items with the texts of the options that their answers point to, and notes.

    Text, label and letter speak for themselves, row by row. Whether numbers are texts, or count
    options from 0 or from 1, is decided by all rows together.

    Args:
        splits: items, whose answers stand as in the data; those without options stay as they are.
        answers_as: one of `ANSWERS_AS` where the user has said it; None decides.

    Raises:
        UserError: an answer is none of its row's options, or numbers may be read in two ways.
    """
    numbers = [
        item
        for items in splits.values()
        for item in items
        if item.choices
        and item.target
        and _said_by(item) is None
        and _NUMBER.fullmatch(item.target)
    ]
    scheme, notes = _scheme(numbers, answers_as) if numbers else ("text", [])
    return {
        label: [_resolved(item, scheme) if item.choices else item for item in items]
        for label, items in splits.items()
    }, notes


def _said_by(item: Item) -> str | None:
    """Return the option that an answer's label or letter names, or its text where no number."""
    answer = item.target
    if item.labels:
        at = [i for i, label in enumerate(item.labels) if label == answer]
        at = at or [i for i, label in enumerate(item.labels) if folded(label) == folded(answer)]
        if len(at) == 1 and len(item.labels) == len(item.choices):
            return item.choices[at[0]]
    if _NUMBER.fullmatch(answer):
        return None
    if (text := _as_option(item)) is not None:
        return text
    letter = _LETTER.fullmatch(answer)
    if letter and _index(letter[1]) < len(item.choices):
        return item.choices[_index(letter[1])]
    return None


def _as_option(item: Item) -> str | None:
    """Return the option whose text is the answer's, in this or another spelling."""
    if item.target in item.choices:
        return item.target
    alike = [choice for choice in item.choices if key(choice) == key(item.target)]
    return alike[0] if len(alike) == 1 else None


def _index(letter: str) -> int:
    return ord(letter.upper()) - ord("A")


def _at(item: Item, first: int) -> str | None:
    """Return the option with the answer's number, counted from `first`."""
    match = _NUMBER.fullmatch(item.target)
    place = int(match[1]) - first if match else -1
    return item.choices[place] if 0 <= place < len(item.choices) else None


_SCHEMES: dict[str, Callable[[Item], str | None]] = {
    "text": _as_option,
    "from-0": lambda item: _at(item, 0),
    "from-1": lambda item: _at(item, 1),
}


def _scheme(numbers: Sequence[Item], answers_as: str | None) -> tuple[str, list[str]]:
    """Return how the numbers among the answers are read, of `ANSWERS_AS`, and a note."""
    said = {
        "text": "Answers that are numbers were read as the options' texts.",
        "from-0": "Answers that are numbers count the options from 0.",
        "from-1": "Answers that are numbers count the options from 1.",
    }
    if answers_as is not None:
        return answers_as, [said[answers_as]]
    read = {name: [look_up(item) for item in numbers] for name, look_up in _SCHEMES.items()}
    fits = [name for name, texts in read.items() if None not in texts]
    differing = [name for name in fits if read[name] != read[fits[0]]]
    if fits and not differing:
        return fits[0], [said[fits[0]]]
    if differing:
        item = next(
            item for i, item in enumerate(numbers) if read[fits[0]][i] != read[differing[0]][i]
        )
        ways = {"text": "its text", "from-0": "its number from 0", "from-1": "its number from 1"}
        raise UserError(
            f"{item.place}: the answer '{item.target}' of the options {_shown(item)} may be "
            f"{ways[fits[0]]} or {ways[differing[0]]}, and no row settles it; expected letters or "
            f"the options' texts; write them so, or say --answers-as {fits[0]} or --answers-as "
            f"{differing[0]}."
        )
    # None fits all rows: the one that fits most tells which rows are wrong.
    most = max(_SCHEMES, key=lambda name: sum(text is not None for text in read[name]))
    return most, []


def _resolved(item: Item, scheme: str) -> Item:
    """Return an item with the text of its answer's option."""
    if not item.target:
        return replace(item, labels=())
    target = _said_by(item)
    if target is None and _NUMBER.fullmatch(item.target):
        target = _SCHEMES[scheme](item)
    if target is None:
        first = "1" if scheme == "from-1" else "0"
        raise UserError(
            f"{item.place}: the answer '{one_line(item.target, 60)}' is not among its options "
            f"{_shown(item)}; expected one of them, its number counted from {first}, or its "
            "letter; correct the row."
        )
    return replace(item, target=target, labels=())


def _shown(item: Item) -> str:
    return listed([f"'{choice}'" for choice in item.choices], 160)
