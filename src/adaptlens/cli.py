"""The command line: parse, call, print. Data to stdout, talk to stderr; exit 0, 1 or 2."""

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptlens import __version__
from adaptlens.errors import RunIncomplete, UserError

if TYPE_CHECKING:
    from adaptlens.config import CompareConfig


def user_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what the user can fix into one line and exit code 2, and Ctrl-C into one line."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        except RunIncomplete as error:
            click.echo(f"incomplete: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo("stopped; the same command continues where it was.", err=True)
            sys.exit(130)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Prompt or tune? Compare the ways of adapting a causal language model.

    Start with: adaptlens compare --model reference --task sentiment-novel --shots 0,4,16
    """


def _numbers(_: click.Context, option: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    words = [word.strip() for word in value.split(",") if word.strip()]
    try:
        return [int(word) for word in words]
    except ValueError:
        raise click.BadParameter(
            f"'{value}' is not a list of whole numbers; write for example 0,4,16.", param=option
        ) from None


def _words(_: click.Context, __: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [w.strip() for w in value.split(",") if w.strip()]


def study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what is compared."""
    options = [
        click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
                     help="YAML or .py file with the settings; options given here override it."),
        click.option("--model", "models", multiple=True, metavar="NAME",
                     help="Hub id, folder, or a shipped model (default: reference). Repeatable."),
        click.option("--task", "tasks", multiple=True, metavar="TASK",
                     help="Bundled name, file, folder, hf:NAME[:CONFIG], or lm-eval YAML. "
                     "Repeatable."),
        click.option("--input", "input_column", metavar="COLUMN", help="Column with the texts."),
        click.option("--target", "target_column", metavar="COLUMN",
                     help="Column with the answers."),
        click.option("--choices", metavar="A,B,..",
                     help="The answers there are, or raw=word pairs: 0=negative,1=positive."),
        click.option("--references", metavar="FILE",
                     help="Line-aligned file of answers to --task."),
        click.option("--instruction", metavar="TEXT", help="Instruction written before the items."),
        click.option("--shots", callback=_numbers, metavar="0,4,16",
                     help="Demonstrations for in-context learning; 0 is zero-shot."),
        click.option("--tuning", callback=_words, metavar="it,sl,full", help="Ways of tuning."),
        click.option("--sizes", callback=_numbers, metavar="4,16",
                     help="Training examples for tuning (default: the shots)."),
        click.option("--draws", type=int, metavar="N", help="Draws of demonstrations."),
        click.option("--queries", type=int, metavar="N", help="Test items."),
        click.option("--selection", metavar="HOW", help="random, balanced, similar or embedding."),
        click.option("--on-overflow", metavar="HOW", help="error or drop-demos."),
        click.option("--chat", is_flag=True, default=None,
                     help="Use the tokenizer's chat template."),
        click.option("--dtype", metavar="TYPE", help="float32, bfloat16 or float16."),
        click.option("--device", metavar="WHERE", help="auto, cpu, cuda or mps."),
        click.option("--seed", type=int, metavar="N", help="Seed of the whole study."),
        click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE",
                     help="Any other setting, such as tune.rank=16 or prices.gpu_hour=2.5."),
        click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
                     help="Run folder (default: runs/MODEL-TASK)."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _config(
    config_file: Path | None,
    overrides: tuple[str, ...],
    input_column: str | None,
    target_column: str | None,
    choices: str | None,
    references: str | None,
    instruction: str | None,
    **given: Any,
) -> "CompareConfig":
    from adaptlens.config import load_config

    about = {
        "input": input_column,
        "target": target_column,
        "choices": choices,
        "references": references,
        "instruction": instruction,
    }
    about = {key: value for key, value in about.items() if value is not None}
    settings = {key: value for key, value in given.items() if value not in (None, ())}
    if about and "tasks" not in settings:
        raise UserError(
            f"--{next(iter(about))} says how to read a task, but no --task was given; add --task."
        )
    if "tasks" in settings:
        settings["tasks"] = [{"path": name, **about} if about else name for name in given["tasks"]]
    if "models" in settings:
        settings["models"] = list(settings["models"])
    return load_config(config_file, overrides=overrides, settings=settings)


@main.command()
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print tables and verdicts as JSON.")
@user_errors
def compare(out: Path | None, as_json: bool, **options: Any) -> None:
    """Compare zero-shot, in-context learning and tuning; say whether to prompt or to tune."""
    from adaptlens.studies import compare as study
    from adaptlens.terminal import Display, err, show_report

    config = _config(**options)
    with Display() as display:
        found = study.compare(config, out=out, reporter=display)
    _print_report(found.report, found.page, as_json, show_report)
    if found.outcome.failed:
        for cell, reason in found.outcome.failed:
            err().print(f"cell {cell} failed: {reason}", markup=False)
        raise RunIncomplete(
            f"{len(found.outcome.failed)} cells failed; `adaptlens status {found.run_folder}` "
            "lists them, the same command tries them again."
        )


def _print_report(report: Any, page: Path, as_json: bool, show: Callable[..., None]) -> None:
    from adaptlens.terminal import out

    if as_json:
        tables = {
            name: json.loads(table.to_json(orient="records", double_precision=15))
            for name, table in report.tables.items()
        }
        click.echo(json.dumps({"verdicts": report.verdicts, "tables": tables, "report": str(page)}))
        return
    console = out()
    show(report, console)
    console.print(f"report: {page}", markup=False)


@main.command()
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@user_errors
def plan(out: Path | None, as_json: bool, **options: Any) -> None:
    """Show what `compare` with the same options would do, and how much of it is done."""
    from adaptlens.studies import compare as study
    from adaptlens.terminal import out as console
    from adaptlens.terminal import plan_table

    config = _config(**options)
    planned = study.plan(config)
    rows = study.planned_work(planned, out)
    if as_json:
        click.echo(json.dumps(rows))
    else:
        console().print(plan_table(rows))


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@user_errors
def status(run: Path, as_json: bool) -> None:
    """Show where every cell of a run stands."""
    from adaptlens.store import Run
    from adaptlens.terminal import out, status_table

    opened = Run.open(run)
    found = opened.status()
    names = {spec_id: _cell_name(opened, spec_id) for spec_id in opened.cells()}
    rows = [
        {"cell": c.id, "name": names[c.id], "state": c.state, "host": c.host, "pid": c.pid,
         "error": c.error}
        for c in found.cells
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps({"counts": found.counts, "cells": rows}))
    else:
        out().print(status_table(rows, found.counts))


def _cell_name(run: Any, cell: str) -> str:
    spec = json.loads((run.cell_folder(cell) / "spec.json").read_text())
    draws = spec["draws"]
    span = "" if draws == [-1] else f" draws {draws[0]}-{draws[-1]}"
    return f"{spec['model']['name']} {spec['task']['name']} {spec['adaptation']['label']}{span}"


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print tables and verdicts as JSON.")
@user_errors
def report(run: Path, as_json: bool) -> None:
    """Make tables, figures and page again from what a run holds; needs no model."""
    from adaptlens.store import Run
    from adaptlens.studies import compare as study
    from adaptlens.terminal import show_report

    found, page = study.write_report(Run.open(run))
    _print_report(found, page, as_json, show_report)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@user_errors
def check(run: Path, as_json: bool) -> None:
    """Verify every file of a run against its digest."""
    from adaptlens.store import Run

    opened = Run.open(run)
    problems = opened.check()
    if as_json:
        found = [{"cell": p.cell, "file": p.file, "message": p.message} for p in problems]
        click.echo(json.dumps({"cells": len(opened.cells()), "problems": found}))
    else:
        for problem in problems:
            click.echo(f"{problem.cell} {problem.file}: {problem.message}")
        if not problems:
            click.echo(f"{len(opened.cells())} cells, no problem found")
    if problems:
        click.echo(
            f"error: {len(problems)} problems in '{run}'; the same `adaptlens compare` clears what "
            "an interrupted process left; remove a damaged cell to have it made anew.",
            err=True,
        )
        sys.exit(2)


@main.group()
def tasks() -> None:
    """List the bundled tasks, or show what a task holds."""


@tasks.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
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


@tasks.command("show")
@click.argument("name")
@click.option("--input", "input_column", metavar="COLUMN", help="Column with the texts.")
@click.option("--target", "target_column", metavar="COLUMN", help="Column with the answers.")
@click.option("--choices", metavar="A,B,..", help="The answers there are.")
@click.option("--references", metavar="FILE", help="Line-aligned file of answers.")
@user_errors
def tasks_show(
    name: str,
    input_column: str | None,
    target_column: str | None,
    choices: str | None,
    references: str | None,
) -> None:
    """Show a task: splits, choices, examples, and what was done to the data."""
    from adaptlens import tasks as known

    task = known.load(
        name, input=input_column, target=target_column, choices=choices, references=references
    )
    click.echo(known.describe(task))


@main.group()
def zoo() -> None:
    """List, show, check and train the reference models."""


@zoo.command("list")
@user_errors
def zoo_list() -> None:
    """List the shipped models."""
    from adaptlens import zoo as shipped

    for name in shipped.names():
        click.echo(f"{name:<14} {shipped.card(name)['summary']}")


@zoo.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the card as JSON.")
@user_errors
def zoo_show(name: str, as_json: bool) -> None:
    """Show a model's card: data, exposures, seed, curve, limits, held-out check."""
    from adaptlens import zoo as shipped

    if as_json:
        click.echo(json.dumps(shipped.card(name)))
    else:
        click.echo((shipped.folder(name) / "README.md").read_text(encoding="utf-8"))


@zoo.command("check")
@click.argument("name", default="reference")
@click.option("--queries", default=200, show_default=True, help="Queries per task family.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@user_errors
def zoo_check(name: str, queries: int, as_json: bool) -> None:
    """Run the held-out check: labels never paired in pretraining, and translation."""
    from adaptlens.terminal import check_table, out
    from adaptlens.zoo.check import check as run_check

    found = run_check(name, queries=queries)
    if as_json:
        click.echo(json.dumps(found))
    else:
        out().print(check_table(found))


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
    """Pretrain a reference model from scratch, with checkpoints; resumes after a kill."""
    from adaptlens.terminal import training_bar
    from adaptlens.zoo.pretrain import train

    folder = out or Path(f"zoo-{name}-{seed}")
    with training_bar(name) as progress:
        made = train(name, seed=seed, out=folder, device=device, progress=progress)
    click.echo(str(made))
