"""Adaptations that change weights: instruction tuning, plain supervised tuning, full tuning.

All three train on the same draws of examples that in-context learning shows, as `lessons` lays
them down: prompts without demonstrations, each followed by its answer.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from adaptlens import prompts
from adaptlens.adapt import Progress, loop
from adaptlens.adapt.account import account
from adaptlens.adapt.batches import Lesson
from adaptlens.adapt.lessons import lessons_for
from adaptlens.adapt.optimiser import SCHEDULES, Recipe, Schedule
from adaptlens.adapt.prompting import fit
from adaptlens.errors import UserError, unknown
from adaptlens.lm.bank import LoraBank
from adaptlens.lm.full import FullParameters, FullVariants
from adaptlens.lm.load import LM
from adaptlens.values import Adapted, Example, Prompt, Task

LORA_RATE_TIMES_WIDTH = 0.64
"""Default LoRA rate: 0.64 / width. 5e-3 at 128, 1.7e-3 at 384, 1.6e-4 at 4096 (a 7B model).

Adam's best rate falls as one over the width (Yang et al. 2022, arXiv 2203.03466, table 3); the
constant is what the reference model wants, and lands at the usual 1e-4 to 2e-4 at 7B.
"""

FULL_RATE_TIMES_WIDTH = LORA_RATE_TIMES_WIDTH / 10
"""Default rate of full tuning: a tenth of LoRA's (1.6e-5 at 7B), the usual distance."""

LEAST_STEPS = 30
LEAST_PASSES = 3


@dataclass(frozen=True)
class InstructionTuning:
    """LoRA on instruction, input and answer; read with the instruction, without demonstrations.

    Attributes:
        examples: how many of the draw's examples to train on.
        selection: how the draw's examples are chosen: "random" or "balanced".
        rank: of the adapters.
        alpha: their output is scaled by alpha / rank.
        targets: module names, or last parts of them, to adapt; None for queries and values.
        dropout: share of the adapters' inputs dropped while training.
        rate: learning rate; several are tried, and the validation split chooses, draw by draw;
            None for 0.64 / width.
        steps: optimiser steps; several are tried likewise; None for as many as make 3 passes over
            the examples, and at least 30.
        batch: examples a step.
        schedule: of the rate: "constant", "linear" or "cosine", as Hugging Face defines them.
        warmup_steps: over which the rate rises from 0.
        weight_decay: AdamW's.
        clip: largest gradient norm of an adapter; None for no limit.
        validation_examples: the first this many of the validation split choose.
        seed: of the draws, of the adapters' start and of the order of examples.
    """

    examples: int
    selection: str = "random"
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] | None = None
    dropout: float = 0.0
    rate: float | tuple[float, ...] | None = None
    steps: int | tuple[int, ...] | None = None
    batch: int = 32
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip: float | None = 1.0
    validation_examples: int = 64
    seed: int = 0

    name: ClassVar[str] = "it"
    draws_per_cell: ClassVar[int | None] = None
    instruction: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(self)
        if self.targets is not None:
            object.__setattr__(self, "targets", tuple(self.targets))

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return f"{self.name}-{self.examples}"

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one adapter per draw, all trained in one pass, candidates of a search too."""
        candidates = _candidates(self, LORA_RATE_TIMES_WIDTH / _width(lm))
        drawn = [_drawn_lessons(self, lm, task, draw) for draw in draws]
        variants = [(c, d) for c in candidates for d in range(len(draws))]
        bank = LoraBank(
            lm,
            num_variants=len(variants),
            rank=self.rank,
            alpha=self.alpha,
            targets=self.targets,
            dropout=self.dropout,
            seeds=[_seed(self.seed, draws[d], _START) for _, d in variants],
        )
        history = loop.train(
            lm,
            bank,
            [drawn[d] for _, d in variants],
            _recipe(self, [c for c, _ in variants], [draws[d] for _, d in variants]),
            names=[_told(self.label, draws[d], c) for c, d in variants],
            progress=progress,
        )
        losses = history.losses
        chosen = [0] * len(draws)
        found: dict[str, Any] = {}
        if len(candidates) > 1:
            held_out = _validation_lessons(self, lm, task)
            validation = loop.evaluate(lm, bank, held_out, len(variants))
            by_draw = validation.reshape(len(candidates), len(draws)).T
            chosen = by_draw.argmin(1).tolist()
            found = _choice_made(candidates, by_draw, chosen)
            picked = [c * len(draws) + d for d, c in enumerate(chosen)]
            bank, losses = bank.pick(picked), losses[:, picked]
        training = account(lm, [history], losses, bank.num_parameters, len(draws), full=False)
        return Adapted(
            self.label,
            tuple(draws),
            _writer(lm, task, self.instruction),
            weights=bank,
            shares_prompts=True,
            training={**training, **found},
        )


@dataclass(frozen=True)
class SupervisedTuning(InstructionTuning):
    """LoRA on the same examples without any instruction text, in tuning and in reading."""

    name: ClassVar[str] = "sl"
    instruction: ClassVar[bool] = False


@dataclass(frozen=True)
class FullTuning:
    """All weights trained on the instruction format, one draw at a time, and put back afterwards.

    The arguments are those of `InstructionTuning`; the default rate is 0.064 / width. `keep`
    writes each draw's weights, as large as the model, beside its results.
    """

    examples: int
    selection: str = "random"
    rate: float | tuple[float, ...] | None = None
    steps: int | tuple[int, ...] | None = None
    batch: int = 32
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip: float | None = 1.0
    validation_examples: int = 64
    seed: int = 0
    keep: bool = False

    name: ClassVar[str] = "full"
    draws_per_cell: ClassVar[int | None] = 1
    instruction: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check(self)

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return f"{self.name}-{self.examples}"

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one set of weights per draw; of a search, only the chosen one is kept."""
        candidates = _candidates(self, FULL_RATE_TIMES_WIDTH / _width(lm))
        held_out = _validation_lessons(self, lm, task) if len(candidates) > 1 else []
        total = len(draws) * sum(steps for _, steps in candidates)
        done = 0
        variants, histories, curves, chosen = [], [], [], []
        validation = np.zeros((len(draws), len(candidates)))
        for d, draw in enumerate(draws):
            lessons = _drawn_lessons(self, lm, task, draw)
            best: tuple[float, int, Any, np.ndarray] | None = None
            for c, candidate in enumerate(candidates):

                def report(step: int, _: int, before: int = done) -> None:
                    if progress:
                        progress(before + step, total)

                parameters = FullParameters(lm)
                with parameters.opened():
                    history = loop.train(
                        lm,
                        parameters,
                        [lessons],
                        _recipe(self, [candidate], [draw]),
                        names=[_told(self.label, draw, candidate)],
                        progress=report,
                    )
                    if held_out:
                        validation[d, c] = loop.evaluate(lm, None, held_out, 1)[0]
                    if best is None or validation[d, c] < best[0]:
                        best = (validation[d, c], c, parameters.trained(), history.losses)
                done += candidate[1]
                histories.append(history)
            assert best is not None
            chosen.append(best[1])
            variants.append(best[2])
            curves.append(best[3])
        steps = max(len(curve) for curve in curves)
        losses = np.full((steps, len(draws)), np.nan, np.float32)
        for d, curve in enumerate(curves):
            losses[: len(curve), d] = curve[:, 0]
        size = parameters.masters.shape[1]
        training = account(lm, histories, losses, size, len(draws), full=True)
        if held_out:
            training |= _choice_made(candidates, validation, chosen)
        return Adapted(
            self.label,
            tuple(draws),
            _writer(lm, task, self.instruction),
            weights=FullVariants(lm, variants, keep=self.keep),
            shares_prompts=True,
            training=training,
        )


Tuning = InstructionTuning | FullTuning
Candidate = tuple[float, int]
"""A rate and a number of steps."""

_START, _ORDER = 1, 2


def _drawn_lessons(tuning: Tuning, lm: LM, task: Task, draw: int) -> list[Lesson]:
    examples = prompts.demonstrations(
        task, draw, tuning.examples, selection=tuning.selection, seed=tuning.seed
    )
    return lessons_for(lm, task, examples, instruction=tuning.instruction)


def _validation_lessons(tuning: Tuning, lm: LM, task: Task) -> list[Lesson]:
    if not task.validation:
        raise UserError(
            f"{tuning.label} was given several rates or steps, but task '{task.name}' has no "
            "validation split to choose by; give one rate and one number of steps, or a split."
        )
    examples = task.validation[: tuning.validation_examples]
    return lessons_for(lm, task, examples, instruction=tuning.instruction)


def _writer(lm: LM, task: Task, instruction: bool) -> Callable[[int, Example], Prompt]:
    def write(_: int, query: Example) -> Prompt:
        return fit(lm, task, (), query, instruction=instruction, on_overflow="error")

    return write


def _width(lm: LM) -> int:
    return lm.model.config.get_text_config().hidden_size


def _seed(seed: int, draw: int, purpose: int) -> int:
    """Return a seed that depends on the draw's number, not on its place among the draws."""
    return int(np.random.SeedSequence([seed, draw, purpose]).generate_state(1)[0])


def _candidates(tuning: Tuning, usual_rate: float) -> list[Candidate]:
    """Return the rates and steps to try, most steps first, as the training loop wants them."""
    passes = math.ceil(LEAST_PASSES * tuning.examples / tuning.batch)
    rates = _several(tuning.rate) or (usual_rate,)
    steps = _several(tuning.steps) or (max(LEAST_STEPS, passes),)
    found = list(dict.fromkeys(itertools.product(rates, steps)))
    return sorted(found, key=lambda candidate: -candidate[1])


def _several(given: Any) -> tuple[Any, ...]:
    if given is None:
        return ()
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def _recipe(tuning: Tuning, candidates: Sequence[Candidate], draws: Sequence[int]) -> Recipe:
    return Recipe(
        rates=tuple(rate for rate, _ in candidates),
        steps=tuple(steps for _, steps in candidates),
        order_seeds=tuple(_seed(tuning.seed, draw, _ORDER) for draw in draws),
        batch=tuning.batch,
        schedule=tuning.schedule,
        warmup_steps=tuning.warmup_steps,
        weight_decay=tuning.weight_decay,
        clip=tuning.clip,
    )


def _told(label: str, draw: int, candidate: Candidate) -> str:
    return f"{label}, draw {draw} (rate {candidate[0]:g}, {candidate[1]} steps)"


def _choice_made(
    candidates: Sequence[Candidate], validation: np.ndarray, chosen: Sequence[int]
) -> dict[str, Any]:
    """Return what the search tried and chose, for the record."""
    return {
        "candidates": [{"rate": rate, "steps": steps} for rate, steps in candidates],
        "validation_losses": validation.tolist(),
        "chosen": list(chosen),
    }


def _check(tuning: Tuning) -> None:
    """Check the arguments that both kinds of tuning share."""
    for name in ("rate", "steps"):
        given = getattr(tuning, name)
        if isinstance(given, list):
            object.__setattr__(tuning, name, tuple(given))
    wrong = [
        ("examples", tuning.examples, tuning.examples < 1, "at least 1"),
        ("rate", tuning.rate, any(not r > 0 for r in _several(tuning.rate)), "above 0"),
        ("steps", tuning.steps, any(s < 1 for s in _several(tuning.steps)), "at least 1"),
        ("batch", tuning.batch, tuning.batch < 1, "at least 1"),
        ("weight_decay", tuning.weight_decay, tuning.weight_decay < 0, "at least 0"),
        ("clip", tuning.clip, tuning.clip is not None and tuning.clip <= 0, "above 0, or none"),
        (
            "warmup_steps",
            tuning.warmup_steps,
            not 0 <= tuning.warmup_steps < min(_several(tuning.steps) or (LEAST_STEPS,)),
            "at least 0 and fewer than the steps",
        ),
        (
            "validation_examples",
            tuning.validation_examples,
            tuning.validation_examples < 1,
            "at least 1",
        ),
    ]
    for name, value, is_wrong, expected in wrong:
        if is_wrong:
            raise UserError(f"{tuning.name}: {name} {value} was given; it must be {expected}.")
    if tuning.schedule not in SCHEDULES:
        raise unknown("schedule", tuning.schedule, SCHEDULES)
    if tuning.selection not in prompts.DRAWN:
        raise unknown("selection", tuning.selection, prompts.DRAWN)
