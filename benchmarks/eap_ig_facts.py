"""Writes what EAP-IG's own code finds in shipped models, to which the suite holds patching.

    python benchmarks/eap_ig_facts.py --source EAP-IG/src [--to tests/support/eap_ig.json]

To be run again where a shipped model was trained anew. `--source` is as of eap_ig.py; without
`--to` the numbers are printed. `tests/lm/patching/test_eap_ig.py` reads them.
"""

import argparse
import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adaptlens.circuits.eap_graph import to_eap
from adaptlens.circuits.profiles import Circuit
from adaptlens.errors import UserError
from adaptlens.lm.load import load
from adaptlens.lm.patching import patch
from adaptlens.lm.patching.edge_attribution import edge_attribution
from adaptlens.lm.units import Pair
from eap_ig import Cpu, at_middles, difference, edges, hooked, loader, peer, without

MODELS = ("reference-math", "ladder-neox-s", "ladder-qwen-s")
"""Plain; attention and feed-forward part in parallel; keys and values that heads share."""
PAIRS, TOKENS, EDGES = 3, 12, 12


def facts(eap: Any, name: str) -> dict[str, Any]:
    """Return what EAP-IG finds in a shipped model on prompts of random tokens.

    Answer and foil are what the model says after either prompt. The circuit is arbitrary: every
    third unit is outside of it.
    """
    lm = load(name, device="cpu")
    parts = lm.architecture
    assert parts is not None
    model = hooked(lm.model)
    source = np.random.default_rng(0)
    pairs = []
    for _ in range(PAIRS):
        ids = source.integers(5, 300, (2, TOKENS))
        clean, corrupt = ids.tolist()
        with torch.inference_mode():
            said = lm.model(torch.tensor(ids)).logits[:, -1].topk(2).indices.tolist()
        answer = said[0][0]
        foil = next(token for token in said[1] if token != answer)
        pairs.append(Pair(tuple(clean), tuple(corrupt), answer, foil, (tuple(range(TOKENS)),)))
    batches, _ = loader(pairs)
    shape = {
        "n_layers": parts.num_layers, "n_heads": parts.num_heads, "d_model": parts.width,
        "parallel_attn_mlp": parts.parallel,
    }  # fmt: skip
    units = [str(unit) for unit in patch.all_units(parts, ("head", "mlp"))]
    members = [unit for n, unit in enumerate(units) if n % 3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "circuit.eap.json")
        made = to_eap(Circuit("", dict.fromkeys(members, 1.0)), {}, shape)
        path.write_text(json.dumps(made))
        graph = eap.graph.Graph.from_json(str(path))
    counted = [len(graph.nodes), len(graph.edges), int(graph.in_graph.sum())]
    kept = eap.evaluate.evaluate_graph(model, graph, batches, difference, quiet=True)
    found: dict[str, Any] = {
        "pairs": [[pair.clean, pair.corrupt, pair.answer, pair.foil] for pair in pairs],
        "shape": shape, "nodes_edges_inside": counted, "members": members,
        "kept": kept.tolist(),
        "changes": dict(zip(units, without(eap, model, batches, shape, units), strict=True)),
    }  # fmt: skip
    with contextlib.suppress(UserError):
        known = edge_attribution(lm, pairs)
        ends = [str(n) for n in known.sources], [str(n) for n in known.destinations]
        read = (eap, lm, model, batches, shape)
        for method, peers in (
            ("gradient", edges(*read, "EAP", 0)), ("integrated", at_middles(*read))
        ):  # fmt: skip
            largest = np.argsort(-np.abs(peers), axis=None)[:EDGES]
            at = [divmod(int(place), peers.shape[1]) for place in largest]
            found[method] = [[ends[0][i], ends[1][j], float(peers[i, j])] for i, j in at]
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--source", type=Path, required=True, help="the folder that holds eap/")
    options.add_argument("--to", type=Path, help="a JSON file; default: print")
    options.add_argument("--model", nargs="*", default=MODELS, help="default: those of the suite")
    given = options.parse_args()
    eap = peer(given.source)
    with Cpu():
        found = {name: facts(eap, name) for name in given.model}
    text = json.dumps(found, indent=1, default=float)
    if given.to is None:
        print(text)
    else:
        given.to.write_text(text + "\n")


if __name__ == "__main__":
    main()
