"""An adaptation: the instruction is said again after the input, so many times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from adaptlens.prompts import render
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.report.theme import Style
from adaptlens.tasks.templates import Written
from adaptlens.types import Adapted, CostEstimate, Example, Prompt, Task


@dataclass(frozen=True)
class Reminded:
    """The base model reads the instruction, the input, and the instruction again."""

    times: int = 1

    name: ClassVar[str] = "reminded"
    family: ClassVar[str] = "prompt"
    draws_per_cell: ClassVar[int | None] = None
    style: ClassVar[Style] = Style(
        "reminded", "the instruction is said again after the input", "#a3195b", "#f48fb8", "cross"
    )

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return f"reminded-{self.times}"

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return a prompt as it will be read."""
        return self._prompt(way.task, way.example(query)).text

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return no work: prompts are read by measurements."""
        return CostEstimate()

    def adapt(self, lm: Any, task: Task, draws: Sequence[int], *, progress: Any = None) -> Adapted:
        """Return one variant: nothing is drawn."""
        return Adapted(self.label, (-1,), lambda _, query: self._prompt(task, query),
                       shares_prompts=True)  # fmt: skip

    def _prompt(self, task: Task, query: Example) -> Prompt:
        again = " ".join([query.input, *[task.instruction] * self.times])
        return render.render(task, (), replace(query, input=again))
