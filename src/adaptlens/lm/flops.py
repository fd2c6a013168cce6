"""How many operations the parts of a model take."""

import torch

from adaptlens.lm.load import LM


def matrix_parameters(lm: LM) -> int:
    """Return the number of weights every token is multiplied with.

    All matrices but tables that are looked up (tokens, learned positions) and the unembedding.
    """
    tables = {id(m.weight) for m in lm.model.modules() if isinstance(m, torch.nn.Embedding)}
    tables.add(id(lm.model.get_output_embeddings().weight))
    return sum(p.numel() for p in lm.model.parameters() if p.ndim >= 2 and id(p) not in tables)


def attention_flops(lm: LM, visible: float) -> float:
    """Return the operations of scores and mixing, summed over layers, for `visible` token pairs."""
    config = lm.model.config.get_text_config()
    head_width = (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    return 4.0 * config.num_hidden_layers * config.num_attention_heads * head_width * visible
