"""A served model, asked what measurements ask: log-likelihoods of answers, and continuations."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from adaptlens.errors import UserError
from adaptlens.lm.prefix.boundaries import Request, encode
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.models.server import ServerModel, likeliest, messages_of, next_token
from adaptlens.types import Prompt, Template

_UNLIMITED_TOKENS = 2**31
_FIRST_LIKELIEST = 50
"""Of the next tokens; where the wanted one is not among them, ever more are asked for."""
_MOST_STOPS = 4
"""Texts that end an answer, as OpenAI takes them; what others leave is cut here."""
_PLAIN = {"repetition_penalty": 1.0, "repeat_penalty": 1.0, "top_k": -1}
"""Against what a server may add to greedy decoding by itself; for those that know more settings."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model behind a server. Prompting arms can ask it; it has no weights here.

    Attributes:
        name: what the user called it.
        at: the model, as its server has it.
        chat: whether prompts are rendered with its chat template.
    """

    name: str
    at: ServerModel
    chat: bool = False

    device = None
    flops_a_token = None
    tokenizer = None
    eos_ids = ()

    @property
    def digest(self) -> str:
        """The digest of what its server says of it."""
        return self.at.digest

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results should know about the model, in sentences."""
        return self.at.notes

    @property
    def scores_answers(self) -> bool:
        """Whether the server gives log-probabilities of answers."""
        return self.at.way != "written"

    @property
    def context_tokens(self) -> int:
        """The longest prompt with its answer; far more where the server does not say."""
        return self.at.context_tokens or _UNLIMITED_TOKENS

    def used(self) -> dict[str, float]:
        """Return what its server has answered so far, by name."""
        return self.at.connection.used.numbers()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, led by BOS where the server puts it."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `encode` of every text; a BOS that the text has itself is not put twice."""
        found = self.at.tokens(texts, special=True)
        start = list(self.at.prefix_ids)
        size = len(start)
        return [
            ids[size:] if start and ids[:size] == ids[size : 2 * size] == start else ids
            for ids in found
        ]

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has by itself."""
        return self.at.token_counts(texts)

    def chat_of(self, template: Template) -> Callable[[list[dict[str, str]]], str] | None:
        """Return what writes messages for prompts under a template; None for the plain layout."""
        return self.at.chat_text if self.chat or template.chat else None

    def log_likelihoods(
        self,
        prompts: Sequence[Prompt],
        variants: Sequence[int] | None = None,
        weights: Any = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        work: ForwardStats | None = None,
    ) -> list[Float64[np.ndarray, " _"]]:
        """Return per prompt the summed log-probability of each of its answers.

        Raises:
            UserError: the server cannot be asked, gives none, or some that are no numbers.
        """
        at, work = weights.at if weights else self.at, work or ForwardStats()
        before = at.connection.used.read_tokens
        if at.way == "written":
            raise UserError(
                f"the server of '{self.name}' gives no log-probabilities of given texts, which "
                "this takes; leave it out, or serve the model by vLLM, SGLang or llama.cpp."
            )
        if at.has_tokenizer:
            requests = encode(self, prompts, variants, work=work)  # type: ignore[arg-type]
            ask = _echoed if at.way == "echo" else _token_by_token
            found = ask(at, requests, progress)
        else:
            found = _echoed_texts(at, prompts, progress)
        work.tokens_computed += at.connection.used.read_tokens - before
        for prompt, scores in zip(prompts, found, strict=True):
            if len(wrong := np.flatnonzero(~np.isfinite(scores))):
                raise UserError(
                    f"the server of '{self.name}' gives {scores[wrong[0]]} as the log-probability "
                    f"of answer {wrong[0] + 1} of query {prompt.query_id}; see its log, or use "
                    "another model."
                )
        return found

    def continuations(
        self,
        prompts: Sequence[Prompt],
        variants: Sequence[int] | None,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        weights: Any = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        work: ForwardStats | None = None,
    ) -> list[str]:
        """Return the greedy continuation of every prompt, cut before the first stop text.

        Raises:
            UserError: the server cannot be asked.
        """
        at = weights.at if weights else self.at
        texts = sorted({prompt.text for prompt in prompts})
        asked = {"model": at.model, "max_tokens": max_new_tokens, "temperature": 0}
        if stop:
            asked["stop"] = [*stop[:_MOST_STOPS]]
        if at.has_tokenizer:
            asked |= _PLAIN

        def ask(text: str) -> str:
            if not at.completes:
                body = {**asked, "messages": messages_of(text)}
                found = at.connection.post("/v1/chat/completions", body, counted=True)
                return _first(found)["message"]["content"] or ""
            prompt: Any = self.encode(text) if at.has_tokenizer else text
            found = at.connection.post("/v1/completions", {**asked, "prompt": prompt}, counted=True)
            return str(_first(found)["text"])

        written = dict(zip(texts, at.connection.each(ask, texts, progress), strict=True))
        return [_cut(written[prompt.text], stop) for prompt in prompts]


@dataclass
class ServedWeights:
    """Weights that a server has under a name of their own: one variant."""

    at: ServerModel
    num_variants: int = 1
    mixes_rows: bool = True
    notes: tuple[str, ...] = ()

    def routed(self, variants: Sequence[int]) -> AbstractContextManager[None]:
        """Return a context that does nothing: requests name the weights."""
        return nullcontext()

    def adapts(self, module: Any) -> bool:
        """Return false: there are no modules here."""
        return False

    def save(self, folder: Any, names: Sequence[str]) -> None:
        """Write nothing: they are the server's."""


def _echoed(
    at: ServerModel, requests: Sequence[Request], progress: Callable[[int, int], None] | None
) -> list[np.ndarray]:
    """Return scores by prompt and answer sent as tokens, whose log-probabilities come back."""
    whole = sorted({(*one.prompt_ids, *answer) for one in requests for answer in one.answers_ids})

    def ask(ids: tuple[int, ...]) -> list[float]:
        values = _echo(at, list(ids))["token_logprobs"][: len(ids)]
        if len(values) < len(ids):
            raise UserError(f"the server of '{at.model}' left out log-probabilities; see its log.")
        return values

    values = dict(zip(whole, at.connection.each(ask, whole, progress), strict=True))
    return [
        np.array(
            [
                _sum(values[(*one.prompt_ids, *answer)][len(one.prompt_ids) + skipped :])
                for answer, skipped in zip(one.answers_ids, _given(one), strict=True)
            ]
        )
        for one in requests
    ]


def _token_by_token(
    at: ServerModel, requests: Sequence[Request], progress: Callable[[int, int], None] | None
) -> list[np.ndarray]:
    """Return scores by the next token of every prompt, and of every beginning of an answer.

    In the order of their tokens, so that those that begin alike follow each other and the server
    reads what they share once.
    """
    wanted: dict[tuple[int, ...], set[int]] = {}
    for one in requests:
        for answer, skipped in zip(one.answers_ids, _given(one), strict=True):
            for place in range(skipped, len(answer)):
                before = (*one.prompt_ids, *answer[:place])
                wanted.setdefault(before, set()).add(answer[place])
    order = sorted(wanted)

    def ask(ids: tuple[int, ...]) -> dict[int, float]:
        most, last = _FIRST_LIKELIEST, 0
        while True:
            body = next_token(ids, most)
            found = likeliest(at.connection.post("/completion", body, counted=True))
            if wanted[ids] <= found.keys():
                return {token: found[token] for token in wanted[ids]}
            if len(found) <= last:
                return {token: found.get(token, math.nan) for token in wanted[ids]}
            last, most = len(found), 20 * most

    found = dict(zip(order, at.connection.each(ask, order, progress), strict=True))
    return [
        np.array(
            [
                _sum(
                    [
                        found[(*one.prompt_ids, *answer[:place])][answer[place]]
                        for place in range(skipped, len(answer))
                    ]
                )
                for answer, skipped in zip(one.answers_ids, _given(one), strict=True)
            ]
        )
        for one in requests
    ]


def _echoed_texts(
    at: ServerModel, prompts: Sequence[Prompt], progress: Callable[[int, int], None] | None
) -> list[np.ndarray]:
    """Return scores by texts sent whole, of a server that does not tell their tokens.

    Scoring begins at the first token that reaches beyond the prompt, or beyond what of an answer is
    only read; where that differs between the answers of a prompt, at the earliest.
    """
    whole = sorted({prompt.text + answer for prompt in prompts for answer in prompt.answers})

    def ask(text: str) -> Mapping[str, Any]:
        return _echo(at, text)

    found = dict(zip(whole, at.connection.each(ask, whole, progress), strict=True))
    scores = []
    for prompt in prompts:
        rows = [found[prompt.text + answer] for answer in prompt.answers]
        ends = [
            [*row["text_offset"][1:], len(prompt.text + answer)]
            for row, answer in zip(rows, prompt.answers, strict=True)
        ]
        texts = [prompt.text + a for a in prompt.answers]
        starts = [
            sum(end <= len(prompt.text) + given for end in own[: _inside(row, text)])
            for own, row, text, given in zip(
                ends, rows, texts, prompt.given or (0,) * len(rows), strict=True
            )
        ]
        starts = starts if any(prompt.given) else [min(starts)] * len(starts)
        scores.append(
            np.array(
                [
                    _sum(row["token_logprobs"][start : _inside(row, text)])
                    for row, start, text in zip(rows, starts, texts, strict=True)
                ]
            )
        )
    return scores


def _inside(row: Mapping[str, Any], text: str) -> int:
    """Return how many tokens of an echo are the text's own, without what was generated after it."""
    return sum(offset < len(text) for offset in row["text_offset"])


def _echo(at: ServerModel, prompt: Any) -> Mapping[str, Any]:
    body = {
        "model": at.model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True,
        "logprobs": 1,
    }  # fmt: skip
    return _first(at.connection.post("/v1/completions", body, counted=True))["logprobs"]


def _first(found: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return found["choices"][0]
    except (KeyError, IndexError, TypeError):
        raise UserError(
            f"a server answered without choices ({str(found)[:80]}); expected an OpenAI-compatible "
            "one: see its log."
        ) from None


def _given(request: Request) -> Sequence[int]:
    return request.given or (0,) * len(request.answers_ids)


def _sum(values: Sequence[float | None]) -> float:
    return math.fsum(math.nan if value is None else value for value in values)


def _cut(text: str, stop: Sequence[str]) -> str:
    cuts = [text.index(mark) for mark in stop if mark in text]
    return text[: min(cuts, default=len(text))]
