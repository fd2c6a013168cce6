"""One answer in several spellings: forms of Unicode, invisible characters, case, 1 and 1.0."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from adaptlens.errors import UserError, one_line

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f]")
"""Invisible, but part of how some scripts and emoji are written."""
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u02bc\u00b4\u0060", "'"),
        **dict.fromkeys("\u201c\u201d\u201e", '"'),
    }
)
_DECIMAL = re.compile(r"([+-]?\d+)\.0+")
_TRUTH = {"1": "true", "0": "false"}
_SHOWN = 4


def clean(text: str) -> str:
    """Return a text in Unicode's composed form, without invisible characters, with plain blanks."""
    if text.isascii() and "  " not in text and text.isprintable():
        return text
    composed = unicodedata.normalize("NFC", text)
    return " ".join(_INVISIBLE.sub("", composed).split())


def key(text: str) -> str:
    """Return what two spellings of one answer have in common.

    Equal are: forms of Unicode, with and without invisible characters, kinds of blanks, of dashes
    and of quotation marks, full and half width, upper and lower case, 1 and 1.0.
    """
    if text.isascii():
        plain = " ".join(text.split()).casefold().translate(_ALIKE)
    else:
        narrow = "".join(map(_usual_width, _JOINERS.sub("", clean(text)).translate(_ALIKE)))
        plain = unicodedata.normalize("NFC", narrow.casefold())
    whole = _DECIMAL.fullmatch(plain)
    return whole[1] if whole else plain


def _usual_width(character: str) -> str:
    wide = unicodedata.decomposition(character).startswith(("<wide>", "<narrow>"))
    return unicodedata.normalize("NFKC", character) if wide else character


def unified(name: str, answers: Counter[str], option: str) -> tuple[dict[str, str], list[str]]:
    """Return each answer's one spelling, and notes on what was read as one.

    Of several spellings the most frequent one stays, of equally frequent ones the first in
    alphabetical order. True and 1, false and 0 are one where there are no other answers.

    Args:
        name: of the task, for messages.
        answers: answer as it stands in the data -> number of rows.
        option: the option that lists answers, for messages.

    Raises:
        UserError: two answers may or may not be one: single letters that differ in case, numbers
            with and without leading zeros, and characters that are only compatible ("²" and "2").
    """
    keys = {answer: key(answer) for answer in answers}
    if set(keys.values()) <= {"true", "false", "0", "1"} and {"true", "false"} & set(keys.values()):
        keys = {answer: _TRUTH.get(common, common) for answer, common in keys.items()}
    groups: dict[str, list[str]] = {}
    for answer in sorted(answers, key=lambda text: (-answers[text], text)):
        groups.setdefault(keys[answer], []).append(answer)
    _refuse_ambiguous(name, groups, option)
    words = {answer: clean(spellings[0]) for spellings in groups.values() for answer in spellings}
    # 1 and 0 lend no words to true and false, whichever are more frequent.
    for common, spellings in groups.items():
        if common in _TRUTH.values():
            truth = [text for text in spellings if key(text) == common]
            words |= dict.fromkeys(spellings, clean(truth[0]) if truth else common)
    return words, _notes(words, groups, answers)


def _notes(
    words: Mapping[str, str], groups: Mapping[str, list[str]], answers: Counter[str]
) -> list[str]:
    changed = [group for group in groups.values() if any(words[text] != text for text in group)]
    said = []
    for group in changed[:_SHOWN]:
        counted = ", ".join(f"{shown(text)} ({answers[text]} rows)" for text in group[:_SHOWN])
        more = f" and {len(group) - _SHOWN} more" if len(group) > _SHOWN else ""
        said.append(f"{counted}{more} as {shown(words[group[0]])}")
    rest = f"; and {len(changed) - _SHOWN} more answers" if len(changed) > _SHOWN else ""
    if not said:
        return []
    return [f"Spellings of one answer were read as one: {'; '.join(said)}{rest}."]


def _refuse_ambiguous(name: str, groups: Mapping[str, list[str]], option: str) -> None:
    for group in groups.values():
        letters = sorted({clean(text) for text in group if len(clean(text)) == 1})
        if len({clean(text).casefold() for text in group}) == 1 and len(letters) > 1:
            raise _ambiguous(name, letters, option)
    loose: dict[str, str] = {}
    for group in groups.values():
        text = unicodedata.normalize("NFKC", clean(group[0])).casefold()
        text = re.sub(r"^([+-]?)0+(?=\d)", r"\1", text).removeprefix("+")
        if text in loose:
            raise _ambiguous(name, [loose[text], group[0]], option)
        loose[text] = group[0]


def _ambiguous(name: str, pair: Iterable[str], option: str) -> UserError:
    one, two = list(pair)[:2]
    return UserError(
        f"'{name}': the answers {shown(one)} and {shown(two)} may be one answer or two; expected "
        f"spellings that can be told apart; list the answers with {option}: {one},{two} keeps "
        f"both, {one}=WORD,{two}=WORD makes them one."
    )


def shown(text: str) -> str:
    """Return a text in quotation marks, with escapes where two spellings would look alike."""
    cut = one_line(text, 40, 10)
    plain = cut == text and text == clean(text)
    return f"'{cut}'" if plain else ascii(text[:40])
