"""How many operations the parts of a model take."""

from typing import TYPE_CHECKING, Any

import torch

from adaptlens.lm.architecture import attending_layers

if TYPE_CHECKING:
    from adaptlens.lm.load import LM


def matrix_parameters(lm: "LM") -> int:
    """Return the number of weights every token is multiplied with.

    All matrices but tables that are looked up (tokens, learned positions) and the unembedding.
    """
    tables = {id(m.weight) for m in lm.model.modules() if isinstance(m, torch.nn.Embedding)}
    tables.add(id(lm.model.get_output_embeddings().weight))
    return sum(p.numel() for p in lm.model.parameters() if p.ndim >= 2 and id(p) not in tables)


def attention_flops(lm: "LM", visible: float) -> float:
    """Return the operations of scores and mixing, summed over layers, for `visible` token pairs.

    Of layers without attention there are none; see `not_counted`.
    """
    layers = attending_layers(lm.model.config)
    if not layers:
        return 0.0
    config = lm.model.config.get_text_config()
    head_width = (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    return 4.0 * layers * config.num_attention_heads * head_width * visible


def not_counted(config: Any) -> str:
    """Return what the operations counted for a model leave out, in a sentence; "" for nothing.

    Args:
        config: the model's configuration.
    """
    layers, attending = config.get_text_config().num_hidden_layers, attending_layers(config)
    if attending == layers:
        return ""
    return (
        f"{layers - attending} of its {layers} layers mix tokens without attention: FLOPs leave "
        "out what mixes them there, beside the matrices, and no prompt is taken as cached."
    )
