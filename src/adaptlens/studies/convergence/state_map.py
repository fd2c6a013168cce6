"""The map of states: every query under every condition in two dimensions, layer by layer."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from adaptlens.report.labels import Labels, Shown
from adaptlens.report.tables import script_safe
from adaptlens.report.theme import SHAPES, in_order

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

WIDTH, HEIGHT, MARGIN = 640, 480, 22
"""The size of the map in its own units, and the space kept free around the points."""


@dataclass(frozen=True)
class StateMap:
    """The states of one model on one task.

    Attributes:
        name: the task, and the model where there are several.
        layers: what each layer is called, in order.
        conditions: for each condition its label, what it is called, its color's variable and the
            outline of its mark.
        queries: the id and the right answer of each query.
        hollow: the right answer whose marks are hollow, where there are two answers; else "".
        places: [layers][conditions][queries] of (x, y) on the map; None where it was not measured.
    """

    name: str
    layers: list[str]
    conditions: list[dict[str, str]]
    queries: list[tuple[str, str]]
    hollow: str
    places: list[list[list[tuple[float, float] | None]]]

    def marks(self, layer: int = -1) -> Iterator[dict[str, Any]]:
        """Yield the marks of a layer, for a page whose script does not run."""
        for condition, places in zip(self.conditions, self.places[layer], strict=True):
            for (query, gold), place in zip(self.queries, places, strict=True):
                if place is not None:
                    yield {
                        **condition,
                        "x": place[0],
                        "y": place[1],
                        "hollow": gold == self.hollow,
                        "said": f"{condition['label']}, {query}, {gold}",
                    }


def state_maps(points: "pd.DataFrame", labels: Labels) -> list[StateMap]:
    """Return one map for each task and model.

    Axes of one layer share a scale. A layer is mirrored where that brings its points nearer to
    where they were in the layer before, since the sign of a principal axis has no meaning.
    """
    if points.empty:
        return []
    several = points["model"].nunique() > 1
    found = []
    for (task, model), rows in points.groupby(["task", "model"], sort=False):
        shown = [labels[label] for label in dict.fromkeys(rows["condition"])]
        order = in_order(one.look for one in shown)
        shown.sort(key=lambda one: order.index(one.look))
        queries = list(dict.fromkeys(zip(rows["query"].astype(str), rows["gold"].astype(str),
                                         strict=True)))  # fmt: skip
        golds = list(dict.fromkeys(gold for _, gold in queries))
        found.append(
            StateMap(
                f"{task} · {model}" if several else str(task),
                [_layer(rows, layer) for layer in sorted(rows["layer"].unique())],
                [_condition(one) for one in shown],
                queries,
                golds[1] if len(golds) == 2 else "",
                _places(rows, [one.label for one in shown], [query for query, _ in queries]),
            )
        )
    return found


def embedded(maps: list[StateMap]) -> str:
    """Return the maps as JSON that is safe inside a script element."""
    return script_safe(json.dumps([asdict(one) for one in maps], separators=(",", ":")))


def _condition(one: Shown) -> dict[str, str]:
    return {
        "label": one.label,
        "said": one.short,
        "color": f"--c{one.style.light[1:]}",
        "shape": SHAPES[one.style.shape],
    }


def _layer(rows: "pd.DataFrame", layer: Any) -> str:
    if "layer_name" not in rows:
        return f"layer {layer:.0f}"
    name = str(rows.loc[rows["layer"] == layer, "layer_name"].iloc[0])
    return f"layer {name}" if name.isdigit() else "after the final norm"


def _places(
    rows: "pd.DataFrame", labels: list[str], queries: list[str]
) -> list[list[list[tuple[float, float] | None]]]:
    import numpy as np

    places, before = [], None
    for layer in sorted(rows["layer"].unique()):
        own = rows[rows["layer"] == layer].drop_duplicates(["condition", "query"])
        wide = own.assign(query=own["query"].astype(str)).set_index(["condition", "query"])
        every = [(label, query) for label in labels for query in queries]
        at = wide.reindex(every)[["x", "y"]].to_numpy(float)
        at = _fitted(at)
        if before is not None:
            at *= np.where(np.nansum(at * before, axis=0) < 0, -1.0, 1.0)
        before = at
        on_page = at * [1, -1] + [WIDTH / 2, HEIGHT / 2]
        listed = [
            None
            if np.isnan(place).any()
            else (round(float(place[0]), 1), round(float(place[1]), 1))
            for place in on_page
        ]
        size = len(queries)
        places.append([listed[i * size : (i + 1) * size] for i in range(len(labels))])
    return places


def _fitted(at: "np.ndarray") -> "np.ndarray":
    """Return points [points, 2] around zero, scaled so that they fill the map."""
    import numpy as np

    if np.isnan(at).all():
        return at
    low, high = np.nanmin(at, axis=0), np.nanmax(at, axis=0)
    room = np.array([WIDTH, HEIGHT]) - 2 * MARGIN
    reach = float(np.max((high - low) / room))
    return (at - (low + high) / 2) / (reach if reach > 0 else 1.0)
