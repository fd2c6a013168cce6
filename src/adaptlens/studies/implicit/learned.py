"""What a task of the study teaches, and on which items it is read: what its name says."""

from dataclasses import dataclass

from adaptlens.tasks.shortcuts import FAMILIES, KINDS, MIXED, PATTERN

ALL = "all"


@dataclass(frozen=True, slots=True)
class Learned:
    """A family and the kind of its items that are learned from.

    Attributes:
        family: one of the families with a shortcut, or `MIXED`.
        kind: `PATTERN` or `BROKEN`.
        everywhere: whether it is read on the items of all families, not its own alone.
    """

    family: str
    kind: str
    everywhere: bool = False

    @property
    def task(self) -> str:
        """The name of the task."""
        return "-".join([self.family, self.kind, *([ALL] if self.everywhere else ())])

    @classmethod
    def of(cls, task: str) -> "Learned | None":
        """Return what a task of this name teaches; None of any other task."""
        every = (
            cls(family, kind, everywhere)
            for family in (*FAMILIES, MIXED)
            for kind in KINDS
            for everywhere in (False, True)
        )
        return next((one for one in every if one.task == task), None)


ZERO_SHOT = "zero-shot"
"""What tables call the method that learns from nothing."""


def adaptation_of(method: str) -> str:
    """Return the way of adapting that tables call a method by its name, or by `ZERO_SHOT`."""
    return "zero_shot" if method == ZERO_SHOT else method


def shown_as(task: str) -> str:
    """Return what tables of circuits call a task: its family where it learns from the pattern."""
    match Learned.of(task):
        case Learned(family, kind, False) if kind == PATTERN:
            return family
    return task
