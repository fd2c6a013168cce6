"""How numbers, and texts from data, are written for people."""

import re
from collections.abc import Iterable

import click

_ACTING = re.compile(
    r"\r(?!\n)"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls, but tab and line break
    "\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of all that follows
    "\u2028\u2029\ud800-\udfff\ufffe\uffff]"  # further line breaks, halves of a pair, no characters
)


def counted(number: int, noun: str) -> str:
    """Return "1 task" or "3 tasks"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def parameters(size: float) -> str:
    """Return a number of parameters: "1.2M", "70M", "1.4B"."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            text = f"{size / unit:.1f}" if size < 9.95 * unit else f"{size / unit:.0f}"
            return text.removesuffix(".0") + letter
    return f"{size:.0f}"


def listed(words: Iterable[str], last: str = "and") -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *before, end = words
    return f"{', '.join(before)} {last} {end}" if before else end


def visible(text: str) -> str:
    r"""Return a text in which every character that acts is written out: ESC as "\x1b".

    Tabs and line breaks stay. Nothing else changes, and a second time nothing does.
    """
    return _ACTING.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def say(text: str, *, talk: bool = False) -> None:
    """Print a line whole, however wide the terminal is: data, or talk to standard error."""
    click.echo(visible(text), err=talk)
