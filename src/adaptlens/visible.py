"""Texts from data as a terminal and a page may have them: what would act is written out."""

import re

import click

_ACTING = re.compile(
    r"\r(?!\n)"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls, but tab and line break
    "\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of all that follows
    "\u2028\u2029\ud800-\udfff\ufffe\uffff]"  # further line breaks, halves of a pair, no characters
)


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
