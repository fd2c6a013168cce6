"""What training took: operations, seconds, tokens, memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from adaptlens.adapt.loop import History
from adaptlens.lm.flops import attention_flops, matrix_parameters
from adaptlens.lm.load import LM


def account(
    lm: LM,
    histories: Sequence[History],
    losses: np.ndarray,
    num_parameters: int,
    num_draws: int,
    *,
    full: bool,
) -> dict[str, Any]:
    """Return what training took, per draw: everything tried for a draw counts.

    `seconds`, `tokens_*`, `flops` are per draw; `losses` is [draws][steps].
    """
    computed = sum(history.tokens_computed for history in histories)
    flops = sum(training_flops(lm, history, 0 if full else num_parameters) for history in histories)
    return {
        "seconds": sum(history.seconds for history in histories) / num_draws,
        "flops": flops / num_draws,
        "tokens_given": sum(history.tokens_given for history in histories) / num_draws,
        "tokens_computed": computed / num_draws,
        "trained_parameters": num_parameters,
        "peak_bytes": max(history.peak_bytes for history in histories),
        "losses": [[round(float(x), 6) for x in own[~np.isnan(own)]] for own in losses.T],
    }


def training_flops(lm: LM, history: History, adapter_parameters: int = 0) -> float:
    """Return the floating-point operations of training, shared tokens once, padding included.

    Per token and weight matrix number: 2 forward and 2 backward for the activations, and 2 more
    for its own gradient where it is trained: 6 for full tuning (Kaplan et al. 2020, arXiv
    2001.08361, section 2.1), 4 under LoRA plus 6 per adapter number. Per query-key pair, layer and
    unit of heads' width: 4 forward (scores, weighted values), 8 backward. The unembedding is paid
    for label tokens alone. Norms, activations and the optimiser are not counted.

    Args:
        lm: the model.
        history: what was run.
        adapter_parameters: numbers of one adapter; 0 for full tuning.
    """
    each = 4 if adapter_parameters else 6
    matrices = matrix_parameters(lm)
    unembedding = lm.model.get_output_embeddings().weight.numel()
    return (
        history.tokens_computed * (each * matrices + 6.0 * adapter_parameters)
        + 3 * attention_flops(lm, history.pairs_computed)
        + history.label_tokens * float(each) * unembedding
    )
