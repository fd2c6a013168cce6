"""The parts of `accelerator.py`: what each runs, by the library and by its peer, side by side."""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch

import bank
import patching
import states
from adaptlens.adapt import loop
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.best_prompt import BestPrompt
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.lm import score
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.flops import matrix_parameters
from adaptlens.lm.load import LM
from adaptlens.lm.memory import attempt
from adaptlens.lm.prefix.boundaries import Request
from adaptlens.lm.prefix.trie import common
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.types import Task
from machine import peak_bytes, reset_peak, seconds

SHOTS = 16
ANSWERS = ((5,), (6,))
CASES = {
    "16 fixed demonstrations": True,
    "0 demonstrations": True,
    "16 drawn per query": False,
}
"""Cases of scoring, and whether their prompts can share more than an instruction."""


@dataclass(frozen=True)
class Size:
    """How much every part does.

    Attributes:
        item: tokens of a demonstration or query.
        queries: prompts to score, and to read states of.
        drawn: of those with demonstrations drawn per query.
        adapters: trained side by side, on `examples` of `lesson` tokens each, `steps` times.
        solo: adapters of those that the peer trains one after another; its time is scaled.
        patched: tokens of the prompts that are patched in.
        reads: prompts read in the search for a template, and for demonstrations.
        items: of the task, in the parity of number formats.
        batches: sizes of batches that the peer's best is chosen from.
        matrix: rows of the matrices that measure the peak.
        repeats: timed runs, of which the median counts.
    """

    item: int = 32
    queries: int = 256
    drawn: int = 64
    adapters: int = 32
    examples: int = 8
    lesson: int = 64
    steps: int = 4
    solo: int = 4
    patched: int = 300
    reads: tuple[int, int] = (600, 300)
    items: int = 128
    batches: tuple[int, ...] = (8, 32, 128)
    matrix: int = 8192
    repeats: int = 2


MINIATURE = Size(
    item=4, queries=12, drawn=4, lesson=12, steps=2, solo=2, patched=30, reads=(40, 20), items=12,
    batches=(2, 4), matrix=256, repeats=1,
)  # fmt: skip


@dataclass
class Bench:
    """One model on one device, and how much to do with it."""

    lm: LM
    size: Size
    peak: float
    task: Task

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self.lm.device)

    def prompts(self, case: str) -> list[tuple[int, ...]]:
        """Return prompts of equal length for a case, in tokens."""
        source, item = np.random.default_rng(0), self.size.item
        vocab = self.lm.model.get_input_embeddings().num_embeddings
        pool = source.integers(10, vocab, (2 * SHOTS, item))
        queries = source.integers(10, vocab, (self.size.queries, item))
        if case == "0 demonstrations":
            return [tuple(query.tolist()) for query in queries]
        fixed = CASES[case]
        queries = queries if fixed else queries[: self.size.drawn]
        chosen = [range(SHOTS) if fixed else source.permutation(len(pool))[:SHOTS] for _ in queries]
        return [
            tuple(np.concatenate([pool[list(own)].ravel(), query]).tolist())
            for own, query in zip(chosen, queries, strict=True)
        ]

    def sides(self, ours: Callable[[], Any], peer: Callable[[], Any]) -> dict[str, Any]:
        """Return both sides' median seconds, their ratio, and how far memory rose for each."""
        timed: dict[str, list[float]] = {"ours": [], "peer": []}
        rises = {}
        for _ in range(self.size.repeats):
            for side, run in (("peer", peer), ("ours", ours)):
                reset_peak(self.device)
                before = peak_bytes(self.device)
                timed[side].append(seconds(run, self.device))
                rises[side] = peak_bytes(self.device) - before
        mine, theirs = median(timed["ours"]), median(timed["peer"])
        return {
            "seconds": mine,
            "peer_seconds": theirs,
            "ratio": theirs / mine,
            "rise_bytes": rises["ours"],
            "peer_rise_bytes": rises["peer"],
        }

    def best_batch(self, run: Callable[[int], Any]) -> int:
        """Return the size of batch at which the peer is fastest, of those that fit."""
        times = {}
        for size in self.size.batches:
            taken = attempt(lambda s=size: seconds(lambda: run(s), self.device), self.lm.device)
            if taken is not None:
                times[size] = taken
        return min(times, key=times.__getitem__)

    def share(self, operations: float, tokens: int, spent: float) -> float:
        """Return the share of the peak at so many operations a weight and token."""
        return operations * matrix_parameters(self.lm) * tokens / spent / self.peak


def shared(lm: LM, prompts: Sequence[tuple[int, ...]], work: ForwardStats) -> np.ndarray:
    """Return the log-likelihoods [prompts, answers] by the library."""
    return np.stack(score.score(lm, [Request(ids, ANSWERS) for ids in prompts], work=work))


@torch.inference_mode()
def unshared(lm: LM, prompts: Sequence[tuple[int, ...]], batch: int) -> np.ndarray:
    """Return the same by Transformers: whole prompts of one length, logits of the last token."""
    found = []
    for low in range(0, len(prompts), batch):
        ids = torch.tensor(prompts[low : low + batch], device=lm.device)
        logits = lm.model(ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        found.append(logits.float().log_softmax(-1)[:, [answer for (answer,) in ANSWERS]])
    return torch.cat(found).cpu().numpy()


def distinct(sequences: Sequence[tuple[int, ...]]) -> int:
    """Return how many tokens a tree of the sequences has: the least that must be computed."""
    order = sorted(sequences)
    return sum(map(len, order)) - sum(common(a, b) for a, b in itertools.pairwise(order))


def scoring(bench: Bench) -> dict[str, Any]:
    """Two answers after every prompt, against whole prompts in batches."""
    found = {}
    for case in CASES:
        prompts, work = bench.prompts(case), ForwardStats()
        sample = prompts[: max(bench.size.batches)]
        batch = bench.best_batch(lambda size, sample=sample: unshared(bench.lm, sample, size))
        theirs = unshared(bench.lm, prompts, batch)
        difference = np.abs(shared(bench.lm, prompts, work) - theirs).max()
        row = bench.sides(
            lambda prompts=prompts: shared(bench.lm, prompts, ForwardStats()),
            lambda prompts=prompts, batch=batch: unshared(bench.lm, prompts, batch),
        )
        found[case] = row | {
            "queries": len(prompts),
            "peer_batch_size": batch,
            "share_of_peak": bench.share(2, distinct(prompts), row["seconds"]),
            "tokens_given": work.tokens_given,
            "tokens_computed": work.tokens_computed,
            "tokens_padded": work.tokens_padded,
            "halvings": work.halvings,
            "max_difference": float(difference),
        }
    return found


def lora_bank(bench: Bench) -> dict[str, Any]:
    """Adapters trained in one pass, against a loop that resets one PEFT adapter."""
    lm, size, source = bench.lm, bench.size, np.random.default_rng(0)
    vocab = lm.model.get_input_embeddings().num_embeddings
    stem = source.integers(10, vocab, size.lesson // 4).tolist()
    rest = size.lesson - len(stem)
    lessons = [
        [
            TokenizedExample((*stem, *source.integers(10, vocab, rest).tolist()), size.lesson - 1)
            for _ in range(size.examples)
        ]
        for _ in range(size.adapters)
    ]
    assert lm.architecture is not None
    peer = bank.Peer(replace(lm, model=copy.deepcopy(lm.model)), lm.architecture.tuning_targets)
    start = LoraBank(lm, num_variants=size.adapters, rank=bank.RANK, alpha=bank.ALPHA)
    trained = start

    def ours(steps: int = size.steps) -> loop.History:
        nonlocal trained
        trained = start.pick(range(size.adapters))
        n = size.adapters
        recipe = TrainingConfig((bank.RATE,) * n, (steps,) * n, (0,) * n, batch_size=size.examples)
        return loop.train(lm, trained, lessons, recipe)

    def theirs(steps: int = size.steps) -> None:
        for variant in range(size.solo):
            peer.train(start.matrices(variant), lessons[variant], steps)

    ours(1)
    peer.train(start.matrices(0), lessons[0], 1)
    row = bench.sides(ours, theirs)
    row["peer_seconds"] *= size.adapters / size.solo
    row["ratio"] = row["peer_seconds"] / row["seconds"]
    history = ours()
    differences = []
    for variant in range(size.solo):
        peer.train(start.matrices(variant), lessons[variant], size.steps)
        differences.append(peer.difference(trained.matrices(variant)))
    needed = sum(distinct([lesson.ids[:-1] for lesson in own]) for own in lessons)
    return row | {
        "adapters": size.adapters,
        "examples": size.examples,
        "steps": size.steps,
        "share_of_peak": bench.share(4, needed * size.steps, row["seconds"]),
        "tokens_needed": needed * size.steps,
        "tokens_computed": history.total.tokens_computed,
        "max_difference": max(differences),
        "max_change": peer.difference(start.matrices(size.solo - 1)),
        "rate": bank.RATE,
    }


def hidden_states(bench: Bench) -> dict[str, Any]:
    """The last token's states in all layers, against `output_hidden_states=True`."""
    prompts = bench.prompts("16 fixed demonstrations")[: bench.size.drawn]
    sample = prompts[: max(bench.size.batches)]
    batch = bench.best_batch(lambda size: states.peer(bench.lm, sample, size))
    mine, theirs = states.ours(bench.lm, prompts), states.peer(bench.lm, prompts, batch)
    row = bench.sides(
        lambda: states.ours(bench.lm, prompts), lambda: states.peer(bench.lm, prompts, batch)
    )
    relative = np.abs(mine - theirs).max() / np.abs(theirs).max()
    return row | {"prompts": len(prompts), "peer_batch_size": batch, "difference": float(relative)}


def head_patching(bench: Bench) -> dict[str, Any]:
    """Every head, exactly, against hooks on a sample of one layer, scaled to all."""
    size = bench.size
    vocab = bench.lm.model.get_input_embeddings().num_embeddings
    pairs = patching.make_pairs("last token", 2, size.patched, size.patched // 15, vocab)
    patches = patching.all_patches(bench.lm, pairs[0])
    chosen = patching.sample("batched_hooks", patches, 0)
    wanted = [patches[n] for n in chosen]
    ours = patching.run_sweep(bench.lm, pairs, patches)
    theirs = patching.run_batched_hooks(bench.lm, pairs, wanted)
    row = bench.sides(
        lambda: patching.run_sweep(bench.lm, pairs, patches),
        lambda: patching.run_batched_hooks(bench.lm, pairs, wanted),
    )
    row["peer_seconds"] *= len(patches) / len(chosen)
    row["ratio"] = row["peer_seconds"] / row["seconds"]
    difference = np.abs(ours[:, chosen] - theirs).max()
    return row | {"patches": len(patches), "pairs": 2, "difference": float(difference)}


def prompt_search(bench: Bench) -> dict[str, Any]:
    """The search for the best prompt with 8 demonstrations, against no shared prefixes."""
    found = {}

    def search(side: str) -> None:
        # What was searched is kept for a model, so each run has one of its own.
        lm = replace(bench.lm, shares_prefix=side == "ours" and bench.lm.shares_prefix)
        reads, draw_reads = bench.size.reads
        how = BestPrompt(8, reads=reads, draw_reads=draw_reads)
        found[side] = how.adapt(lm, bench.task, [0]).training["search"][0]

    search("ours")
    row = bench.sides(lambda: search("ours"), lambda: search("peer"))
    return row | {
        "reads": found["ours"]["reads"],
        "peer_reads": found["peer"]["reads"],
        "same_prompt": found["ours"]["prompt"] == found["peer"]["prompt"],
    }
