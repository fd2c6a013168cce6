"""The conditions whose circuits were measured, of one model and task, as patching found them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adaptlens.circuits import profiles
from adaptlens.circuits.profiles import Patched
from adaptlens.conditions import Condition
from adaptlens.studies.implicit.config import ImplicitConfig
from adaptlens.studies.implicit.learned import shown_as
from adaptlens.types import METRICS, Task


@dataclass(frozen=True)
class Studied:
    """One model on one task: the conditions whose circuits were measured.

    Attributes:
        model: its name.
        family: the family of the task, or its name.
        found: label -> condition whose units were patched.
        ablated: label -> condition in which sets of units were taken out.
        chance: accuracy of guessing.
        config: the settings of the study.
    """

    model: str
    family: str
    found: Mapping[str, Condition]
    ablated: Mapping[str, Condition]
    chance: float
    config: ImplicitConfig

    @property
    def about(self) -> dict[str, str]:
        """What every row begins with."""
        return {"model": self.model, "family": self.family}

    @property
    def seed(self) -> int:
        """Of resampling."""
        return self.config.seed

    @property
    def base(self) -> tuple[str, str, str]:
        """The corruption, method and metric that figures and claims are of."""
        return next(iter(self.specifications()))

    def specifications(self) -> Iterator[tuple[str, str, str]]:
        """Yield what was measured: corruption, method, metric; the base one first."""
        asked = self.config.circuits
        made = next(iter(self.found.values())).circuits.made()
        for metric, method, corruption in itertools.product(
            asked["metrics"], asked["methods"], asked["corruptions"]
        ):
            if (corruption, method) in made:
                yield corruption, method, metric

    def patched(self, label: str, specification: tuple[str, str, str]) -> Patched:
        """Return what patching did in a condition, under a specification."""
        corruption, method, metric = specification
        one = self.found[label]
        place = METRICS.index(metric)
        sign = -1.0 if metric == "kl" else 1.0

        def numbers(values: np.ndarray) -> np.ndarray:
            return values[..., place].astype(float)

        return Patched(
            label,
            tuple(one.texts["units"]),
            sign * numbers(one.circuits.patched(corruption, method)),
            sign * numbers(one.circuits.clean(corruption)),
            sign * numbers(one.circuits.corrupt(corruption)),
            numbers(one.circuits.floor(corruption)),
            "denoise" if method == "denoise" else "noise",
            one.draws,
        )

    @cached_property
    def conditions(self) -> dict[str, Patched]:
        """Every condition under the base specification."""
        return {label: self.patched(label, self.base) for label in self.found}

    def correct(self, label: str) -> np.ndarray:
        """Return whether the clean prompts were answered rightly [repeats, items]."""
        clean = self.found[label].circuits.clean(self.base[0])
        return clean[..., METRICS.index("correct")].astype(float)

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Why a condition has no circuit; empty where it has one."""
        return {
            label: profiles.gate(one, correct=self.correct(label), chance=self.chance)
            for label, one in self.conditions.items()
        }

    def main(self) -> list[str]:
        """Return the conditions that are no controls, zero-shot first."""
        return [label for label, one in self.found.items() if not one.control]

    def controls(self) -> list[str]:
        """Return the other conditions."""
        return [label for label, one in self.found.items() if one.control]

    def defined(self) -> list[str]:
        """Return the main conditions that have a circuit."""
        return [label for label in self.main() if not self.reasons[label]]

    def pairs(self) -> Iterator[tuple[str, str, str]]:
        """Yield (left, right, role): main conditions with each other, then with their controls."""
        for left, right in itertools.combinations(self.defined(), 2):
            yield left, right, "main"
        for control in self.controls():
            own = self.main_of(control)
            if own in self.defined() and not self.reasons[control]:
                yield own, control, "control"

    def main_of(self, control: str) -> str:
        """Return the main condition that a control is of, "" where it was not measured."""
        one = self.found[control]
        alike = ((n, self.found[n].adaptation, self.found[n].examples) for n in self.main())
        return next((n for n, *own in alike if own == [one.adaptation, one.examples]), "")

    def control(self, main: str, change: str) -> str:
        """Return the control of a main condition with a change, "" where it was not measured."""
        own = (label for label in self.controls() if self.main_of(label) == main)
        return next((label for label in own if self.found[label].control == change), "")

    def label(self, adaptation: str) -> str:
        """Return the label of the main condition of an adaptation, "" where there is none."""
        return next((n for n in self.main() if self.found[n].adaptation == adaptation), "")


def circuits_of(
    found: Sequence[Condition],
    tasks: Mapping[str, Task],
    config: ImplicitConfig,
) -> list[Studied]:
    """Return the conditions whose circuits were measured, model by model and task by task."""
    groups: dict[tuple[str, str], tuple[dict[str, Condition], dict[str, Condition]]] = {}
    for one in found:
        for place, measured in enumerate((one.circuits, one.ablated)):
            if measured:
                key = (one.model, one.task_digest)
                groups.setdefault(key, ({}, {}))[place][one.label] = one
    studied = []
    for (model, digest), (own, ablated) in groups.items():
        if own:
            task = tasks[digest]
            studied.append(
                Studied(model, shown_as(task.name), own, ablated, chance_of(task), config)
            )
    return studied


def chance_of(task: Task) -> float:
    """Return the accuracy of always giving the commonest answer."""
    answers = [example.target for example in task.test]
    return max(answers.count(answer) for answer in set(answers)) / len(answers)
