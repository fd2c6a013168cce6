"""What happens inside an adapted model: hidden states at named places of every prompt."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float32

from adaptlens.errors import UserError, unknown
from adaptlens.lm.load import LM
from adaptlens.lm.prefix import boundaries
from adaptlens.lm.states import Place, as_variant, lens, readout, states_at
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.models import shape
from adaptlens.prompts import render
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import Adapted, CostEstimate, Example, Measured, Part, Prompt, Role, Task

POSITIONS = ("last", "separator", "instruction", "labels", "answer_first", "answer_mean")
FORMATS = ("float32", "float16")
MOST_LENS_TOKENS = 64


@dataclass(frozen=True)
class Hidden:
    """The residual stream of the test prompts, layer by layer, and what the lens reads from it.

    For every position P a prompt has: `P.00` (into layer 0) to `P.NN` (out of the last layer,
    before the final norm) and `P.final` (after it), each [repeats, queries, width]; [repeats, 1,
    width] where all queries share the tokens, as they do those of the instruction and the
    demonstrations. `lens` [repeats, queries, layers + 1, answers + 1]: log-probabilities of the
    answers' first tokens, and of all other tokens together, at the last token. Answers that begin
    with the same token are not told apart by it. `readout` [repeats, answers, width]: the vectors
    by whose differences the residual stream tells these tokens apart, and `readout_final` the
    same after the final norm, both of the variant's own norm and unembedding (`lm.states.readout`).

    Attributes:
        positions: where to read. last: the prompt's last token, from which the answer is
            predicted. separator: the text between the query and its answer, without the last
            token. instruction: the instruction. labels: the answers of the demonstrations.
            answer_first, answer_mean: the gold answer after the prompt, its first token or all of
            them. Several tokens are averaged.
        keep: how states are stored, "float32" or "float16".
    """

    positions: tuple[str, ...] = ("last",)
    keep: str = "float32"

    name: ClassVar[str] = "hidden"
    axes: ClassVar[Stated] = AXES["hidden"]

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "positions", tuple(self.positions))
        for position in self.positions:
            if position not in POSITIONS:
                raise unknown("position", position, POSITIONS)
        if self.keep not in FORMATS:
            raise unknown("format of stored states", self.keep, FORMATS)

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of reading every query once for each place, and the states' bytes."""
        variants, queries, places = sizes.num_draws, len(sizes.task.test), len(self.positions)
        width = 4 if self.keep == "float32" else 2
        numbers = shape.state_numbers(sizes.model)
        return CostEstimate(
            prompts=float(variants * queries),
            read_tokens=places * variants * sizes.read(queries),
            disk_bytes=float(variants * queries * places * numbers * width),
        )

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the arrays above; positions that these prompts do not have are left out.

        Raises:
            UserError: the model's inside is not known, or a state is too large for float16.
        """
        asked = _asked(lm, task, adapted)
        arrays: dict[str, np.ndarray] = {}
        for position in self.positions:
            places = _places(lm, asked, position)
            if places is None:
                continue
            if all(place == row[0] for row in places for place in row):
                places = [row[:1] for row in places]
            flat = list(itertools.chain.from_iterable(places))
            found = states_at(lm, flat, adapted.weights, progress=progress)
            shape = (len(places), len(places[0]))
            residual = found.residual.reshape(*shape, *found.residual.shape[1:])
            for layer in range(residual.shape[2]):
                arrays[f"{position}.{layer:02d}"] = self._kept(residual[:, :, layer])
            arrays[f"{position}.final"] = self._kept(found.final.reshape(*shape, -1))
            if position == "last":
                arrays |= _read_out(lm, adapted, residual, _lens_tokens(lm, task))
        return Measured(arrays=arrays)

    def _kept(
        self, states: Float32[np.ndarray, "repeats queries width"]
    ) -> Float[np.ndarray, "repeats queries width"]:
        states = np.ascontiguousarray(states)
        if self.keep == "float32":
            return states
        if (largest := float(np.abs(states).max())) > float(np.finfo(np.float16).max):
            raise UserError(
                f"a hidden state of size {largest:.3g} does not fit float16; store states as "
                "float32 (keep)."
            )
        return states.astype(np.float16)


def _read_out(
    lm: LM,
    adapted: Adapted,
    residual: Float32[np.ndarray, "repeats queries layers_and_embedding width"],
    tokens: Sequence[int],
) -> dict[str, np.ndarray]:
    """Return what each variant's own head reads in the states."""
    found: dict[str, list[np.ndarray]] = {"lens": [], "readout": [], "readout_final": []}
    for variant, states in enumerate(residual):
        with as_variant(adapted.weights, variant):
            found["lens"].append(lens(lm, states, tokens))
            inside, final = readout(lm, tokens)
        found["readout"].append(inside)
        found["readout_final"].append(final)
    return {name: np.stack(rows) for name, rows in found.items()}


@dataclass(frozen=True)
class _Asked:
    """A prompt, its tokens, and those of its gold answer."""

    prompt: Prompt
    ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    variant: int


def _asked(lm: LM, task: Task, adapted: Adapted) -> list[list[_Asked]]:
    """Return what is read, [repeats][queries]."""
    golds = [render.answer(task, query.target, chat=lm.chat) for query in task.test]
    rows: list[list[Prompt]] = []
    for variant in range(len(adapted.draws)):
        if adapted.shares_prompts and rows:
            rows.append(rows[0])
        else:
            rows.append([adapted.write(variant, query) for query in task.test])
    flat = [
        Prompt(prompt.parts, tuple(dict.fromkeys((gold, *prompt.answers))), prompt.query_id)
        for row in (rows[:1] if adapted.shares_prompts else rows)
        for prompt, gold in zip(row, golds, strict=True)
    ]
    requests = boundaries.encode(lm, flat)
    found = []
    for variant in range(len(rows)):
        start = 0 if adapted.shares_prompts else variant * len(golds)
        found.append(
            [
                _Asked(prompt, request.prompt_ids, request.answers_ids[0], variant)
                for prompt, request in zip(rows[variant], requests[start:], strict=False)
            ]
        )
    return found


def _places(lm: LM, asked: Sequence[Sequence[_Asked]], position: str) -> list[list[Place]] | None:
    """Return the place of a position in every prompt, or None where the prompts have none."""
    if position == "last":
        return [[Place(one.ids, (1,), one.variant) for one in row] for row in asked]
    if position in ("answer_first", "answer_mean"):
        return [[_answer_place(one, position == "answer_mean") for one in row] for row in asked]
    select = {"instruction": _instruction, "labels": _labels, "separator": _cue}[position]
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    found = []
    for row in asked:
        places = []
        for one in row:
            if one.ids not in known:
                known[one.ids] = _tokens(lm, one, select(one.prompt))
            if not known[one.ids]:
                return None
            places.append(_place(one, known[one.ids]))
        found.append(places)
    return found


def _answer_place(one: _Asked, whole: bool) -> Place:
    size = len(one.answer_ids)
    if whole:
        whole_answer = tuple(range(size, 0, -1))
        return Place((*one.ids, *one.answer_ids), whole_answer, one.variant, size + 1)
    return Place((*one.ids, one.answer_ids[0]), (1,), one.variant, 2)


def _place(one: _Asked, tokens: Sequence[int]) -> Place:
    end = tokens[-1] + 1
    return Place(one.ids[:end], tuple(end - token for token in tokens), one.variant, 0)


Spans = list[tuple[int, int]]


def _by_role(role: Role) -> Callable[[Prompt], Spans]:
    return lambda prompt: [(start, end) for own, start, end in prompt.spans() if own == role]


_instruction, _labels = _by_role("instruction"), _by_role("demo_target")


def _cue(prompt: Prompt) -> Spans:
    """Return what stands between the query's text and its answer."""
    spans = prompt.spans()
    last = max(i for i, (role, _, _) in enumerate(spans) if role == "query")
    return [(start, end) for _, start, end in spans[last + 1 :]]


def _tokens(lm: LM, one: _Asked, spans: Spans) -> tuple[int, ...]:
    """Return which tokens of the prompt end in these spans of its text, the last token left out.

    Raises:
        UserError: the tokenizer does not tell where its tokens are.
    """
    if not getattr(lm.tokenizer, "is_fast", False):
        raise UserError(
            f"the tokenizer of '{lm.name}' does not tell where in a text its tokens are; read the "
            "states at the positions last, answer_first or answer_mean only."
        )
    told = lm.tokenizer(
        one.prompt.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    ends = [end for _, end in told.offset_mapping]
    within = [i for i, end in enumerate(ends) if any(low < end <= high for low, high in spans)]
    before = len(lm.prefix_ids)
    return tuple(before + i for i in within if before + i < len(one.ids) - 1)


def _lens_tokens(lm: LM, task: Task) -> list[int]:
    """Return the first tokens of the answers there are, the commonest where they are many."""
    answers = [option for query in task.test for option in _options(task, query)]
    texts = {option: render.answer(task, option, chat=lm.chat) for option in answers}
    cue = Part("cue", "x" if lm.chat else "x" + task.template.before_target)
    (request,) = boundaries.encode(lm, [Prompt((cue,), tuple(texts.values()))])
    first = {option: ids[0] for option, ids in zip(texts, request.answers_ids, strict=True)}
    counts = Counter(first[option] for option in answers)
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    return sorted(ranked[:MOST_LENS_TOKENS])


def _options(task: Task, query: Example) -> tuple[str, ...]:
    return query.choices or task.choices or (query.target,)
