"""Adaptations that train LoRA: instruction tuning, plain supervised tuning, and its path.

They train on the same draws of examples that in-context learning shows, as `lessons` lays them
down: prompts without demonstrations, each followed by its answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from adaptlens.adapt import Progress, loop
from adaptlens.adapt.account import account
from adaptlens.adapt.batches import Lesson
from adaptlens.adapt.prompting import check_one_way, names_of
from adaptlens.adapt.recipes import START, Candidate, Tuning, choice_made, width, writer
from adaptlens.errors import UserError
from adaptlens.lm.bank import LoraBank
from adaptlens.lm.load import LM
from adaptlens.values import Adapted, Task

Variant = tuple[Candidate, int, Sequence[Lesson]]
"""How to train an adapter, the number of its draw, and what on."""

LORA_RATE_TIMES_WIDTH = 0.64
"""Default LoRA rate: 0.64 / width. 5e-3 at 128, 1.7e-3 at 384, 1.6e-4 at 4096 (a 7B model).

Adam's best rate falls as one over the width (Yang et al. 2022, arXiv 2203.03466, table 3); the
constant is what the reference model wants, and lands at the usual 1e-4 to 2e-4 at 7B.
"""


@dataclass(frozen=True)
class InstructionTuning(Tuning):
    """LoRA on instruction, input and answer; read with the instruction, without demonstrations.

    Attributes:
        rank: of the adapters.
        alpha: their output is scaled by alpha / rank.
        targets: module names, or last parts of them, to adapt; None for queries and values.
        dropout: share of the adapters' inputs dropped while training.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] | None = None
    dropout: float = 0.0

    name: ClassVar[str] = "it"

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if self.targets is not None:
            object.__setattr__(self, "targets", tuple(self.targets))

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one adapter per draw, all trained in one pass; of a search, those chosen."""
        candidates = self.candidates(LORA_RATE_TIMES_WIDTH / width(lm))
        if len(candidates) == 1:
            bank, history, _ = self.train(lm, task, draws, candidates, progress)
            chosen = Chosen(bank, history.losses, [history])
        elif self.true_few_shot:
            chosen = self._best_of_folds(lm, task, draws, candidates, progress)
        elif self.keeps_path and len({steps for _, steps in candidates}) > 1:
            chosen = self._halved(lm, task, draws, candidates, progress)
        else:
            chosen = self._best(lm, task, draws, candidates, progress)
        training = account(
            lm, chosen.histories, chosen.losses, chosen.bank.num_parameters, len(draws), full=False
        )
        ways = len(task.templates) or 1
        return Adapted(
            self.label,
            tuple(draws) * ways,
            writer(lm, task, self.instruction, len(draws)),
            weights=chosen.bank,
            shares_prompts=True,
            training={**training, **chosen.found},
            examples=tuple(self.drawn(task, draw) for draw in draws) * ways,
            templates=names_of(task),
        )

    def _best(
        self,
        lm: LM,
        task: Task,
        draws: Sequence[int],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> "Chosen":
        """Return each draw's best candidate, all of them trained to their end."""
        held_out = self.held_out(lm, task)
        bank, history, _ = self.train(lm, task, draws, candidates, progress)
        by_draw = _losses(lm, bank, held_out, len(draws))
        best = by_draw.argmin(1).tolist()
        picked = [c * len(draws) + d for d, c in enumerate(best)]
        found = choice_made(candidates, by_draw, best)
        return Chosen(bank.pick(picked), history.losses[:, picked], [history], found)

    def _halved(
        self,
        lm: LM,
        task: Task,
        draws: Sequence[int],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> "Chosen":
        """Return each draw's best rate and steps, by successive halving.

        All rates are trained to the fewest steps; each draw's best one is trained to all of them,
        the fewer steps being stops on the way.
        """
        held_out = self.held_out(lm, task)
        stops = sorted({steps for _, steps in candidates})
        rates = list(dict.fromkeys(rate for rate, _ in candidates))
        first = [(rate, stops[0]) for rate in rates]
        bank, started, _ = self.train(lm, task, draws, first, progress)
        by_rate = _losses(lm, bank, held_out, len(draws))
        best = by_rate.argmin(1)
        long = [(rates[c], stops[-1]) for c in best]
        variants = self._variants(lm, task, draws, long)
        bank, history, kept = self.train_variants(lm, variants, progress, stops)
        bank = bank.stacked(kept)
        by_stop = _losses(lm, bank, held_out, len(draws))
        stop = by_stop.argmin(1)
        losses = history.losses.copy()
        for d, place in enumerate(stop):
            losses[stops[place] :, d] = np.nan
        known: list[dict[Candidate, float]] = [
            {**dict(zip(first, rated, strict=True)), **dict(zip(
                [(rate, at) for at in stops], stopped, strict=True))}
            for rated, stopped, (rate, _) in zip(
                by_rate.tolist(), by_stop.tolist(), long, strict=True)
        ]  # fmt: skip
        found = {
            "candidates": [{"rate": rate, "steps": steps} for rate, steps in candidates],
            "validation_losses": [[own.get(one, math.nan) for one in candidates] for own in known],
            "chosen": [
                candidates.index((rate, stops[place]))
                for (rate, _), place in zip(long, stop, strict=True)
            ],
        }
        picked = [int(place) * len(draws) + d for d, place in enumerate(stop)]
        return Chosen(bank.pick(picked), losses, [started, history], found)

    def _best_of_folds(
        self,
        lm: LM,
        task: Task,
        draws: Sequence[int],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> "Chosen":
        """Return each draw's adapter, trained as does best on parts of its examples left out."""
        folds = [
            (place, *fold)
            for place, draw in enumerate(draws)
            for fold in self.folds(lm, task, draw)
        ]
        parts = [(draws[place], taught) for place, taught, _ in folds]
        bank, candidates, tried = self._on_parts(lm, parts, candidates, progress)
        summed, labels = np.zeros((len(draws), len(candidates))), np.zeros((len(draws), 1))
        for number, (place, _, held_out) in enumerate(folds):
            own = bank.pick([c * len(parts) + number for c in range(len(candidates))])
            size = sum(lesson.num_labels for lesson in held_out)
            summed[place] += size * loop.evaluate(lm, own, held_out, len(candidates))
            labels[place] += size
        chosen = (summed / labels).argmin(1).tolist()
        variants = self._variants(lm, task, draws, [candidates[c] for c in chosen])
        # The training loop wants those with the most steps first.
        order = sorted(range(len(draws)), key=lambda place: -candidates[chosen[place]][1])
        trained, history, _ = self.train_variants(lm, [variants[p] for p in order], progress)
        back = np.argsort(order).tolist()
        found = choice_made(candidates, summed / labels, chosen)
        return Chosen(trained.pick(back), history.losses[:, back], [tried, history], found)

    def _on_parts(
        self,
        lm: LM,
        parts: Sequence[tuple[int, Sequence[Lesson]]],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> tuple[LoraBank, list[Candidate], loop.History]:
        """Return adapters, candidate by candidate, for each draw and its lessons.

        With a constant rate, fewer steps are a stop on the way of more, and the candidates come
        fewest steps first; the history is that of the trainings with the most.
        """
        steps = sorted({steps for _, steps in candidates})
        candidates, doses = list(candidates), tuple[int, ...]()
        longest = candidates
        if len(steps) > 1 and self.keeps_path:
            longest = [candidate for candidate in candidates if candidate[1] == steps[-1]]
            candidates = [(rate, stop) for stop in steps for rate, _ in longest]
            doses = tuple(steps)
        variants = [(candidate, *part) for candidate in longest for part in parts]
        bank, history, kept = self.train_variants(lm, variants, progress, doses)
        return bank.stacked(kept) if doses else bank, candidates, history

    def _variants(
        self, lm: LM, task: Task, draws: Sequence[int], candidates: Sequence[Candidate]
    ) -> list["Variant"]:
        """Return each draw with a candidate of its own, to be trained on all its examples."""
        return [
            (candidate, draw, self.lessons(lm, task, self.drawn(task, draw)))
            for candidate, draw in zip(candidates, draws, strict=True)
        ]

    def train(
        self,
        lm: LM,
        task: Task,
        draws: Sequence[int],
        candidates: Sequence[Candidate],
        progress: Progress | None,
        doses: Sequence[int] = (),
    ) -> tuple[LoraBank, loop.History, list[Any]]:
        """Return the trained bank, candidate by candidate, and the adapters at each dose."""
        lessons = [self.lessons(lm, task, self.drawn(task, draw)) for draw in draws]
        parts = list(zip(draws, lessons, strict=True))
        variants = [(candidate, *part) for candidate in candidates for part in parts]
        return self.train_variants(lm, variants, progress, doses)

    def train_variants(
        self,
        lm: LM,
        variants: Sequence["Variant"],
        progress: Progress | None,
        doses: Sequence[int] = (),
    ) -> tuple[LoraBank, loop.History, list[Any]]:
        """Return the bank of adapters, one a variant, those with the most steps first.

        Also returns what training did, and copies of all adapters after each number of steps in
        `doses`.
        """
        draws = [draw for _, draw, _ in variants]
        bank = LoraBank(
            lm,
            num_variants=len(variants),
            rank=self.rank,
            alpha=self.alpha,
            targets=self.targets,
            dropout=self.dropout,
            seeds=[self.seed_for(draw, START) for draw in draws],
        )
        kept: list[Any] = [bank.masters.clone()] if 0 in doses else []

        def after(step: int, steps: int) -> None:
            if step in doses:
                kept.append(bank.masters.clone())
            if progress:
                progress(step, steps)

        history = loop.train(
            lm,
            bank,
            [lessons for *_, lessons in variants],
            self.recipe([candidate for candidate, *_ in variants], draws),
            names=[self.told(draw, candidate) for candidate, draw, _ in variants],
            progress=after,
        )
        return bank, history, kept


def _losses(lm: LM, bank: LoraBank, held_out: Sequence[Lesson], num_draws: int) -> np.ndarray:
    """Return the loss on the items that choose, [draws, candidates]."""
    losses = loop.evaluate(lm, bank, held_out, bank.num_variants)
    return losses.reshape(-1, num_draws).T


@dataclass(frozen=True)
class Chosen:
    """The adapters that are kept, one a draw, and what was done to find them.

    Attributes:
        bank: the adapters.
        losses: of training, [steps, draws]; NaN after an adapter's last step.
        histories: of every training.
        found: what was tried and chosen; empty where nothing was.
    """

    bank: LoraBank
    losses: np.ndarray
    histories: list[loop.History]
    found: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SupervisedTuning(InstructionTuning):
    """LoRA on the same examples without any instruction text, in tuning and in reading."""

    name: ClassVar[str] = "sl"
    instruction: ClassVar[bool] = False


@dataclass(frozen=True)
class TuningPath(InstructionTuning):
    """Instruction tuning read at several numbers of steps on the way; 0 is the untouched base.

    Training runs to the last of `doses`, at a constant rate, so that its state after n steps is
    that of a training of n steps. The default rate is multiplied by `times`.
    """

    doses: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 30)
    times: float = 1.0

    name: ClassVar[str] = "it_path"

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        object.__setattr__(self, "doses", tuple(self.doses))
        rising = all(a < b for a, b in zip(self.doses, self.doses[1:], strict=False))
        if not self.doses or self.doses[0] < 0 or self.doses[-1] < 1 or not rising:
            raise UserError(
                f"it_path: doses {list(self.doses)} were given; they must be numbers of steps from "
                "0 upwards, each larger than the one before, such as 0,1,2,4,8,16,30."
            )
        if self.schedule != "constant" or self.steps is not None or isinstance(self.rate, tuple):
            raise UserError(
                "it_path: a schedule, steps or several rates were given; a path has one constant "
                "rate, and its steps are the doses."
            )
        if not self.times > 0:
            raise UserError(f"it_path: times {self.times} was given; it must be above 0.")

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        at = "" if self.times == 1 else f"-rate-x{self.times:g}"
        at = at if self.rate is None else f"-rate-{self.rate:g}"
        return f"it-{self.examples}-path{at}"

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return the adapters of every draw after each dose, dose by dose."""
        check_one_way(task, self.label)
        rate = self.rate or self.times * LORA_RATE_TIMES_WIDTH / width(lm)
        assert not isinstance(rate, tuple)
        candidates = [(rate, self.doses[-1])]
        bank, history, kept = self.train(lm, task, draws, candidates, progress, self.doses)
        training = account(
            lm, [history], history.losses, bank.num_parameters, len(draws), full=False
        )
        examples = tuple(self.drawn(task, draw) for draw in draws)
        return Adapted(
            self.label,
            tuple(draws) * len(self.doses),
            writer(lm, task, self.instruction, len(draws)),
            weights=bank.stacked(kept),
            shares_prompts=True,
            training=training,
            examples=examples * len(self.doses),
            doses=self.doses,
        )
