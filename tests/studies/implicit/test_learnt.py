"""What the name of a task says of what it teaches; other tasks' names say nothing."""

import pytest

from adaptlens.studies.implicit.learnt import Learnt, shown_as
from adaptlens.tasks import shortcuts


@pytest.mark.parametrize(
    ("name", "learnt", "shown"),
    [
        ("boolean-pattern", Learnt("boolean", "pattern"), "boolean"),
        ("boolean-broken", Learnt("boolean", "broken"), "boolean-broken"),
        ("mixed-pattern-all", Learnt("mixed", "pattern", True), "mixed-pattern-all"),
        ("film-pattern", None, "film-pattern"),
        ("pattern", None, "pattern"),
    ],
)
def test_names_by_hand(name, learnt, shown):
    assert Learnt.of(name) == learnt and shown_as(name) == shown
    assert learnt is None or learnt.task == name


def test_every_task_with_a_shortcut_is_known():
    assert [Learnt.of(name).task for name in shortcuts.names()] == shortcuts.names()
