"""What each unit of an adapted model hands to each other one, estimated by gradients."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from adaptlens.errors import UserError, unknown
from adaptlens.lm.load import LM
from adaptlens.lm.patching.edge_attribution import Node, edge_attribution
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.measure.patch_pairs import CORRUPTIONS, Corruption, matched, written
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import Adapted, CostEstimate, Measured, Task


@dataclass(frozen=True)
class EdgeEffects:
    """Estimated change of the logit difference by patching each edge, means over queries.

    `change` float32 [repeats, sources, targets], of denoising, over all places; texts: `sources`
    and `targets`, their names. An edge into a head is the sum of those into its queries, keys and
    values; keys and values that several heads share are divided equally among these.

    Attributes:
        items: pairs of queries at most.
        group: the group of test items that are asked; all where empty.
        corruption: what replaces a query, see `measure.patch_pairs.matched`.
        seed: of the pairing.
    """

    items: int = 64
    group: str = ""
    corruption: Corruption = "other"
    seed: int = 0

    name: ClassVar[str] = "edges"
    axes: ClassVar[Stated] = AXES["edges"]

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.corruption not in CORRUPTIONS:
            raise unknown("corruption", self.corruption, CORRUPTIONS)
        if self.items < 2:
            raise UserError(f"edges: items {self.items} was given; it must be at least 2.")

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of two forward passes and a backward pass of every pair."""
        items = min(self.items, len(sizes.task.test))
        return CostEstimate(
            prompts=2.0 * items * sizes.num_draws,
            read_tokens=sizes.num_draws * items * 5 * (sizes.shared + sizes.rest),
        )

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the array above.

        Raises:
            UserError: the family's layers are no plain sums, or no two queries fit.
        """
        chosen = matched(lm, task, self.corruption, self.group, self.items, self.seed)
        pairs = written(lm, adapted, task, chosen, "last")
        found = edge_attribution(lm, pairs, weights=adapted.weights, progress=progress)
        repeats = len(adapted.draws)
        by_reader = found.scores.reshape(repeats, len(chosen), *found.scores.shape[1:]).mean(1)
        sharing, targets = _units(found.destinations)
        return Measured(
            arrays={"change": (by_reader @ sharing).astype(np.float32)},
            texts={"sources": [str(node) for node in found.sources], "targets": targets},
        )


def _units(readers: tuple[Node, ...]) -> tuple[Float64[np.ndarray, "readers units"], list[str]]:
    """Return how much of each reader belongs to each unit, and the units."""
    num_heads = 1 + max(node.head for node in readers if node.kind == "q")
    num_shared = 1 + max(node.head for node in readers if node.kind == "k")
    each = num_heads // num_shared
    units = [
        str(Node("head", node.layer, node.head)) if node.kind == "q" else str(node)
        for node in readers
        if node.kind not in ("k", "v")
    ]
    places = {unit: place for place, unit in enumerate(units)}
    sharing = np.zeros((len(readers), len(units)))
    for row, node in enumerate(readers):
        if node.kind in ("k", "v"):
            for head in range(each * node.head, each * (node.head + 1)):
                sharing[row, places[str(Node("head", node.layer, head))]] = 1 / each
        else:
            own = Node("head", node.layer, node.head) if node.kind == "q" else node
            sharing[row, places[str(own)]] = 1
    return sharing, units
