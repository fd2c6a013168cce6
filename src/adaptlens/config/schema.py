"""What the loader has to know of a study's settings beside their types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from adaptlens.config.described import Setting, is_table, item, keys_of, settings_of
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
    """One kind of settings; all but what follows is read off their types.

    Attributes:
        study: the name of the study they are for.
        kind: the dataclass, each of whose fields says what it is by `described.About`.
        analysis: settings that say how stored measurements are analyzed, not what is measured.
        subsets: those of them that can only be shortened once everything is measured.
        filled: returns the settings with what follows from the others.
        conflict: returns what is wrong between settings that are right each by itself.
    """

    study: str
    kind: type[Config]
    analysis: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    filled: Callable[[Mapping[str, Any]], Mapping[str, Any]] = nothing_to_add
    conflict: Callable[[Any], Conflict | None] = no_conflict

    @cached_property
    def settings(self) -> Mapping[str, Setting]:
        """The settings by path, without list positions: "tune.lora_rank", "tasks.input"."""
        return settings_of(self.kind)

    @cached_property
    def tables(self) -> Mapping[str, type]:
        """Settings with settings of their own, and their types."""
        return {path: one.table for path, one in self.settings.items() if one.table}

    def is_free(self, path: str) -> bool:
        """Whether the keys at a path are the user's own."""
        return path in self.settings and self.settings[path].is_free

    def known(self, path: str) -> list[str]:
        """Return the keys that may stand at a path without list positions; none where any may."""
        own = [one.name for one in self.settings.values() if one.path.rpartition(".")[0] == path]
        for one in self.settings.values():
            if one.is_free and path.startswith(f"{one.path}.") and is_table(item(one.hint)):
                own += keys_of(item(one.hint))
        return own

    def former(self, path: str) -> dict[str, str]:
        """Return the former names of the keys at a path, and what each is called now."""
        keys = [one for one in self.settings.values() if one.path.rpartition(".")[0] == path]
        return {one.about.formerly: one.name for one in keys if one.about.formerly}
