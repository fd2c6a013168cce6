"""What an answer may be (options or free text), the words for raw labels, and the instruction."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from adaptlens.errors import UserError, listed
from adaptlens.formatting import counted
from adaptlens.tasks.items import Item
from adaptlens.tasks.spellings import clean, key, shown, unified
from adaptlens.tasks.table import some
from adaptlens.types import Kind

MAX_INFERRED_CHOICES = 20
RARE_ROWS, OFTENER = 3, 10
"""An answer of so few rows may be a typing error for one that occurs so many times as often."""

Choices = str | Sequence[str] | Mapping[str, str]
Splits = dict[str, list[Item]]


def settle(
    name: str,
    splits: Splits,
    kind: Kind | None,
    choices: Choices | None,
    *,
    option: str = "--choices",
) -> tuple[Splits, Kind, tuple[str, ...], list[str]]:
    """Return the items with their final answers, the task's kind, its shared options, and notes.

    Args:
        name: of the task, for messages.
        splits: items with answers as they stand in the data.
        kind: None decides: at most 20 distinct answers, one of them repeated, make a choice task.
        choices: the options, or the word for every raw answer; None takes the distinct answers, in
            one spelling each.
        option: the command's option that gave the choices, for messages.

    Raises:
        UserError: if an answer is not among the options, or all answers are the same.
    """
    pool = [item for items in splits.values() for item in items]
    words = words_for(choices, option)
    if any(item.choices for item in pool):
        if words or kind == "generation":
            raise UserError(
                f"'{name}': every item brings its own options, and {option} or a generation task "
                "was asked for; expected one of the two; leave it out, or drop the options column."
            )
        return _own_options(splits)
    if words and kind == "generation":
        raise UserError(
            f"'{name}': {option} was given for a generation task; expected one of the two; leave "
            "one out."
        )
    if words:
        renamed, notes = _in_words(name, splits, words, option)
        return renamed, "choice", tuple(dict.fromkeys(words.values())), notes
    notes = []
    counts = Counter(item.target for item in pool)
    # Answers are one text or another; only where there are few is it worth asking which.
    few = len({key(answer) for answer in counts}) <= MAX_INFERRED_CHOICES
    if kind == "choice" or (kind is None and few and len(counts) < len(pool)):
        spelled, notes = unified(name, counts, option)
        splits = {
            split: [replace(item, target=spelled[item.target]) for item in items]
            for split, items in splits.items()
        }
    distinct = sorted({item.target for items in splits.values() for item in items})
    if kind is None and len(distinct) <= MAX_INFERRED_CHOICES and len(distinct) < len(pool):
        kind = "choice"
        names = listed([f"'{answer}'" for answer in distinct], 400)
        notes.append(f"Read as a choice task: {len(distinct)} distinct answers, {names}.")
    elif kind is None:
        notes.append(
            f"Read as a generation task: {len(distinct)} distinct answers in {len(pool)} items "
            f"(a choice task has at most {MAX_INFERRED_CHOICES})."
        )
    if kind != "choice":
        return splits, "generation", (), notes
    _check_several(name, set(distinct))
    notes += _mistyped(Counter(item.target for items in splits.values() for item in items))
    if all(answer.lstrip("-").isdecimal() for answer in distinct):
        notes.append(
            "The options are bare numbers; words tell a model more: --choices "
            f"{','.join(f'{answer}=WORD' for answer in distinct[:3])}."
        )
    return splits, "choice", tuple(distinct), notes


def _mistyped(counts: Mapping[str, int]) -> list[str]:
    """Return a warning for each answer that is rare and nearly spelled as a common one."""
    notes = []
    for answer, count in counts.items():
        if count > RARE_ROWS:
            continue
        common = [other for other in counts if counts[other] >= OFTENER * count]
        near = difflib.get_close_matches(answer[:200], common, n=1, cutoff=0.8)
        if near and not {answer[-1:], near[0][-1:]} & {*"0123456789"}:
            notes.append(
                f"Warning: {shown(answer)} is the answer of {counted(count, 'row')}, and "
                f"{shown(near[0])} of {counts[near[0]]}: if that is a typing error, correct it."
            )
    return notes


def _in_words(
    name: str, splits: Splits, words: Mapping[str, str], option: str
) -> tuple[Splits, list[str]]:
    """Return the items with the words for their raw answers, whatever their spelling, and notes."""
    pool = [item for items in splits.values() for item in items]
    alike: dict[str, list[str]] = {}
    for raw in words:
        alike.setdefault(key(raw), []).append(raw)
    spelled: dict[str, str] = {}
    for answer, count in Counter(item.target for item in pool).items():
        near = alike.get(key(answer), [])
        if answer not in words and len(near) == 1:
            spelled[answer] = f"{shown(answer)} ({count} rows) as {shown(near[0])}"
            splits = {
                split: [
                    replace(item, target=near[0]) if item.target == answer else item
                    for item in items
                ]
                for split, items in splits.items()
            }
    pool = [item for items in splits.values() for item in items]
    _check_among(name, pool, words, option)
    renamed = {
        split: [replace(item, target=words[item.target]) for item in items]
        for split, items in splits.items()
    }
    _check_several(name, {words[item.target] for item in pool})
    said = listed(list(spelled.values()), 300)
    return renamed, [f"Spellings of one answer were read as one: {said}."] if spelled else []


def unseen(splits: Splits) -> list[str]:
    """Return warnings of answers that occur in another split and never in training."""
    trained = {item.target for item in splits["train"]}
    notes = []
    for label, items in splits.items():
        strange = Counter(item.target for item in items if item.target not in trained)
        if strange:
            notes.append(
                f"Warning: {label}: {sum(strange.values())} of {len(items)} items have answers "
                f"that training never shows: {listed([shown(answer) for answer in strange])}."
            )
    return notes


def words_for(choices: Choices | None, option: str = "--choices") -> dict[str, str]:
    """Return raw answer -> word, from "a,b", "0=a,1=b", a list or a mapping."""
    if choices is None:
        return {}
    if isinstance(choices, Mapping):
        pairs = [(str(raw).strip(), str(word).strip()) for raw, word in choices.items()]
    else:
        listed = choices.split(",") if isinstance(choices, str) else list(choices)
        mapped = [("=" in choice) for choice in listed]
        if any(mapped) and not all(mapped) and isinstance(choices, str):
            raise UserError(
                f"{option} {choices}: some choices have a word for a raw answer and some have "
                "not; expected a,b or 0=a,1=b; write them all one way."
            )
        parted = [
            choice.partition("=") if all(mapped) else (choice, "", choice) for choice in listed
        ]
        pairs = [(raw.strip(), word.strip()) for raw, _, word in parted]
    words = dict(pairs)
    if len(words) < len(pairs) or not all(words) or not all(words.values()) or len(words) < 2:
        raise UserError(
            f"{option} {choices}: expected at least two different choices, none of them empty, as "
            "a,b or 0=a,1=b; correct the list."
        )
    return words


def _check_among(name: str, pool: Sequence[Item], words: Mapping[str, str], option: str) -> None:
    strange = Counter(item.target for item in pool if item.target not in words)
    if not strange:
        return
    answer = min(strange, key=lambda text: (-strange[text], text))
    places = [f"({item.place})" for item in pool if item.target == answer]
    nearest = difflib.get_close_matches(answer[:200], words, n=1, cutoff=0.5)
    hint = f" (did you mean '{nearest[0]}'?)" if nearest else ""
    raise UserError(
        f"'{name}': {sum(strange.values())} of {len(pool)} rows have an answer that is not among "
        f"the choices {listed(map(repr, words), 120)}, mostly {shown(answer)}{hint}, in "
        f"{some(places, 3)}; correct the rows, or add the answer to {option}."
    )


def _check_several(name: str, answers: set[str]) -> None:
    if len(answers) == 1:
        raise UserError(
            f"'{name}': every row has the answer '{answers.pop()}'; expected at least two "
            "different answers; check which column is the target (--target)."
        )


def _own_options(splits: Splits) -> tuple[Splits, Kind, tuple[str, ...], list[str]]:
    """Return items whose options are distinct; options that all items share become the task's."""
    kept: Splits = {}
    notes = []
    for label, items in splits.items():
        kept[label] = [
            item for item in items if len(set(map(clean, item.choices))) == len(item.choices) > 1
        ]
        if count := len(items) - len(kept[label]):
            notes.append(
                f"{label}: {count} items left out whose options are not two or more "
                "different texts."
            )
    options = {item.choices for items in kept.values() for item in items}
    if len(options) != 1:
        return kept, "choice", (), notes
    bare = {s: [replace(item, choices=()) for item in items] for s, items in kept.items()}
    return bare, "choice", options.pop(), notes


def instruct(
    splits: Splits, kind: Kind, options: Sequence[str], given: str | None, default: str = ""
) -> tuple[Splits, str, list[str]]:
    """Return the items, the task's one instruction, and what was decided.

    Args:
        splits: items, which may carry their own instructions.
        kind: of the task; chooses the default instruction.
        options: shared by all items; named in the default instruction.
        given: replaces every other instruction ("" for none); None takes the items' own or the
            default.
        default: used instead of the kind's default.
    """
    own = {item.instruction for items in splits.values() for item in items}
    bare = {s: [replace(item, instruction="") for item in items] for s, items in splits.items()}
    if given is not None:
        replaced = ["The instruction given replaces the items' own."] if own - {""} else []
        return bare, given, replaced
    if own - {""} and len(own) > 1:
        return splits, "", ["Items carry their own instructions."]
    if own - {""}:
        return bare, own.pop(), ["The instruction is the one that all items carry."]
    if not default and kind == "choice":
        default = (
            f"Classify the input as one of: {', '.join(options)}."
            if options
            else "Choose the answer."
        )
    default = default or "Write the output for the input."
    return bare, default, [f'No instruction was given; used: "{default}"']
