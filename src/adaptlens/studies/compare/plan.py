"""The main job: prompt or tune? A grid of adaptations over one model's and one task's draws."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.adapt.steps import usual_steps
from adaptlens.cells import Cell, Component, Study, cut, resolve, task_digest
from adaptlens.engines import Outcome, Reporter
from adaptlens.errors import UserError
from adaptlens.models.identity import has_chat_template, identify
from adaptlens.prompts import render, selection
from adaptlens.store import Run
from adaptlens.studies.compare.analyse import analyse
from adaptlens.studies.compare.config import CompareConfig, compare_config
from adaptlens.studies.driver import carry_out
from adaptlens.studies.least import check_items
from adaptlens.studies.running import Silent, load_task, progress, shown_names, write_tables
from adaptlens.tasks import templates
from adaptlens.types import Task

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.studies.compare.page import Report

TUNING = ("it", "sl", "full")

BATCH = 8
UNTUNED = (
    "nothing is tuned: no number of shots is above 0, and tuning takes as many examples as there "
    "are shots unless --sizes says how many"
)
RATE_TIMES = (0.25, 1.0, 4.0)
"""How tuning is done where the settings do not say: see docs/methods.md, section 9."""


@dataclass(frozen=True)
class Comparison:
    """What `prompt_or_tune` found: a verdict per task and model, tables, and the page."""

    report: "Report"
    outcome: Outcome
    run_folder: Path
    page: Path

    @property
    def verdicts(self) -> list[str]:
        """One line per task and model."""
        return [verdict["line"] for verdict in self.report.verdicts]

    @property
    def accuracy(self) -> "pd.DataFrame":
        """Scores of every condition with intervals, one row a number."""
        return self.report.tables["accuracy"]

    @property
    def differences(self) -> "pd.DataFrame":
        """Paired differences between conditions with tests, one row a pair."""
        return self.report.tables["differences"]

    @property
    def break_even(self) -> "pd.DataFrame":
        """From how many queries on tuning costs less than prompting."""
        return self.report.tables["break_even"]


def plan(config: CompareConfig) -> Study:
    """Return every cell the comparison needs, each with all its draws.

    Raises:
        UserError: an unknown model or task, fewer than two test items, or more examples asked for
            than the training split holds.
    """
    loaded = [load_task(settings, config) for settings in config.tasks]
    for task in loaded:
        check_items(task)
    cells = []
    digests = {}
    for name, shown in shown_names(config.models).items():
        model = identify(name, dtype=config.dtype, chat=config.chat, quantize=config.quantize)
        model["name"] = shown
        offered = has_chat_template(name)
        for plain in loaded:
            task = _templated(plain, config, bool(plain.instruction) if model["chat"] else offered)
            identity = task_digest(task)
            digests[identity] = task
            _check_sizes(task, config)
            described = {
                "name": task.name,
                "digest": identity,
                "kind": task.kind,
                "queries": len(task.test),
                "seed": config.seed,
            }
            measurements = tuple(resolve("measurement", m)[0] for m in ("behaviour", "cost"))
            for component, made in _adaptations(config, task):
                draws = tuple(range(config.draws)) if _uses_draws(component) else (-1,)
                cell = Cell(
                    model, described, component, made.label, measurements, draws, config.seed
                )
                cells += cut(cell, made.draws_per_cell)
    notes = (UNTUNED,) if config.tuning and not config.tuning_sizes else ()
    return Study("compare", asdict(config), tuple(cells), digests, notes)


def _templated(task: Task, config: CompareConfig, chat: bool) -> Task:
    """Return the task with the templates it is read and tuned under: those given, or usual ones.

    Without its validation split, which a true few-shot setting does not have.
    """
    if config.true_few_shot:
        task = replace(task, validation=())
    if task.templates:
        return task
    usual = templates.usual(task, chat=chat)
    if config.num_templates > len(usual):
        raise UserError(
            f"num_templates {config.num_templates}: task '{task.name}' has {len(usual)} usual "
            "templates; ask for fewer, or give your own with --template."
        )
    return replace(task, templates=usual[: config.num_templates])


def _check_sizes(task: Task, config: CompareConfig) -> None:
    largest = max((*config.shots, *config.tuning_sizes), default=0)
    if largest > len(task.train):
        raise UserError(
            f"{largest} examples were asked for, but the training split of task '{task.name}' has "
            f"{len(task.train)}; ask for at most {len(task.train)}, or give more data."
        )


def _uses_draws(component: Component) -> bool:
    retrieved = component.arguments.get("selection") in selection.RETRIEVED
    drawn = component.name != "best_prompt" or component.arguments["examples"]
    return component.name != "zero_shot" and not retrieved and bool(drawn)


def _adaptations(config: CompareConfig, task: Task) -> list[tuple[Component, Any]]:
    """Return the grid: prompts with every number of shots, each way of tuning at every size."""
    found = []
    for shots in config.shots:
        if shots == 0:
            found.append(resolve("adaptation", "zero_shot"))
        else:
            found.append(
                resolve(
                    "adaptation",
                    "icl",
                    examples=shots,
                    selection=config.selection,
                    seed=config.seed,
                    on_overflow=config.on_overflow,
                )
            )
    drawn = "random" if config.selection in selection.RETRIEVED else config.selection
    for shots in config.shots if _searches(config, task) else ():
        if not (config.true_few_shot and shots < 2):
            found.append(
                resolve(
                    "adaptation",
                    "best_prompt",
                    examples=shots,
                    selection=drawn,
                    seed=config.seed,
                    reads=config.search_reads,
                    draw_reads=config.search_draw_reads,
                    true_few_shot=config.true_few_shot,
                    on_overflow=config.on_overflow,
                    retrieval="embedding" if config.selection == "embedding" else "similar",
                )
            )
    for name in config.tuning:
        for size in config.tuning_sizes:
            given = _recipe(name, size, config, task)
            found.append(
                resolve(
                    "adaptation", name, examples=size, selection=drawn, seed=config.seed, **given
                )
            )
    return found


def _recipe(name: str, size: int, config: CompareConfig, task: Task) -> dict[str, Any]:
    """Return how to tune in one way on so many examples, what the settings do not say filled in.

    Where there is a validation split, rates and steps are chosen on it; in a true few-shot setting,
    on the examples themselves, if there are two. LoRA alone chooses steps: fewer are a stop on the
    way of more.
    """
    chooses = size >= 2 if config.true_few_shot else bool(task.validation)
    usual: dict[str, Any] = {"batch": BATCH, "true_few_shot": config.true_few_shot}
    if chooses:
        usual["rate_times"] = RATE_TIMES
    if chooses and name != "full":
        most = usual_steps(size, config.tune.get("batch", BATCH))
        usual["steps"] = (most // 3, most)
    given = {**usual, **{key: value for key, value in config.tune.items() if value is not None}}
    if name == "full":
        lora = ("rank", "alpha", "targets", "dropout")
        given = {key: value for key, value in given.items() if key not in lora}
    return given


def _searches(config: CompareConfig, task: Task) -> bool:
    """Return whether prompts are searched: for choices, with labels to choose by."""
    return config.search and task.kind == "choice" and bool(task.validation or config.true_few_shot)


def planned_work(study: Study, out: str | Path | None) -> list[dict[str, Any]]:
    """Return one row per condition: draws wanted and done, models to tune, prompts to read."""
    rows = []
    for one in progress(study, out):
        cell, left = one.cells[0], one.draws - one.draws_done
        task = study.tasks[cell.task["digest"]]
        rows.append(
            {
                **one.named,
                **one.counted,
                "variants_to_tune": left if cell.adaptation.name in TUNING else 0,
                "prompts": left * (len(task.test) + len(task.validation)),
                "prompt_characters": _prompt_characters(cell, task),
            }
        )
    return rows


def _prompt_characters(cell: Cell, task: Task) -> float:
    """Return the mean length of the first ten prompts of draw 0, in the plain layout."""
    examples = int(cell.adaptation.arguments.get("examples", 0))
    shown = examples if cell.adaptation.name == "icl" else 0
    demos = selection.demonstrations(task, 0, shown, seed=cell.seed)
    with_instruction = cell.adaptation.name != "sl"
    sizes = [
        len(render.render(task, demos, query, instruction=with_instruction).text)
        for query in task.test[:10]
    ]
    return sum(sizes) / max(1, len(sizes))


def prompt_or_tune(
    model: str | list[str] = "reference",
    task: Any = "sentiment-novel",
    *,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Comparison:
    """Compare the ways of adapting a model to a task, and say whether to prompt or to tune.

    Args:
        model: hub id, local folder or zoo name; a list compares several.
        task: bundled name, path, "hf:NAME[:CONFIG]" or lm-evaluation-harness YAML; a mapping with
            "path" and further settings (input, target, choices); a list of these.
        out: the run folder; the same call continues it, a larger one extends it.
        reporter: who is told of progress; nobody by default.
        settings: everything else a config file may hold (shots, tuning, sizes, draws, queries,
            selection, seed, dtype, device, tune, prices, margin, ...).

    Raises:
        UserError: anything the caller can fix.
        RunIncomplete: some cells failed; the rest is on disk.
    """
    config = compare_config(
        models=[model] if isinstance(model, str) else list(model),
        tasks=list(task) if isinstance(task, list | tuple) else [task],
        **settings,
    )
    return compare(config, out=out, reporter=reporter or Silent())


def compare(config: CompareConfig, *, out: str | Path | None, reporter: Reporter) -> Comparison:
    """Plan, run, analyse and report one comparison."""
    study = plan(config)
    report, page, outcome, run = carry_out(
        study, out, config, reporter, config.models, write_report
    )
    return Comparison(report, outcome, run.folder, page)


def write_report(run: Run) -> tuple["Report", Path]:
    """Analyse what is stored and write tables, figures and page; needs no model and no torch."""
    from adaptlens.studies.compare.page import write

    found, answers = analyse(run)
    write_tables(run, {**found.tables, "answers": answers})
    return found, write(found, run.folder / "report.html")
