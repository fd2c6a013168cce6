"""The recipes of the reference models and of the ladder. Torch-free."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps that read batches of the same shape from the same mix, one document a row."""

    mix: str
    steps: int
    rows: int
    row_tokens: int


CURRICULUM = (
    Stage("repeats", 700, 32, 64),
    Stage("pairs", 700, 32, 128),
    Stage("world", 800, 32, 192),
    Stage("world", 400, 8, 768),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number that decides the weights, besides the seed.

    The rate rises over `warmup_steps`, stays until stage number `decay_from`, and falls as a cosine
    from there on. Answer tokens weigh 1 in the loss, tokens of running text
    `text_weight` and all others `rest_weight`; of the last two a random `rest_share` is kept and
    weighs accordingly more, which leaves the expected loss as it is and saves most of the logits.
    `dtype` is that of the weights on disk; they are trained in float32. A model of the ladder has
    an `exposure` (see `zoo/ladder_corpus.py`).
    """

    corpus: str = "microworld"
    stages: tuple[Stage, ...] = CURRICULUM
    decay_from: int = 2
    rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    text_weight: float = 0.2
    rest_weight: float = 0.05
    rest_share: float = 0.25
    layers: int = 4
    heads: int = 4
    width: int = 128
    mlp_width: int = 320
    context_tokens: int = 8192
    family: str = "llama"
    kv_heads: int = 0
    dtype: str = "float32"
    exposure: str = ""

    def described(self) -> dict[str, Any]:
        """Return the recipe as data, without what older recipes did not know where it is unused."""
        unused = {"family": "llama", "kv_heads": 0, "dtype": "float32", "exposure": ""}
        fields = asdict(self)
        return {key: v for key, v in fields.items() if key not in unused or v != unused[key]}

    @property
    def steps(self) -> int:
        """The number of steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[int, Stage, int]:
        """Return the number of the stage of a step, the stage, and the steps done in it."""
        for number, stage in enumerate(self.stages):
            if step < stage.steps:
                return number, stage, step
            step -= stage.steps
        raise IndexError(f"step is beyond the last of {self.steps}")

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        first = sum(stage.steps for stage in self.stages[: self.decay_from])
        done = max(0, step - first) / max(1, self.steps - first)
        return (
            self.rate
            * min(1.0, (step + 1) / self.warmup_steps)
            * 0.5
            * (1 + float(np.cos(np.pi * done)))
        )


RECIPES = {
    "reference": Recipe(),
    "reference-math": Recipe(
        corpus="formal",
        stages=(
            Stage("repeats", 400, 32, 64),
            Stage("parts", 2000, 32, 96),
            Stage("formal", 2200, 32, 160),
            Stage("formal", 800, 8, 1024),
            Stage("formal", 400, 4, 2048),
        ),
        decay_from=2,
        rest_weight=0.005,
        layers=5,
        mlp_width=304,
    ),
}


def _climb(exposure: str) -> tuple[Stage, ...]:
    """Return the stages of a rung: short repeats first, from which small models learn to copy."""
    return (
        Stage(f"repeats-{exposure}", 600, 64, 32),
        Stage(f"repeats-{exposure}", 300, 32, 64),
        Stage(f"pairs-{exposure}", 700, 32, 128),
        Stage(f"world-{exposure}", 800, 32, 192),
        Stage(f"world-{exposure}", 100, 16, 512),
    )


@dataclass(frozen=True, slots=True)
class Size:
    """Layers, width and rate of one rung, and the width of its MLP in each family."""

    layers: int
    heads: int
    width: int
    mlp_width: dict[str, int]
    rate: float


FAMILIES = {"llama": "Llama", "neox": "GPT-NeoX", "qwen": "Qwen3"}
"""Family of the ladder -> its name. Qwen3 halves the key-value heads and normalises q and k."""
SIZES = {
    "s": Size(3, 2, 64, {"llama": 160, "neox": 240, "qwen": 176}, 4e-3),
    "m": Size(4, 4, 128, {"llama": 232, "neox": 348, "qwen": 272}, 2e-3),
    "l": Size(6, 6, 192, {"llama": 384, "neox": 576, "qwen": 448}, 1.5e-3),
}


def _rung(family: str, size: str, exposure: str = "much") -> Recipe:
    shape = SIZES[size]
    return Recipe(
        corpus="ladder",
        stages=_climb(exposure),
        decay_from=3,
        rate=shape.rate,
        layers=shape.layers,
        heads=shape.heads,
        width=shape.width,
        mlp_width=shape.mlp_width[family],
        context_tokens=2048,
        family=family,
        kv_heads=shape.heads // 2 if family == "qwen" else 0,
        dtype="float16",
        exposure=exposure,
    )


LADDER = {
    **{f"ladder-{family}-s": _rung(family, "s") for family in FAMILIES},
    **{f"ladder-{family}-m": _rung(family, "m") for family in FAMILIES},
    **{f"ladder-llama-m-{level}": _rung("llama", "m", level) for level in ("none", "little")},
    **{f"ladder-{family}-l": _rung(family, "l") for family in FAMILIES},
}
"""Name -> recipe, in the order they are trained in."""
RECIPES |= LADDER
