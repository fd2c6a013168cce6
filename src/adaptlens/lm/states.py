"""Hidden states at the last token of each prompt, in every layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaptlens.lm.forward import Found, Progress, read
from adaptlens.lm.load import LM
from adaptlens.lm.seams import Request
from adaptlens.lm.walk import Work
from adaptlens.values import Weights


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Hidden states of prompts, at their last token.

    Attributes:
        residual: float32 [requests, layers + 1, width], the residual stream: what enters layer 0,
            then what leaves each layer. The last is *before* the final norm, unlike Transformers'
            `hidden_states[-1]`, which is after it in most families.
        final: float32 [requests, width], the last of them after the final norm: what the
            unembedding reads.
    """

    residual: np.ndarray
    final: np.ndarray


def last_token_states(
    lm: LM,
    requests: Sequence[Request],
    weights: Weights | None = None,
    *,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
    work: Work | None = None,
) -> States:
    """Return the states at each prompt's last token; answers are not read.

    Raises:
        UserError: the model's inside is not known, or a prompt does not fit.
    """
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    owner = [
        numbers.setdefault((r.variant if weights else 0, r.prompt_ids), len(numbers))
        for r in requests
    ]
    residual: list[np.ndarray] = [np.zeros(0)] * len(numbers)
    final: list[np.ndarray] = [np.zeros(0)] * len(numbers)

    def take(found: Found) -> None:
        assert found.residual is not None and found.final is not None
        streams = found.residual.cpu().numpy()
        normed = found.final.float().cpu().numpy()
        for n, places in found.nodes.items():
            residual[n], final[n] = streams[places[-1]], normed[places[-1]]

    read(
        lm,
        [ids for _, ids in numbers],
        [len(ids) - 1 for _, ids in numbers],
        take,
        variants=[variant for variant, _ in numbers],
        weights=weights,
        layers=True,
        budget_bytes=budget_bytes,
        progress=progress,
        work=work,
    )
    return States(np.stack([residual[n] for n in owner]), np.stack([final[n] for n in owner]))
