"""Which heads and feed-forward parts an adapted model answers by: exact activation patching."""

from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np

from adaptlens.circuits.unit_sets import UnitSet
from adaptlens.errors import UserError, unknown
from adaptlens.lm.load import LM
from adaptlens.lm.patching import patch
from adaptlens.lm.units import METHODS, Effects, Pair, UnitKind
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.measure.patch_pairs import (
    CORRUPTIONS,
    PLACES,
    Corruption,
    Matched,
    Place,
    matched,
    written,
)
from adaptlens.models import shape
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import METRICS, Adapted, CostEstimate, Measured, Task


@dataclass(frozen=True)
class Circuits:
    """What patching each unit between two queries changes, query by query.

    For every corruption C and method M ("denoise", "noise", "noise-mean", "noise-zero"):
    `C.M` float32 [repeats, items, units, metrics], the patched runs; `C.clean`, `C.corrupt` and
    `C.floor` [repeats, items, metrics], see `lm.units.Effects`. Texts: `units`, their names, and
    `items`, by corruption the ids of both queries.

    Attributes:
        items: pairs of queries at most.
        group: the group of test items that are asked; all where empty.
        corruptions: what replaces a query, see `measure.patch_pairs.matched`.
        methods: direction and ablation.
        place: where units are patched, see `measure.patch_pairs.written`.
        kinds: of units.
        seed: of the pairing.
    """

    items: int = 64
    group: str = ""
    corruptions: tuple[Corruption, ...] = ("other",)
    methods: tuple[str, ...] = ("denoise", "noise")
    place: Place = "last"
    kinds: tuple[UnitKind, ...] = ("head", "mlp")
    seed: int = 0

    name: ClassVar[str] = "circuits"
    axes: ClassVar[Stated] = AXES["circuits"]

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("corruptions", "methods", "kinds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, given, known in (
            ("corruption", self.corruptions, CORRUPTIONS),
            ("method of patching", self.methods, METHODS),
            ("place", (self.place,), PLACES),
            ("kind of unit", self.kinds, get_args(UnitKind)),
        ):
            for one in given:
                if one not in known:
                    raise unknown(name, one, known)
        if self.items < 2:
            raise UserError(f"circuits: items {self.items} was given; it must be at least 2.")

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of a sweep over all units, for each corruption and method."""
        items = min(self.items, sizes.items_of(self.group))
        layers, heads = shape.num_layers(sizes.model), shape.num_heads(sizes.model)
        units = layers * (heads + 1)
        after = {"last": 1.0, "cue": 4.0}.get(self.place, sizes.rest)
        sweeps = len(self.corruptions) * len(self.methods) * sizes.num_draws
        # A patched run goes from its layer to the last: half of them on average.
        each = 2 * sizes.rest + units * after / 2
        return CostEstimate(
            prompts=2.0 * items * sizes.num_draws,
            read_tokens=sweeps * (sizes.shared + items * each),
            disk_bytes=4.0 * sweeps * items * units * len(METRICS),
        )

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the arrays above.

        Raises:
            UserError: the model's inside is not known, or no two queries fit.
        """
        arrays: dict[str, np.ndarray] = {}
        items: dict[str, list[list[str]]] = {}
        units: list[str] = []
        for corruption in self.corruptions:
            chosen = matched(lm, task, corruption, self.group, self.items, self.seed)
            pairs = written(lm, adapted, task, chosen, self.place)
            repeats = len(adapted.draws)
            items[corruption] = [[one.clean.id, one.corrupt.id] for one in chosen]
            swept = _swept(lm, pairs, self.methods, self.kinds, adapted, progress)
            for method, found in zip(self.methods, swept, strict=True):
                units = [str(unit) for unit in found.patches]
                shape = (repeats, len(chosen), len(units), len(METRICS))
                arrays[f"{corruption}.{method}"] = found.values[:, 0].reshape(shape)
            for name, values in (
                ("clean", swept[0].clean),
                ("corrupt", swept[0].corrupt),
                ("floor", np.max([found.floor for found in swept], axis=0)),
            ):
                arrays[f"{corruption}.{name}"] = values.reshape(repeats, len(chosen), len(METRICS))
        inside = lm.architecture
        # What is not known inside was refused by the sweep.
        assert inside is not None
        shape_of = {
            "n_layers": inside.num_layers,
            "n_heads": inside.num_heads,
            "d_model": inside.width,
            "parallel_attn_mlp": inside.parallel,
        }
        return Measured(arrays=arrays, texts={"units": units, "items": items, "shape": shape_of})


def _swept(
    lm: LM,
    pairs: list[Pair],
    names: tuple[str, ...],
    kinds: tuple[UnitKind, ...],
    adapted: Adapted,
    progress: Progress | None,
) -> list[Effects]:
    weights = adapted.weights
    means = None
    if any(METHODS[name][1] == "mean" for name in names):
        means = patch.unit_means(lm, pairs, kinds, weights=weights)
    methods = [patch.Method(*METHODS[name], means) for name in names]
    return patch.sweeps(lm, pairs, methods, kinds=kinds, weights=weights, progress=progress)


@dataclass(frozen=True)
class Ablated:
    """What is left of the answer when all units but a circuit's, or only they, are taken out.

    `kept` and `removed` float32 [repeats, items, sets, metrics]: clean runs in which the units
    outside of a set, or those in it, have the outputs of the corrupt run; `clean` and `corrupt`
    [repeats, items, metrics].

    Attributes:
        sets: what each set is, and its units, such as ("L0.H1", "L2.MLP").
        items: pairs of queries at most.
        first: the first so many of them are left out: those that the circuits were found on.
        group: as of `Circuits`.
        corruption: as of `Circuits`.
        place: as of `Circuits`.
        kinds: of the units there are.
        seed: as of `Circuits`.
    """

    sets: tuple[tuple[UnitSet, tuple[str, ...]], ...]
    items: int = 64
    first: int = 0
    group: str = ""
    corruption: Corruption = "other"
    place: Place = "last"
    kinds: tuple[UnitKind, ...] = ("head", "mlp")
    seed: int = 0

    name: ClassVar[str] = "ablated"
    axes: ClassVar[Stated] = AXES["ablated"]

    def __post_init__(self) -> None:
        """Make the sets hashable."""
        sets = tuple((UnitSet(*of), tuple(units)) for of, units in self.sets)
        object.__setattr__(self, "sets", sets)
        object.__setattr__(self, "kinds", tuple(self.kinds))

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of two runs for each set of units, and two without."""
        items = min(self.items, sizes.items_of(self.group)) - self.first
        runs = 2 * len(self.sets) + 2
        return CostEstimate(
            prompts=2.0 * items * sizes.num_draws,
            read_tokens=sizes.num_draws * items * runs * (sizes.shared + sizes.rest),
            disk_bytes=4.0 * sizes.num_draws * items * runs * len(METRICS),
        )

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the arrays above; texts: what the sets are, and the queries' ids.

        Raises:
            UserError: a unit is not in the model, or no items are left.
        """
        chosen = matched(lm, task, self.corruption, self.group, self.items, self.seed)[self.first :]
        if not chosen:
            raise UserError(
                f"circuits were found on {self.first} pairs of task '{task.name}', which leaves "
                "none to test them on; give more test items."
            )
        units = {str(unit): unit for unit in patch.all_units(_inside(lm), self.kinds)}
        kept, removed = [], []
        for of, members in self.sets:
            for one in members:
                if one not in units:
                    raise unknown(f"unit of the circuit of '{of.source}'", one, units)
            removed.append(tuple(units[one] for one in members))
            kept.append(tuple(unit for one, unit in units.items() if one not in members))
        pairs = written(lm, adapted, task, chosen, self.place)
        found = patch.joint(
            lm, pairs, [*kept, *removed], weights=adapted.weights, progress=progress
        )
        shape = (len(adapted.draws), len(chosen))
        values = found.values[:, 0].reshape(*shape, len(kept) + len(removed), len(METRICS))
        return Measured(
            arrays={
                "kept": values[:, :, : len(kept)],
                "removed": values[:, :, len(kept) :],
                "clean": found.clean.reshape(*shape, -1),
                "corrupt": found.corrupt.reshape(*shape, -1),
            },
            texts={"sets": [of for of, _ in self.sets], "items": _ids(chosen)},
        )


def _inside(lm: LM) -> Any:
    if lm.architecture is None:
        raise UserError(
            f"the inside of '{lm.name}' is not known, so it has no circuits to find; use a model "
            "of a supported architecture, or measure behavior only."
        )
    return lm.architecture


def _ids(chosen: list[Matched]) -> list[list[str]]:
    return [[one.clean.id, one.corrupt.id] for one in chosen]
