"""Samples that lm-evaluation-harness logged (`--log_samples`), and which belong to a task's items.

An item is found by its text: a text of the document, or the end of what was sent, is its input.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, first_line, listed
from adaptlens.formatting import counted
from adaptlens.types import Example, Task

Sample = Mapping[str, Any]

_NAME = re.compile(r"samples_(.+)_(\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
_NEEDED = ("doc", "arguments", "resps")


@dataclass(frozen=True)
class Samples:
    """A file of samples.

    Attributes:
        arm: what the user calls it.
        path: where it is.
        digest: sha256 of it, in hex.
        rows: one for each document.
        notes: what was left out of it.
        about: what made it, as the results file beside it says; empty without one.
        draws: the draws behind the answers to a document, template by template; empty for one.
        templates: their names.
    """

    arm: str
    path: Path
    digest: str
    rows: Sequence[Sample]
    notes: tuple[str, ...] = ()
    about: str = ""
    draws: tuple[int, ...] = ()
    templates: tuple[str, ...] = ()

    def of(self, task: Task) -> tuple[list[Sample], tuple[str, ...]]:
        """Return the sample of every test item of a task, in their order, and notes.

        Of documents with one text the samples are taken in turn.

        Raises:
            UserError: an item has none, or another right answer than its sample.
        """
        left: dict[str, list[Sample]] = {}
        for row in self.rows:
            for text in dict.fromkeys(_texts(row)):
                left.setdefault(text, []).append(row)
        found: list[Sample | None] = []
        used: set[int] = set()
        for item in task.test:
            own = self._take(left.get(_plain(item.input), ()), item, used)
            found.append(own or self._take(self._ending_in(item), item, used))
        missing = [item for item, row in zip(task.test, found, strict=True) if row is None]
        if missing:
            raise UserError(
                f"arm '{self.arm}': {counted(len(missing), 'test item')} of {len(task.test)} of "
                f"task '{task.name}' without a sample in '{self.path.name}' (the first: "
                f"'{missing[0].input[:60]}'), which has {counted(len(self.rows), 'document')}; "
                "expected the same items: let the harness read all of them, or compare on its "
                "task (--task lm-eval:NAME)."
            )
        rows = [row for row in found if row is not None]
        over = len(self.rows) - len(rows)
        notes = [f"{over} of its {len(self.rows)} documents are no test item here"] if over else []
        return rows, (*self.notes, *notes)

    @staticmethod
    def _take(rows: Sequence[Sample], item: Example, used: set[int]) -> Sample | None:
        for row in rows:
            if id(row) not in used and _may_answer(row, item):
                used.add(id(row))
                return row
        return None

    def _ending_in(self, item: Example) -> list[Sample]:
        """Return the samples of which what was sent ends in an item, whatever cue comes after."""
        text = _plain(item.input)
        return [
            row
            for row in self.rows
            if text and (sent := _plain(_sent(row)[0][0])).rfind(text) >= 0
            and len(sent) - sent.rfind(text) - len(text) <= _CUE
        ]  # fmt: skip


_CUE = 40
"""The most characters of a cue for the answer ("Sentiment:"), after an item."""


def digest(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(arm: str, source: str) -> Samples:
    """Return a file of samples.

    Args:
        arm: its name, for errors.
        source: the file; a results file of the same time beside it says what made it.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    path = Path(source)
    rows, notes = _one_filter(list(_rows(arm, path)))
    about, metadata = _made_by(path)
    draws = tuple(int(draw) for draw in metadata.get("draws", ()))
    templates = tuple(str(name) for name in metadata.get("templates", ()))
    repeats = {len(one) for row in rows for one in row["resps"]}
    if len(repeats) != 1:
        raise UserError(f"arm '{arm}': '{path.name}' has {sorted(repeats)} answers to a request; "
                        "expected the same number everywhere.")  # fmt: skip
    each = repeats.pop()
    if each == 1:
        draws, templates = (), ()
    elif each != len(draws) * max(1, len(templates)):
        # Repeats of a harness that samples: it judges the first, after its filter.
        draws, templates = (), ()
        notes += (f"the first of {each} answers to each request is taken",)
    return Samples(arm, path, digest(path), rows, notes, about, draws, templates)


def _rows(arm: str, path: Path) -> Iterator[Sample]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(
            f"arm '{arm}': '{path}' cannot be read ({first_line(error)}); expected JSON lines, as "
            "lm_eval --log_samples writes them."
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"arm '{arm}': line {number} of '{path.name}' is not JSON; expected samples, as "
                "lm_eval --log_samples writes them."
            ) from error
        if not isinstance(row, dict) or not all(row.get(name) for name in _NEEDED):
            raise UserError(
                f"arm '{arm}': line {number} of '{path.name}' has no {', '.join(_NEEDED[:-1])} and "
                f"{_NEEDED[-1]}; expected samples, as lm_eval --log_samples writes them."
            )
        yield row


def _one_filter(rows: list[Sample]) -> tuple[list[Sample], tuple[str, ...]]:
    """Return the samples under the first filter, and a note that names the others."""
    filters = [*dict.fromkeys(str(row.get("filter", "none")) for row in rows)]
    if len(filters) < 2:
        return rows, ()
    note = f"answers under the filter '{filters[0]}' are taken, not under {listed(filters[1:])}"
    return [row for row in rows if row.get("filter", "none") == filters[0]], (note,)


def _made_by(path: Path) -> tuple[str, Mapping[str, Any]]:
    """Return what the results file beside samples says: in words, and of draws and templates."""
    named = _NAME.fullmatch(path.name)
    beside = path.parent / f"results_{named[2]}.json" if named else path
    if not named or not beside.is_file():
        return "", {}
    try:
        results = json.loads(beside.read_text("utf-8"))
        config = results.get("configs", {}).get(named[1], {})
        shots = results.get("n-shot", {}).get(named[1], 0)
        version = results.get("lm_eval_version")
        told = [
            f"lm-evaluation-harness {version}" if version else "",
            f"model {results['model_name']}" if results.get("model_name") else "",
            f"{shots} shots" if shots else "",
        ]
        return ", ".join(filter(None, told)), dict(config.get("metadata") or {})
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise UserError(
            f"'{beside}' cannot be read ({first_line(error)}); expected the results file of "
            f"'{path.name}', or none."
        ) from error


def requests(row: Sample) -> list[tuple[str, str]]:
    """Return the (context, continuation) pairs of a sample; "" for what was generated."""
    return _sent(row)


def _sent(row: Sample) -> list[tuple[str, str]]:
    given = row["arguments"]
    own = [*given.values()] if isinstance(given, dict) else given
    pairs = [[*one.values()] if isinstance(one, dict) else one for one in own]
    return [(str(p[0]), p[1] if len(p) > 1 and isinstance(p[1], str) else "") for p in pairs]


def _texts(row: Sample) -> Iterator[str]:
    doc = row["doc"]
    values = doc.values() if isinstance(doc, dict) else [doc]
    yield from (_plain(value) for value in values if isinstance(value, str))


def _may_answer(row: Sample, item: Example) -> bool:
    """Whether a sample's right answer, where it names one of its options, is the item's."""
    target, options = row.get("target"), [text.strip() for _, text in _sent(row)]
    # The harness writes the number of an option as a text, too.
    if str(target).isdecimal() and str(target) not in options and int(str(target)) < len(options):
        target = options[int(str(target))]
    if not {str(target).strip(), item.target.strip()} <= {*options}:
        return True
    return str(target).strip() == item.target.strip()


def _plain(text: str) -> str:
    return " ".join(text.split())
