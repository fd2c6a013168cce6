"""Sets of units that are taken out to test a circuit: what they are, and what a cell calls them."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["circuit", "random", "without"]


@dataclass(frozen=True, slots=True)
class UnitSet:
    """A circuit, a random set matched with one, or one without one of its members.

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
    def name(self) -> str:
        """What a cell calls it."""
        return ":".join(
            [self.kind, self.source, str(self.size), *([self.part] if self.part else ())]
        )

    @property
    def circuit(self) -> "UnitSet":
        """The circuit that it is made from, or is."""
        return UnitSet("circuit", self.source, self.size)
