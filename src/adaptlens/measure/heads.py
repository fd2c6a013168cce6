"""What heads are known by: induction, what the last token looks at, and their function vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adaptlens.errors import UserError
from adaptlens.lm.load import LM
from adaptlens.lm.patching import head_functions
from adaptlens.lm.prefix import boundaries
from adaptlens.lm.prefix.trie import common
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.measure.patch_pairs import check_units_can_be_read
from adaptlens.models import shape
from adaptlens.prompts import render
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import Adapted, CostEstimate, Example, Measured, Prompt, Role, Task

PLACES: tuple[tuple[str, Role | None], ...] = (
    ("labels", "demo_target"),
    ("query", "query"),
    ("first", None),
)


@dataclass(frozen=True)
class Heads:
    """Scores of every head, float32 [repeats, layers, heads].

    `induction`: attention from a repeated token to what followed it before, on random tokens.
    `labels`, `query`, `first`: attention of the prompt's last token to the answers of the
    demonstrations, the query, and the first token, means over queries. `vector`, where there are
    demonstrations: the change in the answer's log-probability when the head's mean output under
    demonstrations is added to the prompt without any, mean over queries; the queries that are
    averaged over are not those asked.

    Attributes:
        queries: test items that are read, at most.
        group: the group they are of; all where empty.
    """

    queries: int = 32
    group: str = ""

    name: ClassVar[str] = "heads"
    axes: ClassVar[Stated] = AXES["heads"]

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.queries < 2:
            raise UserError(f"heads: queries {self.queries} was given; it must be at least 2.")

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of reading whole prompts one by one."""
        queries = min(self.queries, sizes.items_of(self.group))
        units = shape.num_layers(sizes.model) * shape.num_heads(sizes.model)
        each = sizes.shared + sizes.rest
        if sizes.family == "prompt":
            # Half of those with demonstrations are read again for their heads.
            each += (each + sizes.rest + units / 2) / 2
        return CostEstimate(
            prompts=1.5 * queries * sizes.num_draws,
            read_tokens=sizes.num_draws * queries * each,
            disk_bytes=20.0 * sizes.num_draws * units,
        )

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the arrays above.

        Raises:
            UserError: the model's inside is not known, there are too few items, or units cannot be
                read.
        """
        check_units_can_be_read(adapted)
        own = [q for q in task.test if not self.group or q.group == self.group][: self.queries]
        if len(own) < 2:
            raise UserError(
                f"heads of '{lm.name}' were to be read on task '{task.name}', which has {len(own)} "
                f"test items{f' of group {self.group}' if self.group else ''}; expected 2 at least."
            )
        repeats, weights = len(adapted.draws), adapted.weights
        induction = head_functions.induction_scores(lm, weights)
        shown = [self._readings(lm, task, own, adapted.write, v) for v in range(repeats)]
        flat = [reading for row in shown for reading in row]
        attention = head_functions.last_attention(lm, flat, weights, progress=progress)
        attention = attention.reshape(repeats, len(own), *attention.shape[1:]).mean(1)
        arrays = {
            "induction": np.broadcast_to(induction, (repeats, *induction.shape[1:])).copy(),
            **{name: attention[:, i] for i, (name, _) in enumerate(PLACES)},
        }
        if any(reading.places[0] for reading in flat):
            half = len(own) // 2

            def alone(_: int, query: Example) -> Prompt:
                return render.render(task, (), query, chat=lm.render_chat if lm.chat else None)

            bare = [self._readings(lm, task, own[half:], alone, v) for v in range(repeats)]
            effects = [
                head_functions.vector_effects(lm, row[:half], asked, weights).mean(0)
                for row, asked in zip(shown, bare, strict=True)
            ]
            arrays["vector"] = np.stack(effects)
        return Measured(arrays=arrays)

    def _readings(
        self,
        lm: LM,
        task: Task,
        queries: Sequence[Example],
        write: Callable[[int, Example], Prompt],
        variant: int,
    ) -> list[head_functions.Reading]:
        """Return the prompts, where their labels, query and first token are, and their answers."""
        sent = [
            Prompt(write(variant, q).parts, (render.answer(task, q.target, chat=lm.chat),), q.id)
            for q in queries
        ]
        requests = boundaries.encode(lm, sent)
        answers = [request.answers_ids[0] for request in requests]
        # What all answers begin with, such as a space of its own, tells none of them.
        shared = min(min(common(answers[0], one) for one in answers), min(map(len, answers)) - 1)
        return [
            head_functions.Reading(
                request.prompt_ids + request.answers_ids[0][:shared],
                tuple(
                    (0,) if role is None else _tokens(lm, prompt, role, len(request.prompt_ids))
                    for _, role in PLACES
                ),
                request.answers_ids[0][shared],
                variant,
            )
            for prompt, request in zip(sent, requests, strict=True)
        ]


def _tokens(lm: LM, prompt: Prompt, role: Role, size: int) -> tuple[int, ...]:
    """Return the tokens of the parts of a role: those that the text up to its end has more.

    A token that reaches from one part into the next belongs to the part it begins in.
    """
    found: list[int] = []
    for own, start, end in prompt.spans():
        if own == role:
            before, after = (len(lm.encode(prompt.text[:at])) for at in (start, end))
            found += range(before, min(after, size))
    return tuple(found)
