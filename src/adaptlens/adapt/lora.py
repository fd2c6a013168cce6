"""Adaptations that train LoRA: instruction tuning, plain supervised tuning, and its trajectory.

They train on the same draws of examples that in-context learning shows, as `tokenizing` writes
them: prompts without demonstrations, each followed by its answer.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from adaptlens.adapt import Progress
from adaptlens.adapt.banks import BankTuning
from adaptlens.adapt.prompting import check_one_way
from adaptlens.adapt.settings import START, Candidate, width, writer
from adaptlens.adapt.training_cost import Chosen, training_cost
from adaptlens.errors import UserError
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.targets import usual_targets
from adaptlens.lm.load import LM
from adaptlens.types import Adapted, Task

LORA_RATE_TIMES_WIDTH = 0.64
"""Default LoRA rate: 0.64 / width. 5e-3 at 128, 1.7e-3 at 384, 1.6e-4 at 4096 (a 7B model).

Adam's best rate falls as one over the width (Yang et al. 2022, arXiv 2203.03466, table 3); the
constant is what the reference model wants, and lands at the usual 1e-4 to 2e-4 at 7B.
"""


@dataclass(frozen=True)
class InstructionTuning(BankTuning):
    """LoRA on instruction, input and answer; read with the instruction, without demonstrations.

    Attributes:
        lora_rank: of the adapters.
        lora_alpha: their output is scaled by alpha / rank.
        use_rslora: by alpha / sqrt(rank) instead, as rank-stabilized LoRA has it.
        use_dora: train the norms of the adapted weights' rows apart from their directions, as
            weight-decomposed LoRA has it.
        target_modules: names, or last parts of them, to adapt; None for queries and values.
        lora_dropout: share of the adapters' inputs dropped while training.
    """

    lora_rank: int = 8
    lora_alpha: float = 16.0
    use_rslora: bool = False
    use_dora: bool = False
    target_modules: tuple[str, ...] | None = None
    lora_dropout: float = 0.0

    name: ClassVar[str] = "it"
    rate_times_width: ClassVar[float] = LORA_RATE_TIMES_WIDTH

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if self.target_modules is not None:
            object.__setattr__(self, "target_modules", tuple(self.target_modules))

    def usual_rate(self, lm: LM) -> float:
        """Return `LORA_RATE_TIMES_WIDTH` over the width."""
        return self.rate_times_width / width(lm)

    def settled(self, task: Task, model: str) -> Self:
        """Return the arguments with numbers and names where defaults stood."""
        targets = self.target_modules or usual_targets(model)
        return replace(super().settled(task, model), target_modules=targets)

    def new_bank(self, lm: LM, task: Task, draws: Sequence[int]) -> LoraBank:
        """Return one adapter for each draw, which adds nothing yet."""
        return LoraBank(
            lm,
            num_variants=len(draws),
            rank=self.lora_rank,
            alpha=self.lora_alpha,
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            target_modules=self.target_modules,
            dropout=self.lora_dropout,
            seeds=[self.seed_for(draw, START) for draw in draws],
        )


@dataclass(frozen=True)
class SupervisedTuning(InstructionTuning):
    """LoRA on the same examples without any instruction text, in tuning and in reading."""

    name: ClassVar[str] = "sl"
    instruction: ClassVar[bool] = False


@dataclass(frozen=True)
class TuningTrajectory(InstructionTuning):
    """Instruction tuning read at several numbers of steps on the way; 0 is the untouched base.

    Training runs to the last of `checkpoint_steps`, at one constant learning rate, so that its
    state after n steps is that of a training of n steps.

    Attributes:
        checkpoint_steps: numbers of steps after which it is read.
        rate_name: what tables call the learning rate; empty for the default.
    """

    checkpoint_steps: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 30)
    rate_name: str = ""

    name: ClassVar[str] = "it_trajectory"
    every_template: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        steps = tuple(self.checkpoint_steps)
        object.__setattr__(self, "checkpoint_steps", steps)
        rising = all(a < b for a, b in itertools.pairwise(steps))
        if not steps or steps[0] < 0 or steps[-1] < 1 or not rising:
            raise UserError(
                f"it_trajectory: checkpoint_steps {list(steps)} were given; they must be numbers "
                "of steps from 0 upwards, each larger than the one before, such as "
                "0,1,2,4,8,16,30."
            )
        several = any(isinstance(x, tuple) for x in (self.learning_rate, self.lr_multipliers))
        steps_given = self.max_steps not in (None, steps[-1])
        if self.lr_scheduler != "constant" or steps_given or several:
            raise UserError(
                "it_trajectory: lr_scheduler, max_steps or several learning rates were given; a "
                "trajectory has one constant learning rate, and ends at its last checkpoint."
            )

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        at = f"-rate-{self.rate_name}" if self.rate_name else ""
        return f"it-{self.examples}-trajectory{at}"

    @property
    def usual_steps(self) -> int:
        """The last checkpoint, where it ends."""
        return self.checkpoint_steps[-1]

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return the adapters of every draw after each number of steps, one after the other."""
        check_one_way(task, self.label)
        (rate, _), *_ = self.candidates(self.usual_rate(lm))
        steps = self.checkpoint_steps
        variants = [
            (Candidate(rate, steps[-1]), draw, self.tokenized(lm, task, self.drawn(task, draw)))
            for draw in draws
        ]
        bank, history, kept = self.trained(lm, task, variants, progress, steps)
        runs = [Chosen(history, d, steps[-1]) for d in range(len(draws))]
        training = training_cost(
            lm,
            [history],
            history.losses,
            bank.num_parameters,
            runs,
            token_parameters=bank.token_parameters,
        )
        examples = tuple(self.drawn(task, draw) for draw in draws)
        return Adapted(
            self.label,
            tuple(draws) * len(steps),
            writer(lm, task, self.instruction, len(draws)),
            weights=bank.stacked(kept),
            shares_prompts=True,
            training=training,
            examples=examples * len(steps),
            checkpoint_steps=steps,
        )
