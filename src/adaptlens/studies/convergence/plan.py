"""The convergence study: does in-context learning do to hidden states what tuning does?

Carries out Duan et al. (arXiv 2311.10367) on any model and task, with controls, a noise floor and
tests. `plan` lays out the cells, `analyze` reads them.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens import tasks
from adaptlens.cells import Cell, Study
from adaptlens.engines import Reporter
from adaptlens.errors import UserError
from adaptlens.models import identity, shape
from adaptlens.models.arm_files import ArmFiles
from adaptlens.prompts import controls, render, selection
from adaptlens.store import Run
from adaptlens.studies import own_arms
from adaptlens.studies.convergence.analyze import analyze
from adaptlens.studies.convergence.config import CONVERGENCE, ConvergenceConfig
from adaptlens.studies.driver import Studied, carry_out, write_summary, write_tables
from adaptlens.studies.least import check_measures
from adaptlens.studies.progress import progress
from adaptlens.studies.python_call import carried_out
from adaptlens.studies.wanted import (
    UNTRAINED,
    Measurement,
    Wanted,
    load_task,
    load_tasks,
    models_of,
    study_of,
    those_taken,
)
from adaptlens.types import NO_DRAWS, ModelSpec, Task

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.report.images import Wanted as Figure
    from adaptlens.studies.convergence.page import ConvergenceReport

GENERATION = "translation"
MOST_FULLY_TUNED = 10**9
"""Models with more parameters are fully tuned only where that is asked for."""

UNRELATED = {"choice": "translation", "generation": "sentiment"}
"""The task whose examples are unrelated ones, unless another is asked for."""

BEHAVIOR: Measurement = ("behavior", {})

TRAJECTORY_SETS = ("max_steps", "learning_rate", "lr_multipliers", "lr_scheduler")
"""Settings of tuning that a trajectory sets by itself."""


class Convergence(Studied):
    """What the convergence study found: claims, tables, pairs, and the page."""

    @property
    def pairs(self) -> "pd.DataFrame":
        """Similarity of every pair of conditions in every layer, by every measure."""
        return self.report.tables["pairs"]

    report: "ConvergenceReport"

    def _figures(self) -> "Iterable[Figure]":
        from adaptlens.studies.convergence.page import wanted

        return wanted(self.report)


def plan(config: ConvergenceConfig) -> Study:
    """Return every cell the study needs, each with all its draws.

    Raises:
        UserError: an unknown model or task, more examples asked for than there are, or fewer test
            items than a measure takes.
    """
    notes: list[str] = []
    loaded = [_with_unrelated(task, config) for task in load_tasks(config.tasks, config)]
    extra = []
    if "generation" in config.factors and all(task.kind == "choice" for task in loaded):
        extra.append(_with_unrelated(load_task(GENERATION, config), config))
    for task in (*loaded, *extra):
        check_measures(task, config.measures)
        if "vector" in config.further and not task.validation:
            raise UserError(
                f"--further vector: layer and strength are chosen on labeled items, and none of "
                f"task '{task.name}' are taken; add --set validation=64, or more than 0 items."
            )
    measures = _resemblances(config, notes)
    arms = own_arms.found(config.arms, config.models, inside=True)
    names = list(config.models)
    untrained = [UNTRAINED + name for name in names if config.untrained and "models" in
                 config.factors and not name.startswith(UNTRAINED)]  # fmt: skip
    wanted: list[tuple[ModelSpec, list[Wanted]]] = []
    for name, model in models_of([*names, *untrained], config).items():
        few = name in untrained
        for task in (*loaded, *([] if few else extra)):
            light = few or task in extra
            _check_sizes(task, config, light)
            full = 0 if light else _full_draws(name, config, notes)
            one = _Conditions(task, config)
            conditions = one.main(config.factor_draws if light else config.draws, full)
            if not light:
                conditions += one.brought(arms)
                counts = _that_fit(name, task, config, notes)
                conditions += [*one.controls(), *one.factors(counts, measures)]
            wanted.append((model, conditions))
    return study_of("convergence", config, wanted, notes)


def _with_unrelated(task: Task, config: ConvergenceConfig) -> Task:
    """Return the task with training items of another one, each with its own options."""
    given: dict[str, Any] = {**(config.unrelated or {"path": UNRELATED[task.kind]})}
    other = tasks.load(given.pop("path"), seed=config.seed, **given)
    if other.name == task.name:
        raise UserError(
            f"task '{task.name}' was given as its own unrelated task; name another (unrelated)."
        )
    items = tuple(replace(e, choices=e.choices or other.choices) for e in other.train)
    note = f"unrelated demonstrations are of the task '{other.name}'"
    return replace(task, unrelated=items, notes=(*task.notes, note))


def _resemblances(config: ConvergenceConfig, notes: list[str]) -> list[str]:
    """Return the measures of resemblance that can be had here."""
    if importlib.util.find_spec("sentence_transformers"):
        return ["encoder", "embedding", "bm25", "chrf"]
    notes.append(
        "resemblance by a sentence encoder was not measured: the package sentence-transformers is "
        "not installed (pip install 'adaptlens[embeddings]')"
    )
    return ["embedding", "bm25", "chrf"]


def _check_sizes(task: Task, config: ConvergenceConfig, light: bool) -> None:
    counts = () if light or "demonstrations" not in config.factors else config.counts
    largest = max((config.shots, *counts))
    for name, have in (("training split", len(task.train)), ("unrelated", len(task.unrelated))):
        need = config.shots if name == "unrelated" else largest
        if need > have:
            raise UserError(
                f"{need} examples were asked for, but the {name} of task '{task.name}' has {have}; "
                f"ask for at most {have} (shots, counts), or give more data."
            )


def _that_fit(
    model: str, task: Task, config: ConvergenceConfig, notes: list[str]
) -> tuple[int, ...]:
    """Return the numbers of demonstrations whose prompts fit the model's context in every draw."""
    if "demonstrations" not in config.factors:
        return ()
    limit, lengths = shape.context_tokens(model), shape.token_counts
    counts = tuple(k for k in config.counts if k != config.shots)
    if limit is None:
        return counts
    own = render.render(task, (), task.test[0]).text
    shown = lengths(model, [task.instruction, *(q.input for q in task.test)])
    fixed = len(own.encode()) + max(shown) + task.max_new_tokens + 8
    each = [
        render.render(replace(task, instruction=""), (e,), task.test[0]).text for e in task.train
    ]
    empty = render.render(replace(task, instruction=""), (), task.test[0]).text
    size = {
        e.id: n for e, n in zip(task.train, lengths(model, [t[: -len(empty)] for t in each]),
                                strict=True)
    }  # fmt: skip
    fit = []
    for k in counts:
        drawn = (
            selection.demonstrations(task, d, k, selection=config.selection, seed=config.seed)
            for d in range(config.factor_draws)
        )
        if fixed + max(sum(size[e.id] + 1 for e in demos) for demos in drawn) <= limit:
            fit.append(k)
    if left_out := sorted(set(counts) - set(fit)):
        notes.append(
            f"{task.name}: {', '.join(map(str, left_out))} demonstrations do not fit the context "
            f"of '{model}' ({limit} tokens) and are left out"
        )
    return tuple(fit)


def _full_draws(model: str, config: ConvergenceConfig, notes: list[str]) -> int:
    """Return in how many draws all weights are tuned: a control of small models, unless asked."""
    if config.full is not None:
        return config.draws if config.full else 0
    size = shape.num_parameters(identity.locate(model))
    if config.quantize or config.dtype == "float16":
        why = "is not loaded as it could be trained"
    elif not 0 < size <= MOST_FULLY_TUNED:
        why = f"has more than {MOST_FULLY_TUNED:,} parameters, or does not say how many"
    else:
        return config.factor_draws
    notes.append(f"full tuning, a control, was left out: '{model}' {why} (full: true takes it in)")
    return 0


@dataclass(frozen=True)
class _Conditions:
    """What is wanted of one task."""

    task: Task
    config: ConvergenceConfig

    def want(
        self,
        name: str,
        measured: Sequence[Measurement],
        draws: int = 0,
        /,
        without: Sequence[str] = (),
        **own: Any,
    ) -> Wanted:
        """Return a condition with the arguments that all of an adaptation share, but some."""
        config = self.config
        shared = {"selection": config.selection, "seed": config.seed,
                  "on_overflow": config.on_overflow, **config.tune}  # fmt: skip
        shared = {name: value for name, value in shared.items() if name not in without}
        arguments = {**those_taken(name, shared), **own}
        return Wanted(self.task, name, arguments, tuple(range(draws)) or NO_DRAWS, measured)

    def main(self, draws: int, full: int) -> list[Wanted]:
        """Return the anchor, ICL, IT and SL, and full tuning in its own number of draws."""
        positions = ["last"]
        if self.task.kind == "generation":
            positions += ["answer_first", "answer_mean"]
        measured = (BEHAVIOR, self.hidden(positions))
        conditions = {"icl": draws, "it": draws, "sl": draws, "full": full}
        conditions |= dict.fromkeys(self.config.further, draws)
        shots = self.config.shots
        return [
            self.want("zero_shot", measured),
            *(
                self.want(name, measured, count, examples=shots)
                for name, count in conditions.items()
                if count
            ),
        ]

    def brought(self, arms: Mapping[str, ArmFiles]) -> list[Wanted]:
        """Return the arms that a user brought, read as the main conditions are."""
        measured = (BEHAVIOR, self.hidden(["last"]))
        return [
            self.want(arm.adaptation, measured, **arm.arguments)
            for arm in own_arms.wanted(arms, self.task, controls=False)
        ]

    def hidden(self, positions: Sequence[str]) -> Measurement:
        """Return the measurement of states at some positions."""
        return ("hidden", {"positions": tuple(positions), "keep": self.config.keep})

    def controls(self) -> list[Wanted]:
        """Return what the main conditions are held against; the claim's control has all draws."""
        config, found = self.config, []
        measured = (BEHAVIOR, self.hidden(["last"]))
        for control in (controls.SHUFFLED, controls.UNRELATED, controls.NEUTRAL):
            for name in ("icl", "it"):
                whole = control == config.claim["control"] and name == "it"
                draws = config.draws if whole else config.factor_draws
                found.append(
                    self.want(name, measured, draws, examples=config.shots, control=control)
                )
        again = self.want("it", measured, config.factor_draws, examples=config.shots, restart=1)
        return [*found, again]

    def factors(self, counts: Sequence[int], measures: Sequence[str]) -> Iterator[Wanted]:
        """Yield the conditions that vary one thing each."""
        config = self.config
        draws, shots = config.factor_draws, config.shots
        both = (BEHAVIOR, self.hidden(["last"]))
        for count in counts:
            for name in ("icl", "it"):
                yield self.want(name, both, draws, examples=count)
        if "resemblance" in config.factors:
            likeness = ("resemblance", {"measures": tuple(measures), "encoder": config.encoder})
            yield self.want("icl", (likeness,), config.draws, examples=shots)
        if "labels" in config.factors:
            for share in config.wrong:
                for name in ("icl", "it"):
                    control = f"wrong-{round(100 * share)}"
                    yield self.want(name, both, draws, examples=shots, control=control)
        if "prompt" in config.factors:
            for wording, text in (config.wordings or controls.WORDINGS).items():
                if "{choices}" not in text or self.task.choices:
                    yield self.want("zero_shot", both, wording=wording, text=text)
        others = [p for p in config.positions if p != "last" and not p.startswith("answer")]
        if "position" in config.factors and others:
            measured = (self.hidden(others),)
            yield self.want("zero_shot", measured)
            for name in ("icl", "it", "sl"):
                yield self.want(name, measured, draws, examples=shots)
        if "dose" in config.factors:
            given = [{"learning_rate": r, "rate_name": f"{r:g}"} for r in config.learning_rates]
            usual = [{"lr_multipliers": x, "rate_name": f"x{x:g}"} for x in (0.5, 2.0)]
            for rate in ({}, *(given or usual)):
                own: dict[str, Any] = {
                    "examples": shots,
                    "checkpoint_steps": config.checkpoint_steps,
                    **rate,
                }
                yield self.want("it_trajectory", both, draws, without=TRAJECTORY_SETS, **own)


def planned_work(study: Study, out: str | Path | None) -> list[dict[str, Any]]:
    """Return one row per condition: draws wanted and done, and the bytes its states will take."""
    sizes = {name: shape.state_numbers(source) for name, source in study.sources.items()}
    return [
        {
            **one.named,
            "measured": " ".join(measured.name for measured in one.cells[0].measurements),
            **one.counted,
            "state_bytes": sum(_state_bytes(cell, sizes[cell.model.name]) for cell in one.cells),
        }
        for one in progress(study, out)
    ]


def _state_bytes(cell: Cell, numbers_per_prompt: int) -> int:
    """Return the bytes of the states a cell stores; an upper bound where queries share tokens."""
    variants = len(cell.draws) * len(cell.adaptation.arguments.get("checkpoint_steps", (0,)))
    total = 0
    for measured in cell.measurements:
        if measured.name == "hidden":
            size = 4 if measured.arguments["keep"] == "float32" else 2
            positions = len(measured.arguments["positions"])
            total += variants * cell.task.queries * positions * numbers_per_prompt * size
    return total


def convergence(
    model: Any = "reference",
    task: Any = "sentiment-novel",
    *,
    tokenizer: Any = None,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Convergence:
    """Find out whether in-context learning does to hidden states what instruction tuning does.

    Args:
        model: hub id, local folder, GGUF file or zoo name; or a model of Transformers' that is
            loaded, with its `tokenizer`; a list compares several.
        task: as for `prompt_or_tune`.
        tokenizer: of loaded models.
        out: the run folder; the same call continues it, a larger one extends it.
        reporter: who is told of progress; unless given, a line below a notebook's cell, or standard
            error.
        quiet: tell nobody.
        settings: how to read the task, as for `prompt_or_tune`, and everything else a config file
            may hold (shots, draws, queries, factors, claim, measures, tune, ...).

    Raises:
        UserError: anything the caller can fix.
    """
    return carried_out(
        CONVERGENCE,
        run_study,
        {"models": model, "task": task, **settings},
        tokenizer=tokenizer,
        out=out,
        reporter=reporter,
        quiet=quiet,
    )


def run_study(
    config: ConvergenceConfig, *, out: str | Path | None, reporter: Reporter
) -> Convergence:
    """Plan, run, analyze and report the study."""
    study = plan(config)
    report, page, outcome, run = carry_out(study, out, config, reporter, write_report)
    return Convergence(report, outcome, run.folder, page)


def write_report(run: Run, overrides: Sequence[str] = ()) -> tuple["ConvergenceReport", Path]:
    """Analyze what is stored and write tables, figures and page; needs no model and no torch.

    Args:
        run: the run.
        overrides: "path=value" for settings of the analysis (claim, measures, factors).
    """
    from adaptlens.studies.convergence.page import write

    found = analyze(run, overrides)
    write_tables(run, found.tables)
    write_summary(run, found.summary())
    return found, write(found, run.folder / "report.html")
