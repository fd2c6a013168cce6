"""The command line: parse, call, print. Data to stdout, talk to stderr; exit 0, 1 or 2."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from adaptlens import __version__, registry
from adaptlens.cli.bundled import tasks, zoo
from adaptlens.cli.catalog import models
from adaptlens.cli.export_command import export
from adaptlens.cli.lm_eval_command import lm_eval
from adaptlens.cli.options import Commands, SettingsCommand, json_option, track_option, user_errors
from adaptlens.cli.settings_list import settings
from adaptlens.cli.viewing import view
from adaptlens.errors import RunIncomplete, UserError, unknown
from adaptlens.formatting import counted, say


class Studies(Commands):
    """The project's own studies, and those that other packages register."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all studies."""
        return [*super().list_commands(ctx), *registry.others("study")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a study; another package's has the options it has settings for."""
        if cmd_name not in registry.others("study"):
            return super().get_command(ctx, cmd_name)
        return _study_command(cmd_name)


def _study_command(name: str) -> click.Command:
    try:
        studied = registry.resolve("study", name)
    except UserError as error:
        # A package that cannot be used must not take the help of the others with it.
        return _unusable(name, str(error))

    @click.command(name, cls=SettingsCommand, study=name, help=studied.question)
    @json_option("claims and tables as JSON")
    @track_option
    @user_errors
    def command(out: Path | None, as_json: bool, track: str | None, **options: Any) -> None:
        _carry_out(name, out, as_json, track, options)

    return command


def _unusable(name: str, problem: str) -> click.Command:
    @click.command(name, help=problem)
    @user_errors
    def command() -> None:
        raise UserError(problem)

    return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__)
def main() -> None:
    """Prompt or tune? Compare the ways of adapting a causal language model.

    Start with: adaptlens compare --model reference --task sentiment-novel --shots 0,4,16
    """


NOT_PASSED = 3
"""Exit code where a gate was not passed."""


@main.command(cls=SettingsCommand, study="compare")
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write what became of each --gate as a JUnit report.",
)
@json_option("tables and verdicts as JSON")
@track_option
@user_errors
def compare(
    out: Path | None, as_json: bool, junit: Path | None, track: str | None, **options: Any
) -> None:
    """Compare zero-shot, in-context learning and tuning; say whether to prompt or to tune."""
    from adaptlens.cli.settings_options import study_config
    from adaptlens.cli.terminal import Display
    from adaptlens.store import write_atomically
    from adaptlens.studies.compare import gates
    from adaptlens.studies.compare.plan import compare as run_compare

    _check_tracker(track)
    config = study_config("compare", **options)
    if junit is not None and not config.gates:
        raise UserError("--junit was given without a --gate; add one, such as 'mine >= base - 1'.")
    with Display() as display:
        found = run_compare(config, out=out, reporter=display)
    _print_report(found.report, found.page, as_json)
    _track(track, found.run_folder, found.report, found.page)
    if junit is not None:
        write_atomically(junit, gates.junit(found.report.gates()))
    _raise_failed(found.outcome.failed, found.run_folder)
    if said := gates.not_passed(found.report.gates()):
        say(said, talk=True)
        sys.exit(NOT_PASSED)


@main.group(cls=Studies)
def study() -> None:
    """Carry out a study of what adaptation does to a model; `plan --study` shows it first."""


@study.command(cls=SettingsCommand, study="convergence")
@json_option("claims and tables as JSON")
@track_option
@user_errors
def convergence(out: Path | None, as_json: bool, track: str | None, **options: Any) -> None:
    """Does in-context learning do to hidden states what tuning does?

    Compares the states of every layer under zero-shot, in-context learning and tuning, with
    controls; says which claims of arXiv 2311.10367 hold for the model and task.
    """
    _carry_out("convergence", out, as_json, track, options)


@study.command(cls=SettingsCommand, study="implicit")
@json_option("claims and tables as JSON")
@track_option
@user_errors
def implicit(out: Path | None, as_json: bool, track: str | None, **options: Any) -> None:
    """Does in-context learning find a hidden shortcut that tuning misses, and by which circuits?

    Learns from items in which a shortcut holds or fails, reads both kinds, and patches heads and
    feed-forward parts under zero-shot, in-context learning and tuning; says which claims of arXiv
    2410.04691 hold for the model. --task names a task of your own, of which circuits are studied.
    """
    _carry_out("implicit", out, as_json, track, options)


@study.command(cls=SettingsCommand, study="limits")
@json_option("claims and tables as JSON")
@track_option
@user_errors
def limits(out: Path | None, as_json: bool, track: str | None, **options: Any) -> None:
    """Does tuned performance follow what the base model does in context?

    Tunes every base model on mixtures of tasks, reads tuned and base models in five systems, and
    says which claims of arXiv 2501.08716 hold. Without --task the tasks are the microworld's; one
    of your own is given with its cluster: --task nli=rte.tsv.
    """
    _carry_out("limits", out, as_json, track, options)


def _carry_out(
    name: str, out: Path | None, as_json: bool, track: str | None, options: Mapping[str, Any]
) -> None:
    from adaptlens.cli.settings_options import study_config

    _check_tracker(track)
    config = study_config(name, **options)
    from adaptlens.cli.terminal import Display

    studied = registry.resolve("study", name)
    with Display() as display:
        found = studied.run_study(config, out=out, reporter=display)
    _print_report(found.report, found.page, as_json)
    _track(track, found.run_folder, found.report, found.page)
    _raise_failed(found.outcome.failed, found.run_folder)


def _check_tracker(track: str | None) -> None:
    """Refuse a tracker that is not there before anything is computed."""
    if track is not None:
        from adaptlens.studies import trackers

        trackers.check(track)


def _track(track: str | None, run: Path, report: Any, page: Path) -> None:
    if track is not None:
        from adaptlens.store import Run
        from adaptlens.studies import trackers

        trackers.track(track, Run.open(run), report, page)
        say(f"told {track} of {run}", talk=True)


def _raise_failed(failed: Sequence[tuple[str, str]], run: Path) -> None:
    from adaptlens.cli.terminal import err

    if failed:
        for cell, reason in failed:
            err().print(f"cell {cell} failed: {reason}")
        raise RunIncomplete(
            f"{counted(len(failed), 'cell')} failed; `adaptlens status {run}` says why, the same "
            "command tries again."
        )


def _print_report(report: Any, page: Path, as_json: bool = False, markdown: bool = False) -> None:
    if as_json:
        import pandas as pd

        said = "verdicts" if hasattr(report, "verdicts") else "claims"
        tables = {name: _json(table, "records") for name, table in report.tables.items()}
        findings = _json(pd.Series(getattr(report, said), dtype=object), "values")
        partial = report.summary().partial
        first = {"partial": {**asdict(partial), "line": partial.line}} if partial else {}
        click.echo(json.dumps({**first, said: findings, "tables": tables, "report": str(page)}))
    elif markdown:
        from adaptlens.report.markdown import document

        click.echo(document(report.summary()), nl=False)
    else:
        from adaptlens.cli.terminal import out, show

        console = out()
        show(report.summary(), console)
        console.print(f"report: {page}")


def _json(frame: Any, orient: str) -> Any:
    """Return a frame in JSON's types: null for a number that is none."""
    return json.loads(frame.to_json(orient=orient, double_precision=15))


@main.command(cls=SettingsCommand, study="")
@click.option(
    "--study",
    "name",
    default="compare",
    show_default=True,
    metavar="NAME",
    shell_complete=lambda ctx, param, incomplete: [
        name for name in registry.names("study") if name.startswith(incomplete)
    ],
    help="compare, or a study of `adaptlens study --help`.",
)
@click.option(
    "--trial/--no-trial",
    default=True,
    help="Try out the models for some seconds each, to predict time and memory.",
)
@click.option("--again", is_flag=True, help="Try out models that an earlier plan has tried, too.")
@click.option(
    "--detect",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="POINTS",
    help="Also say how many draws and queries a comparison needs to find a difference of so many "
    "points.",
)
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="For --detect: a comparison that was made, whose draws and answers vary as those to come "
    "will; without it, as those of a small real model did.",
)
@click.option(
    "--curve",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="Also say which numbers of examples a comparison can have in so many minutes, 2, 4, 8, "
    "... as far as data and context go: the learning curve that there is time for.",
)
@json_option("the plan as JSON")
@user_errors
def plan(
    name: str,
    trial: bool,
    again: bool,
    detect: float | None,
    like: Path | None,
    curve: float | None,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show what `compare`, or a study, with the same options would do, and how much is done.

    Predicts seconds, memory and disk of all cells within a factor of two, on one device; several
    workers divide the seconds.
    """
    from adaptlens.cli.planned import curve_of, designs_of, plan_table
    from adaptlens.cli.settings_options import study_config
    from adaptlens.cli.terminal import err
    from adaptlens.cli.terminal import out as console
    from adaptlens.studies.stored import task_notes

    if name not in registry.names("study"):
        raise unknown("study", name, registry.names("study"))
    config = study_config(name, **options)
    planner = registry.resolve("study", name)
    planned = planner.plan(config)
    rows = planner.planned_work(planned, out)

    def timed(study: Any, asked: Any, these: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        from adaptlens.studies.progress import foreseen

        return foreseen(
            study, asked, these, lambda said: err().print(said, markup=False), again=again
        )

    if trial and rows:
        rows = timed(planned, config, rows)
    for note in (*planned.notes, *task_notes(planned.tasks.values())):
        err().print(f"note: {note}")
    found = designs_of(name, config, planned, detect, like)
    sizes = curve_of(name, config, curve, planner.plan, timed if trial else None)
    if as_json:
        further: dict[str, Any] = {"detect": {one.pair: one.rows for one in found}} if found else {}
        further |= {"curve": sizes.rows} if sizes else {}
        click.echo(json.dumps({"plan": rows, **further} if further else rows))
        return
    console().table(plan_table(rows))
    for table in (*(one.table() for one in found), *([sizes.table()] if sizes else [])):
        console().table(table)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--device", metavar="WHERE", help="Instead of where the study was to run.")
@click.option("--attached", is_flag=True, hidden=True)
@json_option("what was done as JSON")
@user_errors
def work(run: Path, device: str | None, attached: bool, as_json: bool) -> None:
    """Help to finish a run that another command has planned, from here or any machine.

    Takes a base model that no worker has, does its cells, then takes the next; ends when all that
    is planned is done. The study's own command makes the tables and the page.
    """
    from adaptlens.cli.terminal import Display
    from adaptlens.engines import processes, worker

    if attached:
        processes.end_with_parent()
    with Display() as display:
        outcome = worker.work(run, display, device=device)
    if as_json:
        failed = [{"cell": cell, "reason": reason} for cell, reason in outcome.failed]
        click.echo(json.dumps({"finished": outcome.finished, "failed": failed}))
    _raise_failed(outcome.failed, run)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@json_option()
@user_errors
def status(run: Path, as_json: bool) -> None:
    """Show where every cell of a run stands."""
    from adaptlens.cli.planned import as_planned, status_table
    from adaptlens.report.printer import out
    from adaptlens.store import Run

    opened = Run.open(run)
    found = opened.status()
    rows = [
        {"cell": c.id, "name": name, "state": c.state, "host": c.host, "pid": c.pid,
         "error": c.error}
        for c, name in as_planned(opened, found.cells)
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps({"counts": found.counts, "cells": rows}))
    else:
        out().table(status_table(rows, found.counts))
    damaged = [cell.error for cell in found.cells if cell.state == "damaged"]
    if damaged:
        others = f" ({counted(len(damaged) - 1, 'more cell')} damaged)" if damaged[1:] else ""
        raise UserError(f"{damaged[0]}{others}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Analyze otherwise, where the study allows it: claim.measure=cosine.",
)
@json_option("tables and verdicts as JSON")
@click.option("--markdown", is_flag=True, help="Print verdicts and main tables for GitHub.")
@click.option(
    "--lm-eval-out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also write results and samples of every arm as lm-evaluation-harness does.",
)
@track_option
@user_errors
def report(
    run: Path,
    overrides: tuple[str, ...],
    as_json: bool,
    markdown: bool,
    lm_eval_out: Path | None,
    track: str | None,
) -> None:
    """Make tables, figures and page again from what a run holds; needs no model."""
    if as_json and markdown:
        raise UserError("--json and --markdown were given; expected one of them.")
    from adaptlens.config.reading import reanalyzed
    from adaptlens.store import Run

    _check_tracker(track)
    opened = Run.open(run)
    name, settings = _study_of(opened)
    schema = registry.resolve("settings", name)
    if overrides and not schema.analysis:
        raise UserError(
            f"--set {overrides[0]}: the report of a run of '{name}' is made with its own settings; "
            "leave out --set."
        )
    if overrides:
        reanalyzed(schema, settings, overrides)
    writer = registry.resolve("study", name)
    if lm_eval_out is not None:
        from adaptlens.studies.compare.lm_eval_results import write_lm_eval

        files = write_lm_eval(opened, lm_eval_out)
        say(f"{counted(len(files), 'results file')} written to {lm_eval_out}", talk=True)
    changed = {"overrides": overrides} if overrides else {}
    found, page = writer.write_report(opened, **changed)
    _print_report(found, page, as_json, markdown)
    _track(track, run, found, page)


def _study_of(run: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of the study a run belongs to, and its settings."""
    stored = run.read_json("study.json")
    if stored is None:
        raise UserError(
            f"run '{run.folder}' holds no study (it has no study.json); run `adaptlens compare "
            f"--out {run.folder}` first."
        )
    if stored["name"] not in registry.names("study"):
        problem = unknown("study", str(stored["name"]), registry.names("study"))
        raise UserError(f"run '{run.folder}': {problem}")
    return stored["name"], stored["settings"]


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@json_option()
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
            place = f"{problem.cell} {problem.file}" if problem.cell else problem.file
            say(f"{place}: {problem.message}")
        if not problems:
            click.echo(f"{counted(len(opened.cells()), 'cell')}, no problem found")
    if problems:
        click.echo(
            f"error: {counted(len(problems), 'problem')} in '{run}'; run the command that made the "
            "run again: it clears what interrupted processes left and makes anew what is damaged. "
            "Links, foreign files and changed adapters it leaves: remove those, or their cell.",
            err=True,
        )
        sys.exit(2)


main.add_command(export)
main.add_command(lm_eval)
main.add_command(models)
main.add_command(settings)
main.add_command(tasks)
main.add_command(view)
main.add_command(zoo)
