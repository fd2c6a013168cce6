"""One adapter of a comparison as a folder of its own: PEFT's two files, and a model card."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adaptlens.conditions import Condition
from adaptlens.errors import UserError, unknown
from adaptlens.formatting import listed
from adaptlens.models.hub_upload import base_on_hub
from adaptlens.store import Run, write_atomically
from adaptlens.store.finished import read_verified
from adaptlens.studies.compare.adapter_card import card
from adaptlens.studies.compare.analyze import analyze
from adaptlens.studies.stored import read
from adaptlens.types import Task

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"
FILES = (CONFIG, WEIGHTS, CARD)
"""What a folder has, and all that is sent anywhere: no pickle, no data, no path of this machine."""


@dataclass(frozen=True)
class Exported:
    """An adapter that can be written down.

    Attributes:
        arm: what tables call it, and the template it is read under, if one was chosen.
        draw: which draw's examples it was tuned on.
        base_model: the hub id of its base; empty where that is not known.
        files: what each of `FILES` holds.
    """

    arm: str
    draw: int
    base_model: str
    files: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        """Write the files into a folder, which is made if it is not there.

        Raises:
            UserError: one of them is there and holds something else.
        """
        for name, content in self.files.items():
            there = folder / name
            if there.exists() and there.read_bytes() != content:
                raise UserError(
                    f"'{there}' is there and holds something else; nothing is replaced: give "
                    "another folder with --to, or remove it."
                )
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            write_atomically(folder / name, content)


def exported(
    run: Run,
    arm: str,
    *,
    draw: int | None = None,
    model: str = "",
    task: str = "",
    base_model: str = "",
    name: str = "",
) -> Exported:
    """Return the adapter of an arm, its files compared with their digests.

    Args:
        run: of a comparison.
        arm: as tables call it: "it-16"; "best-it-16" for the same under its best template.
        draw: which; the first unless given.
        model: whose, where the run has several.
        task: to which, likewise.
        base_model: the hub id of the base, where the run does not know it.
        name: where it will be found on the hub, for the card.

    Raises:
        UserError: no such arm, model, task or draw, or the arm is no adapter of PEFT's.
        Damaged: a file is not what was written.
    """
    report, answers = analyze(run)
    shown = report.labels.get(arm)
    if shown is None:
        raise unknown("arm", arm, [*report.labels])
    condition, of = _condition(run, shown.condition, model, task)
    draw = condition.draws[0] if draw is None else draw
    if draw not in condition.draws:
        raise UserError(
            f"--draw {draw}: arm '{arm}' has draws {condition.draws[0]} to {condition.draws[-1]}; "
            "give one of these."
        )
    place = condition.draws.index(draw)
    record = run.read(condition.cells[place])
    found = {
        file: read_verified(record.folder / where, record.files[where])
        for file in (CONFIG, WEIGHTS)
        if (where := f"adapters/draw={draw}/{file}") in record.files
    }
    if len(found) < 2:
        raise UserError(
            f"arm '{arm}' has no adapter in PEFT's format: it is a prompt, a vector, or all "
            "weights; give one that is tuned as LoRA or as a soft prompt, such as it-16."
        )
    config = json.loads(found[CONFIG])
    base = base_model or base_on_hub(str(config["base_model_name_or_path"]))
    config["base_model_name_or_path"] = base or condition.model
    about = card(
        report,
        answers,
        condition,
        of,
        config,
        arm=arm,
        draw=draw,
        base=base,
        digest=str(record.spec["model"]["digest"]),
        name=name,
    )
    return Exported(
        arm,
        draw,
        base,
        {
            CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
            WEIGHTS: found[WEIGHTS],
            CARD: about.encode(),
        },
    )


def _condition(run: Run, label: str, model: str, task: str) -> tuple[Condition, Task]:
    """Return the one condition of a label.

    Raises:
        UserError: of these models and tasks there are several, or none.
    """
    stored = read(run, "compare")
    left = [one for one in stored.found if one.label == label]
    for option, given, names in (
        ("--model", model, [one.model for one in left]),
        ("--task", task, [one.task for one in left]),
    ):
        names = list(dict.fromkeys(names))
        if given and given not in names:
            raise unknown(option, given, names)
        if not given and len(names) > 1:
            raise UserError(f"arm '{label}' is there of {listed(names)}; say which with {option}.")
        kept = given or names[0]
        left = [one for one in left if kept in (one.model, one.task)]
    return left[0], stored.tasks[left[0].task_digest]
