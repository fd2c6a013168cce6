"""Circuits in EAP-IG's format: edges counted by hand, and read by a reader of that format."""

import json

import pytest

import eap_reader
from adaptlens.circuits.eap_graph import name_of, to_eap
from adaptlens.circuits.profiles import Circuit

SHAPE = {"n_layers": 1, "n_heads": 2, "d_model": 8, "parallel_attn_mlp": False}
EFFECTS = {"L0.H0": 0.01, "L0.H1": -0.3, "L0.MLP": 0.5}
BOTH = Circuit("it-16", {"L0.MLP": 0.5, "L0.H1": -0.3})


def test_units_have_their_names():
    assert [name_of(unit) for unit in ("L3.H12", "L10.MLP")] == ["a3.h12", "m10"]


def test_every_unit_has_its_score_and_members_are_in_the_graph():
    nodes = to_eap(BOTH, EFFECTS, SHAPE)["nodes"]
    assert nodes == {
        "input": {"in_graph": True},
        "a0.h0": {"in_graph": False, "score": 0.01},
        "a0.h1": {"in_graph": True, "score": -0.3},
        "m0": {"in_graph": True, "score": 0.5},
        "logits": {"in_graph": True},
    }


@pytest.mark.parametrize("parallel", [False, True])
def test_the_edges_between_members_are_in_it(parallel):
    found = to_eap(BOTH, EFFECTS, {**SHAPE, "parallel_attn_mlp": parallel})
    expected = {
        "input->a0.h1<q>", "input->a0.h1<k>", "input->a0.h1<v>", "input->m0", "input->logits",
        "a0.h1->logits", "m0->logits",
    }  # fmt: skip
    # Where both read one stream, the head is no input of the MLP.
    assert set(found["edges"]) == expected | (set() if parallel else {"a0.h1->m0"})


def test_the_file_says_where_its_circuit_was_patched():
    about = {"condition": "it-16", "place": "last"}
    assert to_eap(BOTH, EFFECTS, SHAPE, about)["about"] == about
    # What the readers take from a file is the same with it and without.
    told, untold = (eap_reader.read(to_eap(BOTH, EFFECTS, SHAPE, a)) for a in (about, None))
    assert (told.nodes, told.edges, told.scores) == (untold.nodes, untold.edges, untold.scores)


def test_a_reader_of_the_format_finds_only_nodes_and_edges_of_the_model():
    shape = {**SHAPE, "n_layers": 3}
    circuit = Circuit("icl", {"L2.H0": 0.4, "L0.H1": 0.2, "L1.MLP": 0.1})
    read = eap_reader.read(json.loads(json.dumps(to_eap(circuit, {}, shape))))
    inside = {name for name, there in read.nodes.items() if there}
    assert inside == {"input", "a0.h1", "m1", "a2.h0", "logits"}
    wanted = {
        edge for edge in read.edges
        if {end.partition("<")[0] for end in edge.split("->")} <= inside
    }  # fmt: skip
    assert {edge for edge, there in read.edges.items() if there} == wanted
    # 3 + 1 from the input into the first head and the logits, and so on, by hand: into a0.h1 3,
    # into m1 2, into a2.h0 9, into logits 4.
    assert len(wanted) == 18
