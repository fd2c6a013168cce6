"""Circuits of the conditions of one model and task, and how far they shift: tables and claims.

Circuit shift is this project's own operationalisation: what Yin et al. (arXiv 2410.04691) computed
was not published in a form that can be recovered.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptlens import circuits, layered, overlap, shift, shift_claims, shift_tests, transfer
from adaptlens.circuits import Patched
from adaptlens.controls import NONE
from adaptlens.errors import UserError
from adaptlens.frames import Condition, conditions
from adaptlens.resampling import interval
from adaptlens.specifications import variance_shares
from adaptlens.stats import Scores, estimate
from adaptlens.store import Run
from adaptlens.study import Study, missing
from adaptlens.tasks.implicit import PATTERN

if TYPE_CHECKING:
    import pandas as pd

Rows = list[dict[str, Any]]
Sets = tuple[tuple[str, tuple[str, ...]], ...]

CIRCUIT_TABLES = (
    "gates", "profiles", "differences", "shift", "overlap", "functional", "faithfulness",
    "specifications", "variance", "circuit",
)  # fmt: skip

METRICS = ("logit_difference", "log_probability", "kl", "correct")
"""The last axis of the stored arrays, as `lm.units.METRICS`."""

SHARES = (0.05, 0.1, 0.2, 0.4)
"""Sizes of circuits, as shares of all units."""
TESTED = (0.2, 0.4)
"""Those that are tested by taking units out."""
RANDOM_SETS = 4
SHOWN = 0.4
"""Share of the units that the circuit as a graph has."""


@dataclass(frozen=True)
class Studied:
    """One model on one task: the conditions whose circuits were measured.

    Attributes:
        model: its name.
        family: the family of the task, or its name.
        found: label -> condition with arrays `circuits.*`.
        ablated: label -> condition with arrays `ablated.*`.
        chance: accuracy of guessing.
        settings: of the study.
    """

    model: str
    family: str
    found: Mapping[str, Condition]
    ablated: Mapping[str, Condition]
    chance: float
    settings: Mapping[str, Any]

    @property
    def about(self) -> dict[str, str]:
        """What every row begins with."""
        return {"model": self.model, "family": self.family}

    @property
    def seed(self) -> int:
        """Of resampling."""
        return int(self.settings["seed"])

    @property
    def base(self) -> tuple[str, str, str]:
        """The corruption, method and metric that figures and claims are of."""
        return next(iter(self.specifications()))

    def specifications(self) -> Iterator[tuple[str, str, str]]:
        """Yield what was measured: corruption, method, metric; the base one first."""
        asked = self.settings["circuits"]
        some = next(iter(self.found.values()))
        for metric, method, corruption in itertools.product(
            asked["metrics"], asked["methods"], asked["corruptions"]
        ):
            if f"circuits.{corruption}.{method}" in some.arrays:
                yield corruption, method, metric

    def patched(self, label: str, specification: tuple[str, str, str]) -> Patched:
        """Return what patching did in a condition, under a specification."""
        corruption, method, metric = specification
        one = self.found[label]
        place = METRICS.index(metric)
        sign = -1.0 if metric == "kl" else 1.0

        def numbers(name: str) -> np.ndarray:
            own = one.arrays[f"circuits.{corruption}.{name}"][..., place].astype(float)
            return own if name == "floor" else sign * own

        return Patched(
            label,
            tuple(one.texts["units"]),
            numbers(method),
            numbers("clean"),
            numbers("corrupt"),
            numbers("floor"),
            "denoise" if method == "denoise" else "noise",
            one.draws,
        )

    @cached_property
    def conditions(self) -> dict[str, Patched]:
        """Every condition under the base specification."""
        return {label: self.patched(label, self.base) for label in self.found}

    def correct(self, label: str) -> np.ndarray:
        """Return whether the clean prompts were answered rightly [repeats, items]."""
        clean = self.found[label].arrays[f"circuits.{self.base[0]}.clean"]
        return clean[..., METRICS.index("correct")].astype(float)

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Why a condition has no circuit; empty where it has one."""
        return {
            label: circuits.gate(one, correct=self.correct(label), chance=self.chance)
            for label, one in self.conditions.items()
        }

    def main(self) -> list[str]:
        """Return the conditions that are no controls, zero-shot first."""
        return [
            label for label, one in self.found.items() if one.arguments.get("change", NONE) == NONE
        ]

    def controls(self) -> list[str]:
        """Return the other conditions."""
        return [label for label in self.found if label not in self.main()]

    def defined(self) -> list[str]:
        """Return the main conditions that have a circuit."""
        return [label for label in self.main() if not self.reasons[label]]

    def pairs(self) -> Iterator[tuple[str, str, str]]:
        """Yield (left, right, role): main conditions with each other, then with their controls."""
        for left, right in itertools.combinations(self.defined(), 2):
            yield left, right, "main"
        for control in self.controls():
            own = control.rsplit("-", 1)[0]
            if own in self.defined() and not self.reasons[control]:
                yield own, control, "control"

    def tables(self) -> dict[str, Rows]:
        """Return the rows of every table."""
        found: dict[str, Rows] = {name: [] for name in CIRCUIT_TABLES}
        found["gates"] = self._gates()
        found["profiles"], found["circuit"] = self._profiles()
        for left, right, role in self.pairs():
            found["shift"] += self._shift(left, right, role)
            if role == "main":
                found["differences"] += self._differences(left, right)
                found["overlap"] += self._overlap(left, right)
        found["shift"] += self._floors()
        found["functional"], found["faithfulness"] = self._tested()
        found["specifications"] = self._specified()
        found["variance"] = self._variance()
        return found

    def _gates(self) -> Rows:
        rows: Rows = []
        for label, one in self.conditions.items():
            gap = layered.mean(one.gap, one.drawn and len(one.draws) > 1)
            accuracy = estimate(Scores(self.correct(label), one.draws), flips=0)
            rows.append(
                {
                    **self.about,
                    "condition": label,
                    "gap": gap.value,
                    "low": gap.low,
                    "high": gap.high,
                    "accuracy": 100 * accuracy.value,
                    "chance": 100 * self.chance,
                    "defined": not self.reasons[label],
                    "reason": self.reasons[label],
                    "items": len(one.queries),
                    "draws": len(one.draws),
                }
            )
        return rows

    def _profiles(self) -> tuple[Rows, Rows]:
        """Return the share of the gap of every unit with interval and test, and the circuits."""
        rows: Rows = []
        members: Rows = []
        for label, one in self.conditions.items():
            if self.reasons[label]:
                continue
            nothing = _nothing(one)
            found = shift_tests.unit_tests(nothing, one, seed=self.seed)
            for i, unit in enumerate(one.units):
                rows.append(
                    {
                        **self.about,
                        "condition": label,
                        **_place(unit),
                        "value": float(one.profile[i]),
                        "low": float(found.low[i]),
                        "high": float(found.high[i]),
                        "p": float(found.p_family[i]),
                    }
                )
            size = max(1, round(SHOWN * len(one.units)))
            for unit, value in circuits.circuit(one, size).members.items():
                members.append(
                    {
                        **self.about,
                        "condition": label,
                        **_place(unit),
                        "value": value,
                        "sign": 1 if value > 0 else -1,
                        "label": "",
                    }
                )
        return rows, members

    def _differences(self, left: str, right: str) -> Rows:
        found = shift_tests.unit_tests(
            self.conditions[left], self.conditions[right], seed=self.seed
        )
        return [
            {
                **self.about,
                "left": left,
                "right": right,
                **_place(unit),
                "value": float(found.change[i]),
                "low": float(found.low[i]),
                "high": float(found.high[i]),
                "p_max": float(found.p_family[i]),
                "q": float(found.q[i]),
            }
            for i, unit in enumerate(found.units)
        ]

    def _shift(self, left: str, right: str, role: str) -> Rows:
        """Return the five numbers of a pair but functional transfer, for all units and by kind."""
        rows: Rows = []
        whole = (self.conditions[left], self.conditions[right])
        for kind in ("all", "head", "mlp"):
            a, b = whole if kind == "all" else (one.only(kind) for one in whole)
            about = {
                **self.about, "left": left, "right": right, "role": role, "kind": kind,
                "items": len(a.queries), "draws": max(len(a.draws), len(b.draws)),
            }  # fmt: skip
            floor = max(shift_tests.noise_floor(one, seed=self.seed).limit for one in (a, b))
            quantities = {
                "distance": shift.distance(a, b),
                "total effect": shift.strength(a, b),
            }
            for name, quantity in quantities.items():
                mean = interval(quantity, seed=self.seed)
                rows.append(
                    {
                        **about, "measure": name, "value": mean.value, "low": mean.low,
                        "high": mean.high, "p": mean.p,
                        "floor": floor if name == "distance" else math.nan,
                        "state": "" if math.isfinite(mean.value) else "no profile beyond noise",
                    }
                )  # fmt: skip
            related = shift.correlation(a, b)
            quantity = shift.correlation_quantity(a, b)
            r = interval(quantity, seed=self.seed) if not related.reason else None
            rows.append(
                {
                    **about,
                    "measure": "decorrelation",
                    "value": related.shift,
                    "low": 1 - r.high if r else math.nan,
                    "high": 1 - r.low if r else math.nan,
                    "p": math.nan,
                    "floor": math.nan,
                    "state": related.reason,
                }
            )
            if kind == "all":
                ranked = overlap.ranked_overlap(a, b, seed=self.seed)
                rows.append(
                    {
                        **about, "measure": "rank overlap", "value": ranked.corrected,
                        "low": ranked.low, "high": ranked.high, "p": math.nan,
                        "floor": math.nan, "state": ranked.reason,
                    }
                )  # fmt: skip
                several = [circuits.num_effective(one) for one in (a, b)]
                if all(map(math.isfinite, several)):
                    mean = interval(shift.spread(a, b), seed=self.seed)
                    rows.append(
                        {
                            **about, "measure": "effective units", "value": mean.value,
                            "low": mean.low, "high": mean.high, "p": mean.p, "floor": math.nan,
                            "state": "",
                        }
                    )  # fmt: skip
        return rows

    def _floors(self) -> Rows:
        """Return how far halves of one condition are apart: the noise floor."""
        rows: Rows = []
        for label in self.defined():
            found = shift_tests.noise_floor(self.conditions[label], seed=self.seed)
            for by, values in found.by.items():
                finite = values[np.isfinite(values)]
                if len(finite):
                    rows.append(
                        {
                            **self.about, "left": label, "right": f"{label}, other {by}",
                            "role": "floor", "kind": "all",
                            "items": len(self.conditions[label].queries),
                            "draws": len(self.conditions[label].draws),
                            "measure": "distance", "value": float(finite.mean()),
                            "low": float(np.quantile(finite, 0.05)),
                            "high": float(np.quantile(finite, 0.95)),
                            "p": math.nan, "floor": found.limit, "state": "",
                        }
                    )  # fmt: skip
        return rows

    def _overlap(self, left: str, right: str) -> Rows:
        a, b = self.conditions[left], self.conditions[right]
        return [
            {
                **self.about,
                "left": left,
                "right": right,
                "size": one.k,
                "share": one.k / len(a.units),
                "jaccard": one.found,
                "low": one.low,
                "high": one.high,
                "chance": one.chance,
                "ceiling": one.ceiling,
                "corrected": one.corrected,
                "state": one.reason,
            }
            for one in overlap.overlap_curve(a, b, shares=SHARES, splits=40, seed=self.seed)
        ]

    def _tested(self) -> tuple[Rows, Rows]:
        """Return functional transfer between circuits, and how well each circuit works alone."""
        functional: Rows = []
        faithful: Rows = []
        metric = METRICS.index(self.base[2])
        for target, one in self.ablated.items():
            names = list(one.texts["sets"])
            corrupt = one.arrays["ablated.corrupt"][..., metric].astype(float)
            gap = one.arrays["ablated.clean"][..., metric].astype(float) - corrupt
            kept, removed = (
                one.arrays[f"ablated.{name}"][..., metric].astype(float) - corrupt[..., None]
                for name in ("kept", "removed")
            )
            for i, name in enumerate(names):
                if not name.startswith("circuit:"):
                    continue
                _, source, size = name.split(":")
                randoms = [j for j, other in enumerate(names)
                           if other.startswith(f"random:{source}:{size}:")]  # fmt: skip
                own = f"circuit:{target}:{size}"
                if own in names and source != target:
                    found = transfer.transfer(
                        kept[..., i],
                        kept[..., names.index(own)],
                        np.stack([kept[..., j] for j in randoms]),
                        draws=one.draws,
                        seed=self.seed,
                    )
                    functional.append(
                        {
                            **self.about, "source": source, "target": target, "size": int(size),
                            "value": found.found.value, "low": found.found.low,
                            "high": found.found.high, "state": found.reason,
                            "items": found.found.queries, "draws": found.found.draws,
                        }
                    )  # fmt: skip
                if source == target:
                    total = float(gap.mean())
                    mean = layered.mean(kept[..., i] / total, len(one.draws) > 1)
                    faithful.append(
                        {
                            **self.about, "condition": target, "size": int(size),
                            "faithfulness": mean.value, "low": mean.low, "high": mean.high,
                            "completeness": float(removed[..., i].mean()) / total,
                            "random": float(np.mean([kept[..., j] for j in randoms])) / total,
                            "items": mean.queries, "draws": mean.draws,
                        }
                    )  # fmt: skip
        return functional, faithful

    def _specified(self) -> Rows:
        """Return the distances of the main pairs, and their difference, by specification."""
        rows: Rows = []
        icl, it = self.label("icl"), self.label("it")
        for specification in self.specifications():
            corruption, method, metric = specification
            direction, _, ablation = method.partition("-")
            about = {
                **self.about, "metric": metric, "direction": direction,
                "ablation": ablation or "resample", "corruption": corruption,
            }  # fmt: skip
            own: dict[str, Patched] = {}
            for label in self.main():
                one = self.patched(label, specification)
                if not circuits.gate(one, correct=self.correct(label), chance=self.chance):
                    own[label] = one
            for left, right in itertools.combinations(own, 2):
                mean = interval(shift.distance(own[left], own[right]), seed=self.seed)
                rows.append(
                    {
                        **about, "left": left, "right": right, "name": f"{left} ~ {right}",
                        "value": mean.value, "low": mean.low, "high": mean.high,
                    }
                )  # fmt: skip
            if {"zero-shot", icl, it} <= set(own):
                mean = shift_claims.shifted_more(
                    own["zero-shot"], own[icl], own[it], seed=self.seed
                )
                rows.append(
                    {
                        **about, "left": icl, "right": it,
                        "name": "shift of ICL less that of IT",
                        "value": mean.value, "low": mean.low, "high": mean.high,
                    }
                )  # fmt: skip
        return rows

    def label(self, adaptation: str) -> str:
        """Return the label of the main condition of an adaptation, "" where there is none."""
        return next((n for n in self.main() if self.found[n].adaptation == adaptation), "")

    def _variance(self) -> Rows:
        """Return the shares of variance of the effects of single patches under all specifications.

        Effects are shares of their condition's and specification's gap.
        """
        import pandas as pd

        frames = []
        for specification in self.specifications():
            for label in self.defined():
                one = self.patched(label, specification)
                gap = float(one.gap.mean())
                if not one.drawn or gap <= 0:
                    continue
                top = np.argsort(-np.abs(one.profile))[: max(1, len(one.units) // 5)]
                values = one.changes[..., top].mean(-1) / gap
                draws, items = np.indices(values.shape)
                frames.append(
                    pd.DataFrame(
                        {
                            "item": items.ravel(),
                            "draw": [f"{label} {d}" for d in draws.ravel()],
                            "condition": label,
                            "specification": " ".join(specification),
                            "value": values.ravel(),
                        }
                    )
                )
        if len(frames) < 2:
            return []
        table = pd.concat(frames, ignore_index=True)
        factors = [
            name for name in ("item", "draw", "condition", "specification")
            if table[name].nunique() > 1
        ]  # fmt: skip
        if "condition" in factors and "draw" in factors:
            factors.remove("condition")
        return [
            {**self.about, "component": one.factor, "levels": one.levels,
             "variance": one.variance, "share": one.share}
            for one in variance_shares(table, factors)
        ]  # fmt: skip

    def claims(self) -> Rows:
        """Return the claims about circuits: that ICL shifts them more than tuning, each way."""
        rows: Rows = []
        icl = self.label("icl")
        if not icl or "zero-shot" not in self.found:
            return rows
        neutral = next((c for c in self.controls() if c == f"{icl}-neutral"), "")
        shuffled = next((c for c in self.controls() if c == f"{icl}-shuffled"), "")
        beyond = {c: self.conditions[c] for c in (neutral, shuffled) if c}
        for way in ("it", "sl", "full"):
            tuned = self.label(way)
            if not tuned:
                continue
            found = shift_claims.shift_claim(
                self.conditions["zero-shot"],
                self.conditions[icl],
                self.conditions[tuned],
                margin=self.settings["circuits"]["margin"],
                controls=beyond,
                reasons=self.reasons,
                factor=6,
                seed=self.seed,
            )
            first = found.parts[0].statement.mean if found.parts else found.apart
            rows.append(
                {
                    "model": self.model,
                    "task": self.family,
                    "factor": 6,
                    "claim": f"in-context learning shifts the circuit more than {way} does",
                    "state": found.state,
                    "line": found.line,
                    "effect": first.value,
                    "low": first.low,
                    "high": first.high,
                    "p": first.p,
                    "p_holm": found.parts[0].p_holm if found.parts else math.nan,
                    "test": "intersection-union over tuning and controls; bootstrap, exchange test",
                    "queries": first.queries,
                    "draws": first.draws,
                }
            )
        return rows


def circuits_of(
    found: Sequence[Condition],
    tasks: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> list[Studied]:
    """Return the conditions whose circuits were measured, model by model and task by task."""
    groups: dict[tuple[str, str], tuple[dict[str, Condition], dict[str, Condition]]] = {}
    for one in found:
        names = list(one.arrays)
        for prefix, place in (("circuits.", 0), ("ablated.", 1)):
            if any(name.startswith(prefix) for name in names):
                key = (one.model, one.task_digest)
                groups.setdefault(key, ({}, {}))[place][one.label] = one
    studied = []
    for (model, digest), (own, ablated) in groups.items():
        if own:
            task = tasks[digest]
            studied.append(
                Studied(model, _family(task["name"]), own, ablated, _chance(task), settings)
            )
    return studied


def circuit_sets(run: Run, study: Study) -> dict[str, tuple[Sets, int, str]]:
    """Return, by task, sets of units to test, the pairs they were found on, and the corruption.

    The circuits of every main condition at every size of `TESTED`, and random sets matched with
    each, chosen on the first half of the pairs. Tasks of which a cell is missing have no entry.

    Raises:
        UserError: several models were studied that differ in their units.
    """
    specs = [cell.spec() for cell in study.cells]
    left = {cell.task["digest"] for cell in missing(study.cells, (r.spec for r in run.records()))}
    found = conditions(run, specs)
    tasks = {
        digest: run.read_json(f"tasks/{digest[:20]}.json")
        for digest in dict.fromkeys(one.task_digest for one in found)
    }
    sets: dict[str, tuple[Sets, int, str]] = {}
    for studied in circuits_of(found, tasks, study.settings):
        digest = next(iter(studied.found.values())).task_digest
        if digest in left:
            continue
        own: dict[str, tuple[str, ...]] = {}
        first = 0
        for label in studied.defined():
            one = studied.conditions[label]
            first = len(one.queries) // 2
            half = one.on(np.arange(first))
            for size in overlap.sizes(len(one.units), TESTED):
                members = tuple(circuits.circuit(half, size).members)
                own[f"circuit:{label}:{size}"] = members
                random = transfer.matched_sets(members, one.units, RANDOM_SETS, seed=studied.seed)
                for i, other in enumerate(random.sets):
                    own[f"random:{label}:{size}:{i}"] = other
        if not own:
            continue
        if digest in sets:
            raise UserError(
                "circuits of several models were asked for in one run; each has its own units to "
                "test: give every model a run of its own (--out)."
            )
        sets[digest] = (tuple(own.items()), first, studied.base[0])
    return sets


def effects(found: Sequence[Condition], tasks: Mapping[str, Mapping[str, Any]]) -> "pd.DataFrame":
    """Return every patch as one row: the long table from which all else can be made again.

    Columns: model, family, condition, draw, item, corrupt_item, unit, corruption, direction,
    ablation, metric, value, clean, corrupt, floor.
    """
    import pandas as pd

    frames = []
    for one in found:
        for name in one.arrays:
            prefix, _, rest = name.partition(".")
            corruption, _, method = rest.partition(".")
            if prefix != "circuits" or method in ("clean", "corrupt", "floor"):
                continue
            values = one.arrays[name]
            repeats, items, units, metrics = values.shape
            pairs = np.array(one.texts["items"][corruption], dtype=object)
            direction, _, ablation = method.partition("-")
            index = np.indices(values.shape).reshape(4, -1)
            beside = {
                part: np.broadcast_to(
                    one.arrays[f"circuits.{corruption}.{part}"][:, :, None], values.shape
                ).ravel()
                for part in ("clean", "corrupt", "floor")
            }
            frames.append(
                pd.DataFrame(
                    {
                        "model": one.model,
                        "family": _family(tasks[one.task_digest]["name"]),
                        "condition": one.label,
                        "draw": np.array(one.draws)[index[0]],
                        "item": pairs[index[1], 0],
                        "corrupt_item": pairs[index[1], 1],
                        "unit": np.array(one.texts["units"], dtype=object)[index[2]],
                        "corruption": corruption,
                        "direction": direction,
                        "ablation": ablation or "resample",
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


def _nothing(one: Patched) -> Patched:
    """Return a condition with the same gap in which no unit does anything."""
    idle = one.corrupt if one.direction == "denoise" else one.clean
    patched = np.broadcast_to(idle[..., None], one.patched.shape)
    return Patched(
        "nothing", one.units, patched, one.clean, one.corrupt, one.floor, one.direction,
        one.draws, one.queries,
    )  # fmt: skip


def _place(unit: str) -> dict[str, Any]:
    """Return a unit's name, kind, layer and index."""
    kind = circuits.kind_of(unit)
    return {
        "unit": unit,
        "kind": kind,
        "layer": circuits.layer_of(unit),
        "index": int(unit.rpartition("H")[2]) if kind == "head" else 0,
    }


def _family(task: str) -> str:
    family, _, rest = task.rpartition("-")
    return family if rest == PATTERN else task


def _chance(task: Mapping[str, Any]) -> float:
    """Return the accuracy of always giving the commonest answer."""
    answers = [example["target"] for example in task["test"]]
    return max(answers.count(answer) for answer in set(answers)) / len(answers)
