"""Sets of units that are taken out to test a circuit: what each is."""

from typing import Literal, NamedTuple

Kind = Literal["circuit", "random", "without"]


class UnitSet(NamedTuple):
    """A circuit, a random set matched with one, or one without one of its members.

    Cells hold it as a list of its fields.

    Attributes:
        kind: which of these.
        source: the label of the condition whose circuit it is.
        size: of the circuit, in units.
        part: the number of the random set, or the unit that is left out; "" of a circuit.
    """

    kind: Kind
    source: str
    size: int
    part: str = ""

    @property
    def circuit(self) -> "UnitSet":
        """The circuit that it is made from, or is."""
        return UnitSet("circuit", self.source, self.size)
