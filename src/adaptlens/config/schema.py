"""What the loader has to know of a study's settings beside their types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from adaptlens.config.yaml12 import Place

Config = TypeVar("Config")

Conflict = tuple[Place, str]
"""The setting at fault, and a sentence on what is wrong and what to do."""


def nothing_to_add(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings as they are."""
    return settings


def no_conflict(config: Any) -> None:
    """Find nothing wrong between settings."""
    return None


@dataclass(frozen=True)
class Schema(Generic[Config]):
    """One kind of settings, and how people may write them.

    Attributes:
        study: the name of the study they are for.
        kind: the dataclass.
        expected: by path without list positions: what is expected there, and an example of it.
        lists: settings that are lists; one item may stand for a list of it, and a text such as
            "0,4,16" for several numbers or words.
        sources: settings that say where a task comes from; a text may stand for its path.
        tables: settings with settings of their own, and their types.
        free: settings whose keys are the user's own.
        analysis: settings that say how stored measurements are analysed, not what is measured.
        subsets: those of them that can only be shortened once everything is measured.
        filled: returns the settings with what follows from the others.
        conflict: returns what is wrong between settings that are right each by itself.
    """

    study: str
    kind: type[Config]
    expected: Mapping[str, tuple[str, str]]
    lists: tuple[str, ...]
    sources: tuple[str, ...]
    tables: Mapping[str, type]
    free: tuple[str, ...] = ()
    analysis: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    filled: Callable[[Mapping[str, Any]], Mapping[str, Any]] = nothing_to_add
    conflict: Callable[[Any], Conflict | None] = no_conflict

    def known(self, path: str) -> list[str]:
        """Return the keys that may stand at a path without list positions; none where any may."""
        if not path:
            return [field.name for field in fields(self.kind)]  # type: ignore[arg-type]
        return list(self.tables[path].__annotations__) if path in self.tables else []
