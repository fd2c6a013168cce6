"""What patched runs are asked, and what is read off their last token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from adaptlens.lm.architecture import Architecture
from adaptlens.lm.finite import check_finite
from adaptlens.lm.load import LM
from adaptlens.lm.units import Ablation, Direction, Pair, Unit, UnitKind
from adaptlens.types import METRICS, Weights

# Logits of more rows at once gain nothing, and where the vocabulary is large they are what takes
# the memory.
_MOST_ROWS = 128


@dataclass(frozen=True, eq=False)
class Means:
    """Mean outputs of units over clean prompts.

    Attributes:
        arrays: by kind and layer; features are units of the layer x unit width.
    """

    arrays: dict[tuple[UnitKind, int], Float32[np.ndarray, "variants sites _"]]


@dataclass(frozen=True, eq=False)
class PatchRequest:
    """Which sets of units are replaced, how, between which prompts."""

    lm: LM
    pairs: Sequence[Pair]
    sets: Sequence[Sequence[Unit]]
    direction: Direction
    ablation: Ablation
    means: Means | None
    weights: Weights | None
    budget_bytes: int

    @property
    def parts(self) -> Architecture:
        """The model's parts."""
        assert self.lm.architecture is not None
        return self.lm.architecture

    @property
    def base(self) -> int:
        """Which prompt is run with replacements: 0 the clean, 1 the corrupt."""
        return 1 if self.direction == "denoise" else 0

    def where(self) -> list[tuple[UnitKind, int]]:
        """Return the kinds and layers of all units, each once."""
        return sorted({(unit.kind, unit.layer) for units in self.sets for unit in units})

    def variant(self, number: int) -> int:
        """Return which variant of the weights reads a pair; 0 without weights."""
        return self.pairs[number].variant if self.weights is not None else 0

    def constant(
        self, kind: UnitKind, layer: int, number: int, site: int
    ) -> Float32[Tensor, " features"]:
        """Return what mean or zero ablation puts in place of a layer's units, for one pair."""
        if self.ablation == "zero":
            return torch.zeros(1, device=self.lm.device)
        assert self.means is not None
        means = self.means.arrays[kind, layer][self.variant(number), site]
        return torch.from_numpy(means).to(self.lm.device)


class PatchEffects:
    """The arrays of an `Effects`, filled run by run."""

    def __init__(self, request: PatchRequest, tell: Callable[[int], None]):
        """Begin with zeros; `tell` is called with the number of patched runs that were read."""
        pairs, sites = len(request.pairs), len(request.pairs[0].sites)
        self.request, self.tell = request, tell
        self.values = np.zeros((pairs, sites, len(request.sets), len(METRICS)), np.float32)
        self.clean = np.zeros((pairs, len(METRICS)), np.float32)
        self.corrupt = np.zeros((pairs, len(METRICS)), np.float32)
        self.floor = np.zeros((pairs, len(METRICS)), np.float32)

    def baselines(
        self, numbers: Sequence[int], final: Float[Tensor, "pairs 2 width"]
    ) -> Float32[Tensor, "pairs vocab"]:
        """Take the final states of the unpatched clean and corrupt runs.

        Returns:
            The clean runs' log-probabilities.
        """
        logs = self.request.parts.logits(final[:, 0]).float().log_softmax(-1)
        self.clean[numbers], self.corrupt[numbers] = self._read(numbers, final, logs).swapaxes(0, 1)
        return logs

    def patched(
        self,
        numbers: Sequence[int],
        site: int,
        which: Sequence[int],
        final: Float[Tensor, "pairs {len(which)+1} width"],
        clean_logs: Float32[Tensor, "pairs vocab"],
    ) -> None:
        """Take the final states of an unpatched run and patched ones.

        Args:
            numbers: which pairs.
            site: which site of theirs.
            which: which sets of units were replaced.
            final: the states.
            clean_logs: what `baselines` returned for these pairs.
        """
        found = self._read(numbers, final, clean_logs)
        alone = self.corrupt if self.request.base else self.clean
        drift = np.abs(found[:, 0] - alone[numbers])
        self.floor[numbers] = np.maximum(self.floor[numbers], drift)
        self.values[np.ix_(numbers, [site], which)] = found[:, None, 1:]
        self.tell(len(numbers) * len(which))

    def unchanged(self, number: int, site: int) -> None:
        """Take that nothing put in at a site of a pair differs from what was there."""
        alone = self.corrupt if self.request.base else self.clean
        self.values[number, site] = alone[number]
        self.tell(len(self.request.sets))

    def _read(
        self,
        numbers: Sequence[int],
        final: Float[Tensor, "pairs runs width"],
        clean_logs: Float32[Tensor, "pairs vocab"],
    ) -> Float32[np.ndarray, "pairs runs metrics"]:
        """Return the metrics of final states."""
        request, device = self.request, final.device
        pairs = [request.pairs[n] for n in numbers]
        tokens = torch.tensor([(pair.answer, pair.foil) for pair in pairs], device=device)
        # Logits in the model's format and in float32, their logarithms, and what KL makes of them.
        rows = min(max(request.budget_bytes // (16 * request.parts.vocab), 1), _MOST_ROWS)
        flat = final.flatten(0, 1)
        owner = torch.arange(len(pairs), device=device).repeat_interleave(final.shape[1])
        found = [
            _metrics(
                request.parts.logits(flat[low : low + rows]).float(),
                tokens[owner[low : low + rows]],
                clean_logs,
                owner[low : low + rows],
            )
            for low in range(0, len(flat), rows)
        ]
        metrics = torch.cat(found).view(*final.shape[:2], -1).cpu().numpy()
        check_finite(metrics, request.lm.name, f"the logits of the pairs from {numbers[0]} on")
        return metrics


def _metrics(
    logits: Float32[Tensor, "rows vocab"],
    tokens: Int[Tensor, "rows 2"],
    clean_logs: Float32[Tensor, "pairs vocab"],
    owner: Int[Tensor, " rows"],
) -> Float32[Tensor, "rows metrics"]:
    """Return `METRICS`; tokens are (answer, foil)."""
    chosen = logits.gather(1, tokens)
    logs = logits.log_softmax(-1)
    kl = logs.new_empty(len(logs))
    for pair in owner.unique():
        rows = owner == pair
        clean = clean_logs[pair]
        kl[rows] = (clean.exp() * (clean - logs[rows])).sum(-1)
    return torch.stack(
        [
            chosen[:, 0] - chosen[:, 1],
            logs.gather(1, tokens[:, :1])[:, 0],
            kl,
            (logits.argmax(-1) == tokens[:, 0]).float(),
        ],
        dim=-1,
    )


def two_runs(seq: int) -> str:
    """Return what does not fit the memory where one patch at a time does not."""
    return f"two runs of {seq} tokens do not fit"
