"""The adaptation that trains all weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from adaptlens.adapt import Progress, loop
from adaptlens.adapt.account import Chosen, account
from adaptlens.adapt.batches import Counts
from adaptlens.adapt.prompting import names_of
from adaptlens.adapt.recipes import Tuning, choice_made, width, writer
from adaptlens.adapt.tuning import LORA_RATE_TIMES_WIDTH
from adaptlens.lm.full import FullParameters, FullVariants
from adaptlens.lm.load import LM
from adaptlens.values import Adapted, Task

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
    draws_per_cell: ClassVar[int | None] = 1

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one set of weights per draw; of a search, only the chosen one is kept."""
        candidates = self.candidates(FULL_RATE_TIMES_WIDTH / width(lm))
        held_out = self.held_out(lm, task) if len(candidates) > 1 else []
        total = len(draws) * sum(steps for _, steps in candidates)
        done = 0
        variants, histories, runs, chosen = [], [], [], []
        choosing = Counts()
        validation = np.zeros((len(draws), len(candidates)))
        for d, draw in enumerate(draws):
            lessons = self.lessons(lm, task, self.drawn(task, draw))
            best: tuple[float, int, Any, loop.History] | None = None
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
                        self.recipe([candidate], [draw]),
                        names=[self.told(draw, candidate)],
                        progress=report,
                    )
                    if held_out:
                        losses_found, counts = loop.evaluate(lm, None, held_out, 1)
                        validation[d, c] = losses_found[0]
                        choosing = Counts(*np.add(choosing, counts))
                    if best is None or validation[d, c] < best[0]:
                        best = (validation[d, c], c, parameters.trained(), history)
                done += candidate[1]
                histories.append(history)
            assert best is not None
            chosen.append(best[1])
            variants.append(best[2])
            runs.append(Chosen(best[3], 0, candidates[best[1]][1]))
        losses = np.full((max(run.steps for run in runs), len(draws)), np.nan, np.float32)
        for d, run in enumerate(runs):
            losses[: run.steps, d] = run.history.losses[:, 0]
        size = parameters.masters.shape[1]
        training = account(lm, histories, losses, size, runs, full=True, choosing=choosing)
        if held_out:
            training |= choice_made(candidates, validation, chosen)
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
