"""The study of implicit patterns: who finds a hidden shortcut, and by which circuits?

Carries out Yin et al. (arXiv 2410.04691) on any model, with balanced items, a plain condition, and
tests. `plan` lays out the cells, `plan_ablations` those that test the circuits found, and
`analyze` reads them.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens import tasks
from adaptlens.canonical import tagged_json
from adaptlens.cells import Study, task_digest
from adaptlens.circuits import export
from adaptlens.circuits.eap_graph import to_eap
from adaptlens.circuits.profiles import Circuit
from adaptlens.circuits.unit_sets import UnitSet
from adaptlens.engines import Reporter
from adaptlens.errors import UserError
from adaptlens.prompts import controls
from adaptlens.store import Run, make_folder, write_atomically
from adaptlens.studies import own_arms, progress
from adaptlens.studies.driver import Studied, carry_out, write_summary, write_tables
from adaptlens.studies.implicit.analyze import analyze
from adaptlens.studies.implicit.circuit_sets import circuit_sets
from adaptlens.studies.implicit.config import IMPLICIT, ImplicitConfig
from adaptlens.studies.implicit.learned import Learned
from adaptlens.studies.least import TWO, check_pairs
from adaptlens.studies.python_call import carried_out
from adaptlens.studies.wanted import (
    Measurement,
    Wanted,
    load_task,
    models_of,
    study_of,
    those_taken,
)
from adaptlens.tasks import shortcuts
from adaptlens.types import NO_DRAWS, Task

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.report.images import Wanted as Figure
    from adaptlens.report.study_page import StudyReport

BEHAVIOR: Measurement = ("behavior", {})
LEAST_STEPS = 20
ANNOTATIONS = ("induction", "label_attention", "query_attention", "sink", "function_vector")
UNTUNED = "no behavior after tuning is read: no number of training examples was given (--sizes)"
UNRELATED = "sentiment"
"""The task whose words fill a neutral prefix."""


class Implicit(Studied):
    """What the study of implicit patterns found: claims, tables, curves, and the page."""

    @property
    def curves(self) -> "pd.DataFrame":
        """Accuracy by family, way of adapting, number of samples and condition."""
        return self.report.tables["curves"]

    def _figures(self) -> "Iterable[Figure]":
        from adaptlens.studies.implicit.page import wanted

        return wanted(self.report)


def plan(config: ImplicitConfig) -> Study:
    """Return every cell the study needs to begin with, each with all its draws.

    Raises:
        UserError: an unknown model or task, more examples asked for than there are, or fewer items
            than the study takes.
    """
    _check_queries(config)
    if config.arms and not (config.tasks and "circuits" in config.parts):
        raise UserError(
            "an arm of your own was given without a task: this study reads arms by the circuits of "
            "a task of yours; add --task FILE."
        )
    wanted = [*_behavior(config)] if "behavior" in config.parts and config.families else []
    if "circuits" in config.parts:
        wanted += _circuits(config, "circuits", _circuit_arguments(config))
    untuned = "behavior" in config.parts and config.tuning and not config.sizes
    notes = (UNTUNED,) if untuned and config.families else ()
    models = models_of(config.models, config).values()
    return study_of("implicit", config, ((model, wanted) for model in models), notes)


def plan_ablations(config: ImplicitConfig, run: Run, study: Study) -> Study:
    """Return the study with the cells that test the circuits which its cells have found.

    A circuit is found on the first half of the pairs, and tested on the other half.
    """
    found = circuit_sets(run, study, config)
    given = {k: v for k, v in _circuit_arguments(config).items() if k in ("items", "place", "seed")}
    asked = [
        one
        for one in _circuits(config, "ablated", given)
        if one.arguments.get("control", controls.NONE) == controls.NONE
    ]
    digests = [task_digest(one.task) for one in asked]
    wanted = []
    for model in models_of(config.models, config).values():
        for one, digest in zip(asked, digests, strict=True):
            if (model.name, digest) in found:
                sets, first, corruption = found[model.name, digest]
                (_, own), *_ = one.measurements
                least = min(of.size for of in sets)
                tested = tuple(
                    (of, units) for of, units in sets.items() if _is_tested_in(of, one.label, least)
                )
                more = {**own, "sets": tested, "first": first, "corruption": corruption}
                wanted.append((model, [replace(one, measurements=(("ablated", more),))]))
    added = study_of("implicit", config, wanted)
    return replace(study, cells=(*study.cells, *added.cells), tasks={**study.tasks, **added.tasks})


def made(config: ImplicitConfig, family: str, kind: str, *, everywhere: bool = False) -> Task:
    """Return the task of a family that learns from one kind of items.

    Args:
        config: the study's settings.
        family: a family, or "mixed".
        kind: "pattern" or "broken".
        everywhere: read on the items of all families, and named accordingly.
    """
    groups = 2 * (len(config.families) if everywhere else 1)
    most = max((*config.sizes, *config.shots, config.circuits["size"], config.circuits["shots"]))
    each = config.queries if not everywhere else max(config.queries // 2, 2)
    task = shortcuts.task(
        Learned(family, kind).task,
        seed=config.seed,
        train=most,
        validation=groups * config.validation if not everywhere else 0,
        test=groups * each,
        difficulty=config.difficulty,
        read=config.families if everywhere else None,
        learn=config.families if family == shortcuts.MIXED else None,
    )
    return replace(task, name=Learned(family, kind, everywhere).task)


def _behavior(config: ImplicitConfig) -> Iterator[Wanted]:
    """Yield what is learned from either kind, at every number of shots and every size."""
    want, measured = partial(_want, config), (BEHAVIOR,)
    most = max(config.sizes, default=0)
    for family in config.families:
        for kind in shortcuts.KINDS:
            task = made(config, family, kind)
            if kind == shortcuts.PATTERN:
                yield want(task, "zero_shot", measured)
            for shots in config.shots:
                if shots:
                    yield want(task, "icl", measured, examples=shots)
            for name in config.tuning:
                for size in config.sizes:
                    yield want(task, name, measured, examples=size)
    if len(config.families) < 2 or not (config.mixed or config.transfer):
        return
    anchor = made(config, shortcuts.MIXED, shortcuts.PATTERN, everywhere=True)
    yield want(anchor, "zero_shot", measured)
    for kind in shortcuts.KINDS if config.mixed else ():
        task = made(config, shortcuts.MIXED, kind, everywhere=True)
        for name in config.tuning if most else ():
            yield want(task, name, measured, examples=most)
    for family in config.families if config.transfer else ():
        task = made(config, family, shortcuts.PATTERN, everywhere=True)
        shots = max((k for k in config.shots if k <= 16), default=0)
        if shots:
            yield want(task, "icl", measured, examples=shots)
        for name in config.tuning[:1] if most else ():
            yield want(task, name, measured, examples=most)


def _circuit_arguments(config: ImplicitConfig) -> dict[str, Any]:
    given = config.circuits
    return {
        "items": given["items"],
        "corruptions": tuple(given["corruptions"]),
        "methods": tuple(given["methods"]),
        "place": given["place"],
        "seed": config.seed,
    }


def _circuits(
    config: ImplicitConfig, measurement: str, arguments: dict[str, Any]
) -> Iterator[Wanted]:
    """Yield the conditions whose circuits are compared, controls included."""
    want = partial(_want, config)
    shots, size = config.circuits["shots"], config.circuits["size"]
    other = tasks.load(UNRELATED, seed=config.seed).train
    arms = own_arms.found(config.arms, config.models, inside=True)
    for task in _studied(config):
        given = {**arguments, "group": _group(task)}
        if "corruptions" in given and not _group(task):
            given["corruptions"] = tuple(c for c in given["corruptions"] if c != "twin")
        measured = [(measurement, given)]
        if measurement == "circuits":
            measured.append(("heads", {"group": _group(task)}))
            if config.circuits["edges"]:
                own = {k: given[k] for k in ("items", "group", "seed")}
                measured.append(("edges", {**own, "corruption": given["corruptions"][0]}))
        # Controls stand beside the base specification alone.
        firsts: dict[str, Any] = {k: given[k][:1] for k in ("corruptions", "methods") if k in given}
        compared = [(measurement, {**given, **firsts}), *measured[1:]]
        filled = replace(task, unrelated=other)
        yield want(filled, "zero_shot", measured)
        yield want(filled, "icl", measured, examples=shots)
        for control in (controls.SHUFFLED, controls.NEUTRAL):
            yield want(filled, "icl", compared, examples=shots, control=control)
        for way in dict.fromkeys((*config.tuning, "sl")) if not config.quick else ("it",):
            yield want(filled, way, measured, examples=size)
        yield want(filled, "it", compared, examples=size, control=controls.SHUFFLED)
        if not _group(task):
            for arm in own_arms.wanted(arms, filled, controls=False):
                yield want(filled, arm.adaptation, measured, **arm.arguments)


def _studied(config: ImplicitConfig) -> Iterator[Task]:
    """Yield the tasks whose circuits are studied."""
    for family in config.families:
        most = max(config.queries, config.circuits["items"])
        task = made(replace(config, queries=most), family, shortcuts.PATTERN)
        yield replace(task, validation=())
    for source in config.tasks:
        task = load_task(source, replace(config, validation=0))
        need = max(config.circuits["shots"], config.circuits["size"])
        if need > len(task.train):
            raise UserError(
                f"{need} examples were asked for, but the training split of task '{task.name}' has "
                f"{len(task.train)}; ask for fewer (circuits.shots, circuits.size)."
            )
        check_pairs(task, config.models)
        yield task


def _check_queries(config: ImplicitConfig) -> None:
    if "behavior" in config.parts and config.families and config.queries < TWO:
        raise UserError(
            f"--queries {config.queries}: the study of implicit patterns takes at least {TWO} test "
            "items of each kind for an interval; give more, or leave out --queries."
        )


def _group(task: Task) -> str:
    """Return the group of items that are asked; empty where a task has none."""
    return shortcuts.PATTERN if any(e.group == shortcuts.PATTERN for e in task.test) else ""


def _want(
    config: ImplicitConfig,
    task: Task,
    name: str,
    measured: Sequence[Measurement],
    **own: Any,
) -> Wanted:
    """Return a condition with the arguments that all of an adaptation share."""
    tune = config.tune
    passes = math.ceil(config.passes * own.get("examples", 0) / tune.get("batch_size", 32))
    shared = {"selection": config.selection, "seed": config.seed,
              "on_overflow": config.on_overflow, "max_steps": max(LEAST_STEPS, passes)}  # fmt: skip
    arguments = {**those_taken(name, {**shared, **tune}), **own}
    draws = tuple(range(config.draws)) if "examples" in own else NO_DRAWS
    return Wanted(task, name, arguments, draws, measured)


def _is_tested_in(of: UnitSet, label: str, least: int) -> bool:
    """Whether a set of units is tested in a condition.

    Those of the smallest size are, with their random sets, wherever they come from; larger ones,
    and those less one member, in their own condition.
    """
    return of.source == label or (of.kind != "without" and of.size == least)


planned_work = progress.planned_work


def implicit_patterns(
    model: Any = "reference-math",
    task: Any = None,
    *,
    tokenizer: Any = None,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Implicit:
    """Find out who finds a hidden shortcut, prompting or tuning, and by which circuits.

    Args:
        model: hub id, local folder, GGUF file or zoo name; or a model of Transformers' that is
            loaded, with its `tokenizer`; a list compares several.
        task: as for `prompt_or_tune`; unless given, families of items with a hidden shortcut.
        tokenizer: of loaded models.
        out: the run folder; the same call continues it, a larger one extends it.
        reporter: who is told of progress; unless given, a line below a notebook's cell, or standard
            error.
        quiet: tell nobody.
        settings: how to read the task, as for `prompt_or_tune`, and everything else a config file
            may hold (families, shots, sizes, draws, circuits, quick, tune, ...).

    Raises:
        UserError: anything the caller can fix.
    """
    return carried_out(
        IMPLICIT,
        run_study,
        {"models": model, **({} if task is None else {"task": task}), **settings},
        tokenizer=tokenizer,
        out=out,
        reporter=reporter,
        quiet=quiet,
    )


def run_study(config: ImplicitConfig, *, out: str | Path | None, reporter: Reporter) -> Implicit:
    """Plan, run, analyze and report the study."""
    study = plan(config)
    ablations = partial(plan_ablations, config) if "circuits" in config.parts else None
    report, page, outcome, run = carry_out(study, out, config, reporter, write_report, ablations)
    return Implicit(report, outcome, run.folder, page)


def write_report(run: Run, overrides: Sequence[str] = ()) -> tuple["StudyReport", Path]:
    """Analyze what is stored and write tables, figures and page; needs no model and no torch.

    Args:
        run: the run.
        overrides: "path=value" for settings of the analysis (margin).
    """
    from adaptlens.studies.implicit.page import write

    found = analyze(run, overrides)
    write_tables(run, found.tables)
    write_summary(run, found.summary())
    _export_circuits(run, found.tables, found.settings["circuits"])
    return found, write(found, run.folder / "report.html")


def _export_circuits(
    run: Run, tables: "Mapping[str, pd.DataFrame]", settings: Mapping[str, Any]
) -> None:
    """Write the circuits of each model and task as circuits/NAME.json and, for Graphviz, .dot.

    And each condition's as NAME-CONDITION.eap.json, where its cells say what shape the model has;
    `settings` are those of circuits.
    """
    members = tables["circuit"]
    if members.empty:
        return
    annotations = tables["annotations"]
    make_folder(run.folder / "circuits")
    shapes = {
        record.spec["model"]["name"]: record.texts["shape"]
        for record in run.records()
        if "shape" in record.texts
    }
    for (model, family), rows in members.groupby(["model", "family"], sort=False):
        found = [
            Circuit(str(condition), dict(zip(own["unit"], own["value"], strict=True)))
            for condition, own in rows.groupby("condition", sort=False)
        ]
        known: dict[str, dict[str, float]] = {}
        if len(annotations):
            own = annotations[(annotations["model"] == model) & (annotations["family"] == family)]
            first = own[own["condition"] == found[0].condition].set_index("unit")
            columns = [name for name in ANNOTATIONS if name in first]
            known = {str(unit): dict(row.dropna()) for unit, row in first[columns].iterrows()}
        name = "".join(c if c.isalnum() or c in "+-._" else "_" for c in f"{model}-{family}")
        exported = tagged_json(export.to_json(found, known)) + "\n"
        write_atomically(run.folder / "circuits" / f"{name}.json", exported)
        drawing = export.to_graphviz(found).encode()
        write_atomically(run.folder / "circuits" / f"{name}.dot", drawing)
        every = tables["profiles"]
        every = every[(every["model"] == model) & (every["family"] == family)]
        for one in found if model in shapes else ():
            own = every[every["condition"] == one.condition]
            effects = dict(zip(own["unit"], own["value"], strict=True))
            about = {
                "model": model, "task": family, "condition": one.condition,
                "place": settings["place"], "method": settings["methods"][0],
                "metric": settings["metrics"][0],
            }  # fmt: skip
            graph = tagged_json(to_eap(one, effects, shapes[model], about)) + "\n"
            write_atomically(run.folder / "circuits" / f"{name}-{one.condition}.eap.json", graph)
