"""Activation patching of every head: adaptlens against TransformerLens, nnsight and batched hooks.

    python benchmarks/patching.py [--quick] [--prompts 2] [--sample 12] [--repeats 3]
    python benchmarks/patching.py --device cuda --dtype bfloat16 --model llama-8b

All sides run the same Hugging Face model, of GPT-2 small's shape with random weights if no other is
named. On one thread seconds are the processor's. A pair of prompts has 300 tokens: demonstrations
of its own, then a query of 20 tokens that is another one in the corrupt prompt; in the case
"unrelated" the two share nothing. The clean run's head outputs are put into the corrupt run, head
by head: at the last token, or by position at each of the last 10.

TransformerLens is its TransformerBridge on the model and its own `generic_activation_patch`;
nnsight a loop of traces that asks for the last token's logits only; "batched hooks" a plain hook
that patches all heads of a layer in one batch of whole prompts, the last token's logits only. For
the last token there are more: nnsight with 4 or 16 invokes in a trace, a patch each; and
TransformerLens's attribution patching, an estimate from two forward passes and one backward. It
runs `cache_activation_and_gradient` for the heads: `attribution_patch` does that and then writes
a Python object for every place and unit. The sweep is to take at most twice its time (target: a
ratio of 0.5 or more), and its difference is the error of the estimate.

Each side runs in processes of its own, in turns, and its time is the median. The sweep and the
estimate do all patches: the others are timed on a sample, one in each layer at a random place, the
batched hooks on one layer, invokes on one trace, and their time for all is computed from it. The
difference is the largest between logit differences on the sample. Peak memory is the rise of the
process's resident set (on an accelerator, of what is allocated) above the loaded model, for one
prompt; with `--quick`, in the run that was timed.

The peers are not needed for anything else, so install them beside: `pip install transformer-lens
nnsight`. Where one is missing its row says so.
"""

import argparse
import dataclasses
import functools
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

import models
from adaptlens.lm.load import LM
from adaptlens.lm.memory import keep_freed_memory
from adaptlens.lm.patching.patch import sweep
from adaptlens.lm.units import Pair
from adaptlens.lm.weights import DTYPES
from machine import clock, peak_bytes, reset_peak, synchronize

TOKENS, QUERY, POSITIONS = 300, 20, 10
PEERS = {"transformer_lens": "transformer-lens", "nnsight": "nnsight"}
INVOKES = {"nnsight_4_invokes": 4, "nnsight_16_invokes": 16}
SIDES = ("sweep", "transformer_lens", "nnsight", "batched_hooks", "attribution", *INVOKES)
LAST_TOKEN_ONLY = ("attribution", *INVOKES)
CASES = ("last token", "unrelated", "by position")
TARGETS = {
    "transformer_lens": 40,
    "nnsight": 40,
    "batched_hooks": 20,
    "attribution": 0.5,
    **dict.fromkeys(INVOKES, 40),
    "difference": 1e-4,
}
Patch = tuple[int, int, int]
"""(place, layer, head)."""


def make_pairs(
    case: str, prompts: int, tokens: int = TOKENS, query: int = QUERY, vocab: int = 49000
) -> list[Pair]:
    """Return pairs of prompts of so many tokens, each with demonstrations of its own."""
    source = np.random.default_rng(0)
    apart = 0 if case == "unrelated" else tokens - query
    first = tokens - (POSITIONS if case == "by position" else 1)
    sites = tuple((place,) for place in range(first, tokens))
    pairs = []
    for _ in range(prompts):
        clean, corrupt = source.integers(1, vocab, (2, tokens)).tolist()
        corrupt[:apart] = clean[:apart]
        answer, foil = source.choice(vocab, 2, replace=False).tolist()
        pairs.append(Pair(tuple(clean), tuple(corrupt), answer, foil, sites))
    return pairs


def all_patches(lm: LM, pair: Pair) -> list[Patch]:
    """Return every patch of the case, in the order of the sweep's values."""
    assert lm.architecture is not None
    return [
        (places[0], layer, head)
        for places in pair.sites
        for layer in range(lm.architecture.num_layers)
        for head in range(lm.architecture.num_heads)
    ]


def sample(side: str, patches: list[Patch], size: int) -> list[int]:
    """Return which patches a side is timed on, drawn with a seed."""
    if side in ("sweep", "attribution"):
        return list(range(len(patches)))
    size = INVOKES.get(side, size)
    source = np.random.default_rng(1)
    layers = sorted({layer for _, layer, _ in patches})
    if side == "batched_hooks":
        place, layer, _ = patches[source.integers(len(patches))]
        return [n for n, patch in enumerate(patches) if patch[:2] == (place, layer)]
    return [
        int(source.choice([n for n, patch in enumerate(patches) if patch[1] == layer]))
        for layer in (layers[i * len(layers) // size] for i in range(size))
    ]


def run_sweep(lm: LM, pairs: list[Pair], wanted: list[Patch]) -> np.ndarray:
    """Return the logit differences [prompts, patches] of all patches by the sweep."""
    found = sweep(lm, pairs, kinds=("head",))
    assert found.exact
    return found.values[..., 0].reshape(len(pairs), -1)


@torch.inference_mode()
def run_batched_hooks(lm: LM, pairs: list[Pair], wanted: list[Patch]) -> np.ndarray:
    """Return those of the wanted patches, those of a layer in one batch of whole prompts."""
    parts = lm.architecture
    assert parts is not None
    found = np.zeros((len(pairs), len(wanted)))
    for row, pair in enumerate(pairs):
        clean, corrupt = torch.tensor([[pair.clean], [pair.corrupt]], device=lm.device)
        for layer in sorted({layer for _, layer, _ in wanted}):
            columns = [n for n, patch in enumerate(wanted) if patch[1] == layer]
            kept: list[torch.Tensor] = []

            def keep(_: Any, args: tuple, kept: list[torch.Tensor] = kept) -> None:
                kept.append(args[0].clone())

            def put(
                _: Any,
                args: tuple,
                kept: list[torch.Tensor] = kept,
                columns: list[int] = columns,
            ) -> tuple:
                heads = args[0].unflatten(-1, (parts.num_heads, -1))
                others = kept[0].unflatten(-1, (parts.num_heads, -1))
                for b, n in enumerate(columns):
                    place, _, head = wanted[n]
                    heads[b, place, head] = others[0, place, head]
                return (heads.flatten(-2), *args[1:])

            for act, ids in ((keep, clean), (put, corrupt.expand(len(columns), -1))):
                hook = parts.o_proj(layer).register_forward_pre_hook(act)
                logits = lm.model(ids, use_cache=False, logits_to_keep=1).logits[:, -1].float()
                hook.remove()
            found[row, columns] = (logits[:, pair.answer] - logits[:, pair.foil]).cpu().numpy()
    return found


@functools.cache
def bridge(lm: LM) -> Any:
    """Return TransformerLens's bridge, which changes the model it is given."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    # It would load some tokenizers again, from a folder that may be gone; ids are given here.
    return build_bridge_from_module(
        lm.model,
        type(lm.model).__name__,
        hf_config=lm.model.config,
        tokenizer=models.numbers(),
    )


@torch.no_grad()
def run_transformer_lens(lm: LM, pairs: list[Pair], wanted: list[Patch]) -> np.ndarray:
    """Return those of the wanted patches by TransformerLens: one forward pass each."""
    import pandas as pd
    from transformer_lens import patching

    wrapped, found = bridge(lm), []
    columns = {"layer": 1, "pos": 0, "head": 2}
    rows = pd.DataFrame({name: [patch[i] for patch in wanted] for name, i in columns.items()})
    for pair in pairs:
        clean, corrupt = torch.tensor([[pair.clean], [pair.corrupt]], device=lm.device)
        _, cache = wrapped.run_with_cache(clean, names_filter=lambda n: n.endswith("hook_z"))

        def metric(logits: torch.Tensor, pair: Pair = pair) -> torch.Tensor:
            return (logits[0, -1, pair.answer] - logits[0, -1, pair.foil]).float()

        found.append(
            patching.generic_activation_patch(
                wrapped,
                corrupt,
                cache,
                metric,
                patching.layer_pos_head_vector_patch_setter,
                "z",
                index_df=rows,
            )
        )
    return torch.stack(found).cpu().numpy()


def run_attribution(lm: LM, pairs: list[Pair], wanted: list[Patch]) -> np.ndarray:
    """Return the wanted patches as TransformerLens's gradients estimate them."""
    from transformer_lens.tools.analysis import attribution_patching

    # Frozen weights leave no graph; the gradient of the embeddings alone is as little as there is.
    lm.model.get_input_embeddings().weight.requires_grad_(True)
    wrapped, found = bridge(lm), np.zeros((len(pairs), len(wanted)))
    for row, pair in enumerate(pairs):

        def metric(logits: torch.Tensor, pair: Pair = pair) -> torch.Tensor:
            return (logits[0, -1, pair.answer] - logits[0, -1, pair.foil]).float()

        runs = []
        for ids, backward in ((pair.clean, False), (pair.corrupt, True)):
            with torch.set_grad_enabled(backward):
                run = attribution_patching.cache_activation_and_gradient(
                    wrapped,
                    torch.tensor([ids], device=lm.device),
                    metric,
                    # The gradient has to be asked for below the first head to reach it.
                    names_filter=lambda name: name == "hook_embed" or name.endswith("hook_z"),
                    compute_gradient=backward,
                )
            runs.append(run)
        clean, corrupt = runs
        effects = {}
        for name, gradient in corrupt.gradients.items():
            if name.endswith("hook_z") and gradient is not None:
                change = (clean.activations[name] - corrupt.activations[name]) * gradient
                effects[int(name.split(".")[1])] = change[0].sum(-1)
        base = float(corrupt.metric)
        found[row] = [base + float(effects[layer][place, head]) for place, layer, head in wanted]
    return found


def output_projections(lm: LM, wrapped: Any) -> list[Any]:
    """Return what nnsight has for each layer's output projection."""
    parts = lm.architecture
    assert parts is not None
    names = {module: name for name, module in lm.model.named_modules()}
    projections = []
    for layer in range(parts.num_layers):
        at = wrapped
        for step in names[parts.o_proj(layer)].split("."):
            at = at[int(step)] if step.isdigit() else getattr(at, step)
        projections.append(at)
    return projections


@torch.no_grad()
def run_nnsight(lm: LM, pairs: list[Pair], wanted: list[Patch]) -> np.ndarray:
    """Return those of the wanted patches by nnsight: one trace each, the clean run kept."""
    import nnsight

    parts = lm.architecture
    assert parts is not None
    wrapped = nnsight.NNsight(lm.model)
    projections = output_projections(lm, wrapped)
    found = np.zeros((len(pairs), len(wanted)))
    for row, pair in enumerate(pairs):
        clean, corrupt = torch.tensor([[pair.clean], [pair.corrupt]], device=lm.device)
        with wrapped.trace(clean, logits_to_keep=1):
            kept = nnsight.save([projection.input for projection in projections])
        for column, (place, layer, head) in enumerate(wanted):
            low, high = head * parts.head_width, (head + 1) * parts.head_width
            with wrapped.trace(corrupt, logits_to_keep=1):
                projections[layer].input[:, place, low:high] = kept[layer][:, place, low:high]
                logits = wrapped.lm_head.output[0, -1].save()
            found[row, column] = float(logits[pair.answer]) - float(logits[pair.foil])
    return found


@torch.no_grad()
def run_nnsight_invokes(lm: LM, pairs: list[Pair], wanted: list[Patch], invokes: int) -> np.ndarray:
    """Return the same by traces of so many invokes, a patch each, which run as one batch."""
    import nnsight

    parts = lm.architecture
    assert parts is not None
    wrapped = nnsight.TransformersModel(lm.model, tokenizer=lm.tokenizer, task="text-generation")
    projections = output_projections(lm, wrapped)
    found = np.zeros((len(pairs), len(wanted)))
    for row, pair in enumerate(pairs):
        clean, corrupt = torch.tensor([[pair.clean], [pair.corrupt]], device=lm.device)
        with wrapped.trace(clean, logits_to_keep=1):
            kept = nnsight.save([projection.input for projection in projections])
        for first in range(0, len(wanted), invokes):
            with wrapped.trace(logits_to_keep=1) as tracer:
                ends = nnsight.save([])
                for place, layer, head in wanted[first : first + invokes]:
                    low, high = head * parts.head_width, (head + 1) * parts.head_width
                    with tracer.invoke(corrupt):
                        projections[layer].input[:, place, low:high] = kept[layer][
                            :, place, low:high
                        ]
                        ends.append(wrapped.lm_head.output[0, -1])
            for column, logits in enumerate(ends, first):
                found[row, column] = float(logits[pair.answer]) - float(logits[pair.foil])
    return found


RUNS = {
    "sweep": run_sweep,
    "transformer_lens": run_transformer_lens,
    "nnsight": run_nnsight,
    "batched_hooks": run_batched_hooks,
    "attribution": run_attribution,
    **{
        side: functools.partial(run_nnsight_invokes, invokes=size) for side, size in INVOKES.items()
    },
}
NEEDS = {"attribution": "transformer_lens", **dict.fromkeys(INVOKES, "nnsight")}
"""Which package a side runs that is not called like it."""


def measure(side: str, case: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return what one side took for one case, or how far memory rose, and what it found."""
    torch.set_num_threads(given.threads)
    lm = models.build(given.model, device=given.device, dtype=given.dtype)
    pairs = make_pairs(case, given.prompts)
    patches = all_patches(lm, pairs[0])
    chosen = sample(side, patches, given.sample)
    if given.memory:
        pairs, chosen = pairs[:1], chosen[:1] if side in PEERS else chosen
    else:
        keep_freed_memory()
    wanted = [patches[n] for n in chosen]
    # What libraries set up once is left out.
    tiny = [dataclasses.replace(p, clean=p.clean[-8:], corrupt=p.corrupt[-8:]) for p in pairs[:1]]
    RUNS[side](lm, [dataclasses.replace(tiny[0], sites=((7,),))], [(7, *wanted[0][1:])])
    reset_peak(given.device)
    before, start = peak_bytes(given.device), clock()
    found = RUNS[side](lm, pairs, wanted)
    synchronize(given.device)
    return {
        "seconds": (clock() - start) / len(pairs) * len(patches) / len(chosen),
        "rise_bytes": peak_bytes(given.device) - before,
        "values": found.tolist(),
        "chosen": chosen,
        "patches": len(patches),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model, one case, one repeat")
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--sample", type=int, default=12, help="patches the peers are timed on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    parser.add_argument("--model", default="gpt2", help="as `benchmarks/models.py` takes it")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--only", nargs="+", choices=SIDES[1:], help="peers; default: all")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.prompts, given.sample, given.repeats, given.model = 1, 2, 1, "tiny"
        given.cases = given.cases[:1]
    if given.side:
        print(json.dumps(measure(given.side, given.cases[0], given)))
        return
    missing = [peer for peer in PEERS if importlib.util.find_spec(peer) is None]
    for peer in missing:
        print(f"{PEERS[peer]} is not installed: its rows are left out (pip install {PEERS[peer]})")
    print("| case | side | patches | timed on | s a prompt | ratio | difference | memory, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for case in given.cases:
        runs: dict[str, list[dict[str, Any]]] = {
            side: []
            for side in ("sweep", *(given.only or SIDES[1:]))
            if NEEDS.get(side, side) not in missing
            and (case == "last token" or side not in LAST_TOKEN_ONLY)
        }
        for _ in range(given.repeats):
            for side in runs:
                runs[side].append(in_own_process(side, case, given))
        memory = {
            side: found[0] if given.quick else in_own_process(side, case, given, "--memory")
            for side, found in runs.items()
        }
        report(case, runs, memory)
    print(f"\ntargets: {json.dumps(TARGETS)}")
    versions = {p: version(p) for p in ("torch", "transformers", *PEERS.values()) if here(p)}
    print(f"{platform.machine()}, {given.threads} threads; {json.dumps(versions)}")


def here(package: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(package.replace("-", "_")) is not None


def in_own_process(side: str, case: str, given: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Return what `measure` returns in a fresh process."""
    command = [sys.executable, __file__, "--side", side, "--cases", case, *more]
    for name in ("prompts", "sample", "threads", "device", "dtype", "model"):
        command += [f"--{name}", str(getattr(given, name))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side}, {case}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def report(
    case: str, runs: dict[str, list[dict[str, Any]]], memory: dict[str, dict[str, Any]]
) -> None:
    """Print the rows of one case."""
    mine = statistics.median(run["seconds"] for run in runs["sweep"])
    ours = np.array(runs["sweep"][0]["values"])
    for side, found in runs.items():
        seconds = statistics.median(run["seconds"] for run in found)
        chosen = found[0]["chosen"]
        difference = np.abs(np.array(found[0]["values"]) - ours[:, chosen]).max()
        print(
            f"| {case} | {side} | {found[0]['patches']} | {len(chosen)} | {seconds:.2f} | "
            f"{seconds / mine:.1f} | {difference:.1e} | {memory[side]['rise_bytes'] / 1e6:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
