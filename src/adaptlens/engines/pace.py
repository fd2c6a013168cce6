"""How fast a base works on this device: a few seconds' trial, or a guess from its shape."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from adaptlens import modelfiles, modelshape, workload
from adaptlens.lm import score
from adaptlens.lm.load import LM
from adaptlens.lm.walk import Work as Counted
from adaptlens.measure.cost import PeakMemory
from adaptlens.models import gguf_file
from adaptlens.study import Cell
from adaptlens.values import Part, Prompt, Task, Weights
from adaptlens.workload import Work

TRIAL_PROMPTS = 96
TRIAL_TOKENS = 24
TRIAL_STEPS = (1, 4)
"""A trial of training is timed at two numbers of steps, so that what comes before drops out."""

CELL_SECONDS = 0.05
"""Of a cell's own: its claim, its files brought to the disk."""

SHAPE_USE = {"read": 0.4, "train": 0.4, "bandwidth": 0.6}
"""Shares of a device's matrix speed and memory bandwidth that a large model gets, assumed."""
WRITTEN_ROWS = 64
DISK_BYTES_PER_SECOND = 1e9
PASS_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Pace:
    """Seconds that one base takes, and bytes.

    `read` and `write` are pairs: by the base itself, and under adapters. `train` and `full` are
    (seconds a trained token, seconds a step of one variant).

    Attributes:
        load: to load the model.
        prompt: to cut one prompt into tokens.
        read: a token in a batch.
        single: a token of a prompt read by itself.
        write: a generated token, of many texts at once.
        train: with adapters.
        full: with all weights.
        peak_bytes: the most memory held.
        source: "measured", or what it was guessed from.
    """

    load: float
    prompt: float
    read: tuple[float, float]
    single: float
    write: tuple[float, float]
    train: tuple[float, float]
    full: tuple[float, float]
    peak_bytes: float
    source: str = "measured"

    def seconds(self, work: Work, tuned: bool) -> float:
        """Return how long the work of a cell takes, its base being loaded."""
        by_token, by_step = self.full if work.full else self.train
        return (
            CELL_SECONDS
            + work.prompts * self.prompt
            + work.read_tokens * self.read[tuned]
            + work.single_tokens * self.single
            + work.written_tokens * self.write[tuned]
            + work.trained_tokens * by_token
            + work.steps * by_step
        )


def measured(
    load: Callable[[], LM], model: str, cells: Sequence[Cell], tasks: Mapping[str, Task]
) -> Pace:
    """Return the pace of a base on cells like these, tried out on their own prompts.

    Args:
        load: loads the base.
        model: the name that the base is found by.
        cells: of the study, all of this base.
        tasks: by digest.
    """
    start = time.perf_counter()
    lm = load()
    loaded = time.perf_counter() - start
    works = {id(c): workload.of_cell(c, tasks[c.task["digest"]], model) for c in cells}
    with PeakMemory(lm.device) as peak:
        train, bank = _training(lm, cells, works, tasks, full=False)
        full, _ = _training(lm, cells, works, tasks, full=True)
        prompt, read, single = _reading(lm, cells[0], tasks, None)
        write = _writing(lm, cells, works, tasks, None)
        tuned_read, tuned_write = read, write
        if bank is not None:
            tuned_read = _reading(lm, cells[0], tasks, bank)[1]
            tuned_write = _writing(lm, cells, works, tasks, bank)
    return Pace(
        load=loaded,
        prompt=prompt,
        read=(read, tuned_read),
        single=single,
        write=(write, tuned_write),
        train=train,
        full=full,
        peak_bytes=float(peak.peak_bytes),
    )


def from_shape(model: str, *, bytes_each: float, flops: float, bandwidth: float) -> Pace:
    """Return the pace of a base that is not tried out, from its number of parameters.

    Two operations a parameter and token to read, four to train adapters, six to train everything
    (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), at an assumed use of the device
    (`SHAPE_USE`); a generated token reads all weights, once for `WRITTEN_ROWS` texts.

    Args:
        model: the name that the base is found by.
        bytes_each: of a weight.
        flops: operations a second that the device does in matrix products.
        bandwidth: bytes a second that it reads.
    """
    numbers = modelshape.num_parameters(modelfiles.locate(model))
    return paced(numbers, bytes_each=bytes_each, flops=flops, bandwidth=bandwidth)


def paced(numbers: float, *, bytes_each: float, flops: float, bandwidth: float) -> Pace:
    """Return the pace of a base of so many parameters; see `from_shape`."""
    size = numbers * bytes_each
    read = 2 * numbers / (flops * SHAPE_USE["read"])
    scan = size / (bandwidth * SHAPE_USE["bandwidth"])
    write = max(read, scan / WRITTEN_ROWS)
    trained = 2 * numbers / (flops * SHAPE_USE["train"])
    return Pace(
        load=size / DISK_BYTES_PER_SECOND,
        prompt=3e-4,
        read=(read, read),
        single=read,
        write=(write, write),
        train=(2 * trained, 0.0),
        full=(3 * trained, 3 * scan),
        peak_bytes=size + PASS_BYTES,
        source="its number of parameters",
    )


def device_speed(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Return operations a second of a large matrix product, and bytes a second read and written."""
    size = 4096 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device).to(dtype)
    flops = 2.0 * size**3 / _best(lambda: a @ a, device)
    long = torch.empty(2**26, dtype=torch.uint8, device=device)
    return flops, 2.0 * long.numel() / _best(long.clone, device)


def shape(model: str) -> str:
    """Return a text that is the same for bases of the same shape."""
    found = modelfiles.locate(model)
    if found.is_file():
        header = gguf_file.read(found)
        tensors = [(tensor.name, tensor.shape) for tensor in header.tensors]
        return json.dumps([header.configuration, tensors], sort_keys=True)
    config = json.loads((found / "config.json").read_text(encoding="utf-8"))
    return json.dumps({k: v for k, v in config.items() if not k.startswith("_")}, sort_keys=True)


def _training(
    lm: LM,
    cells: Sequence[Cell],
    works: Mapping[int, Work],
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
    taken, weights = _step_seconds(lm, most, tasks[most.task["digest"]])
    if tokens(least) > tokens(most) / 2:
        return (taken / tokens(most), 0.0), weights
    lower, _ = _step_seconds(lm, least, tasks[least.task["digest"]])
    slope = max(taken - lower, 0.0) / (tokens(most) - tokens(least))
    slope = min(slope, taken / tokens(most))
    return (slope, max(lower - slope * tokens(least), 0.0)), weights


def _step_seconds(lm: LM, cell: Cell, task: Task) -> tuple[float, Weights | None]:
    """Return the seconds of a step of one variant, and what the last trial trained."""
    arguments = dict(cell.adaptation.arguments)
    for name in ("rate", "rate_times"):
        given = arguments.get(name)
        if isinstance(given, tuple | list):
            arguments[name] = given[0]
    taken, adapted = [], None
    for steps in (TRIAL_STEPS[0], *TRIAL_STEPS):
        short: dict[str, Any] = {"steps": steps}
        if "doses" in arguments:
            short = {"doses": (steps,)}
        short |= {"warmup_steps": 0} if "warmup_steps" in arguments else {}
        made = replace(cell.adaptation, arguments={**arguments, **short}).make("adaptation")
        start = time.perf_counter()
        adapted = made.adapt(lm, task, cell.draws)
        taken.append(time.perf_counter() - start)
    # The first trial warms up.
    steps = TRIAL_STEPS[1] - TRIAL_STEPS[0]
    seconds = max(taken[2] - taken[1], 0.2 * taken[2]) / steps / len(cell.draws)
    return seconds, adapted.weights if adapted else None


def _reading(
    lm: LM, cell: Cell, tasks: Mapping[str, Task], weights: Weights | None
) -> tuple[float, float, float]:
    """Return seconds a prompt, a token read in a batch, and a token read by itself."""
    sent, variants = _prompts(cell, tasks, weights)
    best = [float("inf")] * 2
    for some in (slice(8), slice(None), slice(None)):
        start = time.perf_counter()
        requests = score.encode(lm, sent[some], variants[some])
        encoded = time.perf_counter() - start
        counted = Counted()
        score.score(lm, requests, weights, work=counted)
        read = time.perf_counter() - start - encoded
        if some != slice(8):
            best = [
                min(best[0], encoded / len(requests)),
                min(best[1], read / max(counted.tokens_computed, 1)),
            ]
    ids = torch.tensor([requests[0].prompt_ids], device=lm.device)
    with torch.inference_mode():
        single = _best(lambda: lm.model(ids, use_cache=True), lm.device)
    return best[0], best[1], single / ids.numel()


def _writing(
    lm: LM,
    cells: Sequence[Cell],
    works: Mapping[int, Work],
    tasks: Mapping[str, Task],
    weights: Weights | None,
) -> float:
    """Return seconds a generated token; 0 where the study generates nothing."""
    writing = [cell for cell in cells if works[id(cell)].written_tokens]
    if not writing:
        return 0.0
    sent, variants = _prompts(writing[0], tasks, weights)
    requests = score.encode(lm, sent, variants)
    score.generate(lm, requests[:8], 2, weights=weights)
    taken, written = [], []
    for most in (1, TRIAL_TOKENS):
        start = time.perf_counter()
        found = score.generate(lm, requests, most, weights=weights)
        taken.append(time.perf_counter() - start)
        written.append(sum(len(lm.encode(text)) for text in found))
    return max(taken[1] - taken[0], 0.2 * taken[1]) / max(written[1] - written[0], 1)


def _prompts(
    cell: Cell, tasks: Mapping[str, Task], weights: Weights | None
) -> tuple[list[Prompt], list[int]]:
    """Return prompts of the cell's queries, all different, and the variants that read them."""
    task = tasks[cell.task["digest"]]
    queries = task.test[:TRIAL_PROMPTS]
    sent = [
        Prompt(
            (Part("query", workload.prompt_text(cell, task, query)),),
            (f" {query.target}",),
            query.id,
        )
        for query in queries
    ]
    variants = weights.num_variants if weights is not None else 1
    # As measurements do, all prompts by one variant and then by the next.
    return sent, [i * variants // len(sent) for i in range(len(sent))]


def _best(run: Callable[[], Any], device: torch.device, times: int = 3) -> float:
    """Return the shortest of a few runs, after one to warm up."""
    taken = []
    for _ in range(times + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])
