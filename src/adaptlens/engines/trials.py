"""A base tried out for a few seconds: how fast it reads, writes and is trained on a device."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from adaptlens.cells import Cell
from adaptlens.engines.throughput import Throughput, shortest
from adaptlens.lm import score
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.walk import ForwardStats as Counted
from adaptlens.measure.cost import PeakMemory
from adaptlens.prompts.sizes import sketch
from adaptlens.types import CostEstimate, Part, Prompt, Task, Weights

TRIAL_SECONDS = 8.0
"""A trial takes no longer, as far as a first small one tells: there are two to six of them."""

TRIAL_PROMPTS = 96
FIRST_PROMPTS = 8
TRIAL_TOKENS = 24
TRIAL_STEPS = (1, 4)
"""A trial of training is timed at two numbers of steps, so that what comes before drops out."""


def measured(
    load: Callable[[], LM],
    cells: Sequence[Cell],
    tasks: Mapping[str, Task],
    works: Mapping[int, CostEstimate],
) -> Throughput:
    """Return the throughput of a base on cells like these, tried out on their own prompts.

    Args:
        load: loads the base.
        cells: of the study, all of this base.
        tasks: by digest.
        works: of the cells, by their id().
    """
    start = time.perf_counter()
    lm = load()
    loaded = time.perf_counter() - start
    with PeakMemory(lm.device) as peak:
        train, bank = _training(lm, cells, works, tasks, full=False)
        full, _ = _training(lm, cells, works, tasks, full=True)
        prompt, read, single = _reading(lm, cells[0], tasks, None)
        write = _writing(lm, cells, works, tasks, None)
        tuned_read, tuned_write = read, write
        if bank is not None:
            tuned_read = _reading(lm, cells[0], tasks, bank)[1]
            tuned_write = _writing(lm, cells, works, tasks, bank)
    return Throughput(
        load=loaded,
        prompt=prompt,
        read=(read, tuned_read),
        single=single,
        write=(write, tuned_write),
        train=train,
        full=full,
        peak_bytes=float(peak.peak_bytes),
    )


def _training(
    lm: LM,
    cells: Sequence[Cell],
    works: Mapping[int, CostEstimate],
    tasks: Mapping[str, Task],
    *,
    full: bool,
) -> tuple[tuple[float, float], Weights | None]:
    """Return seconds a token and a step, from the cells with the least and the most tokens a step.

    Also returns the weights trained last; None where nothing of this kind is trained.
    """
    chosen = [c for c in cells if works[id(c)].steps and works[id(c)].full == full]
    if not chosen:
        return (0.0, 0.0), None

    def tokens(cell: Cell) -> float:
        return works[id(cell)].trained_tokens / works[id(cell)].steps

    least, most = min(chosen, key=tokens), max(chosen, key=tokens)
    taken, weights = _step_seconds(lm, most, tasks[most.task.digest])
    if tokens(least) > tokens(most) / 2:
        return (taken / tokens(most), 0.0), weights
    lower, _ = _step_seconds(lm, least, tasks[least.task.digest])
    slope = max(taken - lower, 0.0) / (tokens(most) - tokens(least))
    slope = min(slope, taken / tokens(most))
    return (slope, max(lower - slope * tokens(least), 0.0)), weights


def _step_seconds(lm: LM, cell: Cell, task: Task) -> tuple[float, Weights | None]:
    """Return the seconds of a step of one variant, and what the last trial trained.

    All draws are trained together where that is quick, as in the study; else one: of a large base
    a draw's batch keeps the device as busy as many do.
    """
    arguments = dict(cell.adaptation.arguments)
    for name in ("learning_rate", "lr_multipliers"):
        given = arguments.get(name)
        if isinstance(given, tuple | list) and given:
            arguments[name] = given[0]

    def train(draws: Sequence[int], steps: int) -> tuple[float, Weights | None]:
        short: dict[str, Any] = {"max_steps": steps}
        if "checkpoint_steps" in arguments:
            short["checkpoint_steps"] = (steps,)
        short |= {"warmup_steps": 0} if "warmup_steps" in arguments else {}
        made = replace(cell.adaptation, arguments={**arguments, **short}).make("adaptation")
        start = time.perf_counter()
        adapted = made.adapt(lm, task, draws)
        return time.perf_counter() - start, adapted.weights

    first, weights = train(cell.draws[:1], 1)
    if first * sum(TRIAL_STEPS) > TRIAL_SECONDS:
        # What comes before a step is little beside one that takes seconds.
        return first, weights
    all_fit = first * sum(TRIAL_STEPS) * len(cell.draws) <= TRIAL_SECONDS
    draws = cell.draws if all_fit else cell.draws[:1]
    few, _ = train(draws, TRIAL_STEPS[0])
    many, weights = train(draws, TRIAL_STEPS[1])
    steps = TRIAL_STEPS[1] - TRIAL_STEPS[0]
    return max(many - few, 0.2 * many) / steps / len(draws), weights


def _reading(
    lm: LM, cell: Cell, tasks: Mapping[str, Task], weights: Weights | None
) -> tuple[float, float, float]:
    """Return seconds a prompt, a token read in a batch, and a token read by itself."""
    sent, variants = _prompts(cell, tasks, weights)
    some = slice(FIRST_PROMPTS)
    first = sum(_read(lm, sent[some], variants[some], weights)[:2])
    some = slice(affordable(first, rounds=2))
    found = [_read(lm, sent[some], variants[some], weights) for _ in range(2)]
    encode = min(encoded / len(sent[some]) for encoded, _, _ in found)
    read = min(taken / max(tokens, 1) for _, taken, tokens in found)
    requests = score.encode(lm, sent[:1], variants[:1])
    ids = torch.tensor([requests[0].prompt_ids], device=lm.device)
    with torch.inference_mode():
        single = shortest(lambda: lm.model(ids, use_cache=True), lm.device)
    return encode, read, single / ids.numel()


def _read(
    lm: LM, sent: Sequence[Prompt], variants: Sequence[int], weights: Weights | None
) -> tuple[float, float, int]:
    """Return the seconds to cut prompts into tokens, to read them, and the tokens computed."""
    start = time.perf_counter()
    requests = score.encode(lm, sent, variants)
    encoded = time.perf_counter() - start
    counted = Counted()
    score.score(lm, requests, weights, work=counted)
    return encoded, time.perf_counter() - start - encoded, counted.tokens_computed


def _writing(
    lm: LM,
    cells: Sequence[Cell],
    works: Mapping[int, CostEstimate],
    tasks: Mapping[str, Task],
    weights: Weights | None,
) -> float:
    """Return seconds a generated token; 0 where the study generates nothing."""
    writing = [cell for cell in cells if works[id(cell)].written_tokens]
    if not writing:
        return 0.0
    sent, variants = _prompts(writing[0], tasks, weights)
    requests = score.encode(lm, sent, variants)
    start = time.perf_counter()
    score.generate(lm, requests[:FIRST_PROMPTS], 2, weights=weights)
    first = time.perf_counter() - start
    requests = requests[: affordable(first, rounds=TRIAL_TOKENS // 2)]
    taken, written = [], []
    for most in (1, TRIAL_TOKENS):
        start = time.perf_counter()
        found = score.generate(lm, requests, most, weights=weights)
        taken.append(time.perf_counter() - start)
        written.append(sum(len(lm.encode(text)) for text in found))
    return max(taken[1] - taken[0], 0.2 * taken[1]) / max(written[1] - written[0], 1)


def affordable(first: float, rounds: int) -> int:
    """Return how many prompts `TRIAL_SECONDS` allow, so many rounds, by the first few's seconds."""
    fits = int(FIRST_PROMPTS * TRIAL_SECONDS / max(first * rounds, 1e-9))
    return min(TRIAL_PROMPTS, max(FIRST_PROMPTS, fits))


def _prompts(
    cell: Cell, tasks: Mapping[str, Task], weights: Weights | None
) -> tuple[list[Prompt], list[int]]:
    """Return prompts of the cell's queries, all different, and the variants that read them."""
    task, made = tasks[cell.task.digest], cell.adaptation.make("adaptation")
    queries = task.test[:TRIAL_PROMPTS]
    sent = [
        Prompt(
            (Part("query", sketch(made, task, query)),),
            (f" {query.target}",),
            query.id,
        )
        for query in queries
    ]
    variants = weights.num_variants if weights is not None else 1
    # As measurements do, all prompts by one variant and then by the next.
    return sent, [i * variants // len(sent) for i in range(len(sent))]
