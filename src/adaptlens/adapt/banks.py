"""Tuning in one pass: what is trained of every draw, rate and repeat lies in one bank.

The base is frozen and read once for all of them. What a bank holds is each way of tuning's own:
LoRA's matrices (`adapt.lora`), or embeddings before the prompt (`adapt.prompt_tuning`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from adaptlens.adapt import Progress, loop
from adaptlens.adapt.batches import Counts, TokenizedExample
from adaptlens.adapt.prompting import names_of
from adaptlens.adapt.settings import Candidate, Tuning, all_tried, choice_made, writer
from adaptlens.adapt.training_cost import NOTHING, Chosen, training_cost
from adaptlens.lm.load import LM
from adaptlens.types import Adapted, Task, Template, Weights


class Bank(loop.Trainable, Weights, Protocol):
    """Variants over one frozen base, trained side by side and read side by side."""

    @property
    def num_parameters(self) -> int:
        """How many numbers one variant has."""
        ...

    @property
    def token_parameters(self) -> int:
        """How many of these numbers every token is multiplied by."""
        ...

    def pick(self, variants: Sequence[int]) -> Self:
        """Return a bank of copies of these variants, in this order."""
        ...

    def stacked(self, master_weights: Sequence[Float[Tensor, "variants parameters"]]) -> Self:
        """Return a bank of these copies of `master_weights`, one after another."""
        ...


@dataclass(frozen=True)
class BankTuning(Tuning):
    """The arguments of what is trained as one bank over a frozen base."""

    @abstractmethod
    def usual_rate(self, lm: LM) -> float:
        """Return the learning rate that multiples are taken of."""

    @abstractmethod
    def new_bank(self, lm: LM, task: Task, draws: Sequence[int]) -> Bank:
        """Return one variant for each of these draws, which may come several times, untrained."""

    def read_as(self, lm: LM) -> LM:
        """Return the model with the context that is left to prompts."""
        return lm

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one variant per draw, all trained in one pass, candidates of a search too."""
        candidates = self.candidates(self.usual_rate(lm))
        examples, reading = self.training_texts(lm, task, draws)
        choose = self._chosen
        if len(candidates) > 1 and self.true_few_shot:
            choose = self._chosen_by_folds
        found = choose(lm, task, draws, examples, candidates, progress)
        training = training_cost(
            lm,
            found.histories,
            found.losses,
            found.bank.num_parameters,
            found.runs,
            token_parameters=found.bank.token_parameters,
            choosing=found.choosing,
            before=reading,
        )
        ways = len(task.templates) or 1
        return Adapted(
            self.label,
            tuple(draws) * ways,
            writer(self.read_as(lm), task, self.instruction, len(draws)),
            weights=found.bank,
            shares_prompts=True,
            training={
                **training,
                **all_tried(candidates),
                **found.record,
                **self.tuned_on(task, draws),
            },
            examples=tuple(self.drawn(task, draw) for draw in draws) * ways,
            templates=names_of(task),
        )

    def training_texts(
        self, lm: LM, task: Task, draws: Sequence[int]
    ) -> tuple[list[list[TokenizedExample]], Counts]:
        """Return what each draw is tuned on, and what was read to make it, of all draws."""
        texts = [
            self.tokenized(lm, self.as_tuned(task, draw), self.drawn(task, draw)) for draw in draws
        ]
        return texts, NOTHING

    def _chosen(
        self,
        lm: LM,
        task: Task,
        draws: Sequence[int],
        examples: Sequence[Sequence[TokenizedExample]],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> "_Found":
        """Return each draw's variant, the validation split having chosen if there is a choice."""
        held_out = self._held_out(lm, task, draws) if len(candidates) > 1 else []
        parts = list(zip(draws, examples, strict=True))
        bank, candidates, history = self._tried(lm, task, parts, candidates, progress)
        if not held_out:
            runs = [Chosen(history, d, candidates[0].max_steps) for d in range(len(draws))]
            return _Found(bank, [history], runs)
        by_draw, choosing = np.zeros((len(draws), len(candidates))), Counts()
        for places, texts in held_out:
            picked = [c * len(draws) + d for c in range(len(candidates)) for d in places]
            losses, counts = loop.evaluate(lm, bank.pick(picked), texts, len(picked))
            by_draw[places] = losses.reshape(len(candidates), len(places)).T
            choosing = Counts(*np.add(choosing, counts))
        chosen = by_draw.argmin(1).tolist()
        picked = [c * len(draws) + d for d, c in enumerate(chosen)]
        # Stops on the way come one number of steps after the other, over the same trained variants.
        trained = history.losses.shape[1]
        runs = [
            Chosen(history, place % trained, candidates[c].max_steps)
            for place, c in zip(picked, chosen, strict=True)
        ]
        record = choice_made(candidates, by_draw, chosen)
        return _Found(bank.pick(picked), [history], runs, record, choosing)

    def _held_out(
        self, lm: LM, task: Task, draws: Sequence[int]
    ) -> list[tuple[list[int], list[TokenizedExample]]]:
        """Return the places of draws with the same templates, and what chooses for them."""
        alike: dict[tuple[Template, ...], list[int]] = {}
        for place, draw in enumerate(draws):
            alike.setdefault(self.as_tuned(task, draw).templates, []).append(place)
        return [
            (places, self.held_out(lm, replace(task, templates=ways)))
            for ways, places in alike.items()
        ]

    def _chosen_by_folds(
        self,
        lm: LM,
        task: Task,
        draws: Sequence[int],
        examples: Sequence[Sequence[TokenizedExample]],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> "_Found":
        """Return each draw's variant, trained as does best on parts of its examples left out."""
        folds = [
            (place, *fold)
            for place, draw in enumerate(draws)
            for fold in self.folds(lm, task, draw)
        ]
        parts = [(draws[place], train) for place, train, _ in folds]
        bank, candidates, tried = self._tried(lm, task, parts, candidates, progress)
        summed, labels = np.zeros((len(draws), len(candidates))), np.zeros((len(draws), 1))
        choosing = Counts()
        for number, (place, _, held_out) in enumerate(folds):
            own = bank.pick([c * len(parts) + number for c in range(len(candidates))])
            size = sum(example.num_labels for example in held_out)
            losses, counts = loop.evaluate(lm, own, held_out, len(candidates))
            summed[place] += size * losses
            choosing = Counts(*np.add(choosing, counts))
            labels[place] += size
        chosen = (summed / labels).argmin(1).tolist()
        # The training loop wants those with the most steps first.
        order = sorted(range(len(draws)), key=lambda place: -candidates[chosen[place]].max_steps)
        variants = [(candidates[chosen[p]], draws[p], examples[p]) for p in order]
        trained, history, _ = self.trained(lm, task, variants, progress)
        back = np.argsort(order).tolist()
        runs = [
            Chosen(history, place, candidates[c].max_steps)
            for place, c in zip(back, chosen, strict=True)
        ]
        record = choice_made(candidates, summed / labels, chosen)
        return _Found(trained.pick(back), [tried, history], runs, record, choosing)

    def _tried(
        self,
        lm: LM,
        task: Task,
        parts: Sequence[tuple[int, Sequence[TokenizedExample]]],
        candidates: Sequence[Candidate],
        progress: Progress | None,
    ) -> tuple[Bank, list[Candidate], loop.History]:
        """Return variants, candidate by candidate, for each draw and its examples.

        With a constant rate, fewer steps are a stop on the way of more, and the candidates come
        fewest steps first; the history is that of the trainings with the most.
        """
        steps = sorted({one.max_steps for one in candidates})
        candidates, checkpoints = list(candidates), tuple[int, ...]()
        longest = candidates
        if len(steps) > 1 and self.nests_steps:
            longest = [candidate for candidate in candidates if candidate.max_steps == steps[-1]]
            candidates = [Candidate(rate, stop) for stop in steps for rate, _ in longest]
            checkpoints = tuple(steps)
        variants = [(candidate, *part) for candidate in longest for part in parts]
        bank, history, kept = self.trained(lm, task, variants, progress, checkpoints)
        return bank.stacked(kept) if checkpoints else bank, candidates, history

    def trained(
        self,
        lm: LM,
        task: Task,
        variants: Sequence[tuple[Candidate, int, Sequence[TokenizedExample]]],
        progress: Progress | None,
        checkpoint_steps: Sequence[int] = (),
        bank: Bank | None = None,
    ) -> tuple[Bank, loop.History, list[Any]]:
        """Return a bank trained side by side, and its numbers at each checkpoint.

        Args:
            lm: the model.
            task: what is tuned to.
            variants: how to train each, of which draw, and on what; the most steps first.
            progress: told of the steps.
            checkpoint_steps: numbers of steps after which copies are kept.
            bank: what they start as; None for untrained ones.
        """
        draws = [draw for _, draw, _ in variants]
        bank = bank or self.new_bank(lm, task, draws)
        kept: list[Any] = [bank.master_weights.clone()] if 0 in checkpoint_steps else []

        def after(step: int, steps: int) -> None:
            if step in checkpoint_steps:
                kept.append(bank.master_weights.clone())
            if progress:
                progress(step, steps)

        history = loop.train(
            lm,
            bank,
            [examples for *_, examples in variants],
            self.training_config([candidate for candidate, *_ in variants], draws),
            names=[self.told(draw, candidate) for candidate, draw, _ in variants],
            progress=after,
        )
        return bank, history, kept


@dataclass(frozen=True)
class _Found:
    """What is kept, one a draw, and what was done to find them.

    Attributes:
        bank: that.
        histories: of all training.
        runs: the training that each draw's variant comes from.
        record: what was tried and chosen; empty where nothing was.
        choosing: what was read to choose.
    """

    bank: Bank
    histories: list[loop.History]
    runs: list[Chosen]
    record: dict[str, Any] = field(default_factory=dict)
    choosing: Counts = NOTHING

    @property
    def losses(self) -> Float32[np.ndarray, "steps draws"]:
        """The losses of the runs; NaN after a run's last step."""
        losses = np.full((max(run.steps for run in self.runs), len(self.runs)), np.nan, np.float32)
        for d, run in enumerate(self.runs):
            losses[: run.steps, d] = run.history.losses[: run.steps, run.variant]
        return losses
