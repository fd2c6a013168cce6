"""The adaptation that aligns an adapter by activations, then tunes it on the draw's examples.

Source: IA2 before SFT, Mishra et al. 2025 (arXiv 2509.22621), `a2t` in
https://github.com/aamixsh/ia2; its labels of type "ground_truth".
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from adaptlens.adapt import Progress
from adaptlens.adapt.activation_alignment import ActivationAlignment
from adaptlens.adapt.banks import Bank
from adaptlens.adapt.batches import Counts, TokenizedExample
from adaptlens.adapt.distillation import Lesson
from adaptlens.adapt.loop import History
from adaptlens.adapt.lora import InstructionTuning
from adaptlens.adapt.settings import Candidate, Fold, parts
from adaptlens.adapt.unlabeled import check_unlabeled
from adaptlens.errors import UserError
from adaptlens.lm.load import LM
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import CostEstimate, Task


@dataclass(frozen=True)
class PrimedTuning(InstructionTuning):
    """Instruction tuning that starts from adapters aligned by activations, at the same rate.

    Among its examples, those with `activations` are aligned on first; the rest is tuned on.

    Attributes:
        priming_steps: steps of alignment; None for as many as alignment alone takes.
        unlabeled: inputs to align on, as of `Distillation`.
        on_overflow: as of `InContext`, for the teacher's prompts.
    """

    priming_steps: int | None = None
    unlabeled: int = 64
    on_overflow: str = "error"

    name: ClassVar[str] = "ia2-it"

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        check_unlabeled(self.name, self.unlabeled)
        if self.priming_steps is not None and self.priming_steps <= self.warmup_steps:
            raise UserError(
                f"{self.name}: priming_steps {self.priming_steps} was given; it must be at least 1 "
                "and more than warmup_steps."
            )

    @property
    def alignment(self) -> ActivationAlignment:
        """How adapters are aligned."""
        same = {field.name: getattr(self, field.name) for field in fields(ActivationAlignment)}
        return ActivationAlignment(**{**same, "max_steps": self.priming_steps})

    def settled(self, task: Task, model: str) -> Self:
        """Return the arguments with numbers and names where defaults stood."""
        steps = self.priming_steps or self.alignment.usual_steps
        return replace(super().settled(task, model), priming_steps=steps)

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of tuning, and of alignment."""
        own, before = super().cost_estimate(sizes), self.alignment.cost_estimate(sizes)
        return replace(
            own,
            prompts=own.prompts + before.prompts,
            read_tokens=own.read_tokens + before.read_tokens,
            written_tokens=own.written_tokens + before.written_tokens,
            trained_tokens=own.trained_tokens + before.trained_tokens,
            steps=own.steps + before.steps,
        )

    def training_texts(
        self, lm: LM, task: Task, draws: Sequence[int]
    ) -> tuple[list[list[TokenizedExample]], Counts]:
        """Return what each draw is aligned and tuned on, and what teachers read for it."""
        aligned, reading = self.alignment.training_texts(lm, task, draws)
        labeled, _ = super().training_texts(lm, task, draws)
        return [[*a, *b] for a, b in zip(aligned, labeled, strict=True)], reading

    def folds(self, lm: LM, task: Task, draw: int) -> list[Fold]:
        """Return the draw's examples in folds; a teacher is not shown those left out of its own."""
        examples, inputs = self.drawn(task, draw), self.alignment.inputs(task, draw)
        part = parts(len(examples))
        found = []
        for held, fold in zip(dict.fromkeys(part), super().folds(lm, task, draw), strict=True):
            shown = [e for e, own in zip(examples, part, strict=True) if own != held]
            lesson = Lesson(self.as_tuned(task, draw), shown, inputs)
            (aligned,), _ = self.alignment.taught(lm, [lesson])
            found.append(Fold([*aligned, *fold.train], fold.held_out))
        return found

    def trained(
        self,
        lm: LM,
        task: Task,
        variants: Sequence[tuple[Candidate, int, Sequence[TokenizedExample]]],
        progress: Progress | None,
        checkpoint_steps: Sequence[int] = (),
        bank: Bank | None = None,
    ) -> tuple[Bank, History, list[Any]]:
        """Return a bank aligned, then tuned; what alignment took is in the first step's counts."""
        how, labeled, unlabeled = self.alignment, [], []
        ((_, steps), *_) = how.candidates(how.usual_rate(lm))
        for candidate, draw, texts in variants:
            to_align = [text for text in texts if text.activations is not None]
            unlabeled.append((Candidate(candidate.learning_rate, steps), draw, to_align))
            to_tune = [text for text in texts if text.activations is None]
            labeled.append((candidate, draw, to_tune))
        bank, before, _ = how.trained(lm, task, unlabeled, progress, (), bank)
        bank, history, kept = super().trained(lm, task, labeled, progress, checkpoint_steps, bank)
        counts = history.counts.copy()
        counts[0] += before.counts.sum(0)
        seconds = before.seconds + history.seconds
        peak = max(before.peak_bytes, history.peak_bytes)
        return bank, replace(history, counts=counts, seconds=seconds, peak_bytes=peak), kept
