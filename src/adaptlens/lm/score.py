"""Log-likelihoods of answers: shared prompts read once, logits only where an answer is scored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from adaptlens.lm.forward import Found, Progress, Work, default_budget, is_out_of_memory, read
from adaptlens.lm.load import LM
from adaptlens.values import Weights


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, the answers to score after it, and who reads it.

    Attributes:
        prompt_ids: tokens before the answers, at least one.
        answers_ids: per answer its tokens, each at least one; empty where text is generated.
        variant: the variant of the weights that reads it.
    """

    prompt_ids: tuple[int, ...]
    answers_ids: tuple[tuple[int, ...], ...] = ()
    variant: int = 0


def score(
    lm: LM,
    requests: Sequence[Request],
    weights: Weights | None = None,
    *,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
    work: Work | None = None,
) -> list[np.ndarray]:
    """Return per request the summed log-probability of each of its answers, float64 [choices].

    The same numbers as one forward pass per prompt and answer. An answer's last token is never
    fed, so answers of one token cost nothing beyond the prompt.

    Args:
        lm: the model.
        requests: prompts and answers.
        weights: weight changes, `request.variant` says which; None reads by the base model.
        budget_bytes: memory for a pass; None plans for what is free.
        progress: called with (sequences done, all).
        work: counters to add to.

    Raises:
        UserError: a request does not fit the context or the memory.
    """
    work = work if work is not None else Work()
    budget = budget_bytes or default_budget(lm.device)
    fed: dict[tuple[int, tuple[int, ...]], int] = {}
    first: list[int] = []
    askers: list[list[tuple[int, int, int, tuple[int, ...]]]] = []
    for r, request in enumerate(requests):
        start = len(request.prompt_ids) - 1
        for c, answer in enumerate(request.answers_ids):
            key = (request.variant if weights else 0, request.prompt_ids + answer[:-1])
            n = fed.setdefault(key, len(fed))
            if n == len(first):
                first.append(start)
                askers.append([])
            first[n] = min(first[n], start)
            askers[n].append((r, c, start, answer))
    loglik = [np.zeros(len(request.answers_ids)) for request in requests]

    def take(found: Found) -> None:
        nodes, targets, owners = [], [], []
        for n, places in found.nodes.items():
            for r, c, start, answer in askers[n]:
                nodes.append(places[start - first[n] :])
                targets.extend(answer)
                owners.extend([(r, c)] * len(answer))
        logprob = _logprob(lm, found.final, np.concatenate(nodes), np.array(targets), budget)
        for (r, c), value in zip(owners, logprob, strict=True):
            loglik[r][c] += value

    sequences = [ids for _, ids in fed]
    variants = [variant for variant, _ in fed]
    read(
        lm,
        sequences,
        first,
        take,
        variants=variants,
        weights=weights,
        budget_bytes=budget,
        progress=progress,
        work=work,
    )
    return loglik


def _logprob(
    lm: LM, hidden: torch.Tensor, nodes: np.ndarray, targets: np.ndarray, budget_bytes: int
) -> np.ndarray:
    """Return log p(targets[i] | hidden[nodes[i]]), float64 [n], softmax in float32, in chunks."""
    assert lm.anatomy is not None
    # Logits in the model's format, then in float32, and the exponentials under their sum.
    chunk = max(budget_bytes // (12 * lm.anatomy.vocab), 1)
    out = np.zeros(len(nodes))
    by_node = np.argsort(nodes, kind="stable")
    low = 0
    while low < len(hidden):
        high = min(low + chunk, len(hidden))
        try:
            logits = lm.anatomy.logits(hidden[low:high]).float()
            total = logits.logsumexp(dim=-1)
        except RuntimeError as error:
            if not is_out_of_memory(error) or chunk == 1:
                raise
            chunk = max(chunk // 2, 1)
            continue
        some = by_node[np.searchsorted(nodes[by_node], low) : np.searchsorted(nodes[by_node], high)]
        at = torch.from_numpy(nodes[some] - low).to(hidden.device)
        which = torch.from_numpy(targets[some]).to(hidden.device)
        out[some] = (logits[at, which] - total[at]).double().cpu().numpy()
        low = high
    return out
