"""What the five systems answer: by log-likelihood of the options, written out, and by meaning.

The system is that of the adaptation (`adapt.mixture`); a samplegen-tuned model also gives the
pipeline, in which the base model finishes what the tuned one wrote.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float64

from adaptlens.errors import UserError, unknown
from adaptlens.lm import score
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.measure.grading import Verdicts, judged, similarity_of
from adaptlens.prompts import parsing, system_prompts
from adaptlens.prompts.sizes import STOP_TOKENS, PromptSizes
from adaptlens.prompts.system_prompts import END, Writer
from adaptlens.prompts.variations import varied
from adaptlens.types import Adapted, CostEstimate, Example, Measured, Prompt, Task, Weights

NEEDED: Literal["needed"] = "needed"
SHOWN_EACH = 2
_SPARE_TOKENS, _SPARE_SHARE = 4, 1.1
_LINE = ("\n",)

Sent = Sequence[Sequence[Prompt | None]]
"""Prompts [repeats][queries]; None where there is nothing to send."""


@dataclass(frozen=True)
class Systems:
    """Reads the test items of a mixture under every variant.

    Arrays [repeats, queries], NaN where undefined:

    correct_choice: whether the likeliest option (summed log-probability) is the target. Options
        of samplegen and the pipeline are scored after what was written up to the answer marker;
        without a marker the item counts as wrong.
    correct_exact: whether the answer written is the target.
    correct_semantic: whether the option most like the answer written is the target. An empty
        answer is like some option, too: see the floor.
    unparsed: whether no answer was found in what was written.
    floor_exact, floor_semantic: what these would be, on average, were each item answered with
        what was written for another item of its task.

    `loglik` is [repeats, queries, choices], `chance` [queries] one over the number of options (0
    without). The pipeline's have the prefix "pipeline_". All of a variation have its name and a dot
    before them ("unified.correct_exact").

    Attributes:
        variations: in which prompts are read; "" as the adaptation writes them.
        tasks: read these tasks' items only, all others are NaN; () for all.
        semantic: a sentence encoder's name or folder; "" for no match by meaning.
        pipeline: whether the base model finishes what a samplegen model wrote.
        max_new_tokens: the most an output has; "needed" for what the mixture's texts need.
    """

    variations: tuple[str, ...] = ("",)
    tasks: tuple[str, ...] = ()
    semantic: str = ""
    pipeline: bool = True
    max_new_tokens: int | Literal["needed"] = NEEDED

    name: ClassVar[str] = "systems"
    axes: ClassVar[Stated] = AXES["systems"]

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("variations", "tasks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.variations:
            raise UserError('systems: no variation was given; give "" for prompts as they are.')

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of writing an answer to every query, in every variation."""
        variants, queries = sizes.num_draws, len(sizes.task.test)
        line = (sizes.answer + sizes.longest) / 2 + STOP_TOKENS
        if sizes.written:
            told = sizes.written
            read = sizes.read(queries) + queries * (sizes.rest + told + sizes.options)
            write = queries * told
            if self.pipeline:
                read += queries * (2 * told + sizes.options)
                write += queries * line
        else:
            read = sizes.read(queries) + sizes.read(queries, sizes.options)
            write = queries * line
        readings = len(self.variations)
        arrays = 8.0 * (8 + sizes.choices) * (2 if sizes.written and self.pipeline else 1)
        return CostEstimate(
            prompts=2.0 * readings * variants * queries,
            read_tokens=readings * variants * read,
            written_tokens=readings * variants * write,
            disk_bytes=readings * variants * queries * arrays,
        )

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the arrays above, and prompts as sent with what was written after them.

        Raises:
            UserError: an adaptation that writes no system's prompts, a variation that the system
                cannot be read with, a task that is not read, or an encoder that is not there.
        """
        if not isinstance(adapted.write, Writer):
            raise UserError(
                f"systems was asked to read '{adapted.adaptation}'; expected base, gold, "
                "regular_tuned or samplegen_tuned; measure behavior instead."
            )
        places = self._places(task)
        similarity = similarity_of(self.semantic) if self.semantic else None
        reading = _Reading(lm, task, adapted, len(self.variations), progress)
        arrays: dict[str, np.ndarray] = {}
        texts: list[dict[str, Any]] = []
        for variation in self.variations:
            reading.writer = adapted.write.varied(variation)
            queries = [varied(task.test[i], reading.writer.variation) for i in places]
            asked = [task.test[i] for i in places]
            most = None if self.max_new_tokens == NEEDED else self.max_new_tokens
            found = {"": reading.direct(asked, queries, most)}
            if reading.writer.system == "samplegen" and self.pipeline:
                found["pipeline_"] = reading.pipeline(queries, found[""].outputs)
            for prefix, verdicts in found.items():
                before = (f"{variation}." if variation else "") + prefix
                for name, array in judged(queries, verdicts, similarity).items():
                    arrays[before + name] = _spread(array, places, len(task.test))
                texts += _shown(before, queries, verdicts)
        return Measured(reading.numbers(), arrays, {"prompts": texts})

    def _places(self, task: Task) -> list[int]:
        """Return the numbers of the items to read."""
        groups = list(dict.fromkeys(query.group for query in task.test))
        for name in self.tasks:
            if name not in groups:
                raise unknown("task to read", name, groups)
        chosen = self.tasks or groups
        return [i for i, query in enumerate(task.test) if query.group in chosen]


@dataclass
class _Reading:
    """One call of `Systems.measure`."""

    lm: LM
    task: Task
    adapted: Adapted
    num_variations: int
    progress: Progress | None
    writer: Writer = field(default_factory=lambda: Writer("base"))
    work: ForwardStats = field(default_factory=ForwardStats)
    done: int = 0
    most_tokens: int = 0

    @property
    def repeats(self) -> int:
        """How many variants there are."""
        return len(self.adapted.draws)

    def direct(
        self, asked: Sequence[Example], queries: Sequence[Example], most: int | None
    ) -> Verdicts:
        """Return what the adapted model itself answers.

        Args:
            asked: the items as the mixture has them, from which prompts are written.
            queries: the same, varied, by which answers are judged.
            most: tokens of an output; None for what is needed.
        """
        shared = self.adapted.shares_prompts
        first = [self.writer(0, query) for query in asked]
        sent = [
            first if shared or not i else [self.writer(i, query) for query in asked]
            for i in range(self.repeats)
        ]
        weights = self.adapted.weights
        system = self.writer.system
        if system != "samplegen":
            return self.answered(system, sent, queries, weights, most)
        most = most or self.needed(self.texts_needed(asked), _SPARE_SHARE)
        written = self.generated(sent, weights, most, (END,))
        continued = [
            [system_prompts.continued(p, text) for p, text in zip(*both, strict=True)]
            for both in zip(sent, written, strict=True)
        ]
        return self.verdicts(system, sent, continued, written, queries, weights)

    def pipeline(self, queries: Sequence[Example], written: Sequence[Sequence[str]]) -> Verdicts:
        """Return what the base model answers after what the samplegen model wrote."""
        sent = [
            [
                self.writer.opened(prompt)
                if (prompt := system_prompts.pipeline(query, text))
                else None
                for query, text in zip(queries, row, strict=True)
            ]
            for row in written
        ]
        return self.answered("pipeline", sent, queries, None, None)

    def answered(
        self,
        system: str,
        sent: Sent,
        queries: Sequence[Example],
        weights: Weights | None,
        most: int | None,
    ) -> Verdicts:
        """Return the options' log-likelihoods and the line written after prompts with a marker."""
        most = most or self.needed(_answers_of(queries), 1.0)
        written = self.generated(sent, weights, most, _LINE)
        if system != "regular":
            # The answer is the first line with text, and an output may begin with a line break.
            again = [
                [p if text == "" else None for p, text in zip(*both, strict=True)]
                for both in zip(sent, written, strict=True)
            ]
            if any(prompt for row in again for prompt in row):
                rest = self.generated(again, weights, most, ())
                written = [
                    [a or b for a, b in zip(*both, strict=True)]
                    for both in zip(written, rest, strict=True)
                ]
        return self.verdicts(system, sent, sent, written, queries, weights)

    def verdicts(
        self,
        system: str,
        sent: Sent,
        scored: Sent,
        written: Sequence[Sequence[str]],
        queries: Sequence[Example],
        weights: Weights | None,
    ) -> Verdicts:
        """Return what was written, the answers found in it, and the options' log-likelihoods."""
        answers = [
            [
                parsing.answer(system, text, query.choices)
                for text, query in zip(row, queries, strict=True)
            ]
            for row in written
        ]
        return Verdicts(sent, written, answers, self.scored(scored, weights))

    def generated(
        self, sent: Sent, weights: Weights | None, most: int, stop: Sequence[str]
    ) -> list[list[str]]:
        """Return what is written after every prompt; "" where none is sent."""
        found: list[list[str]] = [["" for _ in row] for row in sent]

        def run(
            places: list[tuple[int, int]], requests: list[score.Request], told: Progress
        ) -> None:
            room = self.lm.context_tokens - max(len(r.prompt_ids) for r in requests)
            limit = min(most, max(room, 1))
            self.most_tokens = max(self.most_tokens, limit)
            texts = score.generate(
                self.lm, requests, limit, stop, weights, progress=told, work=self.work
            )
            for (i, j), text in zip(places, texts, strict=True):
                found[i][j] = text

        self.each(sent, weights, run)
        return found

    def scored(
        self, sent: Sent, weights: Weights | None
    ) -> list[list[Float64[np.ndarray, " _"] | None]]:
        """Return the log-likelihoods of every prompt's options; None where there are none."""
        found: list[list[Float64[np.ndarray, " _"] | None]] = [[None for _ in row] for row in sent]

        def run(
            places: list[tuple[int, int]], requests: list[score.Request], told: Progress
        ) -> None:
            values = score.score(self.lm, requests, weights, progress=told, work=self.work)
            for (i, j), loglik in zip(places, values, strict=True):
                found[i][j] = loglik

        chosen = [[p if p and p.answers else None for p in row] for row in sent]
        self.each(chosen, weights, run)
        return found

    def each(
        self,
        sent: Sent,
        weights: Weights | None,
        run: Callable[[list[tuple[int, int]], list[score.Request], Progress], None],
    ) -> None:
        """Run all prompts at once by the base model, else variant by variant.

        Rows of one adapter run together without copying it row by row.
        """
        rows = [list(range(len(sent)))] if weights is None else [[i] for i in range(len(sent))]
        for number, own in enumerate(rows):
            places = [(i, j) for i in own for j, prompt in enumerate(sent[i]) if prompt]
            if places:
                prompts = [sent[i][j] for i, j in places]
                variants = [i for i, _ in places]
                requests = score.encode(
                    self.lm, [p for p in prompts if p], variants, work=self.work
                )
                run(places, requests, self.telling(number, len(rows)))
        self.done += 1

    def telling(self, number: int, count: int) -> Progress:
        """Return what reports progress of part `number` of `count` of a pass."""
        system = self.adapted.write.system if isinstance(self.adapted.write, Writer) else ""
        passes = self.num_variations * (4 if system == "samplegen" else 2)

        def tell(i: int, n: int) -> None:
            if self.progress:
                share = (self.done + (number + i / max(n, 1)) / count) / passes
                self.progress(min(int(1000 * share), 1000), 1000)

        return tell

    def needed(self, texts: Sequence[str], share: float) -> int:
        """Return how many tokens an output may have to hold any of these texts, and some more."""
        rows = self.lm.encode_all(list(dict.fromkeys(texts)))
        longest = max((len(ids) - len(self.lm.prefix_ids) for ids in rows), default=0)
        return int(longest * share) + _SPARE_TOKENS

    def texts_needed(self, asked: Sequence[Example]) -> list[str]:
        """Return the longest text that samplegen should write for each task."""
        pool = system_prompts.by_group(self.task.pool)
        found = []
        for group in dict.fromkeys(query.group for query in asked):
            shown = sorted(pool.get(group, ()), key=lambda e: -len(e.input + "".join(e.choices)))
            item = max(
                (query for query in asked if query.group == group),
                key=lambda query: len(query.input + "".join(query.choices)),
            )
            found.append(
                system_prompts.response(
                    item, shown[: system_prompts.SHOWN], variation=self.writer.variation
                )
            )
        return found

    def numbers(self) -> dict[str, float]:
        """Return the counts that a reader of the results may ask for."""
        return {
            "max_new_tokens": float(self.most_tokens),
            "unshared_sequences": float(self.work.unshared),
            "seams_moved": float(self.work.seams_moved),
            "tokens_computed": float(self.work.tokens_computed),
        }


def _answers_of(queries: Sequence[Example]) -> list[str]:
    """Return every text that an answer may be, as it is written."""
    return [f" {text}" for query in queries for text in (*query.choices, query.target)]


def _spread(
    array: Float[np.ndarray, "..."], places: Sequence[int], count: int
) -> Float64[np.ndarray, "..."]:
    """Return an array over all test items, NaN where none was read."""
    axis = 1 if array.ndim > 1 else 0
    shape = list(array.shape)
    shape[axis] = count
    whole = np.full(shape, np.nan)
    whole[(slice(None), places) if axis else places] = array
    return whole


def _shown(before: str, queries: Sequence[Example], verdicts: Verdicts) -> list[dict[str, Any]]:
    """Return the first prompts of each task as sent by the first variant, and what came back."""
    shown, seen = [], dict.fromkeys((query.group for query in queries), 0)
    for query, prompt, output, answer in zip(
        queries, verdicts.sent[0], verdicts.outputs[0], verdicts.answers[0], strict=True
    ):
        seen[query.group] += 1
        if seen[query.group] > SHOWN_EACH:
            continue
        shown.append(
            {
                "reading": before,
                "query_id": query.id,
                "group": query.group,
                "gold": query.target,
                "parts": [[part.role, part.text] for part in prompt.parts] if prompt else [],
                "answers": list(prompt.answers) if prompt else [],
                "output": output,
                "answer": answer,
            }
        )
    return shown
