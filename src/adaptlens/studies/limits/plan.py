"""The study of limits: does tuned performance follow what the base model does in context?

Carries out Bigoulaeva et al. (arXiv 2501.08716) on any list of models: bases x mixtures x seeds are
tuned, five systems read the same items, and `analyze` says what bounds what.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptlens import tasks, telling
from adaptlens.adapt.families import family_of
from adaptlens.cells import Study
from adaptlens.engines import Reporter
from adaptlens.errors import UserError, unknown
from adaptlens.models import shape
from adaptlens.prompts.variations import READ, VARIATIONS, source
from adaptlens.store import Run
from adaptlens.studies.driver import Studied, carry_out, write_summary, write_tables
from adaptlens.studies.least import check_items
from adaptlens.studies.limits.analyze import ABOUT_FILE, analyze
from adaptlens.studies.limits.config import LADDER, LIMITS, LimitsConfig
from adaptlens.studies.progress import progress
from adaptlens.studies.python_call import carried_out
from adaptlens.studies.wanted import Measurement, Wanted, models_of, shown_names, study_of
from adaptlens.tasks import flan, microworld, mixtures
from adaptlens.types import NO_DRAWS, Task
from adaptlens.zoo.recipes import LADDER as LADDER_MODELS

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.report.images import Wanted as Figure
    from adaptlens.report.study_page import StudyReport

TRAINED_ITEMS = 512
"""Training items of each of the microworld's tasks; half of them may become rows of a mixture."""

HALVES = 4
"""Items of a task that are read at least: two in each half."""

EXPOSED = ("language", "odd-one-out")
"""The microworld's tasks and clusters that the exposure of the ladder's models concerns."""


class Limits(Studied):
    """What the study of limits found: claims, tables, scores, and the page."""

    @property
    def scores(self) -> "pd.DataFrame":
        """One row per model, mixture, seed, draw, system, variation, task and scoring."""
        return self.report.tables["scores"]

    def _figures(self) -> "Iterable[Figure]":
        from adaptlens.studies.limits.page import wanted

        return wanted(self.report)


def names_of(config: LimitsConfig) -> list[str]:
    """Return the names of the base models, "ladder" written out."""
    found: list[str] = []
    for name in config.models:
        found += list(LADDER_MODELS) if name == LADDER else [name]
    return list(dict.fromkeys(found))


def members_of(config: LimitsConfig) -> list[Task]:
    """Return the tasks that mixtures are made of and models are read on.

    Raises:
        UserError: a task is unknown or cannot be read, or a task to be held out is none of them.
    """
    if not config.tasks:
        found = [
            microworld.task(
                name, seed=config.seed, train=TRAINED_ITEMS, validation=0, test=config.queries
            )
            for names in microworld.clusters().values()
            for name in names
        ]
    else:
        found = []
        for source in config.tasks:
            given: dict[str, Any] = dict(source)
            path, cluster = given.pop("path"), given.pop("cluster", "")
            for name in flan.named(path) if flan.is_named(path) else (path,):
                with telling.slow(f"reading task '{name}'"):
                    loaded = tasks.load(name, seed=config.seed, **given)
                found.append(replace(loaded, cluster=cluster or loaded.cluster))
    known = [*(task.name for task in found), *dict.fromkeys(task.cluster for task in found)]
    for name in config.held_out:
        if name not in known:
            raise unknown("task or cluster to hold out", name, known)
    return found


def mixture_of(config: LimitsConfig, members: Sequence[Task], name: str) -> Task:
    """Return one of the mixtures as a task."""
    return mixtures.build(
        members,
        ablation=name,
        cap=config.cap,
        size=config.size,
        held_out=config.held_out,
        queries=config.queries,
        seed=config.seed,
    )


def plan(config: LimitsConfig) -> Study:
    """Return every cell the study needs, each with all its draws.

    Raises:
        UserError: an unknown model, task, mixture or variation, or fewer items than a task takes.
    """
    for variation in config.variations:
        if variation not in VARIATIONS:
            raise unknown("variation", variation, VARIATIONS)
    members = members_of(config)
    _check_members(config, members)
    wanted = [*_wanted(config, members)]
    models = models_of(names_of(config), config)
    return study_of("limits", config, ((model, wanted) for model in models.values()))


def _check_members(config: LimitsConfig, members: Sequence[Task]) -> None:
    """Refuse tasks without items to read in two halves, or without the examples that are shown."""
    clusters = dict(mixtures.clusters_of(members))
    generator = np.random.default_rng(0)
    for task in members:
        read = replace(task, test=task.test[: config.queries])
        check_items(read, HALVES, "reading a task in two halves")
        shown = len(task.train) - len(task.train) // 2
        if shown < config.shots:
            raise UserError(
                f"{config.shots} gold examples are shown before an item (--shots), but task "
                f"'{task.name}' has {shown} that are not trained on; give it more training items, "
                "or show fewer."
            )
        for variation in _read(config, "gold"):
            source(task.name, [*clusters], clusters, variation, generator)


def _wanted(config: LimitsConfig, members: Sequence[Task]) -> Iterator[Wanted]:
    """Yield the base systems, then what is tuned on every mixture."""
    built = {name: mixture_of(config, members, name) for name in config.mixtures}
    default = built["default"]
    clusters = {"clusters": mixtures.clusters_of(members), "seed": config.seed}

    def measured(*variations: str) -> tuple[Measurement, ...]:
        given = {"variations": variations, "semantic": config.encoder,
                 "pipeline": "pipeline" in config.systems}  # fmt: skip
        return (("systems", given),)

    if "base" in config.systems:
        yield Wanted(default, "base", {}, NO_DRAWS, measured(""))
    drawn = tuple(range(config.gold_draws))
    gold = {"examples": config.shots, **clusters}
    yield Wanted(default, "gold", gold, drawn, measured(*_read(config, "gold")))
    tune: dict[str, Any] = {**config.tune}
    for single in ("max_steps", "learning_rate"):
        tune[single] = tune[single][0] if tune.get(single) else None
    tune |= {"num_train_epochs": config.passes, "loss": config.loss, **clusters}
    tuned = ["regular"]
    if {"samplegen", "pipeline"} & {*config.systems}:
        tuned.append("samplegen")
    for name, mixture in built.items():
        main = name == "default"
        draws = tuple(range(config.draws if main else config.ablation_draws))
        for system in tuned if main else config.ablation_systems:
            varied = _read(config, system) if main else ("",)
            yield Wanted(mixture, f"{system}_tuned", tune, draws, measured(*varied))


def _read(config: LimitsConfig, system: str) -> tuple[str, ...]:
    """Return the variations that a system is read in, the plain one first.

    What writes its own examples is read as it is: every reading writes all of them anew.
    """
    if system == "samplegen":
        return ("",)
    return ("", *(v for v in config.variations if v in READ[system]))


def about(config: LimitsConfig) -> dict[str, Any]:
    """Return what the analysis has to know of models, tasks and mixtures, as JSON."""
    members = members_of(config)
    models = names_of(config)
    shown = shown_names(models)
    of_models = {shown[name]: shape.described(name) for name in models}
    varies = len({one["exposure"] for one in of_models.values()} - {""}) > 1
    return {
        "models": of_models,
        "exposed": list(EXPOSED) if varies and not config.tasks else [],
        "clusters": dict(mixtures.clusters_of(members)),
        "trained_on": {
            name: mixtures.trained_on(members, ablation=name, held_out=config.held_out)
            for name in config.mixtures
        },
    }


def planned_work(study: Study, out: str | Path | None) -> list[dict[str, Any]]:
    """Return one row per model and condition: draws wanted and done."""
    return [
        {
            **one.named,
            "queries": one.cells[0].task.queries,
            "tuned_models": one.draws if family_of(one.cells[0].adaptation.name) == "tune" else 0,
            **one.counted,
        }
        for one in progress(study, out)
    ]


def limits(
    model: Any = LADDER,
    task: Any = None,
    *,
    tokenizer: Any = None,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Limits:
    """Find out whether tuned performance follows what base models do in context.

    Args:
        model: hub id, local folder, GGUF file or zoo name, "ladder" for all of its; or a model of
            Transformers' that is loaded, with its `tokenizer`; a list of them.
        task: as for `prompt_or_tune`, those of a list with their "cluster"; unless given, tasks of
            the microworld.
        tokenizer: of loaded models.
        out: the run folder; the same call continues it, a larger one extends it.
        reporter: who is told of progress; unless given, a line below a notebook's cell, or standard
            error.
        quiet: tell nobody.
        settings: how to read the task, as for `prompt_or_tune`, and everything else a config file
            may hold (mixtures, systems, draws, ...).

    Raises:
        UserError: anything the caller can fix.
    """
    return carried_out(
        LIMITS,
        run_study,
        {"models": model, **({} if task is None else {"task": task}), **settings},
        tokenizer=tokenizer,
        out=out,
        reporter=reporter,
        quiet=quiet,
    )


def run_study(config: LimitsConfig, *, out: str | Path | None, reporter: Reporter) -> Limits:
    """Plan, run, analyze and report the study."""
    study = plan(config)
    report, page, outcome, run = carry_out(
        study,
        out,
        config,
        reporter,
        write_report,
        beside={ABOUT_FILE: about(config)},
    )
    return Limits(report, outcome, run.folder, page)


def write_report(run: Run, overrides: Sequence[str] = ()) -> tuple["StudyReport", Path]:
    """Analyze what is stored and write tables, figures and page; needs no model and no torch.

    Args:
        run: the run.
        overrides: "path=value" for settings of the analysis (claims).
    """
    from adaptlens.studies.limits.page import write

    found = analyze(run, overrides)
    write_tables(run, found.tables)
    write_summary(run, found.summary())
    return found, write(found, run.folder / "report.html")
