"""Circuits of several conditions in one JSON object, or one Graphviz drawing."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from adaptlens.circuits.profiles import Circuit, kind_of, layer_of

FORMAT = "adaptlens-circuits-1"
SHAPES = {"head": "ellipse", "mlp": "box", "residual": "hexagon", "neuron": "point"}
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Paul Tol's bright scheme: told apart by color-blind readers, too."""


def to_json(
    circuits: Sequence[Circuit], annotations: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return one object for JSON: every unit of any circuit, and its share in each condition.

    A unit that is no member in a condition has no entry there. Units are in order of layers.

    Args:
        circuits: one a condition.
        annotations: unit to what else is known of it (induction score, ...).
    """
    notes = annotations or {}
    return {
        "format": FORMAT,
        "conditions": [one.condition for one in circuits],
        "units": [
            {
                "unit": unit,
                "kind": kind_of(unit),
                "layer": layer_of(unit),
                "share_of_gap": {
                    one.condition: one.members[unit] for one in circuits if unit in one.members
                },
                **({"annotations": dict(notes[unit])} if unit in notes else {}),
            }
            for unit in in_order(circuits)
        ],
    }


def to_graphviz(circuits: Sequence[Circuit]) -> str:
    """Return a drawing in Graphviz's language: a row of units for each layer, the first at the top.

    A unit's colors say in which conditions it is a member; its label says with which sign, and how
    much of the gap it carries. A unit whose sign differs between conditions has a dashed border.
    Effects of single units say nothing about which unit reads which, so nothing is joined.
    """
    colors = {one.condition: COLORS[i % len(COLORS)] for i, one in enumerate(circuits)}
    units = in_order(circuits)
    layers = sorted({layer_of(unit) for unit in units})
    lines = ["digraph circuits {", "  rankdir=TB;"]
    for layer in layers:
        lines += [
            f"  subgraph layer_{layer} {{ rank=same;",
            f'    "layer {layer}" [shape=plaintext, style=""];',
            *(f"    {_node(unit, circuits, colors)}" for unit in units if layer_of(unit) == layer),
            "  }",
        ]
    lines += [f'  "layer {above}" -> "layer {below}" [style=invis];'
              for above, below in pairwise(layers)]  # fmt: skip
    for i, (name, color) in enumerate(colors.items()):
        lines.append(f'  legend_{i} [shape=box, style=filled, fillcolor="{color}", '
                     f"label={_quoted(name)}];")  # fmt: skip
    return "\n".join([*lines, "}", ""])


def in_order(circuits: Sequence[Circuit]) -> list[str]:
    """Return every member of any circuit once, by layer, heads by number before MLPs."""
    units = {unit for one in circuits for unit in one.members}
    return sorted(units, key=lambda unit: (layer_of(unit), kind_of(unit), len(unit), unit))


def _node(unit: str, circuits: Sequence[Circuit], colors: Mapping[str, str]) -> str:
    shares = {one.condition: one.members[unit] for one in circuits if unit in one.members}
    label = "\n".join([unit, *(f"{name} {share:+.2f}" for name, share in shares.items())])
    signs = {share > 0 for share in shares.values()}
    # One color alone is filled; Graphviz warns where a single one is to be wedged.
    fill = ":".join(colors[name] for name in shares)
    style = "filled" if len(shares) == 1 else "striped" if kind_of(unit) == "mlp" else "wedged"
    if len(signs) > 1:
        style += ",dashed"
    return (f"{_quoted(unit)} [shape={SHAPES[kind_of(unit)]}, fillcolor={_quoted(fill)}, "
            f"style={_quoted(style)}, label={_quoted(label)}];")  # fmt: skip


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
