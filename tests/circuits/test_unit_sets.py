"""Sets of units: what a cell calls them is what they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.circuits.unit_sets import UnitSet

LABELS = st.text("abc-:@0123", min_size=1, max_size=12)
PARTS = st.sampled_from(["0", "17", "L0.H1", "L12.MLP"])


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (UnitSet("circuit", "icl-8", 4), "circuit:icl-8:4"),
        (UnitSet("random", "it-256", 4, "2"), "random:it-256:4:2"),
        (UnitSet("without", "zero-shot", 2, "L0.H1"), "without:zero-shot:2:L0.H1"),
    ],
)
def test_names_by_hand(of: UnitSet, name: str) -> None:
    assert str(of) == name and UnitSet.of(name) == of
    assert str(of.circuit) == f"circuit:{of.source}:{of.size}"


@given(LABELS, st.integers(1, 400), PARTS, st.sampled_from(["random", "without"]))
def test_a_name_read_is_the_set_whatever_the_label(source, size, part, kind) -> None:
    for of in (UnitSet("circuit", source, size), UnitSet(kind, source, size, part)):
        assert UnitSet.of(str(of)) == of


@pytest.mark.parametrize("name", ["", "circuit", "circuits:a:1", "circuit:a:b", "random:a:1"])
def test_other_texts_name_no_set(name: str) -> None:
    with pytest.raises(ValueError):
        UnitSet.of(name)
