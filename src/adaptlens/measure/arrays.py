"""What each measurement stored of a condition, by its own names and axes; needs no torch.

A condition has the arrays of all its measurements under MEASUREMENT.NAME; `axes.AXES` states their
axes. Here alone such names are put together and taken apart. Where draws are joined under
checkpoints or templates, these are the second axis (`conditions.Joined`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adaptlens.measure.axes import is_shared

Arrays = Mapping[str, np.ndarray]

FINAL = "final"
"""The layer of states after the final norm; the others have numbers, "00" the first."""


class _Own(Mapping[str, np.ndarray]):
    """The arrays of one measurement by its own names; empty where it was not made."""

    measurement: ClassVar[str]

    def __init__(self, arrays: Arrays) -> None:
        """Read from all arrays of a condition."""
        self._all = arrays

    def key(self, name: str) -> str:
        """Return an own name's among all arrays of a condition."""
        return f"{self.measurement}.{name}"

    def __getitem__(self, name: str) -> np.ndarray:
        return self._all[self.key(name)]

    def __contains__(self, name: object) -> bool:
        return self.key(str(name)) in self._all

    def __iter__(self) -> Iterator[str]:
        start = self.key("")
        return (name.removeprefix(start) for name in self._all if name.startswith(start))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Array:
    """An array that is an attribute of its own name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, of: _Own, owner: type | None = None) -> np.ndarray:
        return of[self._name]


class _Answers(_Own):
    """What `Behavior` stored of a split; the names are those that `metrics.accuracy` takes."""

    measurement = "behavior"

    loglik = _Array()
    """The log-likelihoods [repeats, queries, choices]."""
    gold = _Array()
    """The number of the right choice [queries]."""
    exact = _Array()
    """Whether generated text is the target [repeats, queries]."""
    chrf = _Array()
    """The chrF of generated text, 0 to 100 [repeats, queries]."""


class ValidationAnswers(_Answers):
    """What `Behavior` stored of the validation split: one row a draw, see `axes.TURNS`."""

    start: ClassVar[str] = "validation_"

    def key(self, name: str) -> str:
        """Return an own name's among all arrays of a condition."""
        return super().key(self.start + name)


class Answers(_Answers):
    """What `Behavior` stored of the test split, and of the `validation` split."""

    def __iter__(self) -> Iterator[str]:
        return (name for name in super().__iter__() if not name.startswith(ValidationAnswers.start))

    @property
    def validation(self) -> ValidationAnswers:
        """The same of the validation split."""
        return ValidationAnswers(self._all)


class ElsewhereAnswers(_Answers):
    """What `BehaviorElsewhere` stored of one of its sets; see `Task.elsewhere`."""

    measurement = "elsewhere"

    bytes = _Array()
    """The length of what is scored of a plain text [queries]."""
    target_loglik = _Array()
    """The log-likelihood of the wanted text [repeats, queries]."""

    def __init__(self, arrays: Arrays, role: str, number: int) -> None:
        """Read the set of that number from all arrays of a condition."""
        super().__init__(arrays)
        self._start = f"{role}{number}."

    def key(self, name: str) -> str:
        """Return an own name's among all arrays of a condition."""
        return super().key(self._start + name)


class States(_Own):
    """What `Hidden` stored: states by position and layer, and what they are read with."""

    measurement = "hidden"

    def has(self, position: str = "last") -> bool:
        """Whether there are states at a position."""
        return f"{position}.{FINAL}" in self

    def at(self, layer: str, position: str = "last") -> np.ndarray:
        """Return the states [repeats, queries, width] in a layer."""
        return self[f"{position}.{layer}"]

    def layers(self, position: str = "last") -> list[str]:
        """Return the names of the layers: "00" into the first, ..., and `FINAL`."""
        start = f"{position}."
        named = sorted(name.removeprefix(start) for name in self if name.startswith(start))
        return [name for name in named if name != FINAL] + [FINAL]

    @property
    def lens(self) -> np.ndarray | None:
        """The log-probabilities that the lens reads [repeats, queries, layers, tokens]."""
        return self.get("lens")

    def readout(self, layer: str) -> np.ndarray | None:
        """Return what answers are read with in a layer [repeats, answers, width]."""
        return self.get("readout_final" if layer == FINAL else "readout")


class Patches(_Own):
    """What `Circuits` stored: patched runs by corruption and method, and what they lie between."""

    measurement = "circuits"

    def made(self) -> list[tuple[str, str]]:
        """Return every (corruption, method), in the order of the arrays."""
        named = (name.split(".") for name in self)
        return [(c, method) for c, method in named if method not in ("clean", "corrupt", "floor")]

    def patched(self, corruption: str, method: str) -> np.ndarray:
        """Return the patched runs [repeats, items, units, metrics]."""
        return self[f"{corruption}.{method}"]

    def clean(self, corruption: str) -> np.ndarray:
        """Return the clean runs [repeats, items, metrics]."""
        return self[f"{corruption}.clean"]

    def corrupt(self, corruption: str) -> np.ndarray:
        """Return the corrupt runs [repeats, items, metrics]."""
        return self[f"{corruption}.corrupt"]

    def floor(self, corruption: str) -> np.ndarray:
        """Return the largest change by a patch of nothing [repeats, items, metrics]."""
        return self[f"{corruption}.floor"]


class Ablations(_Own):
    """What `Ablated` stored."""

    measurement = "ablated"

    kept = _Array()
    """The runs in which a set alone is left [repeats, items, sets, metrics]."""
    removed = _Array()
    """The runs without a set [repeats, items, sets, metrics]."""
    clean = _Array()
    """The clean runs [repeats, items, metrics]."""
    corrupt = _Array()
    """The corrupt runs [repeats, items, metrics]."""


class HeadScores(_Own):
    """What `Heads` stored: scores [repeats, layers, heads], by what is attended to."""

    measurement = "heads"


class EdgeChanges(_Own):
    """What `EdgeEffects` stored."""

    measurement = "edges"

    @property
    def change(self) -> np.ndarray | None:
        """What each edge hands on [repeats, sources, targets]; None where it was not measured."""
        return self.get("change")


class Likenesses(_Own):
    """What `Resemblance` stored: likeness [repeats, queries] by measure."""

    measurement = "resemblance"


class Costs(_Own):
    """What `Cost` stored: of a query [repeats], by what is counted."""

    measurement = "cost"


@dataclass(frozen=True)
class Answered:
    """How a system did on the items it read in one variation.

    Attributes:
        variation: of the reading, "" for none.
        is_pipeline: whether the base model read what the condition wrote.
        reading: what names of arrays begin with, and what stored prompts call it.
    """

    variation: str
    is_pipeline: bool
    reading: str
    _arrays: Arrays

    def correct(self, scoring: str) -> np.ndarray | None:
        """Return whether answers are right [repeats, queries]; None where it was not scored so."""
        return self._arrays.get(f"{self.reading}correct_{scoring}")

    def floor(self, scoring: str) -> np.ndarray | None:
        """Return what other items' answers score [repeats, queries]; None where chance is known."""
        return self._arrays.get(f"{self.reading}floor_{scoring}")

    @property
    def chance(self) -> np.ndarray:
        """What guessing scores [queries]."""
        return self._arrays[f"{self.reading}chance"]

    @property
    def unparsed(self) -> np.ndarray:
        """Whether no answer was found in what was written [repeats, queries]."""
        return self._arrays[f"{self.reading}unparsed"]


class SystemAnswers(_Own):
    """What `Systems` stored: a reading for each variation, and of the pipeline."""

    measurement = "systems"
    pipeline: ClassVar[str] = "pipeline_"

    def readings(self) -> list[Answered]:
        """Return every reading, in the order of the arrays."""
        found = []
        for name in self:
            variation, _, last = name.rpartition(".")
            if last.removeprefix(self.pipeline) == "correct_exact":
                reading = name.removesuffix("correct_exact")
                found.append(Answered(variation, last.startswith(self.pipeline), reading, self))
        return found


def stored_by(measurement: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """Return the arrays of a measurement that have a row for each variant, by its own names."""
    start = f"{measurement}."
    return {
        name.removeprefix(start): arrays[name]
        for name in arrays
        if name.startswith(start) and not is_shared(name)
    }
