"""What all ways of tuning share: arguments, the examples they see, the candidates they try."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Float

from adaptlens.adapt import estimates
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.optimizer import SCHEDULES, Schedule, TrainingConfig
from adaptlens.adapt.steps import FOLDS, LEAST_STEPS, usual_steps
from adaptlens.adapt.tokenizing import tokenized
from adaptlens.errors import UserError, unknown
from adaptlens.lm.asked import Asked
from adaptlens.lm.load import LM
from adaptlens.models import shape
from adaptlens.prompts import controls, render, template_turns
from adaptlens.prompts.fitting import fit
from adaptlens.prompts.selection import DRAWN
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.stats.scores import Family
from adaptlens.tasks import templates
from adaptlens.tasks.templates import Written
from adaptlens.types import CostEstimate, Example, Prompt, Task

START, ORDER = 1, 2
"""What a seed is drawn for: an adapter's start, or the order of its examples."""


class Candidate(NamedTuple):
    """What the validation split chooses among."""

    learning_rate: float
    max_steps: int


class Fold(NamedTuple):
    """A draw's examples without one part, and that part."""

    train: Sequence[TokenizedExample]
    held_out: Sequence[TokenizedExample]


@dataclass(frozen=True)
class Tuning:
    """The arguments of every way of tuning.

    Attributes:
        examples: how many of the draw's examples to train on.
        selection: how the draw's examples are chosen: "random" or "balanced".
        control: what is changed about the examples, see `prompts.controls.drawn`.
        learning_rate: several are tried, and the validation split chooses, draw by draw; None for
            the default of the way of tuning.
        lr_multipliers: multiples of that default to try, where no learning rate is given.
        max_steps: optimizer steps; several are tried likewise; None for as many as make 3 passes
            over the examples, and at least 30.
        batch_size: examples a step.
        lr_scheduler: "constant", "linear" or "cosine", as Hugging Face defines them.
        warmup_steps: over which the learning rate rises from 0.
        weight_decay: AdamW's.
        max_grad_norm: largest gradient norm of a variant; None for no limit.
        gradient_checkpointing: compute layers again in the backward pass instead of keeping what
            they put out: the same result in less memory and more time.
        gradient_accumulation_steps: parts in which a step's examples are run, one after another:
            the same result in less memory. `batch_size` counts the examples of all parts; dropout
            draws other masks.
        validation_examples: of the items that choose, see `choosing`, the first this many do.
        true_few_shot: use no validation split: rates and steps are chosen draw by draw by the loss
            on the draw's own examples, each left out of training in one of `steps.FOLDS` parts
            (Perez et al. 2021, arXiv 2105.11447); what is chosen is then trained on all of them.
        num_templates: how many of the task's templates each draw is tuned on, in turn, see
            `prompts.template_turns`; None for all. It is read under all of them.
        seed: of the draws, of the start and of the order of examples.
        restart: another number starts and orders anew, on the same draws.
    """

    examples: int
    selection: str = "random"
    control: str = controls.NONE
    learning_rate: float | tuple[float, ...] | None = None
    lr_multipliers: float | tuple[float, ...] = 1.0
    max_steps: int | tuple[int, ...] | None = None
    batch_size: int = 32
    lr_scheduler: Schedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    gradient_checkpointing: bool = False
    gradient_accumulation_steps: int = 1
    validation_examples: int = 64
    true_few_shot: bool = False
    num_templates: int | None = None
    seed: int = 0
    restart: int = 0

    name: ClassVar[str]
    family: ClassVar[Family] = "tune"
    draws_per_cell: ClassVar[int | None] = None
    every_template: ClassVar[bool] = True
    instruction: ClassVar[bool] = True
    rate_times_width: ClassVar[float]

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("learning_rate", "lr_multipliers", "max_steps"):
            given = getattr(self, name)
            if isinstance(given, list):
                object.__setattr__(self, name, tuple(given))
        rates, steps = _several(self.learning_rate), _several(self.max_steps)
        multipliers, norm = _several(self.lr_multipliers), self.max_grad_norm
        warmup = range(min(steps or (LEAST_STEPS,)))
        rules = [
            ("examples", self.examples >= 1, "at least 1"),
            ("learning_rate", all(rate > 0 for rate in rates), "above 0"),
            ("lr_multipliers", all(factor > 0 for factor in multipliers), "above 0"),
            ("max_steps", all(step >= 1 for step in steps), "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("max_grad_norm", norm is None or norm > 0, "above 0, or none"),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps >= 1,
                "at least 1",
            ),
            ("warmup_steps", self.warmup_steps in warmup, "at least 0 and fewer than the steps"),
            ("validation_examples", self.validation_examples >= 1, "at least 1"),
            ("num_templates", (self.num_templates or 1) >= 1, "at least 1, or none"),
            ("restart", self.restart >= 0, "at least 0"),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise UserError(
                    f"{self.name}: {name} {getattr(self, name)} was given; it must be {expected}."
                )
        several = max(len(rates), len(multipliers), len(steps)) > 1
        if self.true_few_shot and several and self.examples < 2:
            raise UserError(
                f"{self.name}: {self.examples} examples were given with true_few_shot, which "
                "chooses among rates and steps on them; it needs at least 2, or one of each."
            )
        if self.lr_scheduler not in SCHEDULES:
            raise unknown("lr_scheduler", self.lr_scheduler, SCHEDULES)
        if self.selection not in DRAWN:
            raise unknown("selection", self.selection, DRAWN)
        controls.check_control(self.control)

    def settled(self, task: Task, model: str) -> Self:
        """Return the arguments with the numbers that defaults stand for, by which a cell is named.

        Args:
            task: what is tuned to.
            model: the name that the base model is found by.

        Raises:
            UserError: a default rate depends on the width, which the model's files do not say.
        """
        steps = self.usual_steps if self.max_steps is None else self.max_steps
        ways = self.num_templates or len(task.templates) or 1
        rates = self.settled_rates(model)
        return replace(self, **rates, max_steps=steps, num_templates=ways)

    def settled_rates(self, model: str) -> dict[str, Any]:
        """Return `learning_rate` in numbers, and `lr_multipliers`, which are then used up."""
        rates = _several(self.learning_rate)
        if not rates:
            usual = self.rate_times_width / stated_width(model)
            rates = tuple(usual * factor for factor in _several(self.lr_multipliers))
        return {"learning_rate": rates if len(rates) > 1 else rates[0], "lr_multipliers": 1.0}

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        again = "-restart" if self.restart else ""
        return f"{self.name}-{self.examples}{controls.suffix(self.control)}{again}"

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return a prompt as it will be read."""
        return render.render(way.task, (), way.example(query), instruction=self.instruction).text

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of tuning, see `adapt.estimates`."""

        def training_text(way: Written, row: Example) -> str:
            own = way.example(row)
            return self.sketch(way.task, row, way) + render.answer(way.task, own.target)

        return estimates.of_tuning(self, sizes, training_text, full=self.draws_per_cell == 1)

    def drawn(self, task: Task, draw: int) -> tuple[Example, ...]:
        """Return the examples a draw is tuned on."""
        return controls.drawn(
            task,
            draw,
            self.examples,
            selection=self.selection,
            seed=self.seed,
            control=self.control,
        )

    def as_tuned(self, task: Task, draw: int) -> Task:
        """Return the task as a draw is tuned on it: with its own templates alone."""
        if not self._has_turns(task):
            return task
        own = template_turns.tuned_on(task, draw, self.num_templates, self.seed)
        return replace(task, templates=own)

    def tuned_on(self, task: Task, draws: Sequence[int]) -> dict[str, Any]:
        """Return the names of each draw's templates, for the record, where it has its own."""
        if not self._has_turns(task):
            return {}
        own = [self.as_tuned(task, draw).templates for draw in draws]
        return {"tuned_on": [[template.name for template in ways] for ways in own]}

    def _has_turns(self, task: Task) -> bool:
        """Whether draws are tuned on some of a task's templates each."""
        return self.num_templates not in (None, len(task.templates) or 1)

    def tokenized(self, lm: LM, task: Task, examples: Sequence[Example]) -> list[TokenizedExample]:
        """Return the examples as training texts in tokens, under every template."""
        return tokenized(lm, task, examples, instruction=self.instruction)

    def held_out(self, lm: LM, task: Task) -> list[TokenizedExample]:
        """Return the examples that choose among candidates, the task's templates taking turns.

        Raises:
            UserError: the task has no validation split.
        """
        if not task.validation:
            raise UserError(
                f"{self.label} was given several rates or steps, but task '{task.name}' has no "
                "validation split to choose by; give one rate and one number of steps, or a split."
            )
        items = choosing(task)[: self.validation_examples]
        ways = task.templates or (task.template,)
        found = []
        for place, way in enumerate(ways):
            own = replace(task, templates=(way,))
            found += self.tokenized(lm, own, items[place :: len(ways)])
        return found

    def folds(self, lm: LM, task: Task, draw: int) -> list[Fold]:
        """Return the draw's examples in as many folds as it has parts, under its templates."""
        examples, own = self.drawn(task, draw), self.as_tuned(task, draw)
        part = parts(len(examples))
        found = []
        for held in dict.fromkeys(part):
            sides = [
                [e for e, its in zip(examples, part, strict=True) if (its == held) == is_held]
                for is_held in (False, True)
            ]
            found.append(Fold(*(self.tokenized(lm, own, side) for side in sides)))
        return found

    @property
    def num_rows(self) -> int:
        """How many items a draw is trained on."""
        return self.examples

    @property
    def usual_steps(self) -> int:
        """How many steps are taken where none are asked for."""
        return usual_steps(self.num_rows, self.batch_size)

    @property
    def nests_steps(self) -> bool:
        """Whether fewer steps are the beginning of more: at a constant learning rate they are."""
        return self.lr_scheduler == "constant"

    def candidates(self, usual_rate: float) -> list[Candidate]:
        """Return what to try, most steps first, as the training loop wants them."""
        multiples = tuple(usual_rate * factor for factor in _several(self.lr_multipliers))
        rates = _several(self.learning_rate) or multiples
        steps = _several(self.max_steps) or (self.usual_steps,)
        pairs = dict.fromkeys(itertools.product(rates, steps))
        return sorted(
            (Candidate(*pair) for pair in pairs), key=lambda candidate: -candidate.max_steps
        )

    def training_config(
        self, candidates: Sequence[Candidate], draws: Sequence[int]
    ) -> TrainingConfig:
        """Return how to train one variant per candidate and draw given side by side."""
        return TrainingConfig(
            learning_rates=tuple(one.learning_rate for one in candidates),
            max_steps=tuple(one.max_steps for one in candidates),
            order_seeds=tuple(self.seed_for(draw, ORDER) for draw in draws),
            batch_size=min(self.batch_size, self.num_rows),
            lr_scheduler=self.lr_scheduler,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            gradient_checkpointing=self.gradient_checkpointing,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
        )

    def seed_for(self, draw: int, purpose: int) -> int:
        """Return a seed that depends on the draw's number, not on its place among the draws."""
        words = [self.seed, draw, purpose]
        again = [self.restart] if self.restart else []
        return int(np.random.SeedSequence(words + again).generate_state(1)[0])

    def told(self, draw: int, candidate: Candidate) -> str:
        """Return what to call a variant in an error."""
        rate, steps = candidate
        return f"{self.label}, draw {draw} (learning rate {rate:g}, {steps} steps)"


def writer(
    lm: Asked, task: Task, instruction: bool, num_draws: int
) -> Callable[[int, Example], Prompt]:
    """Return what writes a tuned model's prompts: no demonstrations, template by template."""
    ways = templates.ways(task)

    def write(variant: int, query: Example) -> Prompt:
        way = ways[variant // num_draws % len(ways)]
        return fit(lm, way, (), query, instruction=instruction, on_overflow="error")

    return write


def parts(count: int) -> list[int]:
    """Return for each of so many examples, in order, the part in which it is left out."""
    return [place * FOLDS // count for place in range(count)]


def choosing(task: Task) -> tuple[Example, ...]:
    """Return the labeled items that choose rates, templates, prompts and rules.

    They are the first half of the validation split. The other half chooses among the arms, so that
    no arm is judged by the items it was made by.
    """
    return task.validation[: (len(task.validation) + 1) // 2]


def width(lm: LM) -> int:
    """Return the width of the model's hidden states."""
    return lm.model.config.get_text_config().hidden_size


def stated_width(model: str) -> int:
    """Return the width of a model's hidden states as its files say it.

    Raises:
        UserError: they do not.
    """
    if not (found := shape.width(model)):
        raise UserError(
            f"the configuration of model '{model}' states no hidden_size, by which the default "
            "learning rate is chosen; give one, such as --set tune.learning_rate=[1e-4]."
        )
    return found


def all_tried(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return the rates and steps that were tried, in numbers, for the record."""
    return {"candidates": [one._asdict() for one in candidates]}


def choice_made(
    candidates: Sequence[Candidate],
    validation: Float[np.ndarray, "..."],
    chosen: Sequence[int],
) -> dict[str, Any]:
    """Return what the search tried and chose, for the record."""
    return {
        **all_tried(candidates),
        "validation_losses": validation.tolist(),
        "chosen": list(chosen),
    }


def _several(given: Any) -> tuple[Any, ...]:
    if given is None:
        return ()
    return tuple(given) if isinstance(given, list | tuple) else (given,)
