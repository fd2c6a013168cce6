"""Log-likelihoods of answers: shared prompts read once, logits only where an answer is scored."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int

from adaptlens.errors import UserError
from adaptlens.lm.finite import not_finite
from adaptlens.lm.generate import generate
from adaptlens.lm.load import LM
from adaptlens.lm.memory import default_budget, halving
from adaptlens.lm.prefix.boundaries import Request, encode
from adaptlens.lm.prefix.forward import (
    ForwardRequest,
    ForwardStates,
    Progress,
    run_forward,
)
from adaptlens.lm.prefix.walk import ForwardStats, acting_at, virtual_ids
from adaptlens.lm.states import as_variant
from adaptlens.types import Weights

__all__ = ["Request", "encode", "generate", "score"]


def score(
    lm: LM,
    requests: Sequence[Request],
    weights: Weights | None = None,
    *,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
    work: ForwardStats | None = None,
    greedy: list[Bool[np.ndarray, " _"]] | None = None,
) -> list[Float64[np.ndarray, " _"]]:
    """Return per request the summed log-probability of each of its answers.

    The same numbers as one forward pass per prompt and answer. An answer's last token is never
    fed, so answers of one token cost nothing beyond the prompt.

    Args:
        lm: the model.
        requests: prompts and answers.
        weights: weight changes, `request.variant` says which; None reads by the base model.
        budget_bytes: memory for a pass; None plans for what is free.
        progress: called with (sequences done, all).
        work: counters to add to.
        greedy: is given, per request, whether each answer is what greedy decoding would write.

    Raises:
        UserError: a request does not fit the context or the memory, or a log-probability is not a
            finite number.
    """
    work = work if work is not None else ForwardStats()
    budget = budget_bytes or default_budget(lm.device)
    fed: dict[tuple[int, tuple[int, ...]], int] = {}
    first: list[int] = []
    askers: list[list[tuple[int, int, int, tuple[int, ...]]]] = []
    for r, request in enumerate(requests):
        for c, answer in enumerate(request.answers_ids):
            given = request.given[c] if request.given else 0
            start = len(request.prompt_ids) - 1 + given
            key = (request.variant if weights else 0, request.prompt_ids + answer[:-1])
            n = fed.setdefault(key, len(fed))
            if n == len(first):
                first.append(start)
                askers.append([])
            first[n] = min(first[n], start)
            askers[n].append((r, c, start, answer[given:]))
    loglik = [np.zeros(len(request.answers_ids)) for request in requests]
    likeliest = [np.ones(len(request.answers_ids), bool) for request in requests]
    if greedy is not None:
        greedy[:] = likeliest

    def on_states(found: ForwardStates) -> None:
        nodes: list[np.ndarray] = []
        targets: list[int] = []
        owners: list[tuple[int, int]] = []
        for n, places in found.nodes.items():
            for r, c, start, answer in askers[n]:
                nodes.append(places[start - first[n] :])
                targets.extend(answer)
                owners.extend([(r, c)] * len(answer))
        at, which = np.concatenate(nodes), np.array(targets)
        logprob, best = _logprob(found, at, which, budget, compare=greedy is not None)
        if len(wrong := np.flatnonzero(~np.isfinite(logprob))):
            raise _refusal(lm, requests, [owners[i] for i in wrong], weights)
        for (r, c), value in zip(owners, logprob, strict=True):
            loglik[r][c] += value
        if greedy is not None:
            for (r, c), is_best in zip(owners, best, strict=True):
                likeliest[r][c] &= is_best

    asked = ForwardRequest(
        sequences=[ids for _, ids in fed], first=first, variants=[variant for variant, _ in fed]
    )
    run_forward(
        lm, asked, on_states, weights=weights, budget_bytes=budget, progress=progress, work=work
    )
    return loglik


def _refusal(
    lm: LM,
    requests: Sequence[Request],
    wrong: Sequence[tuple[int, int]],
    weights: Weights | None,
) -> UserError:
    """Return the error that names the first answer whose score is no number.

    One that is none reaches others of its pass, so each is scored on its own, in order.

    Args:
        lm: the model.
        requests: all that were asked.
        wrong: request and answer, of scores that came out as no numbers.
        weights: weight changes.
    """
    said, before = {place: math.nan for place in wrong}, virtual_ids(weights)
    for r, c in dict.fromkeys(wrong):
        request = requests[r]
        whole = (*before, *request.prompt_ids, *request.answers_ids[c])
        ids = torch.tensor([whole], device=lm.device)
        start = len(before) + len(request.prompt_ids) - 1
        places = torch.arange(start, ids.shape[1], device=lm.device)
        with as_variant(weights, request.variant), acting_at(weights, places):
            logs = lm.model(input_ids=ids).logits[0].float().log_softmax(-1)
        own = logs[start:-1].gather(1, ids[0, start + 1 :, None]).sum()
        if not bool(own.isfinite()):
            said = {(r, c): float(own)}
            break
    (r, c), value = next(iter(said.items()))
    what = f"the log-probability of answer {c + 1} of query {requests[r].query_id or r}"
    return not_finite(value, lm.name, what)


def _logprob(
    found: ForwardStates,
    nodes: Int[np.ndarray, " tokens"],
    targets: Int[np.ndarray, " tokens"],
    budget_bytes: int,
    *,
    compare: bool,
) -> tuple[Float64[np.ndarray, " tokens"], Bool[np.ndarray, " tokens"]]:
    """Return log p(targets[i] | what node nodes[i] has read), softmax in float32.

    And, where `compare` asks for it, whether no other token is likelier (the first of equals).
    """
    out, best = np.zeros(len(nodes)), np.zeros(len(nodes), bool)
    by_node = np.argsort(nodes, kind="stable")
    in_order = nodes[by_node]
    # Logits in the model's format, then in float32, and the exponentials under their sum.
    first = found.logits(0, 1)
    vocab, device = first.shape[1], first.device
    most, what = budget_bytes // (12 * vocab), f"logits over a vocabulary of {vocab} do not fit"
    for chunk in halving(found.num_nodes, most, device, what):
        with chunk as (low, high):
            logits = found.logits(low, high).float()
            total = logits.logsumexp(dim=-1)
            some = by_node[np.searchsorted(in_order, low) : np.searchsorted(in_order, high)]
            at = torch.from_numpy(nodes[some] - low).to(logits.device)
            which = torch.from_numpy(targets[some]).to(logits.device)
            out[some] = (logits[at, which] - total[at]).double().cpu().numpy()
            if compare:
                best[some] = (logits.argmax(dim=-1)[at] == which).cpu().numpy()
    return out, best
