"""Adaptations that train LoRA: instruction tuning, plain supervised tuning, and its trajectory.

They train on the same draws of examples that in-context learning shows, as `tokenizing` writes
them: prompts without demonstrations, each followed by its answer.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from adaptlens.adapt import Progress, loop
from adaptlens.adapt.batches import Counts, TokenizedExample
from adaptlens.adapt.prompting import check_one_way, names_of
from adaptlens.adapt.settings import START, Candidate, Tuning, all_tried, choice_made, width, writer
from adaptlens.adapt.training_cost import NOTHING, Chosen, training_cost
from adaptlens.errors import UserError
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.load import LM
from adaptlens.types import Adapted, Task

LORA_RATE_TIMES_WIDTH = 0.64
"""Default LoRA rate: 0.64 / width. 5e-3 at 128, 1.7e-3 at 384, 1.6e-4 at 4096 (a 7B model).

Adam's best rate falls as one over the width (Yang et al. 2022, arXiv 2203.03466, table 3); the
constant is what the reference model wants, and lands at the usual 1e-4 to 2e-4 at 7B.
"""


@dataclass(frozen=True)
class InstructionTuning(Tuning):
    """LoRA on instruction, input and answer; read with the instruction, without demonstrations.

    Attributes:
        lora_rank: of the adapters.
        lora_alpha: their output is scaled by alpha / rank.
        use_rslora: by alpha / sqrt(rank) instead, as rank-stabilized LoRA has it.
        target_modules: names, or last parts of them, to adapt; None for queries and values.
        lora_dropout: share of the adapters' inputs dropped while training.
    """

    lora_rank: int = 8
    lora_alpha: float = 16.0
    use_rslora: bool = False
    target_modules: tuple[str, ...] | None = None
    lora_dropout: float = 0.0

    name: ClassVar[str] = "it"

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if self.target_modules is not None:
            object.__setattr__(self, "target_modules", tuple(self.target_modules))

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one adapter per draw, all trained in one pass, candidates of a search too."""
        candidates = self.candidates(LORA_RATE_TIMES_WIDTH / width(lm))
        examples, reading = self.training_texts(lm, task, draws)
        choose = self._chosen
        if len(candidates) > 1 and self.true_few_shot:
            choose = self._chosen_by_folds
        found = choose(lm, task, draws, examples, candidates, progress)
        training = training_cost(
            lm,
            found.histories,
            found.losses,
            found.bank.num_parameters,
            found.runs,
            full=False,
            choosing=found.choosing,
            before=reading,
        )
        ways = len(task.templates) or 1
        return Adapted(
            self.label,
            tuple(draws) * ways,
            writer(lm, task, self.instruction, len(draws)),
            weights=found.bank,
            shares_prompts=True,
            training={**training, **all_tried(candidates), **found.record},
            examples=tuple(self.drawn(task, draw) for draw in draws) * ways,
            templates=names_of(task),
        )

    def training_texts(
        self, lm: LM, task: Task, draws: Sequence[int]
    ) -> tuple[list[list[TokenizedExample]], Counts]:
        """Return what each draw is tuned on, and what was read to make it, of all draws."""
        return [self.tokenized(lm, task, self.drawn(task, draw)) for draw in draws], NOTHING

    def _chosen(
        self,
        lm: LM,
        task: Task,
        draws: Sequence[int],
        examples: Sequence[Sequence[TokenizedExample]],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> "_Found":
        """Return each draw's adapter, the validation split having chosen if there is a choice."""
        held_out = self.held_out(lm, task) if len(candidates) > 1 else []
        parts = list(zip(draws, examples, strict=True))
        bank, candidates, history = self._tried(lm, parts, candidates, progress)
        if not held_out:
            runs = [Chosen(history, d, candidates[0].max_steps) for d in range(len(draws))]
            return _Found(bank, [history], runs)
        validation, choosing = loop.evaluate(lm, bank, held_out, bank.num_variants)
        by_draw = validation.reshape(len(candidates), len(draws)).T
        chosen = by_draw.argmin(1).tolist()
        picked = [c * len(draws) + d for d, c in enumerate(chosen)]
        # Stops on the way come one number of steps after the other, over the same trained variants.
        trained = history.losses.shape[1]
        runs = [
            Chosen(history, place % trained, candidates[c].max_steps)
            for place, c in zip(picked, chosen, strict=True)
        ]
        record = choice_made(candidates, by_draw, chosen)
        return _Found(bank.pick(picked), [history], runs, record, choosing)

    def _chosen_by_folds(
        self,
        lm: LM,
        task: Task,
        draws: Sequence[int],
        examples: Sequence[Sequence[TokenizedExample]],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> "_Found":
        """Return each draw's adapter, trained as does best on parts of its examples left out."""
        folds = [
            (place, *fold)
            for place, draw in enumerate(draws)
            for fold in self.folds(lm, task, draw)
        ]
        parts = [(draws[place], train) for place, train, _ in folds]
        bank, candidates, tried = self._tried(lm, parts, candidates, progress)
        summed, labels = np.zeros((len(draws), len(candidates))), np.zeros((len(draws), 1))
        choosing = Counts()
        for number, (place, _, held_out) in enumerate(folds):
            own = bank.pick([c * len(parts) + number for c in range(len(candidates))])
            size = sum(example.num_labels for example in held_out)
            losses, counts = loop.evaluate(lm, own, held_out, len(candidates))
            summed[place] += size * losses
            choosing = Counts(*np.add(choosing, counts))
            labels[place] += size
        chosen = (summed / labels).argmin(1).tolist()
        # The training loop wants those with the most steps first.
        order = sorted(range(len(draws)), key=lambda place: -candidates[chosen[place]].max_steps)
        variants = [(candidates[chosen[p]], draws[p], examples[p]) for p in order]
        trained, history, _ = self.trained(lm, variants, progress)
        back = np.argsort(order).tolist()
        runs = [
            Chosen(history, place, candidates[c].max_steps)
            for place, c in zip(back, chosen, strict=True)
        ]
        record = choice_made(candidates, summed / labels, chosen)
        return _Found(trained.pick(back), [tried, history], runs, record, choosing)

    def _tried(
        self,
        lm: LM,
        parts: Sequence[tuple[int, Sequence[TokenizedExample]]],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> tuple[LoraBank, list[Candidate], loop.History]:
        """Return adapters, candidate by candidate, for each draw and its examples.

        With a constant rate, fewer steps are a stop on the way of more, and the candidates come
        fewest steps first; the history is that of the trainings with the most.
        """
        steps = sorted({one.max_steps for one in candidates})
        candidates, checkpoints = list(candidates), tuple[int, ...]()
        longest = candidates
        if len(steps) > 1 and self.nests_steps:
            longest = [candidate for candidate in candidates if candidate.max_steps == steps[-1]]
            candidates = [Candidate(rate, stop) for stop in steps for rate, _ in longest]
            checkpoints = tuple(steps)
        variants = [(candidate, *part) for candidate in longest for part in parts]
        bank, history, kept = self.trained(lm, variants, progress, checkpoints)
        return bank.stacked(kept) if checkpoints else bank, candidates, history

    def trained(
        self,
        lm: LM,
        variants: Sequence[tuple[Candidate, int, Sequence[TokenizedExample]]],
        progress: Progress | None,
        checkpoint_steps: Sequence[int] = (),
    ) -> tuple[LoraBank, loop.History, list[Any]]:
        """Return a bank trained side by side, and its numbers at each checkpoint.

        Args:
            lm: the model.
            variants: how to train each, of which draw, and on what; the most steps first.
            progress: told of the steps.
            checkpoint_steps: numbers of steps after which copies are kept.
        """
        draws = [draw for _, draw, _ in variants]
        bank = LoraBank(
            lm,
            num_variants=len(variants),
            rank=self.lora_rank,
            alpha=self.lora_alpha,
            use_rslora=self.use_rslora,
            target_modules=self.target_modules,
            dropout=self.lora_dropout,
            seeds=[self.seed_for(draw, START) for draw in draws],
        )
        kept: list[Any] = [bank.master_weights.clone()] if 0 in checkpoint_steps else []

        def after(step: int, steps: int) -> None:
            if step in checkpoint_steps:
                kept.append(bank.master_weights.clone())
            if progress:
                progress(step, steps)

        history = loop.train(
            lm,
            bank,
            [examples for *_, examples in variants],
            self.training_config([candidate for candidate, *_ in variants], draws),
            names=[self.told(draw, candidate) for candidate, draw, _ in variants],
            progress=after,
        )
        return bank, history, kept


@dataclass(frozen=True)
class _Found:
    """The adapters that are kept, one a draw, and what was done to find them.

    Attributes:
        bank: the adapters.
        histories: of all training.
        runs: the training that each draw's adapter comes from.
        record: what was tried and chosen; empty where nothing was.
        choosing: what was read to choose.
    """

    bank: LoraBank
    histories: list[loop.History]
    runs: list[Chosen]
    record: dict[str, Any] = field(default_factory=dict)
    choosing: Counts = NOTHING

    @property
    def losses(self) -> Float32[np.ndarray, "steps draws"]:
        """The losses of the runs; NaN after a run's last step."""
        losses = np.full((max(run.steps for run in self.runs), len(self.runs)), np.nan, np.float32)
        for d, run in enumerate(self.runs):
            losses[: run.steps, d] = run.history.losses[: run.steps, run.variant]
        return losses


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
    """

    checkpoint_steps: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 30)

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
        if self.lr_scheduler != "constant" or self.max_steps is not None or several:
            raise UserError(
                "it_trajectory: lr_scheduler, max_steps or several learning rates were given; a "
                "trajectory has one constant learning rate, and ends at its last checkpoint."
            )

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        at = "" if self.lr_multipliers == 1 else f"-rate-x{self.lr_multipliers:g}"
        at = at if self.learning_rate is None else f"-rate-{self.learning_rate:g}"
        return f"it-{self.examples}-trajectory{at}"

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return the adapters of every draw after each number of steps, one after the other."""
        check_one_way(task, self.label)
        (rate, _), *_ = self.candidates(LORA_RATE_TIMES_WIDTH / width(lm))
        steps = self.checkpoint_steps
        variants = [
            (Candidate(rate, steps[-1]), draw, self.tokenized(lm, task, self.drawn(task, draw)))
            for draw in draws
        ]
        bank, history, kept = self.trained(lm, variants, progress, steps)
        runs = [Chosen(history, d, steps[-1]) for d in range(len(draws))]
        training = training_cost(
            lm, [history], history.losses, bank.num_parameters, runs, full=False
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
