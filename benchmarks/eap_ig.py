"""Circuits of `study implicit` in EAP-IG's own code: files, what circuits do alone, and scores.

    python benchmarks/eap_ig.py --source EAP-IG/src [--run runs/implicit] [--only zero-shot icl-4]

`--source` is the folder that holds `eap/` in a copy of EAP-IG's source (github.com/hannamw/EAP-IG),
beside which it needs `pip install 'transformer-lens<4' einops`. Without `--run` a study of circuits
is carried out first, patched at all tokens: zero-shot, ICL and LoRA on two families. Nothing of
theirs is changed, but "cuda", which it names, is read as the CPU.

Three comparisons, on the same pairs of prompts, all read by the logit difference:

1. Files. Each `*.eap.json` is read by `Graph.from_json`: nodes, edges, and those in the graph;
   whether `prune` leaves it as it is; whether `apply_topn(level="node")` finds it again.
2. Alone. What is left of the clean-corrupt gap where all units but a circuit's have the outputs
   of the corrupt run: `patch.joint`, at the last token and at all tokens, against
   `evaluate_graph` of the graph that `to_eap` makes of the same units. The difference is the
   largest between logit differences of single pairs. What the run stored is made anew first, and
   has to be the same.
3. Scores, on each condition's first draw. Units: `patch.sweep` (noising, all tokens) against
   `evaluate_graph` of the whole graph less one node's outgoing edges. Edges: `edge_attribution`
   (noising) against `attribute` with EAP and EAP-IG-inputs. The latter takes gradients at the ends
   of S parts, here they are taken at the middles: twice its scores with 2 S steps less those with
   S are those of the middles. The difference is given as a share of the largest score.

A LoRA adapter is merged by PEFT into what their side reads.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from adaptlens.cells import Component, read_tasks
from adaptlens.circuits.eap_graph import name_of, to_eap
from adaptlens.circuits.profiles import Circuit
from adaptlens.circuits.unit_sets import UnitSet
from adaptlens.lm.load import LM, load
from adaptlens.lm.patching import patch
from adaptlens.lm.patching.edge_attribution import edge_attribution
from adaptlens.lm.units import Pair
from adaptlens.measure.patch_pairs import matched, written
from adaptlens.store import Record, Run
from adaptlens.types import Adapted

STEPS = 5
NEEDS = {"transformer_lens": "'transformer-lens<4'", "einops": "einops"}
STUDY: dict[str, Any] = {
    "families": ["boolean", "expression"],
    "parts": ["circuits"],
    "tuning": ["it"],
    "quick": True,
    "circuits": {"place": "all"},
}
WEIGHTS = {
    "LlamaForCausalLM": "convert_llama_weights",
    "GPTNeoXForCausalLM": "convert_neox_weights",
    "Qwen2ForCausalLM": "convert_qwen2_weights",
    "Qwen3ForCausalLM": "convert_qwen3_weights",
    "GPT2LMHeadModel": "convert_gpt2_weights",
}
"""What TransformerLens reads each family's weights with."""


class Cpu(TorchFunctionMode):
    """Tensors that are asked for on "cuda" are made on the CPU."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if given.get("device") == "cuda":
            given["device"] = "cpu"
        return func(*args, **given)


def peer(source: Path) -> types.SimpleNamespace:
    """Return the modules of EAP-IG.

    Drawing is not asked of it, so it may lack what it draws with.
    """
    if not (source / "eap" / "graph.py").is_file():
        raise SystemExit(
            f"--source {source} has no eap/graph.py; give the folder that holds eap/: src in a "
            "copy of github.com/hannamw/EAP-IG."
        )
    for module, package in NEEDS.items():
        if importlib.util.find_spec(module) is None:
            raise SystemExit(
                f"{module} is not installed, which EAP-IG needs: pip install {package}"
            )
    if importlib.util.find_spec("pygraphviz") is None:
        sys.modules["pygraphviz"] = types.ModuleType("pygraphviz")
        sys.modules["pygraphviz"].AGraph = object  # type: ignore[attr-defined]
    sys.path.insert(0, str(source.resolve()))
    parts = ("graph", "evaluate", "attribute")
    return types.SimpleNamespace(**{part: importlib.import_module(f"eap.{part}") for part in parts})


def hooked(model: Any) -> Any:
    """Return a Hugging Face model as a HookedTransformer that reads token ids."""
    import transformer_lens
    import transformer_lens.loading_from_pretrained as loading
    from transformer_lens.pretrained import weight_conversions

    class OfIds(transformer_lens.HookedTransformer):
        def to_tokens(self, prompts: Sequence[tuple[int, ...]], **_: Any) -> torch.Tensor:
            return torch.tensor(list(prompts))

    family = type(model).__name__
    if family not in WEIGHTS:
        raise SystemExit(f"models of {family} are not converted here; take {', '.join(WEIGHTS)}.")
    config = deepcopy(model.config)
    config.architectures = [family]
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        found = loading.convert_hf_model_config(folder)
    found |= {
        "device": "cpu", "dtype": torch.float32, "tokenizer_name": None, "use_attn_result": True,
        "use_split_qkv_input": True, "use_hook_mlp_in": True,
        "ungroup_grouped_query_attention": found.get("n_key_value_heads") is not None,
        "d_head": getattr(config, "head_dim", None) or found["d_head"],
    }  # fmt: skip
    made = OfIds(transformer_lens.HookedTransformerConfig.from_dict(found))
    convert = getattr(weight_conversions, WEIGHTS[family])
    plain = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
    made.load_and_process_state_dict(convert(model, made.cfg), **dict.fromkeys(plain, False))
    return made


def tuned(lm: LM, adapted: Adapted, variant: int) -> Any:
    """Return the Hugging Face model with the changes of one variant in its weights."""
    if adapted.weights is None:
        return lm.model
    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        adapted.weights.save(Path(folder), [str(n) for n in range(adapted.weights.num_variants)])
        merged = PeftModel.from_pretrained(deepcopy(lm.model), f"{folder}/{variant}")
        return merged.merge_and_unload()


def loader(pairs: Sequence[Pair]) -> tuple[list[tuple[Any, Any, torch.Tensor]], list[int]]:
    """Return batches of pairs of one length as EAP-IG reads them, and the order of the pairs."""
    lengths: dict[int, list[int]] = {}
    for n, pair in enumerate(pairs):
        lengths.setdefault(len(pair.clean), []).append(n)
    batches = []
    for numbers in lengths.values():
        some = [pairs[n] for n in numbers]
        labels = torch.tensor([(pair.answer, pair.foil) for pair in some])
        batches.append(([p.clean for p in some], [p.corrupt for p in some], labels))
    return batches, [n for numbers in lengths.values() for n in numbers]


def difference(logits: Any, _: Any, lengths: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the logit difference of each prompt of a batch."""
    last = logits[torch.arange(len(lengths)), lengths - 1]
    return last.gather(1, labels).diff(dim=1)[:, 0].neg()


def total(*given: Any) -> torch.Tensor:
    """Return the sum over a batch: EAP-IG divides by the number of prompts itself."""
    return difference(*given).sum()


@dataclass(frozen=True)
class Asked:
    """One condition of a run, made anew.

    Attributes:
        record: the cell in which its circuits were tested.
        adapted: its variants.
        pairs: place -> the pairs of all variants, variant by variant.
        theirs: a HookedTransformer for each variant, and its pairs, in batches.
    """

    record: Record
    adapted: Adapted
    pairs: dict[str, list[Pair]]
    theirs: list[tuple[Any, list[Any], list[int]]]

    @property
    def label(self) -> str:
        """What tables call it."""
        return str(self.record.spec["adaptation"]["label"])

    @property
    def task(self) -> str:
        """The name of its task."""
        return str(self.record.spec["task"]["name"])

    @property
    def arguments(self) -> dict[str, Any]:
        """How its circuits were tested."""
        return dict(self.record.spec["measurements"][0]["arguments"])

    def read(self, ask: Callable[[Any, list[Any]], torch.Tensor]) -> np.ndarray:
        """Return what `ask` finds of every pair, in their order, variant by variant."""
        rows = []
        for model, batches, order in self.theirs:
            row = np.zeros(len(order))
            row[order] = ask(model, batches).double().numpy()
            rows.append(row)
        return np.concatenate(rows)


def conditions(run: Run, lm: LM, only: Sequence[str]) -> Iterator[Asked]:
    """Yield the conditions of a run whose circuits were tested."""
    records = [r for r in run.records() if r.spec["measurements"][0]["name"] == "ablated"]
    known = read_tasks(run, [record.spec["task"]["digest"] for record in records])
    for record in records:
        spec = record.spec
        if spec["model"]["name"] != lm.name or (only and spec["adaptation"]["label"] not in only):
            continue
        task = known[spec["task"]["digest"]]
        made = Component(spec["adaptation"]["name"], spec["adaptation"]["arguments"])
        adapted = made.make("adaptation").adapt(lm, task, tuple(spec["draws"]))
        given = spec["measurements"][0]["arguments"]
        chosen = matched(
            lm, task, given["corruption"], given["group"], given["items"], given["seed"]
        )[given["first"] :]
        places = dict.fromkeys(("all", "last", given["place"]))
        pairs = {place: written(lm, adapted, task, chosen, place) for place in places}
        own = [hooked(lm.model)] if adapted.weights is None else []
        theirs = []
        for variant in range(len(adapted.draws)):
            batches = loader([pair for pair in pairs["all"] if pair.variant == variant])
            theirs.append((own[0] if own else hooked(tuned(lm, adapted, variant)), *batches))
        yield Asked(record, adapted, pairs, theirs)


def files(eap: Any, run: Run) -> None:
    """Print what EAP-IG reads from the files of a run."""
    print("| file | nodes | edges | in it: nodes | edges | pruned: same | by node scores: same |")
    print("|---|---|---|---|---|---|---|")
    for path in sorted((run.folder / "circuits").glob("*.eap.json")):
        graph = eap.graph.Graph.from_json(str(path))
        nodes, edges = graph.nodes_in_graph.clone(), graph.in_graph.clone()
        graph.prune()
        pruned = bool((nodes == graph.nodes_in_graph).all() and (edges == graph.in_graph).all())
        # `input` has no score, and is kept.
        graph.apply_topn(int(nodes.sum()) - 1, level="node")
        real = graph.in_graph & graph.real_edge_mask
        again = bool((nodes == graph.nodes_in_graph).all() and (edges == real).all())
        print(
            f"| {path.name.removesuffix('.eap.json')} | {len(graph.nodes)} | {len(graph.edges)} | "
            f"{int(nodes.sum())} | {int(edges.sum())} | {yes(pruned)} | {yes(again)} |"
        )


def alone(eap: Any, lm: LM, one: Asked, shape: dict[str, Any]) -> None:
    """Print the faithfulness of a condition's circuits on both sides."""
    given = one.arguments
    sets = [(UnitSet(*of), tuple(units)) for of, units in given["sets"]]
    stored = one.record.arrays["ablated.kept"][..., 0].astype(float)
    every = patch.all_units(lm.architecture, ("head", "mlp"))  # type: ignore[arg-type]
    baseline = one.read(lambda m, b: eap.evaluate.evaluate_baseline(m, b, difference, quiet=True))
    corrupt = one.read(
        lambda m, b: eap.evaluate.evaluate_baseline(
            m, b, difference, run_corrupted=True, quiet=True
        )
    )
    gap = (baseline - corrupt).mean()
    for i, (of, members) in enumerate(sets):
        if of.kind != "circuit" or of.source != one.label:
            continue
        left = tuple(unit for unit in every if str(unit) not in members)
        ours = {}
        for place, pairs in one.pairs.items():
            found = patch.joint(lm, pairs, [left], weights=one.adapted.weights)
            kept, least = found.values[:, 0, 0, 0].astype(float), found.corrupt[:, 0].astype(float)
            ours[place] = kept, float((kept - least).mean() / (found.clean[:, 0] - least).mean())
        again = np.abs(ours[given["place"]][0] - stored[..., i].ravel()).max()
        circuit = Circuit(one.label, dict.fromkeys(members, 1.0))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "circuit.eap.json")
            path.write_text(json.dumps(to_eap(circuit, dict(circuit.members), shape)))

            def ask(model: Any, batches: Any, path: Path = path) -> torch.Tensor:
                graph = eap.graph.Graph.from_json(str(path))
                return eap.evaluate.evaluate_graph(model, graph, batches, difference, quiet=True)

            theirs = one.read(ask)
        print(
            f"| {one.task} | {one.label} | {of.size} | {ours['last'][1]:.4f} | "
            f"{ours['all'][1]:.4f} | {(theirs - corrupt).mean() / gap:.4f} | "
            f"{np.abs(theirs - ours['all'][0]).max():.1e} | {again:.1e} ({given['place']}) |",
            flush=True,
        )


def without(eap: Any, model: Any, batches: Any, shape: Any, units: Sequence[str]) -> np.ndarray:
    """Return what EAP-IG finds each unit alone to change, cut from the whole graph."""
    before = eap.evaluate.evaluate_baseline(model, batches, difference, quiet=True).mean()
    graph = eap.graph.Graph.from_model(shape)
    changes = []
    for unit in units:
        graph.reset(empty=False)
        for edge in graph.nodes[name_of(unit)].child_edges:
            edge.in_graph = False
        left = eap.evaluate.evaluate_graph(model, graph, batches, difference, quiet=True)
        changes.append(float(left.mean() - before))
    return np.array(changes)


def edges(eap: Any, lm: LM, model: Any, batches: Any, shape: Any, method: str, steps: int) -> Any:
    """Return what EAP-IG finds of every edge, [sources, readers] as `edge_attribution` has them."""
    graph = eap.graph.Graph.from_model(shape)
    eap.attribute.attribute(model, graph, batches, total, method, ig_steps=steps, quiet=True)
    parts = lm.architecture
    assert parts is not None
    return by_reader(graph.scores.numpy(), parts.num_heads, parts.num_kv_heads)


def at_middles(eap: Any, lm: LM, model: Any, batches: Any, shape: Any) -> np.ndarray:
    """Return what EAP-IG-inputs would find with its gradients at the middles of the parts."""
    few, many = (
        edges(eap, lm, model, batches, shape, "EAP-IG-inputs", steps)
        for steps in (STEPS, 2 * STEPS)
    )
    return 2 * many - few


def scores(eap: Any, lm: LM, one: Asked, shape: dict[str, Any]) -> None:
    """Print how far scores of units and edges differ, on the first draw."""
    weights = one.adapted.weights
    pairs = [pair for pair in one.pairs["all"] if pair.variant == 0]
    read = (*one.theirs[0][:2], shape)

    swept = patch.sweep(lm, pairs, direction="noise", weights=weights)
    ours = (swept.values[:, 0, :, 0] - swept.clean[:, :1]).mean(0)
    rows = [("units, exact", ours, without(eap, *read, [str(unit) for unit in swept.patches]))]
    for method, peers in (
        ("gradient", {"EAP": lambda: edges(eap, lm, *read, "EAP", 0)}),
        (
            "integrated",
            {
                f"EAP-IG, {STEPS} steps each": lambda: edges(
                    eap, lm, *read, "EAP-IG-inputs", STEPS
                ),
                "EAP-IG, the same points": lambda: at_middles(eap, lm, *read),
            },
        ),
    ):
        found = edge_attribution(
            lm, pairs, direction="noise", method=method, steps=STEPS, weights=weights
        )
        own = found.scores.mean(0)[found.there]
        rows += [(f"edges, {name}", own, ask()[found.there]) for name, ask in peers.items()]
    for what, mine, others in rows:
        share = np.abs(mine - others).max() / np.abs(others).max()
        alike = np.corrcoef(mine, others)[0, 1]
        print(
            f"| {one.task} | {one.label} | {what} | {mine.size} | {np.abs(others).max():.3f} | "
            f"{share:.1e} | {alike:.6f} |",
            flush=True,
        )


def by_reader(given: np.ndarray, heads: int, shared: int) -> np.ndarray:
    """Return scores of edges with one column for keys and values that several heads share."""
    columns, at = [], 0
    while at < given.shape[1] - 1:
        columns.append(given[:, at : at + heads])
        for start in (at + heads, at + 2 * heads):
            own = given[:, start : start + heads]
            columns.append(own.reshape(len(own), shared, -1).sum(-1))
        columns.append(given[:, at + 3 * heads : at + 3 * heads + 1])
        at += 3 * heads + 1
    return np.concatenate([*columns, given[:, -1:]], axis=1)


def yes(holds: bool) -> str:
    """Return "yes" or "no"."""
    return "yes" if holds else "no"


def carried_out(model: str, folder: str, quick: bool) -> None:
    """Carry out the study that is read where no run was given."""
    from adaptlens.studies.implicit.plan import implicit_patterns

    small = {"families": ["boolean"], "draws": 2, "queries": 20} if quick else {}
    implicit_patterns(model, out=folder, **{**STUDY, **small})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="one family, two draws")
    options.add_argument("--source", type=Path, required=True, help="the folder that holds eap/")
    options.add_argument("--run", type=Path, help="a run of study implicit; default: a small one")
    options.add_argument("--model", default="reference-math", help="which of the run's models")
    options.add_argument("--only", nargs="*", default=[], help="labels of conditions; default: all")
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    eap = peer(given.source)
    with contextlib.ExitStack() as stack:
        if given.run is None:
            given.run = Path(stack.enter_context(tempfile.TemporaryDirectory()), "implicit")
            carried_out(given.model, str(given.run), given.quick)
        run = Run.open(given.run)
        files(eap, run)
        lm = load(given.model, device="cpu")
        lm = replace(lm, model=lm.model.requires_grad_(False))
        ids = torch.arange(40)[None] % 37 + 5
        apart = (lm.model(ids).logits - hooked(lm.model)(ids)).abs().max()
        print(f"\nlogits of both sides differ by {apart:.1e} at most\n")
        shapes = (r.texts["shape"] for r in run.records() if "shape" in r.texts)
        shape = next(shapes)
        stack.enter_context(Cpu())
        asked = list(conditions(run, lm, given.only))
        print(
            "| task | condition | units | last token | all tokens | EAP-IG | difference | stored |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for one in asked:
            alone(eap, lm, one, shape)
        print("\n| task | condition | scores | many | largest | difference | correlation |")
        print("|---|---|---|---|---|---|---|")
        for one in asked:
            scores(eap, lm, one, shape)
    versions = {name: version(name) for name in ("torch", "transformers", "transformer-lens")}
    print(f"\n{given.model}, float32, {given.threads} threads; {json.dumps(versions)}")


if __name__ == "__main__":
    main()
