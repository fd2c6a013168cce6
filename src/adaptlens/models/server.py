"""Models that a server has loaded, by its OpenAI-compatible interface: openai:URL#NAME.

What the server offers is found out once, when the model is named: how log-probabilities can be had
of it, its tokenizer, its chat template, its context. Free of torch.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

from adaptlens.errors import UserError, listed, one_line, unknown
from adaptlens.models.http_client import Connection, Limits, Refused
from adaptlens.types import ModelSpec

PREFIX = "openai:"
DTYPE = "served"
"""What stands for the number format of a served model, which its server decides."""

Way = Literal["echo", "next token", "written"]

WAYS: Mapping[Way, str] = {
    "echo": "answers are scored by the log-probabilities that the server gives of the tokens of "
    "prompt and answer (completions with echo), exactly",
    "next token": "answers are scored token by token, by the log-probability that the server gives "
    "of each after all before it (n_probs, up to the whole vocabulary), exactly",
    "written": "it gives no log-probabilities of given answers: choices are read from the text "
    "that it writes, and are right or wrong",
}
"""How answers are scored, the better first, as a sentence after "it is served:"."""

_MOST_KEPT = 50_000
"""Texts whose tokens are kept: the same are asked for again and again."""

_STATED = ("id", "owned_by", "root", "parent", "max_model_len", "meta")
"""What a server states of a model that does not change while it is the same."""

_ROLE = re.compile(r"<\|(system|user|assistant)\|>\n")


@dataclass(frozen=True)
class ServerModel:
    """A model that a server has loaded.

    Attributes:
        source: the name that it is found by, without other prefixes.
        connection: to the server.
        model: what the server calls it.
        stated: what the server states of it.
        way: how answers are scored.
        has_tokenizer: whether the server tells the tokens of a text.
        completes: whether it continues plain text; else it answers messages alone.
        chat_way: the path that writes messages by the model's chat template; "messages" where
            they are sent as they are; empty where there is none.
        context_tokens: the longest prompt with its answer; None where the server does not say.
    """

    source: str
    connection: Connection
    model: str
    stated: Mapping[str, Any]
    way: Way
    has_tokenizer: bool
    completes: bool
    chat_way: str
    context_tokens: int | None
    _tokens: dict[tuple[str, bool], list[int]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def digest(self) -> str:
        """The sha256, in hex, of what is known of it: address, name, what the server states."""
        known = [self.connection.address, self.model, self.stated, self.way]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def spec(self, name: str, chat: bool) -> ModelSpec:
        """Return what a cell says of it."""
        return ModelSpec(name, self.digest, DTYPE, chat, source=name)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its results should know, in sentences."""
        by = one_line(str(self.stated.get("owned_by", "")), 40, 10)
        said = [
            f"It is served by {self.connection.address}{f' ({by})' if by else ''} as "
            f"'{self.model}', and its weights cannot be digested: that it is the same model at "
            "another time is the server's word. Served: " + WAYS[self.way] + "."
        ]
        if not self.completes:
            said.append(
                "Its server takes messages alone: prompts without a chat template are sent as one "
                "message of the user."
            )
        if self.context_tokens is None:
            said.append("Its server states no context length; what is too long, it refuses.")
        return tuple(said)

    def tokens(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Return the tokens of every text, with or without what stands before a whole prompt."""

        def ask(text: str) -> list[int]:
            if not text and not special:
                return []
            found = self.connection.post("/tokenize", _to_tokenize(self.model, text, special))
            return [int(token) for token in found["tokens"]]

        if len(self._tokens) > _MOST_KEPT:
            self._tokens.clear()
        new = [text for text in dict.fromkeys(texts) if (text, special) not in self._tokens]
        found = self.connection.each(ask, new, None)
        self._tokens.update(zip(((text, special) for text in new), found, strict=True))
        return [[*self._tokens[text, special]] for text in texts]

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has by itself; bytes where the server does not tell."""
        if not self.has_tokenizer:
            return [len(text.encode()) for text in texts]
        return [len(ids) for ids in self.tokens(texts, special=False)]

    def chat_text(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return messages as the model's chat template writes them, answer open.

        Where the server takes messages as they are, a text from which `messages_of` makes them.

        Raises:
            UserError: there is no template, or it refuses them.
        """
        own = [dict(message) for message in messages]
        if self.chat_way == "messages":
            text = "".join(f"<|{one['role']}|>\n{one['content']}\n" for one in own)
            if messages_of(text) != own:
                raise UserError(
                    f"a message for '{self.model}' holds a mark such as <|user|>, which its server "
                    "takes for the beginning of another; leave out such items."
                )
            return text
        if self.chat_way == "/apply-template":
            return str(self.connection.post(self.chat_way, {"messages": own})["prompt"])
        if not self.chat_way:
            raise UserError(
                f"the server of '{self.model}' offers no chat template; leave out --chat, and "
                "templates for chat."
            )
        asked = {"model": self.model, "messages": own, "add_generation_prompt": True}
        tokens = self.connection.post("/tokenize", asked)["tokens"]
        found = self.connection.post("/detokenize", {"model": self.model, "tokens": tokens})
        return str(found["prompt"])

    @cached_property
    def prefix_ids(self) -> tuple[int, ...]:
        """The tokens that stand before every prompt (BOS, or none)."""
        whole, bare = (self.tokens(["a"], special=special)[0] for special in (True, False))
        return tuple(whole[: len(whole) - len(bare)]) if whole[-len(bare) :] == bare else ()


def messages_of(text: str) -> list[dict[str, str]]:
    """Return the messages that a text stands for; one of the user's where it names no role."""
    parts = _ROLE.split(text)
    if len(parts) == 1 or parts[0]:
        return [{"role": "user", "content": text}]
    return [
        {"role": role, "content": content.removesuffix("\n")}
        for role, content in zip(parts[1::2], parts[2::2], strict=True)
    ]


def is_named(source: str) -> bool:
    """Return whether a name without other prefixes is that of a served model."""
    return source.startswith(PREFIX)


def label_of(source: str) -> str:
    """Return what tables call the model of a name: what its server calls it."""
    return source.partition("#")[2] or source


_connected: dict[str, ServerModel] = {}


def connect(source: str, limits: Limits) -> ServerModel:
    """Return a served model, asked anew what it is; `named` finds it from then on.

    Models of one server that were connected to under the same limits share its counts.

    Raises:
        UserError: the name is no openai:URL#NAME, or the server cannot be used, or has no such
            model.
    """
    address, model = _parsed(source)
    known = (one.connection for one in _connected.values())
    alike = (one for one in known if (one.address, one.limits) == (address, limits))
    connection = next(alike, None) or Connection(address, limits)
    _connected[source] = _asked(source, connection, model)
    return _connected[source]


def named(source: str) -> ServerModel:
    """Return the served model of a name, which has been connected to.

    Raises:
        UserError: what is done does not take served models.
    """
    if source in _connected:
        return _connected[source]
    raise needs_weights(source)


def needs_weights(source: str, what: str = "this") -> UserError:
    """Return the error for what takes a model's weights, asked of one that is served."""
    return UserError(
        f"the model '{label_of(source)}' is served ({source}) and can only be prompted, by "
        f"`adaptlens compare`; {what} takes its weights: give a folder or hub id instead."
    )


def _parsed(source: str) -> tuple[str, str]:
    """Return the address, without /v1, and the model's name."""
    url, _, model = source.removeprefix(PREFIX).partition("#")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if "@" in url:
        raise UserError(
            "a served model's address has a user name or key in it; expected openai:URL#NAME "
            "without: set the key in the environment, as ADAPTLENS_API_KEY."
        )
    if not whole or parts.query:
        raise UserError(
            f"model '{source}' names no server; expected openai:URL#NAME, for example "
            "openai:http://127.0.0.1:8080/v1#smollm2."
        )
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}", model


def _asked(source: str, connection: Connection, model: str) -> ServerModel:
    """Return the model with what the server says and can."""
    stated = _stated(source, connection, model)
    tokens = _try(connection, "/tokenize", _to_tokenize(model, "a b", True)).get("tokens")
    has_tokenizer = isinstance(tokens, list) and bool(tokens)
    prompt: Any = tokens if has_tokenizer else "a b"
    asked = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0}
    echo = {**asked, "echo": True, "logprobs": 1}
    found = _try(connection, "/v1/completions", echo, counted=True)
    way: Way = "written"
    if _echoes(found, len(prompt) if has_tokenizer else 2):
        way, completes = "echo", True
    elif has_tokenizer and _ranks(_try(connection, "/completion", next_token(prompt, 2), True)):
        way, completes = "next token", True
    else:
        completes = "choices" in (found or _try(connection, "/v1/completions", asked, True))
    limit = stated.get("max_model_len")
    if limit is None and way == "next token":
        props = _try(connection, "/props", None)
        limit = (props.get("default_generation_settings") or {}).get("n_ctx")
    return ServerModel(
        source, connection, model, stated, way, has_tokenizer, completes,
        _chat_way(connection, model, completes),
        limit if has_tokenizer and isinstance(limit, int) and limit > 0 else None,
    )  # fmt: skip


def _stated(source: str, connection: Connection, model: str) -> dict[str, Any]:
    try:
        found = connection.get("/v1/models").get("data")
    except Refused as error:
        raise UserError(
            f"{error}; expected an OpenAI-compatible server, which names its models at /v1/models."
        ) from None
    models = {str(one["id"]): one for one in found or [] if isinstance(one, dict) and "id" in one}
    if not model:
        raise UserError(
            f"model '{source}' names no model of the server after '#'; it has {listed(models)}: "
            f"give for example {source.partition('#')[0]}#{next(iter(models), 'NAME')}."
        )
    if model not in models:
        raise unknown(f"model at {connection.address}", model, models)
    return {name: models[model][name] for name in _STATED if name in models[model]}


def _chat_way(connection: Connection, model: str, completes: bool) -> str:
    if not completes:
        return "messages"
    messages = [{"role": "user", "content": "a"}]
    if "prompt" in _try(connection, "/apply-template", {"messages": messages}):
        return "/apply-template"
    asked = {"model": model, "messages": messages, "add_generation_prompt": True}
    tokens = _try(connection, "/tokenize", asked).get("tokens")
    if not isinstance(tokens, list) or not tokens:
        return ""
    found = _try(connection, "/detokenize", {"model": model, "tokens": tokens})
    return "/tokenize" if isinstance(found.get("prompt"), str) else ""


def next_token(ids: Sequence[int], most: int) -> dict[str, Any]:
    """Return what llama.cpp's server is asked for the likeliest next tokens after others."""
    return {
        "prompt": list(ids), "n_predict": 1, "n_probs": most, "temperature": 0,
        "cache_prompt": True,
    }  # fmt: skip


def likeliest(found: Mapping[str, Any]) -> dict[int, float]:
    """Return the log-probabilities of the tokens in an answer to `next_token`."""
    first = found["completion_probabilities"][0]
    return {int(one["id"]): float(one["logprob"]) for one in first["top_logprobs"]}


def _ranks(found: Mapping[str, Any]) -> bool:
    try:
        return len(likeliest(found)) == 2
    except (KeyError, IndexError, TypeError, ValueError):
        return False


def _echoes(found: Mapping[str, Any], least: int) -> bool:
    """Whether a server gave log-probabilities of the prompt's own tokens."""
    try:
        values = found["choices"][0]["logprobs"]["token_logprobs"]
        return len(values) >= least and all(isinstance(one, float) for one in values[1:least])
    except (KeyError, IndexError, TypeError):
        return False


def _to_tokenize(model: str, text: str, special: bool) -> dict[str, Any]:
    """Return a body that both vLLM and llama.cpp read; each leaves the other's names alone."""
    return {
        "model": model, "prompt": text, "add_special_tokens": special,
        "content": text, "add_special": special, "parse_special": True,
    }  # fmt: skip


def _try(
    connection: Connection, path: str, body: Mapping[str, Any] | None, counted: bool = False
) -> Mapping[str, Any]:
    """Return what a server answers; nothing where it does not know the path or refuses."""
    try:
        if body is None:
            return connection.get(path)
        return connection.post(path, body, counted=counted)
    except Refused:
        return {}
