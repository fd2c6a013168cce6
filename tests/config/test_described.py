"""What settings say of themselves: words made of types, and that every setting says enough."""

from dataclasses import MISSING, dataclass, replace
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from typing_extensions import TypedDict

from adaptlens import registry
from adaptlens.config.described import About, expected, settings_of
from adaptlens.config.fields import Count, Engine, Positive, Shared, TaskSource, Text, Tune
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Schema, no_conflict
from adaptlens.errors import UserError
from adaptlens.studies.compare.config import Prices, Server, TokenPrices
from adaptlens.studies.convergence.config import Claim
from adaptlens.studies.implicit.config import Circuit
from adaptlens.studies.limits.claims import Margins
from adaptlens.studies.limits.config import Claims
from adaptlens.tasks import Settings as Wishes
from tests.config.test_readers import SOURCE, names_read

EVERY = [
    (study, path)
    for study in registry.names("settings")
    for path in registry.resolve("settings", study).settings
]


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (bool, "true or false"),
        (int, "a whole number"),
        (Count, "a whole number of at least 1"),
        (Annotated[int, Ge(0), Le(9)], "a whole number from 0 to 9"),
        (Annotated[float, Gt(0)], "a number above 0"),
        (Annotated[float, Ge(0), Lt(1)], "a number from 0 up to, not including, 1"),
        (Text, "a text"),
        (Literal["a", "b", "c"], "a, b or c"),
        (Literal["a", "b"] | None, "a, b or null"),
        (tuple[Count, ...], "whole numbers of at least 1"),
        (Annotated[list[Positive], MinLen(1)], "numbers above 0"),
        (Annotated[Count | None, About(null="for all")], "a whole number of at least 1, or null "
         "for all"),
        (Annotated[Count, About(expected="a count of sheep")], "a count of sheep"),
        (Annotated[Text | None, About(expected="a name", null="for none")], "a name, or null for "
         "none"),
        (Text | None, "a text, or null"),
        (Text | list[Text], "a text or texts"),
        (dict[str, Text], "texts by name"),
        (TaskSource, "settings"),
    ],
)  # fmt: skip
def test_a_type_says_what_it_takes(hint, words):
    assert expected(hint) == words


class Inner(TypedDict, total=False):
    size: Annotated[Count, About("How large.", 3, formerly="extent")]
    names: list[Text]


@dataclass(frozen=True)
class Toy:
    inner: Inner
    level: Annotated[Count, About("How far.", formerly="depth")] = 2
    marks: tuple[Positive, ...] = (0.5,)
    free: Annotated[dict[str, Text], About("Whatever.")] = None  # type: ignore[assignment]


def test_all_there_is_to_know_of_settings_is_read_off_their_types():
    schema = Schema(study="toy", kind=Toy)
    assert [*schema.settings] == ["inner", "inner.size", "inner.names", "level", "marks", "free"]
    assert schema.tables == {"inner": Inner}
    assert [path for path, one in schema.settings.items() if one.is_list] == [
        "inner.names",
        "marks",
    ]
    assert schema.is_free("free") and not schema.is_free("inner") and not schema.is_free("level")
    assert schema.known("") == ["inner", "level", "marks", "free"]
    assert schema.known("inner") == ["size", "names"] and schema.known("level") == []
    assert schema.former("inner") == {"extent": "size"} and schema.former("") == {"depth": "level"}
    level, size = schema.settings["level"], schema.settings["inner.size"]
    assert (level.default, level.example, level.about.description) == (2, 2, "How far.")
    assert (size.default, size.example, size.name) == (MISSING, 3, "size")


def test_a_study_of_another_package_needs_its_name_and_its_dataclass_alone():
    schema = Schema(study="toy", kind=Toy)
    found = load_config(schema, None, ["marks=1,2", "depth=5"], {"inner": {"names": "a, b"}})
    assert found == Toy({"names": ["a", "b"]}, 5, (1.0, 2.0), None)
    with pytest.raises(UserError, match="unknown key 'levle'; did you mean 'level'"):
        load_config(schema, settings={"levle": 3, "inner": {}})
    with pytest.raises(UserError, match='level: given "3"; expected a whole number of at least 1'):
        load_config(schema, settings={"level": "3", "inner": {}})


@pytest.mark.parametrize(("study", "path"), EVERY, ids=map(".".join, EVERY))
def test_every_setting_says_what_it_is_and_has_an_example_that_is_taken(study, path):
    schema = registry.resolve("settings", study)
    one = schema.settings[path]
    assert one.about.description.endswith(".") and one.about.description[0].isupper()
    assert one.about.example is not None
    assert one.expected
    outer, _, inner = path.partition(".")
    given: Any = {inner: one.example} if inner else one.example
    lists_tasks = outer in ("tasks", "also")
    if inner and (lists_tasks or outer == "unrelated"):
        given = {"path": "a.csv", **given}
    # By itself: what goes together with what is the matter of the study.
    alone = replace(schema, conflict=no_conflict)
    found = getattr(load_config(alone, settings={outer: given}), outer)
    found = found[0] if lists_tasks and inner else found
    stored = found[inner] if inner else found
    if not lists_tasks and not isinstance(stored, dict):
        assert stored == (tuple(one.example) if isinstance(stored, tuple) else one.example)


def test_what_is_said_is_said_once():
    shared = settings_of(Shared)
    for study in registry.names("settings"):
        for path, one in registry.resolve("settings", study).settings.items():
            if path in shared and one.hint == shared[path].hint:
                assert one.about is shared[path].about


def test_every_key_of_a_table_is_read_or_is_an_argument():
    wishes = set(Wishes.__dataclass_fields__) | {"path", "references", "cluster"}
    assert set(TaskSource.__annotations__) <= wishes
    assert set(Claims.__annotations__) == set(Margins.__dataclass_fields__)
    for study, table, called in (
        ("implicit", Circuit, ("circuits", "given", "asked")),
        ("convergence", Claim, ("claim",)),
    ):
        paths = (SOURCE / "studies" / study).glob("*.py")
        read = {name for path in paths for name in names_read(path, *called)}
        assert set(table.__annotations__) <= read, study
    # Those of tuning, of the engine, of prices and of servers: see test_readers.py.
    seen = {TaskSource, Claims, Circuit, Claim, Tune, Engine, Prices, Server, TokenPrices}
    for study in registry.names("settings"):
        assert {*registry.resolve("settings", study).tables.values()} <= seen
