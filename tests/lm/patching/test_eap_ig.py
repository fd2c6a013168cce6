"""Patching against what EAP-IG's own code found in shipped models.

`support/eap_ig.json` is what `benchmarks/eap_ig_facts.py` wrote.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import eap_reader
from adaptlens.circuits.eap_graph import to_eap
from adaptlens.circuits.profiles import Circuit
from adaptlens.lm.load import LM, load
from adaptlens.lm.patching import patch
from adaptlens.lm.patching.edge_attribution import edge_attribution
from adaptlens.lm.units import Pair

FACTS = json.loads((Path(eap_reader.__file__).parent / "eap_ig.json").read_text())
WITH_EDGES = [name for name in FACTS if "gradient" in FACTS[name]]


@pytest.fixture(scope="module", params=FACTS)
def model(request) -> LM:
    return load(request.param, device="cpu")


def pairs(name: str) -> list[Pair]:
    """Return the prompts, patched at all tokens, as EAP-IG always does."""
    return [
        Pair(tuple(clean), tuple(corrupt), answer, foil, (tuple(range(len(clean))),))
        for clean, corrupt, answer, foil in FACTS[name]["pairs"]
    ]


def test_the_graph_has_as_many_nodes_and_edges_as_theirs(model: LM):
    found = FACTS[model.name]
    circuit = Circuit("", dict.fromkeys(found["members"], 1.0))
    read = eap_reader.read(to_eap(circuit, {}, found["shape"]))
    assert [len(read.nodes), len(read.edges), sum(read.edges.values())] == (
        found["nodes_edges_inside"]
    )


def test_a_circuit_alone_leaves_what_evaluate_graph_leaves(model: LM):
    found = FACTS[model.name]
    units = patch.all_units(model.architecture, ("head", "mlp"))
    outside = tuple(unit for unit in units if str(unit) not in found["members"])
    kept = patch.joint(model, pairs(model.name), [outside])
    np.testing.assert_allclose(kept.values[:, 0, 0, 0], found["kept"], atol=1e-4)


def test_a_unit_alone_changes_what_its_edges_change_together(model: LM):
    found = FACTS[model.name]
    swept = patch.sweep(model, pairs(model.name), direction="noise")
    changes = (swept.values[:, 0, :, 0] - swept.clean[:, :1]).mean(0)
    ours = dict(zip(map(str, swept.patches), changes.tolist(), strict=True))
    assert ours == pytest.approx(found["changes"], abs=1e-4)


@pytest.mark.parametrize("method", ["gradient", "integrated"])
@pytest.mark.parametrize("name", WITH_EDGES)
def test_the_largest_edges_have_their_scores(name: str, method: str):
    model = load(name, device="cpu")
    ours = edge_attribution(model, pairs(name), direction="noise", method=method, steps=5)
    scores = ours.scores.mean(0)
    sources, readers = map(str, ours.sources), map(str, ours.destinations)
    rows = {source: i for i, source in enumerate(sources)}
    columns = {reader: i for i, reader in enumerate(readers)}
    theirs = FACTS[name][method]
    found = [scores[rows[source], columns[reader]] for source, reader, _ in theirs]
    np.testing.assert_allclose(found, [score for *_, score in theirs], atol=1e-4)
