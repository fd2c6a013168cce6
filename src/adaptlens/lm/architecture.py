"""One vocabulary for the parts of every supported architecture, and one way of running them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from adaptlens.errors import UserError
from adaptlens.lm.kept import keeping

QUERY_AND_VALUE = ("q_proj", "v_proj")
"""What LoRA tunes by default (arXiv 2106.09685), by the names most families give it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a family keeps its parts: attribute paths from the model or, per layer, from the layer.

    `mask_by_type` marks families whose backbone takes one mask per kind of attention layer;
    `mlp` may name the last projection where the family has no feed-forward module (OPT).
    """

    backbone: str = "model"
    layers: str = "layers"
    embed: str = "embed_tokens"
    final_norm: str = "norm"
    attention: str = "self_attn"
    mlp: str = "mlp"
    o_proj: str = "o_proj"
    tuning_targets: tuple[str, ...] = QUERY_AND_VALUE
    mask_by_type: bool = False
    window_everywhere: bool = False
    parallel: bool = False
    eager: bool = False


_LLAMA = Layout()
_BY_TYPE = Layout(mask_by_type=True)

LAYOUTS: dict[str, Layout] = {
    "llama": _LLAMA,
    "mistral": Layout(window_everywhere=True),
    "olmo2": _LLAMA,
    "qwen2": _BY_TYPE,
    "qwen3": _BY_TYPE,
    "gemma2": _BY_TYPE,
    "gemma3_text": _BY_TYPE,
    "gemma3": Layout(backbone="model.language_model", mask_by_type=True),
    "phi3": Layout(tuning_targets=("qkv_proj",), window_everywhere=True),
    "gpt2": Layout("transformer", "h", "wte", "ln_f", "attn", "mlp", "c_proj", ("c_attn",)),
    "gpt_neox": Layout(
        "gpt_neox",
        "layers",
        "embed_in",
        "final_layer_norm",
        "attention",
        "mlp",
        "dense",
        ("query_key_value",),
    ),
    # GPT-J's attention is written out in its module; Transformers offers no sdpa for it.
    "gptj": Layout(
        "transformer", "h", "wte", "ln_f", "attn", "mlp", "out_proj", parallel=True, eager=True
    ),
    "opt": Layout(
        backbone="model.decoder", final_norm="final_layer_norm", mlp="fc2", o_proj="out_proj"
    ),
}


@dataclass(frozen=True, eq=False)
class Architecture:
    """The parts of a causal language model, whatever its family calls them.

    Attributes:
        family: the `model_type` of the configuration.
        backbone: maps token ids to final, normed hidden states.
        layers: the blocks; the output of each is a residual stream [batch, seq, width].
        embed: the token embedding; what it returns is already scaled where the family scales.
        final_norm: the norm after the last block; None in the one OPT that has none (350m).
        unembed: maps final hidden states to logits, before `final_softcap`.
        num_kv_heads: heads of keys and values; fewer than `num_heads` under grouped queries.
        head_width: width of one head, read off the output projection, never width // heads.
        tuning_targets: name suffixes of the linear maps that make queries and values; the fused
            projection where the family has one.
        final_softcap: logits are `cap * tanh(logits / cap)` where set (Gemma 2).
        windows: per layer, how many tokens back (itself included) it attends; None for all.
        dtype: number format of the hidden states.
        parallel: attention and feed-forward read the same residual stream (GPT-J, most NeoX).
    """

    family: str
    backbone: nn.Module
    layers: Sequence[nn.Module]
    embed: nn.Module
    final_norm: nn.Module | None
    unembed: nn.Module
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_width: int
    width: int
    vocab: int
    tuning_targets: tuple[str, ...]
    final_softcap: float | None
    windows: tuple[int | None, ...]
    parallel: bool
    dtype: torch.dtype
    layout: Layout = field(repr=False)

    def attention(self, layer: int) -> nn.Module:
        """Return the attention module of a layer."""
        return self.layers[layer].get_submodule(self.layout.attention)

    def o_proj(self, layer: int) -> nn.Module:
        """Return a layer's output projection: its input is the heads side by side, in order."""
        return self.attention(layer).get_submodule(self.layout.o_proj)

    def mlp(self, layer: int) -> nn.Module:
        """Return the module whose output is the feed-forward part of a layer.

        For OPT this is the last projection, and its rows are batch x seq flattened.
        """
        return self.layers[layer].get_submodule(self.layout.mlp)

    def window(self, layer: int) -> int | None:
        """Return how many tokens back (itself included) a layer attends, None for all."""
        return self.windows[layer]

    def masks(
        self,
        allowed: Bool[Tensor, "batch queries keys"],
        query_positions: Int[Tensor, "batch queries"],
        key_positions: Int[Tensor, "batch keys"],
    ) -> Float[Tensor, "batch 1 queries keys"] | dict[str, Float[Tensor, "batch 1 queries keys"]]:
        """Return what the backbone takes as `attention_mask` for exactly these pairs.

        Attention windows are applied by position, so that they hold in a packed tree too: along
        one path of the tree positions are consecutive.

        Args:
            allowed: true where a query may see a key.
            query_positions: place of each query in its own sequence.
            key_positions: place of each key in its own sequence.
        """
        dtype = self.dtype

        def additive(window: int | None) -> Tensor:
            seen = allowed
            if window is not None:
                age = query_positions[:, :, None] - key_positions[:, None, :]
                seen = allowed & (age < window)
            mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
            return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]

        if not self.layout.mask_by_type:
            return additive(self.windows[0])
        window = next((w for w in self.windows if w is not None), None)
        full = additive(None)
        return {
            "full_attention": full,
            "sliding_attention": full if window is None else additive(window),
        }

    def hidden(
        self,
        ids: Int[Tensor, "batch seq"],
        positions: Int[Tensor, "batch seq"],
        allowed: Bool[Tensor, "batch seq keys"],
        key_positions: Int[Tensor, "batch keys"] | None = None,
        cache: Any = None,
    ) -> Float[Tensor, "batch seq width"]:
        """Return the final, normed hidden states under an explicit mask.

        Args:
            ids: the tokens.
            positions: place of each token in its own sequence.
            allowed: which keys each sees; keys are the cached tokens, then `ids`.
            key_positions: places of the keys; `positions` where there is no cache.
            cache: a `DynamicCache()` built without a configuration (it must keep every key also
                where layers attend through a window); it is extended in place.
        """
        keys = positions if key_positions is None else key_positions
        return self.backbone(
            input_ids=ids,
            position_ids=positions,
            attention_mask=self.masks(allowed, positions, keys),
            use_cache=cache is not None,
            **keeping(self.backbone, cache),
        ).last_hidden_state

    def logits(self, hidden: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows vocab"]:
        """Return the logits the model gives at these final hidden states."""
        logits = self.unembed(hidden)
        if self.final_softcap is not None:
            logits = torch.tanh(logits / self.final_softcap) * self.final_softcap
        return logits


def architecture(model: Any) -> Architecture:
    """Return the parts of a Hugging Face causal language model.

    Raises:
        UserError: the family's layout is not known, or the model does not follow it.
    """
    family = model.config.model_type
    layout = LAYOUTS.get(family)
    if layout is None:
        raise UserError(
            f"the architecture '{family}' is not one whose inside is known here; known: "
            f"{', '.join(sorted(LAYOUTS))}; use one of these, or measure behavior only."
        )
    config = model.config.get_text_config()
    backbone = model.get_submodule(layout.backbone)
    layers = backbone.get_submodule(layout.layers)
    num_heads = config.num_attention_heads
    o_proj = layers[0].get_submodule(layout.attention).get_submodule(layout.o_proj)
    embed = backbone.get_submodule(layout.embed)
    unembed = model.get_submodule("lm_head")
    return Architecture(
        family=family,
        backbone=backbone,
        layers=tuple(layers),
        embed=embed,
        final_norm=getattr(backbone, layout.final_norm),
        unembed=unembed,
        num_layers=len(layers),
        num_heads=num_heads,
        num_kv_heads=getattr(config, "num_key_value_heads", None) or num_heads,
        head_width=_in_features(o_proj) // num_heads,
        width=config.hidden_size,
        vocab=embed.num_embeddings,
        tuning_targets=layout.tuning_targets,
        final_softcap=getattr(config, "final_logit_softcapping", None),
        windows=_windows(config, layout, len(layers)),
        parallel=layout.parallel or bool(getattr(config, "use_parallel_residual", False)),
        dtype=embed.weight.dtype,
        layout=layout,
    )


def attention_implementation(config: Any) -> str | None:
    """Return the attention code that is right for the model and takes an explicit 4D mask.

    That is PyTorch's fused attention, except where Transformers offers none for the family (GPT-J,
    Gemma 2) or scores are soft-capped, which it leaves out; None leaves the choice to
    Transformers, for families not known here.
    """
    layout = LAYOUTS.get(config.model_type)
    if layout is None:
        return None
    known: Any = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    offered = getattr(known.get(type(config), None), "_supports_sdpa", True)
    softcap = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if layout.eager or not offered or softcap is not None else "sdpa"


def attending_layers(config: Any) -> int:
    """Return in how many layers tokens attend to each other; in others a recurrence mixes them.

    A layer that does both, as in hybrids of one kind of layer, is not among them.
    """
    text = config.get_text_config()
    if not getattr(text, "num_attention_heads", None):
        return 0
    kinds = getattr(text, "layer_types", None) or getattr(text, "layers_block_type", None)
    if not kinds:
        return int(text.num_hidden_layers)
    return sum(kind.endswith("attention") and kind != "linear_attention" for kind in kinds)


def _in_features(linear: Any) -> int:
    """Return the input width of a linear map, also of GPT-2's transposed `Conv1D`."""
    return linear.in_features if hasattr(linear, "in_features") else linear.weight.shape[0]


def _windows(config: Any, layout: Layout, num_layers: int) -> tuple[int | None, ...]:
    """Return each layer's attention window.

    Raises:
        UserError: a kind of layer whose attention is not known here.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ()
    if unknown := sorted({*kinds} - {"full_attention", "sliding_attention"}):
        raise UserError(
            f"the configuration names layers of type '{unknown[0]}'; known here: full_attention, "
            "sliding_attention; use another model, or measure behavior only."
        )
    if layout.window_everywhere:
        return (window,) * num_layers
    if not layout.mask_by_type:
        return (None,) * num_layers
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)
