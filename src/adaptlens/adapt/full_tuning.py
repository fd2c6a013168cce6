"""The adaptation that trains all weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from adaptlens.adapt import Progress, loop
from adaptlens.adapt.batches import Counts, TokenizedExample
from adaptlens.adapt.lora import LORA_RATE_TIMES_WIDTH
from adaptlens.adapt.prompting import names_of
from adaptlens.adapt.settings import (
    Candidate,
    Fold,
    Tuning,
    all_tried,
    choice_made,
    parts,
    width,
    writer,
)
from adaptlens.adapt.training_cost import Chosen, training_cost
from adaptlens.lm.adapters.full_weights import FullParameters, FullVariants
from adaptlens.lm.load import LM
from adaptlens.types import Adapted, Task

FULL_RATE_TIMES_WIDTH = LORA_RATE_TIMES_WIDTH / 10
"""Default rate of full tuning: a tenth of LoRA's (1.6e-5 at 7B), the usual distance."""


@dataclass(frozen=True)
class FullTuning(Tuning):
    """All weights trained on the instruction format, one draw at a time, and put back afterwards.

    The default rate is 0.064 / width. `keep` writes each draw's weights, as large as the model,
    beside its results.
    """

    keep: bool = False

    name: ClassVar[str] = "full"
    rate_times_width: ClassVar[float] = FULL_RATE_TIMES_WIDTH
    draws_per_cell: ClassVar[int | None] = 1

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one set of weights per draw; of a search, only the chosen one is kept."""
        candidates = self.candidates(self.rate_times_width / width(lm))
        folded = self.true_few_shot and len(candidates) > 1
        chooses = len(candidates) > 1 and not folded
        rounds = len(set(parts(self.examples))) + 1 if folded else 1
        total = len(draws) * rounds * sum(candidate.max_steps for candidate in candidates)
        trainer = _Trainer(self, lm, progress, total)
        variants, runs, chosen = [], [], []
        validation = np.zeros((len(draws), len(candidates)))
        for d, draw in enumerate(draws):
            own = self.as_tuned(task, draw)
            examples = self.tokenized(lm, own, self.drawn(task, draw))
            held_out = self.held_out(lm, own) if chooses else []
            tried = list(enumerate(candidates))
            if folded:
                folds = self.folds(lm, task, draw)
                validation[d] = [trainer.left_out(draw, one, folds) for one in candidates]
                tried = [tried[int(validation[d].argmin())]]
            best: tuple[float, int, Any, loop.History] | None = None
            for c, candidate in tried:
                with trainer.trained(draw, candidate, examples) as parameters:
                    if held_out:
                        validation[d, c] = trainer.judged(held_out)
                    if best is None or validation[d, c] < best[0]:
                        best = (validation[d, c], c, parameters.trained(), trainer.histories[-1])
            assert best is not None
            chosen.append(best[1])
            variants.append(best[2])
            runs.append(Chosen(best[3], 0, candidates[best[1]].max_steps))
        losses = np.full((max(run.steps for run in runs), len(draws)), np.nan, np.float32)
        for d, run in enumerate(runs):
            losses[: run.steps, d] = run.history.losses[:, 0]
        size = parameters.master_weights.shape[1]
        training = training_cost(
            lm,
            trainer.histories,
            losses,
            size,
            runs,
            token_parameters=None,
            choosing=trainer.choosing,
        )
        training |= all_tried(candidates)
        if len(candidates) > 1:
            training |= choice_made(candidates, validation, chosen)
        training |= self.tuned_on(task, draws)
        ways = len(task.templates) or 1
        return Adapted(
            self.label,
            tuple(draws) * ways,
            writer(lm, task, self.instruction, len(draws)),
            weights=FullVariants(lm, variants, keep=self.keep),
            shares_prompts=True,
            training=training,
            examples=tuple(self.drawn(task, draw) for draw in draws) * ways,
            templates=names_of(task),
        )


class _Trainer:
    """Trains all weights, one run after another, and keeps their histories.

    Attributes:
        histories: of the runs so far.
        choosing: what was read to judge them.
    """

    def __init__(self, how: FullTuning, lm: LM, progress: Progress | None, total: int) -> None:
        """Say how to train what, and whom to tell of the steps, which are `total` in all."""
        self._how, self._lm, self._progress, self._total = how, lm, progress, total
        self._done = 0
        self.histories: list[loop.History] = []
        self.choosing = Counts()

    @contextmanager
    def trained(
        self, draw: int, candidate: Candidate, examples: Sequence[TokenizedExample]
    ) -> Iterator[FullParameters]:
        """Run the model with weights trained so inside this context."""

        def report(step: int, _: int) -> None:
            if self._progress:
                self._progress(min(self._done + step, self._total), self._total)

        parameters = FullParameters(self._lm)
        with parameters.opened():
            history = loop.train(
                self._lm,
                parameters,
                [examples],
                self._how.training_config([candidate], [draw]),
                names=[self._how.told(draw, candidate)],
                progress=report,
            )
            self._done += candidate.max_steps
            self.histories.append(history)
            yield parameters

    def left_out(self, draw: int, candidate: Candidate, folds: Sequence[Fold]) -> float:
        """Return the loss per label token on examples that were left out of training."""
        losses, labels = 0.0, 0
        for train, held_out in folds:
            size = sum(example.num_labels for example in held_out)
            with self.trained(draw, candidate, train):
                losses += size * self.judged(held_out)
            labels += size
        return losses / labels

    def judged(self, examples: Sequence[TokenizedExample]) -> float:
        """Return the loss per label token of the weights that are in place."""
        losses, counts = loop.evaluate(self._lm, None, examples, 1)
        self.choosing = Counts(*np.add(self.choosing, counts))
        return float(losses[0])
