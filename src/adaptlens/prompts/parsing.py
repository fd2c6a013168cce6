"""What a model wrote becomes an answer, or none.

Source of the systems' answers: the answer extraction of Bigoulaeva, Tayyar Madabushi and Gurevych
2025 (arXiv 2501.08716), as its released code does it.
"""

import re
from collections.abc import Sequence

from adaptlens.prompts.system_prompts import END, MARKER

_LABEL = re.compile(r"Answer(?: Solution| \d+)?:")


NONE = -1
"""What stands for the choice where a text names none."""


def option_in(text: str, options: Sequence[str]) -> int:
    """Return the place of the option that a text names first, or `NONE`.

    An option is named where it stands as a word of its own, in any case; of several that begin at
    one place the longest counts.
    """
    found = []
    for place, option in enumerate(options):
        word = option.strip()
        match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) if word else None
        if match:
            found.append((match.start(), -len(word), place))
    return min(found)[2] if found else NONE


def answer(system: str, output: str, options: Sequence[str] = ()) -> str:
    """Return the answer in what a system wrote, without blanks around it; "" where there is none.

    samplegen: what follows the first answer marker on its line; without a marker there is none.
    regular: the first line, or what follows the marker where the model repeats it.
    base, gold, pipeline: of the first line with text, what follows an answer label; else the
    option that stands in it first, as whole words (the longest of those); else the line.
    """
    if system == "samplegen":
        return _after_marker(output)
    if system == "regular":
        return _after_marker(output) if MARKER in output else _first_line(output)
    line = _first_line(output)
    if found := _LABEL.search(line):
        return line[found.end() :].strip()
    inside = [
        (match.start(), -len(option), option)
        for option in options
        if (match := re.search(rf"(?<!\w){re.escape(option)}(?!\w)", line))
    ]
    return min(inside)[2] if inside else line


def _after_marker(output: str) -> str:
    """Return what follows the first marker on its line, without the end marker."""
    line = output.partition(MARKER)[2].partition("\n")[0]
    return line.partition(END)[0].strip()


def _first_line(output: str) -> str:
    """Return the first line with text, "" if there is none."""
    return next((line.strip() for line in output.splitlines() if line.strip()), "")
