"""Sets of units to take out, and the long table of everything that was patched."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adaptlens.cells import Study, missing
from adaptlens.circuits import overlap, profiles, transfer
from adaptlens.circuits.unit_sets import UnitSet
from adaptlens.conditions import Condition, conditions
from adaptlens.lm.units import METHODS
from adaptlens.store import Run
from adaptlens.studies.implicit.circuit_conditions import circuits_of
from adaptlens.studies.implicit.config import ImplicitConfig
from adaptlens.studies.implicit.learned import shown_as
from adaptlens.types import METRICS, Task

if TYPE_CHECKING:
    import pandas as pd

Sets = Mapping[UnitSet, tuple[str, ...]]

TESTED = (0.2, 0.4)
"""Sizes of the circuits that are tested by taking units out, as shares of all units."""
RANDOM_SETS = 4


def circuit_sets(
    run: Run, study: Study, config: ImplicitConfig
) -> dict[tuple[str, str], tuple[Sets, int, str]]:
    """Return sets of units to test, the pairs they were found on, and the corruption.

    The key is (model, digest of the task). The circuits of every main condition at every size of
    `TESTED`, chosen on the first half of the pairs, random sets matched with each, and the
    smallest ones without one of their members. Where a cell is missing there is no entry.
    """
    specs = [cell.spec() for cell in study.cells]
    left = {
        (cell.model.name, cell.task.digest)
        for cell in missing(study.cells, (record.spec for record in run.records()))
    }
    found = conditions(run, specs)
    sets: dict[tuple[str, str], tuple[Sets, int, str]] = {}
    for studied in circuits_of(found, study.tasks, config):
        key = (studied.model, next(iter(studied.found.values())).task_digest)
        if key in left:
            continue
        own: dict[UnitSet, tuple[str, ...]] = {}
        first = 0
        for label in studied.defined():
            one = studied.conditions[label]
            first = len(one.queries) // 2
            half = one.on(np.arange(first))
            sizes = overlap.sizes(len(one.units), TESTED)
            for size in sizes:
                members = tuple(profiles.circuit(half, size).members)
                own[UnitSet("circuit", label, size)] = members
                random = transfer.matched_sets(members, one.units, RANDOM_SETS, seed=studied.seed)
                for i, other in enumerate(random):
                    own[UnitSet("random", label, size, str(i))] = other
                for unit in members if size == sizes[0] else ():
                    left_out = UnitSet("without", label, size, unit)
                    own[left_out] = tuple(u for u in members if u != unit)
        if own:
            sets[key] = (own, first, studied.base[0])
    return sets


def effects(found: Sequence[Condition], tasks: Mapping[str, Task]) -> "pd.DataFrame":
    """Return every patch as one row: the long table from which all else can be made again.

    Columns: model, family, condition, draw, item, corrupt_item, unit, corruption, direction,
    ablation, metric, value, clean, corrupt, floor.
    """
    import pandas as pd

    frames = []
    for one in found:
        stored = one.circuits
        for corruption, method in stored.made():
            values = stored.patched(corruption, method)
            metrics = values.shape[-1]
            pairs = np.array(one.texts["items"][corruption], dtype=object)
            direction, ablation = METHODS[method]
            index = np.indices(values.shape).reshape(4, -1)
            beside = {
                part: np.broadcast_to(own(corruption)[:, :, None], values.shape).ravel()
                for part, own in (
                    ("clean", stored.clean),
                    ("corrupt", stored.corrupt),
                    ("floor", stored.floor),
                )
            }
            frames.append(
                pd.DataFrame(
                    {
                        "model": one.model,
                        "family": shown_as(tasks[one.task_digest].name),
                        "condition": one.label,
                        "draw": np.array(one.draws)[index[0]],
                        "item": pairs[index[1], 0],
                        "corrupt_item": pairs[index[1], 1],
                        "unit": np.array(one.texts["units"], dtype=object)[index[2]],
                        "corruption": corruption,
                        "direction": direction,
                        "ablation": ablation,
                        "metric": np.array(METRICS[:metrics], dtype=object)[index[3]],
                        "value": values.ravel(),
                        **beside,
                    }
                )
            )
            for text in ("model", "family", "condition", "item", "corrupt_item", "unit",
                         "corruption", "direction", "ablation", "metric"):  # fmt: skip
                frames[-1][text] = frames[-1][text].astype("category")
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
