"""An arm that a server has beside the base model, under a name of its own (a LoRA adapter)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from adaptlens.adapt import Progress
from adaptlens.adapt.prompting import names_of
from adaptlens.adapt.settings import writer
from adaptlens.errors import UserError
from adaptlens.lm.asked import Asked
from adaptlens.lm.served import Served, ServedWeights
from adaptlens.models import server
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.stats.scores import Family
from adaptlens.types import NO_DRAWS, Adapted, CostEstimate, Task


@dataclass(frozen=True)
class ServedArm:
    """Weights that answer under another name of the base model's server.

    Attributes:
        arm: what the user calls it.
        digest: of what its server says of it.
        source: openai:URL#NAME; decides nothing.
    """

    arm: str
    digest: str
    source: str = field(default="", compare=False)

    name: ClassVar[str] = "served"
    family: ClassVar[Family] = "tune"
    draws_per_cell: ClassVar[int | None] = None
    every_template: ClassVar[bool] = True

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return self.arm

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return no work: nothing is trained, and prompts are read by measurements."""
        return CostEstimate()

    def adapt(
        self, lm: Asked, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one variant under every template.

        Raises:
            UserError: the base model is not served, or is scored in another way.
        """
        at = server.named(self.source)
        if not isinstance(lm, Served) or lm.at.connection is not at.connection:
            raise UserError(
                f"arm '{self.arm}' is served ({self.source}); expected a base model of the same "
                f"server, and '{lm.name}' is not: give --model openai:URL#NAME."
            )
        return Adapted(
            self.label,
            NO_DRAWS * (len(task.templates) or 1),
            writer(lm, task, True, 1),
            weights=ServedWeights(at),
            shares_prompts=True,
            templates=names_of(task),
            notes=(f"{self.label}: it is what the same server has as '{at.model}'.",),
        )
