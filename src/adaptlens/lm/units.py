"""What is patched in a model, between which prompts, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

UnitKind = Literal["head", "mlp", "residual", "neuron"]
Direction = Literal["denoise", "noise"]
Ablation = Literal["resample", "mean", "zero"]

METHODS: dict[str, tuple[Direction, Ablation]] = {
    "denoise": ("denoise", "resample"),
    "noise": ("noise", "resample"),
    "noise-mean": ("noise", "mean"),
    "noise-zero": ("noise", "zero"),
}
"""The ways of patching by the names that settings and arrays have for them."""


class Unit(NamedTuple):
    """A part of the model whose output can be replaced.

    kind "head": a head's output before the output projection; "mlp": the output of a layer's
    feed-forward part; "residual": the residual stream out of a layer, before the final norm;
    "neuron": one number entering the last projection of a feed-forward part. `index` numbers heads
    and neurons, and is 0 otherwise.
    """

    kind: UnitKind
    layer: int
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nothing asks of a unit

    def __str__(self) -> str:
        """Return its usual name: L3.H5, L3.MLP, L3.OUT, L3.N17."""
        tail = {"head": f"H{self.index}", "mlp": "MLP", "residual": "OUT"}
        return f"L{self.layer}.{tail.get(self.kind, f'N{self.index}')}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prompts of one length that differ in what they ask, and two answers to tell apart.

    Attributes:
        clean: token ids of the prompt whose answer is `answer`.
        corrupt: token ids of the other prompt, as many.
        answer: the token that should follow the clean prompt.
        foil: the token that should follow the corrupt one.
        sites: where to patch: each site is a set of token places, patched together.
        variant: which variant of the weights reads the pair.
    """

    clean: tuple[int, ...]
    corrupt: tuple[int, ...]
    answer: int
    foil: int
    sites: tuple[tuple[int, ...], ...]
    variant: int = 0


@dataclass(frozen=True, eq=False)
class Effects:
    """What the model says of every pair, as it is and with something replaced.

    The last axis is `METRICS`, read at the prompts' last token: logit of the answer minus logit of
    the foil; log-probability of the answer; Kullback-Leibler divergence of the distribution found
    from that of the unpatched clean run; whether the answer is the likeliest token.

    Attributes:
        values: of the patched runs.
        clean: of the clean prompts, as they are.
        corrupt: of the corrupt prompts, as they are.
        floor: the largest difference between an unpatched run in the same batches as the patched
            ones and the run on its own: what rounding alone does.
        patches: what each patch replaced.
        exact: whether all was computed by the sweep; false where whole prompts were run anew.
    """

    values: Float32[np.ndarray, "pairs sites patches metrics"]
    clean: Float32[np.ndarray, "pairs metrics"]
    corrupt: Float32[np.ndarray, "pairs metrics"]
    floor: Float32[np.ndarray, "pairs metrics"]
    patches: Sequence[Unit] | Sequence[Sequence[Unit]]
    exact: bool = True
