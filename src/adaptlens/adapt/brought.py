"""Arms that a user brings: an adapter, a checkpoint of the same model, a prompt. None is trained.

An adapter may come with controls: the same at another strength, and null adapters, which are random
with the same shape and norm, so that a difference is held against what any such change does.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from adaptlens.adapt import Progress
from adaptlens.adapt.prompting import names_of
from adaptlens.adapt.settings import writer
from adaptlens.errors import UserError
from adaptlens.lm.adapters import peft_files
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.replaced import (
    Parameters,
    ReplacedWeights,
    changed,
    check_replaceable,
    merged,
)
from adaptlens.lm.adapters.soft_prompts import SoftPrompts, after
from adaptlens.lm.asked import Asked
from adaptlens.lm.load import LM, load
from adaptlens.lm.prefix.walk import virtual_ids
from adaptlens.models import arm_files, identity
from adaptlens.prompts import render
from adaptlens.prompts.controls import NONE, NULL
from adaptlens.prompts.fitting import fit
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.stats.scores import Family
from adaptlens.tasks import templates
from adaptlens.tasks.templates import Written
from adaptlens.types import NO_DRAWS, Adapted, CostEstimate, Example, Prompt, Task, Template


@dataclass(frozen=True)
class BroughtWeights(ABC):
    """The arguments of what changes weights.

    Attributes:
        arm: what the user calls it.
        digest: of its files.
        control: "none"; "null" for random changes of the same shape and norm, one a draw; "x0.5"
            for the change at half its strength.
        source: where it is found; decides nothing.
    """

    arm: str
    digest: str
    control: str = NONE
    source: str = field(default="", compare=False)

    name: ClassVar[str]
    family: ClassVar[Family] = "tune"
    draws_per_cell: ClassVar[int | None] = None
    every_template: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the control."""
        if self.control not in (NONE, NULL) and math.isnan(self.strength):
            raise UserError(
                f"arm '{self.arm}': control '{self.control}' was given; expected {NONE}, {NULL}, "
                "or a strength such as x0.5."
            )

    @property
    def strength(self) -> float:
        """By how much the change is multiplied; not a number where the control is none such."""
        if self.control in (NONE, NULL):
            return 1.0
        try:
            return float(self.control.removeprefix("x")) if self.control[:1] == "x" else math.nan
        except ValueError:
            return math.nan

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return self.arm if self.control == NONE else f"{self.arm}-{self.control}"

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return no work: nothing is trained, and prompts are read by measurements."""
        return CostEstimate()

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one variant, or a null one for each draw, under every template.

        Raises:
            UserError: its files are gone, damaged, or others than the run was planned with; or it
                was made for another base.
        """
        drawn = tuple(draws) if self.control == NULL else NO_DRAWS
        weights = self._weights(lm, drawn)
        ways = len(task.templates) or 1
        return Adapted(
            self.label,
            drawn * ways,
            writer(after(lm, len(virtual_ids(weights))), task, True, len(drawn)),
            weights=weights,
            shares_prompts=True,
            templates=names_of(task),
            notes=tuple(f"{self.label}: {note}" for note in weights.notes),
        )

    @abstractmethod
    def _weights(self, lm: LM, draws: Sequence[int]) -> ReplacedWeights | SoftPrompts:
        """Return the model's weights with the change, one variant a draw."""

    def _controlled(self, lm: LM, parameters: Parameters, draws: Sequence[int]) -> list[Parameters]:
        """Return, for each draw, whole parameters as the control has them."""
        if self.control == NONE:
            return [parameters]
        own = dict(lm.model.named_parameters(remove_duplicate=False))
        found: list[Parameters] = []
        for draw in draws:
            generator = torch.Generator().manual_seed(max(draw, 0))
            made = {}
            for name, values in parameters.items():
                base = own[name].float()
                change = values.to(base.device).float() - base
                if self.control == NULL:
                    change = _like(change, generator)
                made[name] = base + self.strength * change
            found.append(made)
        return found

    def _check_digest(self, digest: str) -> None:
        if digest != self.digest:
            raise UserError(
                f"arm '{self.arm}' is not what the run was planned with: the files at "
                f"'{self.source}' have changed; run the command again."
            )


@dataclass(frozen=True)
class BroughtAdapter(BroughtWeights):
    """An adapter in PEFT's format.

    LoRA is added as it is, with its own ranks and scales and whole modules, and DoRA where it is
    no control; a soft prompt is read before every text; any other kind is merged by the peft
    library.
    """

    name: ClassVar[str] = "adapter"

    def _weights(self, lm: LM, draws: Sequence[int]) -> ReplacedWeights | SoftPrompts:
        folder = Path(self.source)
        self._check_digest(arm_files.adapter_digest(folder))
        if arm_files.is_soft_prompt(folder):
            return self._soft_prompts(lm, folder, draws)
        try:
            saved = peft_files.read(folder)
        except peft_files.BeyondLora as beyond:
            return self._merged(lm, folder, draws, beyond.what)
        if saved.magnitudes and self.control != NONE:
            # Controls are made of changes of weights, which merging shows: DoRA's is no product.
            return self._merged(lm, folder, draws, "DoRA")
        check_replaceable(lm, saved.replaced, f"adapter {folder}")
        whole = self._controlled(lm, saved.replaced, draws)
        bank = LoraBank.holding(lm, [self._matrices(saved, draw) for draw in draws])
        return ReplacedWeights(lm, whole, bank, notes=_of_base(saved, lm))

    def _soft_prompts(self, lm: LM, folder: Path, draws: Sequence[int]) -> SoftPrompts:
        """Return the soft prompt; as null, random embeddings of the same norms."""
        found = SoftPrompts.load(lm, folder)
        if self.control == NONE:
            return found
        if self.control != NULL:
            raise UserError(
                f"arm '{self.arm}' is a soft prompt, which changes no weights and has no strength; "
                f"{self.control} was asked for, expected {NONE} or {NULL}."
            )
        (own,) = found.embeddings(found.master_weights)
        generators = [torch.Generator().manual_seed(draw) for draw in draws]
        made = [torch.stack([_like(token, one) for token in own]) for one in generators]
        return SoftPrompts(lm, torch.stack(made))

    def _merged(self, lm: LM, folder: Path, draws: Sequence[int], what: str) -> ReplacedWeights:
        """Return the weights with the adapter merged into them, as the control has it."""
        note = f"the adapter ({what}) was merged into the weights by the peft library"
        return ReplacedWeights(lm, self._controlled(lm, merged(lm, folder), draws), notes=(note,))

    def _matrices(self, saved: peft_files.Saved, draw: int) -> peft_files.Saved:
        """Return the adapter's matrices as the control has them."""
        if self.control == NONE:
            return saved
        if self.control != NULL:
            scales = {name: self.strength * scale for name, scale in saved.scales.items()}
            return replace(saved, scales=scales)
        generator = torch.Generator().manual_seed(draw)
        made = {}
        for name, (a, b) in saved.matrices.items():
            other = [_like(part, generator) for part in (a, b)]
            have, want = (_product_norm(*pair) for pair in (other, (a, b)))
            made[name] = (other[0], other[1] * (want / have if have else 0.0))
        return replace(saved, matrices=made)


@dataclass(frozen=True)
class BroughtCheckpoint(BroughtWeights):
    """Another checkpoint of the same model: a folder, a GGUF file, or a hub id."""

    name: ClassVar[str] = "checkpoint"

    def _weights(self, lm: LM, draws: Sequence[int]) -> ReplacedWeights:
        self._check_digest(identity.digest(identity.locate(self.source)))
        other = load(self.source, dtype=lm.dtype, device=str(lm.device))
        if other.tokenizer.get_vocab() != lm.tokenizer.get_vocab():
            raise UserError(
                f"arm '{self.arm}' ('{self.source}') has another tokenizer than '{lm.name}', so it "
                "is no checkpoint of that model; compare it as a model of its own: --model "
                f"{self.source}."
            )
        parameters = changed(lm, other.model, f"arm '{self.arm}' ('{self.source}')")
        total = len(dict(lm.model.named_parameters(remove_duplicate=False)))
        note = f"{len(parameters)} of {total} parameters differ from those of '{lm.name}'"
        return ReplacedWeights(lm, self._controlled(lm, parameters, draws), notes=(note,))


@dataclass(frozen=True)
class BroughtPrompt:
    """A prompt that was found elsewhere: how items are written, and demonstrations, if it has any.

    Attributes:
        arm: what the user calls it.
        template: how items are written.
        demonstrations: (input, answer) pairs, shown in this order.
    """

    arm: str
    template: Template
    demonstrations: tuple[tuple[str, str], ...] = ()

    name: ClassVar[str] = "prompt"
    family: ClassVar[Family] = "prompt"
    draws_per_cell: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        """Take a template as a run holds it, too."""
        if not isinstance(self.template, Template):
            stored: Any = self.template
            object.__setattr__(self, "template", Template(**stored))

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return self.arm

    def shown(self) -> tuple[Example, ...]:
        """Return its demonstrations as examples."""
        return tuple(
            Example(f"{self.arm}-{place}", text, answer)
            for place, (text, answer) in enumerate(self.demonstrations)
        )

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return the prompt of a query."""
        own = templates.written(task, self.template)
        demos = [own.example(demo) for demo in self.shown()]
        return render.render(own.task, demos, own.example(query)).text

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return no work: prompts are read by measurements."""
        return CostEstimate()

    def adapt(
        self, lm: Asked, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one variant: nothing is drawn, and there is one way of writing."""
        way, demos = templates.written(task, self.template), self.shown()

        def write(variant: int, query: Example) -> Prompt:
            return fit(lm, way, demos, query, on_overflow="error")

        return Adapted(self.label, NO_DRAWS, write, shares_prompts=True)


def _of_base(saved: peft_files.Saved, lm: LM) -> tuple[str, ...]:
    """Return a note where an adapter's settings call its base otherwise, and nothing else tells."""
    named = saved.base_name.rstrip("/").rpartition("/")[2]
    if saved.base_digest or not named or named == lm.name.rstrip("/").rpartition("/")[2]:
        return ()
    return (f"its settings name '{saved.base_name}' as its base; its shapes fit '{lm.name}'",)


def _like(values: Float[Tensor, "..."], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Return random numbers of the same shape and norm."""
    noise = torch.randn(values.shape, generator=generator).to(values.device)
    return noise * (values.float().norm() / noise.norm().clamp_min(1e-30))


def _product_norm(a: Float[Tensor, "rank _"], b: Float[Tensor, "_ rank"]) -> float:
    """Return the norm of B A, which is never written out."""
    a, b = a.double(), b.double()
    return float(((b.T @ b) * (a @ a.T)).sum().clamp_min(0).sqrt())
