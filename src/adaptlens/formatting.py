"""How numbers, and texts from data, are written for people.

Tables and figures have a true minus; a sentence that is also data (a claim's line) has a hyphen.
A number that is not there is "–"; one that is printed as zero has no sign.
"""

import math
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


def numeral(value: float, form: str = ",.4g", factor: float = 1) -> str:
    """Return a number in a format of Python's: "−1,234.5", "∞", "–" where it is undefined."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return unsigned_zeros(f"{value * factor:{form}}").replace("-", "−")


def estimate(
    value: float,
    low: float = math.nan,
    high: float = math.nan,
    *,
    digits: int = 3,
    sign: bool = False,
) -> str:
    """Return "0.651 [0.603, 0.701]", or the value alone where the interval is undefined."""
    return in_sentence(value, low, high, digits=digits, sign=sign).replace("-", "−")


def in_sentence(
    value: float,
    low: float = math.nan,
    high: float = math.nan,
    *,
    digits: int = 3,
    sign: bool = True,
) -> str:
    """Return an estimate as a claim's line has it: "+0.103 [-0.002, 0.208]", with hyphens."""
    text = fixed(value, digits, sign=sign)
    has_interval = math.isfinite(value) and math.isfinite(low) and math.isfinite(high)
    return f"{text} {ends(low, high, digits)}" if has_interval else text


def fixed(value: float, digits: int = 1, *, sign: bool = False) -> str:
    """Return a number with so many digits behind the point, and a hyphen for its minus."""
    if not math.isfinite(value):
        return "–"
    return unsigned_zeros(f"{value:{'+' if sign else ''}.{digits}f}")


def ends(low: float, high: float, digits: int = 1) -> str:
    """Return an interval alone: "[-3.6, 4.2]"."""
    return f"[{fixed(low, digits)}, {fixed(high, digits)}]"


def percent(share: float, digits: int = 1) -> str:
    """Return a share of 1 as "87.5%"."""
    return unsigned_zeros(f"{share:.{digits}%}")


def p_value(p: float) -> str:
    """Return a p-value as tables have it: three digits, "<0.001", or "–" where there is none."""
    if not math.isfinite(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def equals(p: float) -> str:
    """Return "= 0.031" or "< 0.001", to stand after a p."""
    text = p_value(p)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"


def design(*counts: float) -> str:
    """Return the size of a crossed design: "6 × 10 × 200"."""
    return " × ".join(f"{count:,.0f}" for count in counts)


def parameters(size: float) -> str:
    """Return a number of parameters: "1.2M", "70M", "1.4B"."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            text = f"{size / unit:.1f}" if size < 9.95 * unit else f"{size / unit:.0f}"
            return text.removesuffix(".0") + letter
    return f"{size:.0f}"


def duration(seconds: float) -> str:
    """Return "3.1 min": seconds in the largest unit of which there is at least one."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def moment(time: str) -> str:
    """Return a time as a log has it to the minute: "2026-11-29 20:51 UTC"; else as it is."""
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*(?:Z|\+00:00)$", time)
    return f"{found[1]} {found[2]} UTC" if found else time


def byte_size(number_of_bytes: float) -> str:
    """Return "3.1 MB": bytes in the largest decimal unit of which there is at least one."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number_of_bytes >= size:
            return f"{number_of_bytes / size:.1f} {unit}"
    return f"{number_of_bytes:.0f} B"


def unsigned_zeros(text: str) -> str:
    """Return text in which numbers that are printed as zero have no sign: "0.0" for "-0.0"."""
    return re.sub(r"(?<!\w)[+-](0(?:\.0+)?)(?!\d|[.,]\d|e)", r"\1", text)


def typeset(text: str) -> str:
    """Return a sentence with a true minus and a true times sign."""
    text = re.sub(r"(?<=[a-z]) x (?=\d)", " × ", text)
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


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
