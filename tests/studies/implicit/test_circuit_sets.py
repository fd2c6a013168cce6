"""The sets of units that a cell tested are found again by their names."""

import pytest

from adaptlens.circuits.unit_sets import UnitSet
from adaptlens.errors import UserError
from adaptlens.studies.implicit.circuit_sets import sets_named

UNITS = [f"L{layer}.H{head}" for layer in range(2) for head in range(5)]
"""Ten units, of which circuits of 2 and of 4 are tested."""


def test_every_set_that_is_tested_is_found_by_its_name():
    sets = [
        UnitSet("circuit", "icl-8", 2), UnitSet("circuit", "it:8", 4),
        UnitSet("random", "icl-8", 4, "3"), UnitSet("without", "it:8", 2, "L1.H4"),
    ]  # fmt: skip
    assert sets_named([one.name for one in sets], ["icl-8", "it:8"], UNITS) == sets


@pytest.mark.parametrize(
    "strange",
    [
        UnitSet("circuit", "icl-8", 3),
        UnitSet("circuit", "sl-8", 2),
        UnitSet("random", "icl-8", 2, "4"),
        UnitSet("without", "icl-8", 4, "L0.H0"),
        UnitSet("without", "icl-8", 2, "L2.H0"),
    ],
)
def test_a_set_of_another_version_is_refused(strange):
    with pytest.raises(UserError, match=f"the set of units '{strange.name}'"):
        sets_named([strange.name], ["icl-8"], UNITS)
