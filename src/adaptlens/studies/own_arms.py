"""The arms that a user brings to a study, as what is wanted of a task."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from adaptlens.adapt import recorded
from adaptlens.errors import UserError
from adaptlens.models import arm_files
from adaptlens.prompts.controls import NULL
from adaptlens.tasks import prompt_files
from adaptlens.tasks import templates as writing
from adaptlens.types import NO_DRAWS, Task

STRENGTHS = ("x0.25", "x0.5", "x0.75", "x1.25")
"""Controls of an arm that changes weights; at x0 it is the base, at x1 itself."""

_NAME = re.compile(r"[A-Za-z][\w.-]{0,39}")
_TAKEN = re.compile(
    r"base|zero-shot.*|(best-)?(icl|it|sl|full|distil|ia2(-it)?|vector|(soft-)?prompt)(-\d+.*)?|best-.*|majority.*",
    re.IGNORECASE,
)


class Brought(NamedTuple):
    """One condition of an arm: a registered adaptation, its arguments, and its draws.

    `drawn` says whether it has those of the study, `draws` which of its own.
    """

    adaptation: str
    arguments: Mapping[str, Any]
    drawn: bool = False
    draws: tuple[int, ...] = NO_DRAWS

    @property
    def is_recorded(self) -> bool:
        """Whether it was read elsewhere, so that no model is asked."""
        return self.adaptation == "recorded"


def found(
    arms: Mapping[str, str], models: Sequence[str], *, inside: bool = False
) -> dict[str, arm_files.ArmFiles]:
    """Return what each arm's path stands for, by the arm's name.

    Args:
        arms: paths by name.
        models: of the study.
        inside: whether the study looks inside models, which recorded answers do not show.

    Raises:
        UserError: a name that tables use otherwise, a path that stands for no arm, or one that
            changes weights where there are several models, or answers without a model.
    """
    for name in arms:
        if not _NAME.fullmatch(name) or _TAKEN.fullmatch(name):
            raise UserError(
                f"arm '{name}': expected a name of up to 40 letters, digits, '.', '_' and '-' that "
                "begins with a letter and is none of the study's own (it-16, zero-shot, best-...); "
                "for example mine."
            )
    files = {name: arm_files.find(name, path) for name, path in arms.items()}
    weights = [name for name, one in files.items() if one.kind in ("adapter", "checkpoint")]
    if weights and len(models) > 1:
        raise UserError(
            f"arm '{weights[0]}' changes the weights of one model, and {len(models)} were given; "
            "give the one it was made for, and compare the others without it."
        )
    for name, one in files.items():
        if inside and one.kind == "recorded":
            raise UserError(
                f"arm '{name}': '{one.source}' holds answers that were recorded elsewhere, and "
                "this study looks inside the model; give the adapter or the prompt itself, or use "
                "`adaptlens compare`."
            )
    return files


def wanted(
    files: Mapping[str, arm_files.ArmFiles], task: Task, *, controls: bool
) -> Iterator[Brought]:
    """Yield the conditions of the arms on a task.

    Args:
        files: of each arm, see `found`.
        task: what they are read on.
        controls: whether those that change weights are also read at other strengths, and they and
            soft prompts as null.

    Raises:
        UserError: a prompt cannot be read, or names what the task's items do not have; recorded
            answers are not those of the task's items.
    """
    for name, one in files.items():
        if one.kind == "prompt":
            template, shown = prompt_files.read(name, one.source, task)
            writing.check_columns(task, (template,))
            arguments = {"template": asdict(template), "demonstrations": shown}
            yield Brought("prompt", {"arm": name, **arguments})
            continue
        if one.kind == "recorded":
            digest, draws = recorded.find(name, one.source, task)
            arguments = {"arm": name, "digest": digest, "source": one.source}
            yield Brought("recorded", arguments, draws=draws)
            continue
        if one.kind == "served" and controls:
            raise UserError(
                f"arm '{name}' is served: it has no strength to be changed; leave out "
                "--arm-controls, or give the adapter's folder."
            )
        arguments = {"arm": name, "digest": one.digest, "source": one.source}
        yield Brought(one.kind, arguments)
        has_strength = not arm_files.is_soft_prompt(Path(one.source))
        for control in STRENGTHS if controls and has_strength else ():
            yield Brought(one.kind, {**arguments, "control": control})
        if controls:
            yield Brought(one.kind, {**arguments, "control": NULL}, drawn=True)
