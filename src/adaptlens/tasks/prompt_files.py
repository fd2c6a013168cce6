"""A prompt that was written or optimized elsewhere: a template, an instruction, or DSPy's.

A text that ends in `{target}` is a template as `--template` takes it. A text without is an
instruction, put before each item. JSON is what DSPy saves of a program with one predictor, with the
instruction and the demonstrations that an optimizer (MIPRO, GEPA, ...) found.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, first_line
from adaptlens.tasks import templates
from adaptlens.types import Task, Template

Demonstrations = tuple[tuple[str, str], ...]

_TARGET = re.compile(r"\{\{?-?\s*target\s*-?\}?\}")
_LONGEST = 200_000
_BESIDE = ("augmented", "dspy_uuid", "dspy_split")


def read(name: str, source: str, task: Task) -> tuple[Template, Demonstrations]:
    """Return how a prompt writes the items of a task, and the (input, answer) pairs it shows.

    Args:
        name: of the arm, for errors.
        source: the file.
        task: whose items are written: the layout is its own where the file has none.

    Raises:
        UserError: the file cannot be read, is empty, or is no such program.
    """
    text = _text(name, source)
    if source.lower().endswith(".json"):
        return _of_program(name, source, text, task)
    if _TARGET.search(text):
        return replace(templates.parse(text), name=name), ()
    instruction = text.strip()
    if not instruction:
        raise UserError(f"arm '{name}': '{source}' is empty; expected a prompt.")
    return replace(task.template, name=name, instruction=instruction), ()


def _text(name: str, source: str) -> str:
    try:
        with Path(source).open("rb") as file:
            data = file.read(_LONGEST + 1)
        if len(data) > _LONGEST:
            raise UserError(
                f"arm '{name}': '{source}' is larger than {_LONGEST:,} bytes; expected one prompt."
            )
        return data.decode("utf-8").rstrip("\n")
    except (OSError, ValueError) as error:
        raise UserError(
            f"arm '{name}': '{source}' cannot be read ({first_line(error)}); expected text in "
            "UTF-8."
        ) from None


def _of_program(name: str, source: str, text: str, task: Task) -> tuple[Template, Demonstrations]:
    try:
        saved = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"arm '{name}': '{source}' is no JSON ({first_line(error)}); expected what DSPy's "
            "program.save writes, or a text file with the prompt."
        ) from None
    found = list(_predictors(saved))
    if len(found) != 1:
        raise UserError(
            f"arm '{name}': '{source}' holds {len(found)} predictors of DSPy (a signature with "
            "instructions and fields); expected one: write the prompt into a text file instead."
        )
    signature, demos = found[0]["signature"], found[0].get("demos") or []
    prefixes = [str(one.get("prefix", "")) for one in signature["fields"]]
    if len(prefixes) != 2:
        raise UserError(
            f"arm '{name}': the predictor in '{source}' has {len(prefixes)} fields "
            f"({', '.join(prefixes)[:100]}); expected an input and the answer, with no reasoning "
            "between: write the prompt into a text file instead."
        )
    asked, answered = prefixes
    template = Template(
        before_input=f"{asked.strip()} ",
        before_target=f"\n{answered.strip()}",
        name=name,
        instruction=str(signature["instructions"]).strip(),
    )
    return template, tuple(_pair(name, source, demo, prefixes) for demo in demos)


def _predictors(saved: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield what in a saved program has a signature."""
    if not isinstance(saved, dict) or depth > 4:
        return
    signature = saved.get("signature")
    if isinstance(signature, dict) and "instructions" in signature:
        fields = signature.get("fields")
        if isinstance(fields, list) and all(isinstance(one, dict) for one in fields):
            yield saved
            return
    for value in saved.values():
        yield from _predictors(value, depth + 1)


def _pair(name: str, source: str, demo: Any, prefixes: list[str]) -> tuple[str, str]:
    """Return the input and the answer of a demonstration, whose keys are named as the fields."""
    keys = [re.sub(r"\W+", "_", prefix.strip().rstrip(":").lower()) for prefix in prefixes]
    own = {str(key).lower(): value for key, value in demo.items()} if isinstance(demo, dict) else {}
    values = [own.get(key) for key in keys]
    if not all(isinstance(value, str) for value in values):
        raise UserError(
            f"arm '{name}': a demonstration in '{source}' has "
            f"{', '.join(sorted({*own} - {*_BESIDE}))[:100] or 'no fields'}; expected texts for "
            f"{' and '.join(keys)}: correct the file, or write the prompt into a text file."
        )
    return str(values[0]), str(values[1])
