"""What training took: operations, seconds, tokens, memory; of one run, and of all that was tried.

Two counts stand side by side. *Given* is what a plain PEFT trainer reads for the same steps: every
token of every example, padding left out, logits at each of them. *Computed* is what was run here:
prefixes that examples share once, padding included, logits where a label is predicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from adaptlens.adapt.batches import Counts
from adaptlens.adapt.loop import History
from adaptlens.lm.flops import attention_flops, matrix_parameters
from adaptlens.lm.load import LM

NOTHING = Counts()


@dataclass(frozen=True)
class Chosen:
    """The training that a draw's weights come from: which variant of which history, how far."""

    history: History
    variant: int
    steps: int


def training_cost(
    lm: LM,
    histories: Sequence[History],
    losses: Float[np.ndarray, "steps draws"],
    num_parameters: int,
    chosen: Sequence[Chosen],
    *,
    token_parameters: int | None,
    choosing: Counts = NOTHING,
    before: Counts = NOTHING,
) -> dict[str, Any]:
    """Return what training took, as means over draws, and in `runs` draw by draw.

    Names without `tried_` are about one run, that with the chosen rate and steps: `flops` and
    `tokens_given` as a plain PEFT trainer would do it, `flops_computed` and `tokens_computed` as
    done here. `tried_` is everything tried for a draw, reading the items that choose included.
    Models that are trained together have no seconds of their own: `seconds_amortized` are those of
    all together, shared out by tokens computed.

    Args:
        lm: the model.
        histories: all training there was.
        losses: of the chosen runs.
        num_parameters: trained in each run.
        chosen: the run of each draw.
        token_parameters: how many of these every token is multiplied by, beside the frozen base;
            None where the base itself was trained.
        choosing: what was read to choose among candidates.
        before: what was read, for all draws, to make what they are trained on.
    """
    num_draws = len(chosen)
    runs = [_run(lm, one, token_parameters) for one in chosen]
    made = {
        "flops": reading_flops(lm, *_given(before)) / num_draws,
        "flops_computed": reading_flops(lm, *_computed(before)) / num_draws,
        "tokens_given": before.tokens_given / num_draws,
        "tokens_computed": before.tokens_computed / num_draws,
    }
    runs = [{name: own + made.get(name, 0.0) for name, own in run.items()} for run in runs]
    total = Counts(*np.sum([history.total for history in histories], axis=0))
    tried = {
        "flops": training_flops(lm, *_given(total), token_parameters)
        + reading_flops(lm, *_given(choosing)),
        "flops_computed": training_flops(lm, *_computed(total), token_parameters)
        + reading_flops(lm, *_computed(choosing)),
        "tokens_given": total.tokens_given + choosing.tokens_given,
        "tokens_computed": total.tokens_computed + choosing.tokens_computed,
        "seconds_amortized": sum(history.seconds for history in histories),
    }
    return {
        **{name: sum(run[name] for run in runs) / num_draws for name in tried},
        **{
            f"tried_{name}": value / num_draws + made.get(name, 0.0)
            for name, value in tried.items()
        },
        "trained_parameters": num_parameters,
        "peak_bytes": max(history.peak_bytes for history in histories),
        "runs": runs,
        "losses": [[round(float(x), 6) for x in own[~np.isnan(own)]] for own in losses.T],
    }


def _run(lm: LM, chosen: Chosen, token_parameters: int | None) -> dict[str, float]:
    """Return what one run took."""
    history = chosen.history
    counts = history.of_run(chosen.variant, chosen.steps)
    return {
        "steps": chosen.steps,
        "flops": training_flops(lm, *_given(counts), token_parameters),
        "flops_computed": training_flops(lm, *_computed(counts), token_parameters),
        "tokens_given": counts.tokens_given,
        "tokens_computed": counts.tokens_computed,
        "seconds_amortized": history.seconds
        * counts.tokens_computed
        / max(1.0, history.total.tokens_computed),
    }


def _given(counts: Counts) -> tuple[float, float, float]:
    # Transformers computes the logits of every token, whatever labels the loss is taken on.
    logits = counts.tokens_given - counts.without_logits
    return counts.tokens_given, counts.pairs_given, logits


def _computed(counts: Counts) -> tuple[float, float, float]:
    return counts.tokens_computed, counts.pairs_computed, counts.labels


def training_flops(
    lm: LM, tokens: float, pairs: float, logits: float, adapter_parameters: int | None = None
) -> float:
    """Return the floating-point operations of training.

    Per token and weight matrix number: 2 forward and 2 backward for the activations, and 2 more
    for its own gradient where it is trained: 6 for full tuning (Kaplan et al. 2020, arXiv
    2001.08361, section 2.1), 4 under LoRA plus 6 per adapter number. Per query-key pair, layer and
    unit of heads' width: 4 forward (scores, weighted values), 8 backward. Norms, activations and
    the optimizer are not counted.

    Args:
        lm: the model.
        tokens: read.
        pairs: query-key pairs that see each other.
        logits: tokens whose logits are computed, which pay for the unembedding.
        adapter_parameters: numbers of one adapter that each token is multiplied by; None for
            full tuning.
    """
    each = 6 if adapter_parameters is None else 4
    return (
        tokens * (each * matrix_parameters(lm) + 6.0 * (adapter_parameters or 0))
        + 3 * attention_flops(lm, pairs)
        + logits * float(each) * _unembedding(lm)
    )


def reading_flops(lm: LM, tokens: float, pairs: float, logits: float) -> float:
    """Return the floating-point operations of reading alone, adapters merged; see above."""
    matrices = 2.0 * tokens * matrix_parameters(lm)
    return matrices + attention_flops(lm, pairs) + 2.0 * logits * _unembedding(lm)


def _unembedding(lm: LM) -> int:
    return int(lm.model.get_output_embeddings().weight.numel())
