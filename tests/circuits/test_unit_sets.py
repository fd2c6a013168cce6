"""Sets of units: what a cell calls them tells them apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.circuits.unit_sets import UnitSet

PARTS = st.sampled_from(["0", "17", "L0.H1", "L12.MLP"])
SOURCES, SIZES = st.text("abc-:@0123", min_size=1, max_size=12), st.integers(1, 400)
SETS = st.one_of(
    st.builds(UnitSet, st.just("circuit"), SOURCES, SIZES),
    st.builds(UnitSet, st.sampled_from(["random", "without"]), SOURCES, SIZES, PARTS),
)


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (UnitSet("circuit", "icl-8", 4), "circuit:icl-8:4"),
        (UnitSet("random", "it-256", 4, "2"), "random:it-256:4:2"),
        (UnitSet("without", "zero-shot", 2, "L0.H1"), "without:zero-shot:2:L0.H1"),
    ],
)
def test_names_by_hand(of: UnitSet, name: str) -> None:
    assert of.name == name
    assert of.circuit.name == f"circuit:{of.source}:{of.size}"


@given(SETS, SETS)
def test_two_sets_have_two_names_whatever_the_label(one: UnitSet, other: UnitSet) -> None:
    assert (one.name == other.name) == (one == other)
