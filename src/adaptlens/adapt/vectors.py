"""The adaptation that adds what demonstrations do to a state, as a vector, to the state without.

The vector of a layer is the mean, over inputs whose answers nobody looks at, of the difference that
a draw's k demonstrations make to what leaves that layer at the prompt's last token. Read without
demonstrations, at the cost of zero-shot, the vector is added there. Which layer, and how many times
the vector, the validation items choose, draw by draw.

Source: Hendel et al. 2023 (arXiv 2310.15213) and Todd et al. 2024 (arXiv 2310.15916); differences
of means as in Liu et al. 2024 (arXiv 2311.06668) and Rimsky et al. 2024 (arXiv 2312.06681).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import scipy
import torch
from jaxtyping import Float, Float32

from adaptlens.adapt import Progress
from adaptlens.adapt.prompting import names_of, with_demonstrations
from adaptlens.adapt.settings import choosing, parts, writer
from adaptlens.adapt.training_cost import reading_flops
from adaptlens.adapt.unlabeled import check_unlabeled, inputs_after
from adaptlens.errors import UserError, unknown
from adaptlens.lm import score
from adaptlens.lm.adapters.shifts import StateShifts
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.states import Place, states_at
from adaptlens.models import shape
from adaptlens.prompts import controls, render
from adaptlens.prompts.fitting import Fitting, fit
from adaptlens.prompts.selection import DRAWN
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.stats.scores import Family
from adaptlens.tasks import templates
from adaptlens.tasks.templates import Written
from adaptlens.types import Adapted, CostEstimate, Example, Task

Vectors = Float32[np.ndarray, "layers width"]
"""What is added behind each layer, if that is the one."""


@dataclass(frozen=True)
class InContextVector:
    """In-context learning as one vector, added to the states of a model that sees no example.

    Attributes:
        examples: how many of the draw's examples are shown to make the vector.
        selection: how they are chosen: "random" or "balanced".
        layers: behind which of them, counted from 0, the vector may be added; None for any.
        strengths: how many times it may be.
        unlabeled: inputs that the difference is averaged over: those that follow the examples in
            the draw; fewer where the training split ends. Their answers are not used.
        validation_examples: of the items that choose, the first this many do.
        true_few_shot: use no validation split: layer and strength are chosen by the draw's own
            examples, each left out in turn of the demonstrations that the vector is made with.
        on_overflow: as of `InContext`, for the prompts with examples.
        seed: of the draws.
    """

    examples: int
    selection: str = "random"
    layers: tuple[int, ...] | None = None
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0)
    unlabeled: int = 64
    validation_examples: int = 64
    true_few_shot: bool = False
    on_overflow: str = "error"
    seed: int = 0

    name: ClassVar[str] = "vector"
    family: ClassVar[Family] = "tune"
    draws_per_cell: ClassVar[int | None] = None
    every_template: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("layers", "strengths"):
            if isinstance(given := getattr(self, name), list):
                object.__setattr__(self, name, tuple(given))
        check_unlabeled(self.name, self.unlabeled)
        if self.selection not in DRAWN:
            raise unknown("selection", self.selection, DRAWN)
        rules = [
            ("examples", self.examples >= 1, "at least 1"),
            ("strengths", len(self.strengths) > 0, "at least one number"),
            ("layers", self.layers is None or len(self.layers) > 0, "at least one layer, or none"),
            ("validation_examples", self.validation_examples >= 1, "at least 1"),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise UserError(
                    f"vector: {name} {getattr(self, name)} was given; it must be {expected}."
                )
        if self.true_few_shot and self.examples < 2:
            raise UserError(
                f"vector: {self.examples} examples were given with true_few_shot, which chooses "
                "layer and strength on them; it needs at least 2."
            )

    def settled(self, task: Task, model: str) -> Self:
        """Return the arguments with the number of every layer, where any will do."""
        layers = self.layers or tuple(range(shape.num_layers(model)))
        return replace(self, layers=layers or None)

    @property
    def label(self) -> str:
        """The condition's name in tables."""
        return f"vector-{self.examples}"

    def sketch(self, task: Task, query: Example, way: Written) -> str:
        """Return a prompt as it will be read."""
        return render.render(way.task, (), way.example(query)).text

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of reading inputs with and without examples, and of choosing."""
        task, draws, ways = sizes.task, sizes.num_draws, sizes.ways
        query = task.train[0]
        shown = [with_demonstrations(task, query, way, self.examples, self.seed) for way in ways]
        longer = sum(shape.token_counts(sizes.model, shown)) / len(ways)
        inputs = len(self.inputs(task, 0))
        bare = sizes.shared + sizes.rest
        there = shape.num_layers(sizes.model)
        layers = there if self.layers is None else len(self.layers)
        judging = min(self.validation_examples, (len(task.validation) + 1) // 2)
        rounds = len(set(parts(self.examples))) + 1 if self.true_few_shot else 1
        judging = self.examples if self.true_few_shot else judging
        each = rounds * (len(ways) * longer + 2 * inputs * bare)
        chosen = judging * layers * len(self.strengths) * sizes.answer
        return CostEstimate(
            prompts=float(draws * rounds * 2 * inputs),
            read_tokens=draws * (each + chosen) + judging * bare,
            disk_bytes=draws * shape.state_numbers(sizes.model) / (there + 2) * 4.0,
        )

    def inputs(self, task: Task, draw: int) -> tuple[Example, ...]:
        """Return the inputs of a draw that the difference is averaged over.

        Raises:
            UserError: the training split has none beyond the demonstrations.
        """
        return inputs_after(self, task, draw)

    def drawn(self, task: Task, draw: int) -> tuple[Example, ...]:
        """Return the examples that a draw shows."""
        return controls.drawn(task, draw, self.examples, selection=self.selection, seed=self.seed)

    def adapt(
        self, lm: LM, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return one vector per draw, added under every template.

        Raises:
            UserError: a layer that the model has not, or no labeled items to choose by.
        """
        made = _Made(self, lm, task, progress, len(draws))
        tried = self._candidates(lm)
        vectors = [made.vectors(self.drawn(task, d), self.inputs(task, d)) for d in draws]
        work, taken = made.work, time.perf_counter() - made.started
        made.work = ForwardStats()
        if len(tried) == 1:
            losses = np.zeros((len(draws), 1))
        elif self.true_few_shot:
            losses = np.stack([made.left_out(draw, tried) for draw in draws])
        else:
            losses = made.judged(vectors, self._items(task), tried)
        chosen = losses.argmin(1).tolist()
        ways = len(task.templates) or 1
        weights = _bank(lm, [(vectors[d], tried[c]) for d, c in enumerate(chosen)])
        record = {
            "candidates": [{"layer": layer, "strength": strength} for layer, strength in tried],
            "validation_losses": losses.tolist(),
            "chosen": chosen,
        }
        return Adapted(
            self.label,
            tuple(draws) * ways,
            writer(lm, task, True, len(draws)),
            weights=weights,
            shares_prompts=True,
            training={
                **_cost(lm, len(draws), work, made.work, taken, made.started),
                "trained_parameters": weights.vectors.shape[1],
                **(record if len(tried) > 1 else {}),
            },
            examples=tuple(self.drawn(task, draw) for draw in draws) * ways,
            templates=names_of(task),
        )

    def _candidates(self, lm: LM) -> list[tuple[int, float]]:
        """Return layers and strengths to choose among."""
        assert lm.architecture is not None, "StateShifts refuses such models"
        there = range(lm.architecture.num_layers)
        layers = there if self.layers is None else self.layers
        if missing := [layer for layer in layers if layer not in there]:
            raise UserError(
                f"vector: layer {missing[0]} was given, and '{lm.name}' has layers 0 to "
                f"{there[-1]}; give some of these."
            )
        return [(layer, strength) for layer in layers for strength in self.strengths]

    def _items(self, task: Task) -> tuple[Example, ...]:
        """Return the labeled items that choose among candidates."""
        items = choosing(task)[: self.validation_examples]
        if not items:
            raise UserError(
                f"{self.label} chooses its layer and strength on validation items, and task "
                f"'{task.name}' has none; give one layer and one strength, a split, or "
                "true_few_shot."
            )
        return items


class _Made:
    """One call of `adapt`: reads states, and judges vectors.

    Attributes:
        work: what was read.
        started: when.
    """

    def __init__(
        self, how: InContextVector, lm: LM, task: Task, progress: Progress | None, draws: int
    ) -> None:
        self._how, self._lm, self._task = how, lm, task
        self._ways = templates.ways(task)
        self._progress, self._draws, self._done = progress, draws, 0
        self.work = ForwardStats()
        self.started = time.perf_counter()

    def vectors(self, demos: Sequence[Example], inputs: Sequence[Example]) -> Vectors:
        """Return what these demonstrations add to the states of these inputs, layer by layer.

        Templates take turns with the inputs.
        """
        sides = [
            [Fitting(self._lm, way, shown, on_overflow=self._how.on_overflow) for way in self._ways]
            for shown in (demos, ())
        ]
        asked = [
            ways[place % len(ways)].prompt(query)
            for ways in sides
            for place, query in enumerate(inputs)
        ]
        requests = score.encode(self._lm, asked, [0] * len(asked))
        places = [Place(request.prompt_ids) for request in requests]
        found = states_at(self._lm, places, work=self.work).residual[:, 1:]
        self._told()
        half = len(inputs)
        return (found[:half].astype(np.float64) - found[half:]).mean(0).astype(np.float32)

    def judged(
        self,
        vectors: Sequence[Vectors],
        items: Sequence[Example],
        tried: Sequence[tuple[int, float]],
    ) -> Float[np.ndarray, "draws candidates"]:
        """Return each draw's and candidate's loss on labeled items.

        Of a choice it is that of the right answer among its options, which is what is judged; of
        text, that of its tokens.
        """
        lm, is_choice = self._lm, self._task.kind == "choice"
        bank = _bank(lm, [(own, one) for own in vectors for one in tried])
        asked = [
            fit(lm, self._way(place), (), query, on_overflow="error")
            for place, query in enumerate(items)
        ]
        if not is_choice:
            asked = [replace(prompt, answers=(prompt.target,)) for prompt in asked]
        encoded = score.encode(lm, asked, [0] * len(asked))
        requests = [
            replace(request, variant=variant)
            for request in encoded
            for variant in range(bank.num_variants)
        ]
        found = iter(score.score(lm, requests, bank, work=self.work))
        loss, size = np.zeros(bank.num_variants), 0
        for prompt, request in zip(asked, encoded, strict=True):
            logliks = np.stack([next(found) for _ in range(bank.num_variants)])
            if is_choice:
                logliks = scipy.special.log_softmax(logliks, axis=1)
            loss -= logliks[:, prompt.answers.index(prompt.target)]
            size += 1 if is_choice else len(request.answers_ids[0])
        return loss.reshape(len(vectors), len(tried)) / size

    def left_out(
        self, draw: int, tried: Sequence[tuple[int, float]]
    ) -> Float[np.ndarray, " candidates"]:
        """Return the loss on the draw's examples, each left out of the demonstrations in turn."""
        examples, inputs = self._how.drawn(self._task, draw), self._how.inputs(self._task, draw)
        part = parts(len(examples))
        losses = np.zeros(len(tried))
        for held in dict.fromkeys(part):
            shown = [e for e, own in zip(examples, part, strict=True) if own != held]
            out = [e for e, own in zip(examples, part, strict=True) if own == held]
            found = self.judged([self.vectors(shown, inputs)], out, tried)[0]
            losses += found * len(out) / len(examples)
        return losses

    def _way(self, place: int) -> Written:
        return self._ways[place % len(self._ways)]

    def _told(self) -> None:
        rounds = len(set(parts(self._how.examples))) if self._how.true_few_shot else 0
        self._done += 1
        if self._progress:
            self._progress(self._done, self._draws * (1 + rounds))


def _bank(lm: LM, wanted: Sequence[tuple[Vectors, tuple[int, float]]]) -> StateShifts:
    """Return vectors at their strength, each behind its layer."""
    rows = [strength * vectors[layer] for vectors, (layer, strength) in wanted]
    return StateShifts(lm, [layer for _, (layer, _) in wanted], torch.from_numpy(np.stack(rows)))


def _cost(
    lm: LM, draws: int, made: ForwardStats, chose: ForwardStats, seconds: float, started: float
) -> dict[str, Any]:
    """Return what it took, a draw, as `training_cost` has it: to make a vector, and to choose it.

    Attention is left out, so operations are the least that it takes.
    """
    one = {
        "steps": 0,
        "flops": reading_flops(lm, made.tokens_given / draws, 0, 0),
        "flops_computed": reading_flops(lm, made.tokens_computed / draws, 0, 0),
        "tokens_given": made.tokens_given / draws,
        "tokens_computed": made.tokens_computed / draws,
        "seconds_amortized": seconds / draws,
    }
    tried = {
        "flops": one["flops"] + reading_flops(lm, chose.tokens_given / draws, 0, 0),
        "flops_computed": one["flops_computed"]
        + reading_flops(lm, chose.tokens_computed / draws, 0, 0),
        "tokens_given": one["tokens_given"] + chose.tokens_given / draws,
        "tokens_computed": one["tokens_computed"] + chose.tokens_computed / draws,
        "seconds_amortized": (time.perf_counter() - started) / draws,
    }
    return {
        **{name: value for name, value in one.items() if name != "steps"},
        **{f"tried_{name}": value for name, value in tried.items()},
        "runs": [one] * draws,
    }
