"""What the name of a task says of what it teaches; other tasks' names say nothing."""

import pytest

from adaptlens.studies.implicit.learned import Learned, shown_as
from adaptlens.tasks import shortcuts


@pytest.mark.parametrize(
    ("name", "learned", "shown"),
    [
        ("boolean-pattern", Learned("boolean", "pattern"), "boolean"),
        ("boolean-broken", Learned("boolean", "broken"), "boolean-broken"),
        ("mixed-pattern-all", Learned("mixed", "pattern", True), "mixed-pattern-all"),
        ("film-pattern", None, "film-pattern"),
        ("pattern", None, "pattern"),
    ],
)
def test_names_by_hand(name, learned, shown):
    assert Learned.of(name) == learned and shown_as(name) == shown
    assert learned is None or learned.task == name


def test_every_task_with_a_shortcut_is_known():
    assert [Learned.of(name).task for name in shortcuts.names()] == shortcuts.names()
