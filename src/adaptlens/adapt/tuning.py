"""Adaptations that train LoRA: instruction tuning, plain supervised tuning, and its path.

They train on the same draws of examples that in-context learning shows, as `lessons` lays them
down: prompts without demonstrations, each followed by its answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from adaptlens.adapt import Progress, loop
from adaptlens.adapt.account import Chosen, account
from adaptlens.adapt.batches import Counts
from adaptlens.adapt.prompting import check_one_way, names_of
from adaptlens.adapt.recipes import START, Candidate, Tuning, choice_made, width, writer
from adaptlens.errors import UserError
from adaptlens.lm.bank import LoraBank
from adaptlens.lm.load import LM
from adaptlens.values import Adapted, Task

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
        """Return one adapter per draw, all trained in one pass, candidates of a search too."""
        candidates = self.candidates(LORA_RATE_TIMES_WIDTH / width(lm))
        steps = sorted({steps for _, steps in candidates})
        trained, doses = candidates, tuple[int, ...]()
        if len(steps) > 1 and self.keeps_path:
            # Fewer steps are a stop on the way of more.
            trained = [candidate for candidate in candidates if candidate[1] == steps[-1]]
            candidates = [(rate, stop) for stop in steps for rate, _ in trained]
            doses = tuple(steps)
        bank, history, kept = self.train(lm, task, draws, trained, progress, doses)
        bank = bank.stacked(kept) if doses else bank
        losses = np.concatenate([history.losses] * (len(doses) or 1), axis=1)
        found: dict[str, Any] = {}
        chosen, choosing = [0] * len(draws), Counts()
        if len(candidates) > 1:
            held_out = self.held_out(lm, task)
            validation, choosing = loop.evaluate(lm, bank, held_out, bank.num_variants)
            by_draw = validation.reshape(len(candidates), len(draws)).T
            chosen = by_draw.argmin(1).tolist()
            found = choice_made(candidates, by_draw, chosen)
            picked = [c * len(draws) + d for d, c in enumerate(chosen)]
            bank, losses = bank.pick(picked), losses[:, picked].copy()
            for d, c in enumerate(chosen):
                losses[candidates[c][1] :, d] = np.nan
        # Stops on the way come dose by dose, over the same trained variants.
        runs = [
            Chosen(history, c % len(trained) * len(draws) + d, candidates[c][1])
            for d, c in enumerate(chosen)
        ]
        training = account(
            lm, [history], losses, bank.num_parameters, runs, full=False, choosing=choosing
        )
        ways = len(task.templates) or 1
        return Adapted(
            self.label,
            tuple(draws) * ways,
            writer(lm, task, self.instruction, len(draws)),
            weights=bank,
            shares_prompts=True,
            training={**training, **found},
            examples=tuple(self.drawn(task, draw) for draw in draws) * ways,
            templates=names_of(task),
        )

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
        variants = [(c, d) for c in candidates for d in range(len(draws))]
        bank = LoraBank(
            lm,
            num_variants=len(variants),
            rank=self.rank,
            alpha=self.alpha,
            targets=self.targets,
            dropout=self.dropout,
            seeds=[self.seed_for(draws[d], START) for _, d in variants],
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
            [lessons[d] for _, d in variants],
            self.recipe([c for c, _ in variants], [draws[d] for _, d in variants]),
            names=[self.told(draws[d], c) for c, d in variants],
            progress=after,
        )
        return bank, history, kept


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
        runs = [Chosen(history, d, self.doses[-1]) for d in range(len(draws))]
        training = account(lm, [history], history.losses, bank.num_parameters, runs, full=False)
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
