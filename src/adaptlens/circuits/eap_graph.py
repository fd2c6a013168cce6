"""A circuit as EAP-IG's `Graph.from_json` and the circuit track of the MIB benchmark read it.

Nodes are `input`, `a0.h1` (a head), `m0` (an MLP) and `logits`; an edge into a head ends in <q>,
<k> or <v>. The format is that of EAP-IG's `graph.py` (Hanna et al. 2024, arXiv 2403.17806).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from adaptlens.circuits.profiles import Circuit

Shape = Mapping[str, Any]
"""`n_layers`, `n_heads`, `d_model` and `parallel_attn_mlp`, as TransformerLens calls them."""


def to_eap(
    circuit: Circuit,
    effects: Mapping[str, float],
    shape: Shape,
    about: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return one object for JSON: every node with its score, and the edges inside the circuit.

    A node's score is its share of the gap, by patching; `input` and `logits` have none, which the
    readers keep whatever is cut. Effects of single units say nothing about which unit reads which:
    all edges between members are in the graph, as EAP-IG has them of a circuit of nodes, with the
    score 0; those outside are left out, which means the same.

    The readers take every edge to hold at all tokens, and have no place for other sites: a circuit
    that was found at the last token alone is another one there. `about` is where to say so.

    Args:
        circuit: the members.
        effects: unit to its effect, of every unit that was patched.
        shape: of the model.
        about: what the circuit is of and where it was patched; the readers pass over it.
    """
    members = {name_of(unit) for unit in circuit.members}
    nodes: dict[str, dict[str, Any]] = {"input": {"in_graph": True}}
    for unit in _units(shape):
        scored = {"score": float(effects[unit])} if unit in effects else {}
        nodes[name_of(unit)] = {"in_graph": name_of(unit) in members, **scored}
    nodes["logits"] = {"in_graph": True}
    inside = {name for name, node in nodes.items() if node["in_graph"]}
    edges = {edge: {"score": 0.0, "in_graph": True} for edge in _edges(shape, inside)}
    return {"about": dict(about or {}), "cfg": dict(shape), "nodes": nodes, "edges": edges}


def name_of(unit: str) -> str:
    """Return what a unit is called there: "L3.H1" is a3.h1, "L3.MLP" is m3."""
    layer, _, part = unit.removeprefix("L").partition(".")
    return f"m{layer}" if part == "MLP" else f"a{layer}.h{part.removeprefix('H')}"


def _units(shape: Shape) -> Iterator[str]:
    for layer in range(shape["n_layers"]):
        yield from (f"L{layer}.H{head}" for head in range(shape["n_heads"]))
        yield f"L{layer}.MLP"


def _edges(shape: Shape, inside: set[str]) -> Iterator[str]:
    """Yield the edges between members, from those before to what reads their sum."""
    before = ["input"]
    for layer in range(shape["n_layers"]):
        heads = [h for i in range(shape["n_heads"]) if (h := f"a{layer}.h{i}") in inside]
        mlp = [name for name in (f"m{layer}",) if name in inside]
        yield from (f"{one}->{head}<{part}>" for one in before for head in heads for part in "qkv")
        read = before if shape["parallel_attn_mlp"] else [*before, *heads]
        yield from (f"{one}->{name}" for one in read for name in mlp)
        before += [*heads, *mlp]
    yield from (f"{one}->logits" for one in before)
