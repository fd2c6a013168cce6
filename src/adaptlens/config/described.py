"""What a setting says of itself, beside its type; and what a type says of the values it takes."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from annotated_types import Ge, Gt, Le, Lt

from adaptlens.formatting import listed

_BOUNDLESS = 2**53
"""A bound from here on only keeps numbers exact; nobody needs to be told of it."""


@dataclass(frozen=True, eq=False)
class About:
    """What a setting says of itself: metadata of its type, `Annotated[Count, About("...", 8)]`.

    Attributes:
        description: what it decides, in sentences.
        example: a value of it, as it is checked.
        expected: what may be given, where its type says too little.
        null: what null stands for, as in "null for all".
        option: whether commands have an option of its name; or the names of that option.
        whole: a text given for a list is one item, whatever commas it holds.
        formerly: its former name, which is understood for one release, with a note.
    """

    description: str = ""
    example: Any = None
    expected: str = ""
    null: str = ""
    option: bool | tuple[str, ...] = False
    whole: bool = False
    formerly: str = ""


@dataclass(frozen=True)
class Word:
    """Metadata of a text for which a whole number may be given: a label, or a column."""


class Peeled(NamedTuple):
    """A type without its metadata: what may be given instead of it, and the metadata."""

    alternatives: tuple[Any, ...]
    metadata: tuple[Any, ...]


@dataclass(frozen=True)
class Setting:
    """One setting: where it stands, its type with the metadata, its default, what it says.

    `default` is `dataclasses.MISSING` where a setting is only there when it is given.
    """

    path: str
    hint: Any
    default: Any
    about: About

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def expected(self) -> str:
        """What may be given, in words."""
        return expected(self.hint)

    @property
    def example(self) -> Any:
        """A value; the default where none is stated."""
        return self.default if self.about.example is None else self.about.example

    @property
    def is_list(self) -> bool:
        """Whether nothing but a list (or null) is taken."""
        return [kind for kind in shapes(self.hint) if kind is not NoneType] == [list]

    @property
    def is_free(self) -> bool:
        """Whether it is a mapping with keys of the user's own."""
        return dict in shapes(self.hint) and self.table is None

    @property
    def choices(self) -> list[str]:
        """The texts that are taken, where these are fixed, or lists of fixed ones."""
        hint = next(one for one in peel(self.hint).alternatives if one is not NoneType)
        return literals(item(hint) if shape(hint) is list else hint)

    @property
    def table(self) -> type | None:
        """The type of the settings that it, or each of its items, holds."""
        return next(_tables(self.hint), None)


def settings_of(kind: type) -> dict[str, Setting]:
    """Return the settings of a dataclass by path, those of its tables after each.

    A path is without list positions: "tasks.input" is of every task.
    """
    hints, found = get_type_hints(kind, include_extras=True), {}
    for field in fields(kind):
        default = field.default_factory() if callable(field.default_factory) else field.default
        outer = Setting(field.name, hints[field.name], default, about(hints[field.name]))
        found[outer.path] = outer
        if outer.table is None:
            continue
        given = default if isinstance(default, Mapping) else {}
        for name, hint in keys_of(outer.table).items():
            path = f"{outer.path}.{name}"
            found[path] = Setting(path, hint, given.get(name, MISSING), about(hint))
    return found


def keys_of(table: type) -> dict[str, Any]:
    """Return the keys of a TypedDict and their types, with metadata."""
    return get_type_hints(table, include_extras=True)


def peel(hint: Any) -> Peeled:
    """Return a type without its metadata."""
    metadata: tuple[Any, ...] = ()
    while (origin := get_origin(hint)) in (Annotated, Required, NotRequired):
        hint, *more = get_args(hint)
        metadata = (*more, *metadata) if origin is Annotated else metadata
    union = get_origin(hint) in (Union, UnionType)
    return Peeled(get_args(hint) if union else (hint,), metadata)


def about(hint: Any) -> About:
    """Return what a type says of itself: the outermost word, where it says more than one."""
    said = [one for one in peel(hint).metadata if isinstance(one, About)]
    return said[-1] if said else About()


def shape(hint: Any) -> Any:
    """Return the JSON type a type without alternatives is written as: list, dict, str, int, ..."""
    bare = peel(hint).alternatives[0]
    if (origin := get_origin(bare)) is Literal:
        return str
    if origin in (list, tuple):
        return list
    return dict if is_table(bare) or origin is dict else bare


def shapes(hint: Any) -> list[Any]:
    """Return the JSON types of all that may be given."""
    return [shape(one) for one in peel(hint).alternatives]


def item(hint: Any) -> Any:
    """Return the type of the items of a list, or of the values of a mapping."""
    parts = get_args(peel(hint).alternatives[0])
    return parts[1] if shape(hint) is dict else parts[0]


def is_table(bare: Any) -> bool:
    """Whether a type is a TypedDict: settings of their own."""
    return hasattr(bare, "__required_keys__")


def _tables(hint: Any) -> Iterator[type]:
    for one in peel(hint).alternatives:
        bare = peel(one).alternatives[0]
        if is_table(bare):
            yield bare
        elif shape(bare) is list:
            yield from _tables(item(bare))


def expected(hint: Any, *, several: bool = False) -> str:
    """Return in words what a type takes: "a whole number of at least 1, or null for all"."""
    alternatives, metadata = peel(hint)
    others = [one for one in alternatives if one is not NoneType]
    said = about(hint)
    if said.expected:
        text = said.expected
    elif len(others) > 1:
        text = listed([expected(one, several=several) for one in others], "or")
    else:
        text = _of_one(others[0], (*metadata, *peel(others[0]).metadata), several)
    if NoneType not in alternatives:
        return text
    if (fixed := literals(others[0])) and not said.null:
        return listed([*fixed, "null"], "or")
    return f"{text}, or null {said.null}".rstrip()


def literals(hint: Any) -> list[str]:
    """Return the texts that a type takes where they are fixed, else none."""
    bare = peel(hint).alternatives[0]
    return [*map(str, get_args(bare))] if get_origin(bare) is Literal else []


def _of_one(hint: Any, metadata: tuple[Any, ...], several: bool) -> str:
    bare = peel(hint).alternatives[0]
    if fixed := literals(bare):
        return listed(fixed, "or")
    if shape(bare) is list:
        return expected(item(bare), several=True)
    if shape(bare) is dict:
        return "settings" if is_table(bare) else f"{expected(item(bare), several=True)} by name"
    if bare is bool:
        return "true or false"
    noun = {int: "whole number", float: "number"}.get(bare, "text")
    return (f"{noun}s" if several else f"a {noun}") + _within(metadata)


def bounds(metadata: tuple[Any, ...]) -> dict[type, Any]:
    """Return the bounds of a number by their kind, those that mean something to a reader."""
    named: dict[type, Any] = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt"}
    found = {type(one): getattr(one, named[type(one)]) for one in metadata if type(one) in named}
    return {kind: value for kind, value in found.items() if value < _BOUNDLESS}


def _within(metadata: tuple[Any, ...]) -> str:
    found = bounds(metadata)
    if Gt in found:
        return f" above {found[Gt]}"
    if Ge not in found:
        return ""
    if Le in found:
        return f" from {found[Ge]} to {found[Le]}"
    if Lt in found:
        return f" from {found[Ge]} up to, not including, {found[Lt]}"
    return f" of at least {found[Ge]}"
