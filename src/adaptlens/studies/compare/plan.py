"""The main job: prompt or tune? A grid of adaptations over one model's and one task's draws."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens import registry
from adaptlens.adapt.families import family_of
from adaptlens.cells import Cell, Study
from adaptlens.engines import Outcome, Reporter
from adaptlens.errors import UserError, unknown
from adaptlens.models.arm_files import ArmFiles
from adaptlens.models.identity import has_chat_template
from adaptlens.prompts import render, selection
from adaptlens.report.summary import Finding
from adaptlens.store import Run
from adaptlens.studies import own_arms
from adaptlens.studies.compare import at_server, gates
from adaptlens.studies.compare.analyze import analyze
from adaptlens.studies.compare.best_first import best_first
from adaptlens.studies.compare.config import COMPARISON, CompareConfig
from adaptlens.studies.compare.priced import check_prices
from adaptlens.studies.driver import carry_out, write_summary, write_tables
from adaptlens.studies.findings import Findings
from adaptlens.studies.least import check_items
from adaptlens.studies.other_items import with_others
from adaptlens.studies.progress import progress
from adaptlens.studies.python_call import carried_out
from adaptlens.studies.wanted import (
    Measurement,
    Wanted,
    load_tasks,
    models_of,
    study_of,
    takes,
    those_taken,
)
from adaptlens.tasks import templates
from adaptlens.types import NO_DRAWS, ModelSpec, Task

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.report.images import Wanted as Figure
    from adaptlens.studies.compare.page import Report

TUNING = ("it", "sl", "distil", "ia2", "ia2-it", "soft-prompt", "full")

BATCH = 8
MEASURED: tuple[Measurement, ...] = (("behavior", {}), ("cost", {}))
UNTUNED = (
    "nothing is tuned: no number of shots is above 0, and tuning takes as many examples as there "
    "are shots unless --sizes says how many"
)
LR_MULTIPLIERS = (0.25, 1.0, 4.0)
"""How tuning is done where the settings do not say: see docs/methods.md, section 9."""


@dataclass(frozen=True, repr=False)
class Comparison(Findings):
    """What `prompt_or_tune` found: a verdict per task and model, tables, and the page.

    It prints as a few lines, and shows itself in a notebook.
    """

    report: "Report"
    outcome: Outcome
    run_folder: Path
    page: Path

    @property
    def verdicts(self) -> list[str]:
        """One line per task and model."""
        return [verdict["line"] for verdict in self.report.verdicts]

    @property
    def scores(self) -> "pd.DataFrame":
        """Every arm's score with its interval, the best first: to be read; see `accuracy`."""
        return best_first(self.tables)

    @property
    def in_short(self) -> "pd.DataFrame":
        """The same as `scores`."""
        return self.scores

    @property
    def gates(self) -> "pd.DataFrame":
        """Each gate, whether it was passed, and the numbers behind that."""
        return self.report.tables["gates"]

    @property
    def accuracy(self) -> "pd.DataFrame":
        """Scores of every condition by every rule, one row a number, with all there is to know."""
        return self.report.tables["accuracy"]

    @property
    def differences(self) -> "pd.DataFrame":
        """Paired differences between conditions with tests, one row a pair."""
        return self.report.tables["differences"]

    @property
    def break_even(self) -> "pd.DataFrame":
        """From how many queries on tuning costs less than prompting."""
        return self.report.tables["break_even"]

    def _findings(self) -> list[Finding]:
        return [
            Finding(_about(one), one["state"], "" if one.get("advice") else _after_state(one))
            for one in self.report.verdicts
        ]

    def _words(self) -> list[str]:
        several = len(self.report.verdicts) > 1
        said = [
            f"{_about(one)}: {one[key]}" if several else str(one[key])
            for one in self.report.verdicts
            for key in ("advice", "break_even")
            if one.get(key)
        ]
        return [*said, *self.report.gate_lines()]

    def _numbers(self) -> list[str]:
        scores = self.scores
        if scores.columns[0] != "arm":
            return []
        every = zip(scores["arm"], scores.iloc[:, 1], strict=True)
        return [f"{scores.columns[1]}: " + "; ".join(f"{arm} {score}" for arm, score in every)]

    def _figures(self) -> "Iterator[Figure]":
        from adaptlens.studies.compare.page import wanted

        figures = [*wanted(self.report)]
        yield from sorted(figures, key=lambda figure: figure.name != "templates")


def _about(verdict: Mapping[str, Any]) -> str:
    return f"{verdict['model']}, {verdict['task']}"


def _after_state(verdict: Mapping[str, Any]) -> str:
    return str(verdict["line"]).removeprefix(verdict["state"])


def plan(config: CompareConfig) -> Study:
    """Return every cell the comparison needs, each with all its draws.

    Raises:
        UserError: an unknown model or task, fewer than two test items, or more examples asked for
            than the training split holds.
    """
    if (config.also or config.ood) and 0 not in config.shots:
        raise UserError(
            f"shots {', '.join(map(str, config.shots))}: what changes elsewhere (--also, --ood) is "
            "held against zero-shot; add 0 to --shots."
        )
    check_prices(config.prices, config.models)
    loaded = [
        with_others(
            task,
            also=config.also,
            ood=config.ood,
            queries=config.queries,
            seed=config.seed,
        )
        for task in load_tasks(config.tasks, config)
    ]
    for task in loaded:
        check_items(task)
    at_server.connect(config)
    arms = own_arms.found(config.arms, config.models)
    asked = [gates.parse(text) for text in config.gates]
    wanted: list[tuple[ModelSpec, list[Wanted]]] = []
    for name, model in models_of(config.models, config).items():
        offered = has_chat_template(name)
        for plain in loaded:
            task = _templated(plain, config, bool(plain.instruction) if model.chat else offered)
            _check_sizes(task, config)
            conditions = at_server.asked(name, [*_wanted(config, task, arms)])
            labels = [one.label for one in conditions]
            gates.check(
                asked, [*labels, *(f"best-{one}" for one in labels if not one.startswith("best-"))]
            )
            wanted.append((model, conditions))
    untuned = config.tuning and not config.tuning_sizes and not config.arms
    notes = (*((UNTUNED,) if untuned else ()), *at_server.notes(config))
    return study_of("compare", config, wanted, notes)


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


def _wanted(config: CompareConfig, task: Task, arms: Mapping[str, ArmFiles]) -> Iterator[Wanted]:
    """Yield the grid: prompts with every number of shots, each way of tuning at every size.

    And the arms that were brought, by name.
    """
    drawn = "random" if config.selection in selection.RETRIEVED else config.selection

    def one(name: str, draws: bool = True, **arguments: Any) -> Wanted:
        numbers = tuple(range(config.draws)) if draws else NO_DRAWS
        further: list[Measurement] = [(measured, {}) for measured in config.measurements]
        measured = (*MEASURED, *_elsewhere(task, family_of(name)), *further)
        return Wanted(task, name, arguments, numbers, measured)

    common: dict[str, Any] = {"seed": config.seed, "on_overflow": config.on_overflow}
    for shots in config.shots:
        if shots == 0:
            yield one("zero_shot", draws=False)
        else:
            asked = config.selection
            is_drawn = asked not in selection.RETRIEVED
            yield one("icl", is_drawn, examples=shots, selection=asked, **common)
    for shots in config.shots if _searches(config, task) else ():
        if not (config.true_few_shot and shots < 2):
            yield one(
                "best_prompt",
                draws=bool(shots),
                examples=shots,
                selection=drawn,
                reads=config.search_reads,
                draw_reads=config.search_draw_reads,
                true_few_shot=config.true_few_shot,
                retrieval="embedding" if config.selection == "embedding" else "similar",
                **common,
            )
    for name in config.tuning:
        for size in config.tuning_sizes:
            given = _how_to_tune(name, size, config, task)
            yield one(name, examples=size, selection=drawn, seed=config.seed, **given)
    for arm in own_arms.wanted(arms, task, controls=config.arm_controls):
        if arm.is_recorded:
            yield Wanted(task, arm.adaptation, arm.arguments, arm.draws, (("behavior", {}),))
        else:
            yield one(arm.adaptation, arm.drawn, **arm.arguments)
    settings = {**common, "selection": drawn, **config.tune}
    for other in config.adaptations:
        given = those_taken(other, settings)
        for size in _sizes(other, config):
            yield one(other, bool(size), **given, **({"examples": size} if size else {}))


def _elsewhere(task: Task, family: str) -> Iterator[Measurement]:
    """Yield the reading of what the task is not, where this way of adapting may change it.

    A prompt changes nothing that is read without it.
    """
    roles = tuple(dict.fromkeys(one.role for one in task.elsewhere))
    read = tuple(role for role in roles if role == "ood") if family == "prompt" else roles
    if read:
        yield "elsewhere", {"roles": read}


def _sizes(name: str, config: CompareConfig) -> tuple[int, ...]:
    """Return the numbers of examples that another package's adaptation is given; 0 for none.

    Raises:
        UserError: no package registers it.
    """
    known = registry.others("adaptation")
    if name not in known:
        raise unknown("adaptation of another package", name, known)
    if not takes(name, "examples"):
        return (0,)
    shown = tuple(k for k in config.shots if k)
    return config.tuning_sizes if family_of(name) == "tune" else shown


def _how_to_tune(name: str, size: int, config: CompareConfig, task: Task) -> dict[str, Any]:
    """Return how to tune in one way on so many examples, what the settings do not say filled in.

    Where there is a validation split, rates and steps are chosen on it; in a true few-shot setting,
    on the examples themselves, if there are two. All but full tuning choose steps: fewer are a stop
    on the way of more.
    """
    chooses = size >= 2 if config.true_few_shot else bool(task.validation)
    if name == "vector" and not chooses:
        raise UserError(
            f"--tuning vector: layer and strength are chosen on labeled items, and task "
            f"'{task.name}' has no validation split; give one, or --true-few-shot with at least 2 "
            "examples."
        )
    usual: dict[str, Any] = {
        "batch_size": BATCH,
        "true_few_shot": config.true_few_shot,
        "on_overflow": config.on_overflow,
        "unlabeled": config.unlabeled,
        "priming_steps": config.priming_steps,
        "num_virtual_tokens": config.num_virtual_tokens,
        "prompt_tuning_init": config.prompt_tuning_init,
        "prompt_tuning_init_text": config.prompt_tuning_init_text,
    }
    if chooses:
        usual["lr_multipliers"] = LR_MULTIPLIERS
    if chooses and name != "full" and takes(name, "max_steps"):
        given = those_taken(name, {**usual, **config.tune, "max_steps": None})
        most = registry.resolve("adaptation", name)(examples=size, **given).usual_steps
        usual["max_steps"] = (most // 3, most)
    return those_taken(name, {**usual, **config.tune})


def _searches(config: CompareConfig, task: Task) -> bool:
    """Return whether prompts are searched: for choices, with labels to choose by."""
    return config.search and task.kind == "choice" and bool(task.validation or config.true_few_shot)


def planned_work(study: Study, out: str | Path | None) -> list[dict[str, Any]]:
    """Return one row per condition: draws wanted and done, models to tune, prompts to read."""
    rows = []
    for one in progress(study, out):
        cell, left = one.cells[0], one.draws - one.draws_done
        task = study.tasks[cell.task.digest]
        rows.append(
            {
                **one.named,
                **_further(cell, study),
                **one.counted,
                "variants_to_tune": left if cell.adaptation.name in TUNING else 0,
                "prompts": left * (len(task.test) + len(task.validation)),
                "prompt_characters": _prompt_characters(cell, task),
            }
        )
    return rows


def _further(cell: Cell, study: Study) -> dict[str, str]:
    """Return what is measured of a condition, where more was asked for than usual."""
    if not study.settings["measurements"]:
        return {}
    return {"measured": " ".join(one.name for one in cell.measurements)}


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
    model: Any = "reference",
    task: Any = "sentiment-novel",
    *,
    tokenizer: Any = None,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Comparison:
    """Compare the ways of adapting a model to a task, and say whether to prompt or to tune.

    Args:
        model: hub id, local folder, GGUF file or zoo name; or a model of Transformers' that is
            loaded, with its `tokenizer`; a list compares several.
        task: bundled name, path, "hf:NAME[:CONFIG]" or lm-evaluation-harness YAML; a pandas
            DataFrame, a datasets.Dataset or DatasetDict, a list of dicts, any of these by split, or
            a `Task`; a mapping with "path" (any of these), "name" (of data) and how to read it; a
            list of tasks compares on each.
        tokenizer: of loaded models.
        out: the run folder; the same call continues it, a larger one extends it.
        reporter: who is told of progress; unless given, a line below a notebook's cell, or standard
            error.
        quiet: tell nobody.
        settings: how to read the task (input, target, choices, instruction, templates, ..., and
            the name of data), and everything else a config file may hold (shots, tuning, sizes,
            draws, queries, selection, seed, dtype, device, tune, prices, margin, ...).

    Raises:
        UserError: anything the caller can fix.
        RunIncomplete: some cells failed; the rest is on disk.
    """
    return carried_out(
        COMPARISON,
        compare,
        {"models": model, "task": task, **settings},
        tokenizer=tokenizer,
        out=out,
        reporter=reporter,
        quiet=quiet,
    )


def compare(config: CompareConfig, *, out: str | Path | None, reporter: Reporter) -> Comparison:
    """Plan, run, analyze and report one comparison."""
    study = plan(config)
    report, page, outcome, run = carry_out(study, out, config, reporter, write_report)
    return Comparison(report, outcome, run.folder, page)


def write_report(run: Run) -> tuple["Report", Path]:
    """Analyze what is stored and write tables, figures and page; needs no model and no torch."""
    from adaptlens.studies.compare.page import write

    found, answers = analyze(run)
    write_tables(run, {**found.tables, "answers": answers})
    write_summary(run, found.summary())
    return found, write(found, run.folder / "report.html")
