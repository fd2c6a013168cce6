"""What is shipped with the package: commands that list, show, check and train it."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptlens.cli.options import (
    Commands,
    SettingsCommand,
    json_option,
    user_errors,
)
from adaptlens.errors import UserError
from adaptlens.formatting import percent, say

if TYPE_CHECKING:
    from adaptlens.types import Task


@click.group(cls=Commands)
def tasks() -> None:
    """List the bundled tasks, or show what a task holds."""


@tasks.command("list")
@json_option()
@user_errors
def tasks_list(as_json: bool) -> None:
    """List the bundled tasks."""
    from adaptlens import tasks as known

    rows = known.summaries()
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            click.echo(f"{row['name']:<18} {row['description']}")


@tasks.command("show", cls=SettingsCommand, study=None)
@click.argument("name")
@json_option("splits, choices, templates, notes and first items as JSON")
@user_errors
def tasks_show(name: str, as_json: bool, **given: Any) -> None:
    """Show a task: splits, choices, examples, and what was done to the data."""
    from adaptlens import tasks as known
    from adaptlens.cli.settings_options import reading

    about = {**reading(given), "difficulty": given["difficulty"]}
    task = known.load(name, **about)
    if as_json:
        click.echo(json.dumps(_task(task)))
    else:
        say(known.describe(task))


def _task(task: "Task") -> dict[str, Any]:
    """Return a task as JSON has it: of each split its size and first items."""
    splits = {"train": task.train, "validation": task.validation, "test": task.test}
    return {
        "name": task.name,
        "kind": task.kind,
        "instruction": task.instruction,
        "choices": list(task.choices),
        "columns": list(task.columns),
        "templates": [asdict(one) for one in task.templates or (task.template,)],
        "notes": list(task.notes),
        "splits": {
            name: {"items": len(items), "first": [asdict(item) for item in items[:3]]}
            for name, items in splits.items()
        },
    }


@tasks.command("check")
@click.option("--items", default=10_000, show_default=True, help="Items per task and kind.")
@click.option("--difficulty", default="small", show_default=True, help="small or paper.")
@json_option()
@user_errors
def tasks_check(items: int, difficulty: str, as_json: bool) -> None:
    """Check the tasks with a shortcut: labels by independent solvers, and what leaks.

    Exit code 1 if a solver contradicts a label.
    """
    from adaptlens.cli.planned import rows_table
    from adaptlens.report.printer import out
    from adaptlens.tasks.shortcuts import leaks

    rows = leaks.check(items, difficulty)
    if as_json:
        click.echo(json.dumps(rows))
    else:
        out().table(rows_table("share of answers that each guess gets right", rows))
    if any(row["wrong"] for row in rows):
        sys.exit(1)


@click.group(cls=Commands)
def zoo() -> None:
    """List, show, check and train the reference models."""


@zoo.command("list")
@json_option()
@user_errors
def zoo_list(as_json: bool) -> None:
    """List the models that ship with the package."""
    from adaptlens.models import shipped

    found = {name: shipped.card(name)["summary"] for name in shipped.names()}
    if as_json:
        click.echo(json.dumps([{"name": name, "summary": said} for name, said in found.items()]))
        return
    for name, said in found.items():
        click.echo(f"{name:<22} {said}")


@zoo.command("show")
@click.argument("name")
@json_option("the card as JSON")
@user_errors
def zoo_show(name: str, as_json: bool) -> None:
    """Show a model's card: data, exposures, seed, curve, limits, held-out check."""
    from adaptlens.models import shipped

    if as_json:
        click.echo(json.dumps(shipped.card(name)))
    else:
        click.echo((shipped.folder(name) / "README.md").read_text(encoding="utf-8"))


@zoo.command("check")
@click.argument("name", default="reference")
@click.option("--queries", default=200, show_default=True, help="Queries per task family.")
@json_option()
@user_errors
def zoo_check(name: str, queries: int, as_json: bool) -> None:
    """Run the held-out check of a model: on tasks that pretraining did not show."""
    from adaptlens.cli.planned import rows_table
    from adaptlens.models.identity import parse
    from adaptlens.report.printer import out

    if (source := parse(name).source) != name:
        raise UserError(
            f"'{name}' has a prefix, but the check is of a model as it was shipped; expected a "
            f"name without: give {source}."
        )
    from adaptlens.zoo.corpora import check as run_check

    found = run_check(name, queries=queries)
    if as_json:
        click.echo(json.dumps(found))
    else:
        out().table(rows_table(f"held-out check of {found['model']}", found["rows"]))


@zoo.command("train")
@click.argument("name")
@click.option("--seed", default=0, show_default=True, help="Seed of data and weights.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to train (default: zoo-NAME-SEED); the same command resumes.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@user_errors
def zoo_train(name: str, seed: int, out: Path | None, device: str) -> None:  # fmt: skip
    """Pretrain a reference model from scratch, with checkpoints; resumes after a kill.

    NAME "ladder" trains the eleven models of the ladder in turn, each into a folder of its own
    below FOLDER: about two hours on two quiet CPU cores. Finished ones are skipped.
    """
    from adaptlens.cli.terminal import training_bar

    folder = out or Path(f"zoo-{name}-{seed}")
    if name == "ladder":
        _train_ladder(folder, seed, device)
        return
    from adaptlens.zoo.pretrain import train

    with training_bar(name) as progress:
        made = train(name, seed=seed, out=folder, device=device, progress=progress)
    click.echo(str(made))


def _train_ladder(folder: Path, seed: int, device: str) -> None:
    """Train the ladder, a bar for each rung and the time left after each."""
    import time
    from contextlib import ExitStack

    from adaptlens.cli.terminal import training_bar
    from adaptlens.zoo.train_ladder import train_ladder

    done, before, started = 0.0, 0.0, 0.0
    with ExitStack() as bars:

        def bar(name: str) -> Callable[[int, int, str], None]:
            bars.close()
            show = bars.enter_context(training_bar(name))

            def step(steps: int, total: int, words: str) -> None:
                nonlocal before, started
                if not started:
                    before, started = done, time.monotonic()
                show(steps, total, words)

            return step

        for name, made, done in train_ladder(folder, seed=seed, device=device, progress=bar):
            bars.close()
            click.echo(str(made))
            if started and done < 1:
                left = (time.monotonic() - started) / (done - before) * (1 - done) / 60
                click.echo(f"{name}: {percent(done, 0)} done; about {left:.0f} min left", err=True)
