"""How many, as it is printed: things with their noun, and parameters, words in a row."""

from collections.abc import Iterable


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
