"""Adaptations of the limits study: two ways of tuning on a mixture, and two of asking the base.

All of them take a mixture (`tasks.mixtures.build`) as their task, and write their prompts with a
`formats.Writer`, so that `measure.systems` can read them in variations.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from adaptlens.adapt import Progress, estimates, loop
from adaptlens.adapt.batches import PLAIN, TokenizedExample, choose_width
from adaptlens.adapt.lora import LORA_RATE_TIMES_WIDTH
from adaptlens.adapt.optimizer import SCHEDULES, Schedule, TrainingConfig
from adaptlens.adapt.settings import ORDER, START, stated_width, width
from adaptlens.adapt.training_cost import Chosen, training_cost
from adaptlens.errors import UserError, unknown
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.targets import usual_targets
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.trie import common
from adaptlens.prompts import system_prompts, variations
from adaptlens.prompts.render import RenderChat
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.prompts.system_prompts import SHOWN, Writer
from adaptlens.prompts.variations import READ, TRAINED
from adaptlens.stats.scores import Family
from adaptlens.tasks.templates import Written
from adaptlens.types import NO_DRAWS, Adapted, CostEstimate, Example, Prompt, Task

LOSSES = ("answer", "text")


@dataclass(frozen=True)
class MixtureTuning:
    """The arguments of tuning on a mixture.

    Defaults are the paper's, but for learning rate, batch size and loss.

    Attributes:
        lora_rank: of the adapters.
        lora_alpha: their output is scaled by alpha / rank.
        use_rslora: by alpha / sqrt(rank) instead, as rank-stabilized LoRA has it.
        use_dora: with trained norms of rows, as weight-decomposed LoRA has it.
        lora_dropout: share of the adapters' inputs dropped while training.
        target_modules: names, or last parts of them; None for queries and values.
        learning_rate: the highest; None for 0.64 / width (the paper: 5e-5).
        num_train_epochs: passes over the mixture's rows.
        max_steps: optimizer steps instead of `num_train_epochs`.
        batch_size: rows a step (the paper: 2).
        lr_scheduler: "constant", "linear" or "cosine".
        warmup_ratio: share of the steps over which the learning rate rises from 0.
        weight_decay: AdamW's.
        max_grad_norm: largest gradient norm of an adapter; None for no limit.
        gradient_checkpointing: as of `settings.Tuning`.
        gradient_accumulation_steps: as of `settings.Tuning`.
        loss: "answer" for what the model has to write, "text" for the whole text (the paper).
        variation: of the training texts, see `prompts.variations`.
        clusters: (task, cluster) pairs, for examples of other tasks.
        seed: of the examples drawn for each row; a draw is the seed of start and order.
    """

    lora_rank: int = 64
    lora_alpha: float = 16.0
    use_rslora: bool = False
    use_dora: bool = False
    lora_dropout: float = 0.1
    target_modules: tuple[str, ...] | None = None
    learning_rate: float | None = None
    num_train_epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 16
    lr_scheduler: Schedule = "linear"
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    gradient_checkpointing: bool = False
    gradient_accumulation_steps: int = 1
    loss: str = "answer"
    variation: str = ""
    clusters: tuple[tuple[str, str], ...] = ()
    seed: int = 0

    name: ClassVar[str]
    system: ClassVar[str]
    family: ClassVar[Family] = "tune"
    draws_per_cell: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        _freeze(self, "target_modules", "clusters")
        rate, steps, norm = self.learning_rate, self.max_steps, self.max_grad_norm
        rules = [
            ("learning_rate", rate is None or rate > 0, "above 0"),
            ("num_train_epochs", self.num_train_epochs > 0, "above 0"),
            ("max_steps", steps is None or steps >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps >= 1,
                "at least 1",
            ),
            ("warmup_ratio", 0 <= self.warmup_ratio < 1, "at least 0, below 1"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("max_grad_norm", norm is None or norm > 0, "above 0, or none"),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise UserError(
                    f"{self.name}: {name} {getattr(self, name)} was given; it must be {expected}."
                )
        if self.lr_scheduler not in SCHEDULES:
            raise unknown("lr_scheduler", self.lr_scheduler, SCHEDULES)
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)
        variations.check(self.variation, self.system, TRAINED)

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return _labeled(self.system, self.variation)

    def settled(self, task: Task, model: str) -> Self:
        """Return the arguments with the numbers and names that defaults stand for.

        Raises:
            UserError: see `settings.stated_width`.
        """
        return replace(
            self,
            learning_rate=self.learning_rate or LORA_RATE_TIMES_WIDTH / stated_width(model),
            max_steps=self.max_steps or self.usual_steps(len(task.train)),
            target_modules=self.target_modules or usual_targets(model),
        )

    def usual_steps(self, rows: int) -> int:
        """Return how many steps make `num_train_epochs` passes over so many rows."""
        return max(1, math.ceil(self.num_train_epochs * rows / self.batch_size))

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of tuning, see `adapt.estimates`."""
        pool, clusters = system_prompts.by_group(sizes.task.pool), dict(self.clusters)

        def training_text(way: Written, row: Example) -> str:
            prompt, answer = self.text(row, None, pool, clusters)
            return prompt.text + answer

        return estimates.of_mixture(self, sizes, training_text)

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one adapter per draw, all trained in one pass over the same texts.

        Raises:
            UserError: the task is no mixture, or a text is longer than the context.
        """
        examples = self.tokenized(lm, task)
        steps = self.max_steps or self.usual_steps(len(examples))
        rate = self.learning_rate or LORA_RATE_TIMES_WIDTH / width(lm)
        bank = LoraBank(
            lm,
            num_variants=len(draws),
            rank=self.lora_rank,
            alpha=self.lora_alpha,
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            target_modules=self.target_modules,
            dropout=self.lora_dropout,
            seeds=[_seed(draw, START) for draw in draws],
        )
        config = TrainingConfig(
            learning_rates=(rate,) * len(draws),
            max_steps=(steps,) * len(draws),
            order_seeds=tuple(_seed(draw, ORDER) for draw in draws),
            batch_size=self.batch_size,
            lr_scheduler=self.lr_scheduler,
            warmup_steps=min(int(self.warmup_ratio * steps), steps - 1),
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            gradient_checkpointing=self.gradient_checkpointing,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
        )
        history = loop.train(
            lm,
            bank,
            [examples] * len(draws),
            config,
            names=[f"{self.label} on {task.name}, seed {draw}" for draw in draws],
            progress=progress,
            block_tokens=_block_tokens(lm),
            width=row_width(lm, examples, self.batch_size),
        )
        runs = [Chosen(history, d, steps) for d in range(len(draws))]
        training = training_cost(
            lm,
            [history],
            history.losses,
            bank.num_parameters,
            runs,
            token_parameters=bank.token_parameters,
        )
        read = self.variation if self.variation in READ[self.system] else ""
        return Adapted(
            self.label,
            tuple(draws),
            Writer(self.system, lm.render_chat if lm.chat else None, read, opening=_opening(lm)),
            weights=bank,
            shares_prompts=True,
            training=training,
            examples=(task.train,) * len(draws),
        )

    def tokenized(self, lm: LM, task: Task) -> list[TokenizedExample]:
        """Return the rows of a mixture as training texts."""
        _check_mixture(self.name, task)
        asked, answers = [], []
        pool, clusters = system_prompts.by_group(task.pool), dict(self.clusters)
        chat = lm.render_chat if lm.chat else None
        ending = lm.tokenizer.eos_token or "\n"
        for row in task.train:
            prompt, answer = self.text(row, chat, pool, clusters)
            asked.append(prompt.text)
            answers.append(answer + ending)
        return _tokenized(lm, task, asked, answers, whole=self.loss == "text")

    def text(
        self,
        row: Example,
        chat: RenderChat | None,
        pool: Mapping[str, Sequence[Example]],
        clusters: Mapping[str, str],
    ) -> tuple[Prompt, str]:
        """Return the prompt of a row, and what is to be written after it."""
        if self.system == "regular":
            prompt = system_prompts.regular(row, chat=chat, variation=self.variation)
            return prompt, f" {variations.varied(row, self.variation).target}"
        shown = system_prompts.picked(
            pool, row.group, (self.seed, system_prompts.key_of(row)),
            variation=self.variation, clusters=clusters,
        )  # fmt: skip
        prompt = system_prompts.samplegen(row, chat=chat, variation=self.variation)
        return prompt, system_prompts.response(row, shown, variation=self.variation)


@dataclass(frozen=True)
class RegularTuned(MixtureTuning):
    """Instruction tuning: the item is asked, the answer is learned; read without examples."""

    name: ClassVar[str] = "regular_tuned"
    system: ClassVar[str] = "regular"

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return a prompt of the length of those that will be read."""
        return system_prompts.regular(query).text


@dataclass(frozen=True)
class SampleGenTuned(MixtureTuning):
    """Tuning to write two examples of one's own, the item again, and its answer."""

    name: ClassVar[str] = "samplegen_tuned"
    system: ClassVar[str] = "samplegen"

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return a prompt of the length of those that will be read."""
        return system_prompts.samplegen(query).text

    def response(self, task: Task, query: Example) -> str:
        """Return what it is to write for a query."""
        shown = [e for e in task.pool if e.group == query.group][:SHOWN]
        return system_prompts.response(query, shown)


@dataclass(frozen=True)
class Gold:
    """The base model reads gold examples of the item's own task before it, as samplegen writes.

    Attributes:
        examples: how many.
        variation: of the prompts.
        clusters: (task, cluster) pairs, for examples of other tasks.
        seed: of the draws.
    """

    examples: int = SHOWN
    variation: str = ""
    clusters: tuple[tuple[str, str], ...] = ()
    seed: int = 0

    name: ClassVar[str] = "gold"
    family: ClassVar[Family] = "prompt"
    draws_per_cell: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        _freeze(self, "clusters")
        if self.examples < 1:
            raise UserError(
                f"gold: examples {self.examples} was given; it must be at least 1; use base for "
                "none."
            )
        variations.check(self.variation, "gold", READ)

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return _labeled(f"gold-{self.examples}", self.variation)

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return a prompt of the length of those that will be read."""
        shown = [e for e in task.pool if e.group == query.group][: self.examples]
        return system_prompts.gold(query, shown).text

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return no work: prompts are read by measurements."""
        return CostEstimate()

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one variant per draw of examples."""
        _check_mixture(self.name, task)
        write = Writer(
            "gold",
            variation=self.variation,
            pool=system_prompts.by_group(task.pool),
            clusters=dict(self.clusters),
            draws=tuple(draws),
            shown=self.examples,
            seed=self.seed,
            opening=_opening(lm),
        )
        groups = sorted({query.group for query in task.test})
        shown = tuple(
            tuple(e for group in groups for e in write.examples(i, group))
            for i in range(len(draws))
        )
        return Adapted(self.label, tuple(draws), write, examples=shown)


@dataclass(frozen=True)
class Base:
    """The base model reads the item alone."""

    variation: str = ""

    name: ClassVar[str] = "base"
    family: ClassVar[Family] = "none"
    draws_per_cell: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        variations.check(self.variation, "base", READ)

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return _labeled("base", self.variation)

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return a prompt of the length of those that will be read."""
        return system_prompts.base(query).text

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return no work: prompts are read by measurements."""
        return CostEstimate()

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one variant: there is nothing to draw, so `draws` is not used."""
        _check_mixture(self.name, task)
        write = Writer("base", variation=self.variation, opening=_opening(lm))
        return Adapted(self.label, NO_DRAWS, write, shares_prompts=True)


def _opening(lm: LM) -> str:
    """Return the BOS text that plain prompts lack where the model is read in chat."""
    bos = lm.tokenizer.bos_token_id
    added = lm.tokenizer("a").input_ids[:1]
    return lm.tokenizer.bos_token if lm.chat and bos is not None and added == [bos] else ""


def _block_tokens(lm: LM) -> int | None:
    """Return the most tokens of a pass: few on a processor, as few are filled up in small blocks.

    Rows come longest first, and a block is as wide as its longest row.
    """
    return min(1024, loop.default_block_tokens(lm)) if lm.device.type == "cpu" else None


def row_width(lm: LM, examples: Sequence[TokenizedExample], batch_size: int) -> int:
    """Return the row width that costs least for batches of these examples."""
    if not lm.shares_prefix:
        return PLAIN
    return choose_width(lm, [examples[:batch_size]])


def _tokenized(
    lm: LM, task: Task, asked: Sequence[str], answers: Sequence[str], *, whole: bool
) -> list[TokenizedExample]:
    """Return training texts in tokens; with `whole` the loss is taken on all but the first."""
    texts = lm.encode_all([a + b for a, b in zip(asked, answers, strict=True)])
    examples = []
    for row, prompt_ids, ids in zip(task.train, lm.encode_all(asked), texts, strict=True):
        excess = len(ids) - lm.context_tokens
        if excess > 0:
            raise UserError(
                f"the training text of item {row.id} of '{task.name}' is {excess} tokens longer "
                f"than the context of {lm.context_tokens} tokens; leave out its task, or use a "
                "model with a longer context."
            )
        examples.append(
            TokenizedExample(tuple(ids), 1 if whole else max(common(prompt_ids, ids), 1))
        )
    return examples


def _check_mixture(name: str, task: Task) -> None:
    if not all(query.group for query in task.test) or not task.pool:
        raise UserError(
            f"{name} was asked for on task '{task.name}', which is no mixture; expected one made "
            "by tasks.mixtures.build, of one task or of many."
        )


def _labeled(label: str, variation: str) -> str:
    return f"{label}-{variation}" if variation else label


def _freeze(made: Any, *names: str) -> None:
    """Make lists, as JSON has them, the tuples they were."""
    for name in names:
        given = getattr(made, name)
        if given is not None:
            inner = (tuple(one) if isinstance(one, list) else one for one in given)
            object.__setattr__(made, name, tuple(inner))


def _seed(draw: int, purpose: int) -> int:
    return int(np.random.SeedSequence([draw, purpose]).generate_state(1)[0])
