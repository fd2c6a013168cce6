"""What an adapted model costs: training, and one query with and without a cached prompt."""

import inspect
import threading
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import ClassVar

import numpy as np
import psutil
import torch

from adaptlens.lm import score
from adaptlens.lm.flops import attention_flops, matrix_parameters, not_counted
from adaptlens.lm.kept import keeping, kept_in
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.walk import virtual_ids
from adaptlens.lm.states import as_variant
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import Adapted, CostEstimate, Measured, Prompt, Task

SAMPLE_QUERIES = 8


@dataclass(frozen=True)
class Cost:
    """Counts tokens and FLOPs of one query and times a few, one at a time.

    FLOPs of one query are those of reading its prompt and judging its answers (choice: each
    option's tokens; generation: as many tokens as the reference answer has). *Uncached* recomputes
    the whole prompt; *cached* keeps the keys and values of what all queries share (instruction and
    demonstrations) and pays for the rest. Seconds are those of reading the prompt, the median over
    `SAMPLE_QUERIES` single, unbatched queries after one warm-up: what one user waits for until the
    answer begins, not the throughput of a server; the first variant is timed, all are counted.
    Tuned weights are taken as merged, so a query costs what the base model costs; the virtual
    tokens of a soft prompt are tokens of every query. Where layers mix tokens without attention
    (Mamba), `lm.flops.not_counted` says what FLOPs leave out, and cached is the same as uncached:
    what such a model keeps of a prompt is not its keys and values.
    """

    name: ClassVar[str] = "cost"
    axes: ClassVar[Stated] = AXES["cost"]

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of nine prompts one by one, whole and after what they share."""
        return CostEstimate(prompts=9.0, single_tokens=9 * (sizes.shared + 2 * sizes.rest))

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the numbers above, means over variants; those of each variant are the arrays."""
        queries = task.test[: SAMPLE_QUERIES + 1]
        before = virtual_ids(adapted.weights)
        counted = [
            _counted(lm, before, [adapted.write(variant, query) for query in queries])
            for variant in range(len(adapted.draws))
        ]
        arrays = {name: np.array([one[name] for one, _ in counted]) for name in counted[0][0]}
        ids, shared = counted[0][1], int(arrays["cached_tokens"][0])
        with as_variant(adapted.weights if before else None, 0):
            seconds = _seconds(lm, ids, 0)
            cached = _seconds(lm, ids, shared) if shared else seconds
        numbers = {
            **{name: float(values.mean()) for name, values in arrays.items()},
            "query_seconds": seconds,
            "query_seconds_cached": cached,
        }
        training = {
            f"training_{name}": float(value)
            for name, value in adapted.training.items()
            if isinstance(value, (int, float))
        }
        left_out = not_counted(lm.model.config)
        return Measured(
            {**training, **numbers}, arrays, {"not_counted": left_out} if left_out else {}
        )


def _counted(
    lm: LM, before: Sequence[int], sent: Sequence[Prompt]
) -> tuple[dict[str, float], list[list[int]]]:
    """Return the tokens and FLOPs of one variant's queries, means, and the prompts in tokens.

    Those in `before` stand before each.
    """
    asked = [
        prompt if prompt.answers else Prompt(prompt.parts, (prompt.target,)) for prompt in sent
    ]
    requests = score.encode(lm, asked, [0] * len(asked))
    ids = [[*before, *request.prompt_ids] for request in requests]
    shared = min((_common(ids[0], other) for other in ids[1:]), default=0)
    shared = 0 if not_counted(lm.model.config) else shared
    answer_tokens = [sum(map(len, request.answers_ids)) for request in requests]
    num_tokens = [len(one) for one in ids]
    sizes = list(zip(num_tokens, answer_tokens, strict=True))
    return {
        "query_tokens": _mean(num_tokens),
        "cached_tokens": float(shared),
        "answer_tokens": _mean(answer_tokens),
        "query_flops": _mean([query_flops(lm, n, 0, a) for n, a in sizes]),
        "query_flops_cached": _mean([query_flops(lm, n - shared, shared, a) for n, a in sizes]),
    }, ids


def query_flops(lm: LM, num_tokens: int, past_tokens: int, answer_tokens: int) -> float:
    """Return the floating-point operations of one query.

    Two operations per weight and token for every matrix the tokens pass through; four per layer,
    head width and visible token for attention; the unembedding for the answer's positions only.
    Source: Kaplan et al. 2020 (arXiv 2001.08361), section 2.1, with the attention term exact.
    """
    tokens = num_tokens + answer_tokens
    visible = tokens * past_tokens + tokens * (tokens + 1) / 2
    unembed = 2.0 * lm.model.get_output_embeddings().weight.numel() * (answer_tokens or 1)
    return 2.0 * matrix_parameters(lm) * tokens + attention_flops(lm, visible) + unembed


def _mean(values: list[int] | list[float]) -> float:
    return float(sum(values) / len(values))


def _common(a: list[int], b: list[int]) -> int:
    """Return the length of the longest common prefix, short of either whole."""
    limit = min(len(a), len(b)) - 1
    return next((i for i in range(limit) if a[i] != b[i]), limit)


def _seconds(lm: LM, ids: list[list[int]], shared: int) -> float:
    """Return the median seconds to read one prompt, given the cache of its first tokens."""

    def tensor(tokens: list[int]) -> torch.Tensor:
        return torch.tensor([tokens], device=lm.device)

    accepted = inspect.signature(lm.model.forward).parameters
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
    taken = []
    with torch.inference_mode():
        first = tensor(ids[0][:shared])
        cache = lm.model(first, use_cache=True, **last_only) if shared else None
        for one in ids:
            past = deepcopy(kept_in(cache)) if cache is not None else None
            given = {**keeping(lm.model, past), **last_only}
            _synchronize(lm)
            start = time.perf_counter()
            lm.model(tensor(one[shared:]), use_cache=True, **given)
            _synchronize(lm)
            taken.append(time.perf_counter() - start)
    return median(taken[1:] or taken)


def _synchronize(lm: LM) -> None:
    if lm.device.type == "cuda":
        torch.cuda.synchronize(lm.device)


class PeakMemory:
    """Measures the most memory held while it is open.

    On a GPU, the allocator's own peak; elsewhere the process's resident set, read every 5 ms.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak_bytes = 0
        self._closed = threading.Event()

    def __enter__(self) -> "PeakMemory":
        """Start watching."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching."""
        if self.device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(self.device)
            return
        self._closed.set()
        self._watcher.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)
            if self._closed.wait(0.005):
                return
