"""A reader of EAP-IG's graph files, written to its format and not to what we write.

It builds the whole graph from `cfg`, as `Graph.from_json` does, and then sets what the file says:
a name that is no node or edge of that model is a KeyError.
"""

import itertools
from typing import Any


class Graph:
    """Nodes and edges of a model by name, in the order in which they are computed."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        layers = [
            ([f"a{layer}.h{head}" for head in range(cfg["n_heads"])], f"m{layer}")
            for layer in range(cfg["n_layers"])
        ]
        assert cfg["d_model"] > 0
        stream, edges = ["input"], []
        for heads, mlp in layers:
            into = [f"{head}<{part}>" for head, part in itertools.product(heads, "qkv")]
            edges += itertools.product(stream, into)
            edges += itertools.product(stream, [mlp])
            if not cfg["parallel_attn_mlp"]:
                edges += itertools.product(heads, [mlp])
            stream += [*heads, mlp]
        edges += itertools.product(stream, ["logits"])
        self.nodes: dict[str, Any] = dict.fromkeys([*stream, "logits"], False)
        self.scores: dict[str, float] = {}
        self.edges = dict.fromkeys((f"{a}->{b}" for a, b in edges), False)


def read(found: dict[str, Any]) -> Graph:
    """Return the graph that a file says."""
    graph = Graph(found["cfg"])
    for name, node in found["nodes"].items():
        graph.nodes[_known(name, graph.nodes)] = node["in_graph"]
        if "score" in node:
            graph.scores[name] = node["score"]
    for name, edge in found["edges"].items():
        float(edge["score"])
        graph.edges[_known(name, graph.edges)] = edge["in_graph"]
    return graph


def _known(name: str, names: dict[str, Any]) -> str:
    if name not in names:
        raise KeyError(name)
    return name
