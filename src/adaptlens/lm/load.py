"""A model name becomes a language model that is ready to be read: checked, described, frozen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float64

from adaptlens.errors import UserError
from adaptlens.lm.architecture import Architecture
from adaptlens.lm.chat import chat_text
from adaptlens.lm.flops import matrix_parameters, not_counted
from adaptlens.lm.parity import examine
from adaptlens.lm.portions import Told, in_portions
from adaptlens.lm.spread import NAME as MAP
from adaptlens.lm.spread import input_device
from adaptlens.lm.weights import (
    check_finite,
    find_device,
    find_dtype,
    fresh,
    loading,
    opened,
    quantization,
    read,
    read_tokenizer,
)
from adaptlens.models import identity, loaded
from adaptlens.types import MARK, Prompt, Template, Weights

if TYPE_CHECKING:
    from adaptlens.lm.prefix.walk import ForwardStats

_UNLIMITED_TOKENS = 2**31


@dataclass(frozen=True, eq=False)
class LM:
    """A causal language model with its tokenizer, in evaluation mode and without gradients.

    Attributes:
        name: what the user called it.
        model: the Hugging Face model.
        tokenizer: the Hugging Face tokenizer.
        architecture: its parts; None where the architecture is not known inside, and then only its
            behavior can be measured, through `model(...)`.
        digest: sha256 over the weights, configuration and tokenizer files.
        dtype: name of the number format of the weights.
        device: where the weights are; where it takes its tokens, if they are in several places.
        context_tokens: the longest prompt with its answer.
        chat: whether prompts are rendered with the tokenizer's chat template.
        shares_prefix: whether an explicit mask with restarted positions was found to give what
            separate forwards give; where false every sequence must run in a row of its own.
        notes: what a reader of the results should know about the model, in sentences.
        prefix_ids: the tokens the tokenizer puts before every text (BOS, or none).
        chat_start: what the chat template writes first; a text that begins so gets no prefix, as
            `apply_chat_template` gives it none. Empty where prefix and template do not conflict.
        pad_id: an id to fill rows with; a mask hides it, so any will do where there is no own.
        eos_ids: the tokens that end a generated text.
    """

    name: str
    model: Any
    tokenizer: Any
    architecture: Architecture | None
    digest: str
    dtype: str
    device: torch.device
    context_tokens: int
    chat: bool = False
    shares_prefix: bool = False
    notes: tuple[str, ...] = ()
    prefix_ids: tuple[int, ...] = ()
    chat_start: str = ""
    pad_id: int = 0
    eos_ids: tuple[int, ...] = ()

    scores_answers: ClassVar[bool] = True

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, led by BOS exactly where the tokenizer adds it.

        With `chat` nothing is added: the chat template has written all special tokens itself.
        """
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `encode` of every text, much faster than one by one.

        Raises:
            UserError: the tokenizer made a token the model has no embedding for.
        """
        if not texts:
            return []
        bare = self.tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids
        rows = [[*self.prefix_of(text), *ids] for text, ids in zip(texts, bare, strict=True)]
        known = self.model.get_input_embeddings().num_embeddings
        for ids in rows:
            if max(ids, default=0) >= known:
                token = self.tokenizer.convert_ids_to_tokens(max(ids))
                raise UserError(
                    f"the tokenizer of '{self.name}' writes the token {token!r} as {max(ids)}, but "
                    f"the model has {known} tokens; use the tokenizer the model was made with."
                )
        return rows

    def prefix_of(self, text: str) -> tuple[int, ...]:
        """Return the tokens that stand before those of a text: `prefix_ids`, or none."""
        written = self.chat_start and text.startswith(self.chat_start)
        return () if written else self.prefix_ids

    def chat_of(self, template: Template) -> Callable[[list[dict[str, str]]], str] | None:
        """Return what writes messages for prompts under a template; None for the plain layout."""
        return self.render_chat if self.chat or template.chat else None

    def log_likelihoods(
        self,
        prompts: Sequence[Prompt],
        variants: Sequence[int] | None = None,
        weights: Weights | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        work: "ForwardStats | None" = None,
    ) -> list[Float64[np.ndarray, " _"]]:
        """Return per prompt the summed log-probability of each answer; see `score.score`."""
        from adaptlens.lm import score

        def read(
            some: Sequence[Prompt], owners: Sequence[int] | None, told: Told | None
        ) -> list[Float64[np.ndarray, " _"]]:
            requests = score.encode(self, some, owners, work=work)
            return score.score(self, requests, weights, progress=told, work=work)

        return in_portions(prompts, variants, read, progress=progress)

    def continuations(
        self,
        prompts: Sequence[Prompt],
        variants: Sequence[int] | None,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        weights: Weights | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        work: "ForwardStats | None" = None,
    ) -> list[str]:
        """Return the greedy continuation of every prompt; see `generate.generate`."""
        from adaptlens.lm import score

        def read(
            some: Sequence[Prompt], owners: Sequence[int] | None, told: Told | None
        ) -> list[str]:
            requests = score.encode(self, some, owners)
            return score.generate(
                self, requests, max_new_tokens, stop, weights, progress=told, work=work
            )

        return in_portions(prompts, variants, read, progress=progress)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has by itself."""
        ids = self.tokenizer([*texts], add_special_tokens=False, verbose=False).input_ids
        return [len(one) for one in ids]

    @property
    def flops_a_token(self) -> float:
        """The operations in matrices that reading a token takes: the least of what it takes."""
        return 2.0 * matrix_parameters(self)

    def used(self) -> dict[str, float]:
        """Return what a server has answered: nothing, as the model is here."""
        return {}

    def render_chat(self, messages: Sequence[dict[str, str]]) -> str:
        """Return messages ({"role", "content"}) as the chat template writes them, answer open.

        Where `encode` puts BOS before every text, a template's own BOS is left to it. A template
        that asks for the time is told `models.identity.CLOCK`.

        Raises:
            UserError: the template refuses them (some take no system message, or only turns).
        """
        text = chat_text(self.tokenizer, messages, self.name)
        begins = self.prefix_ids == (self.tokenizer.bos_token_id,)
        return text.removeprefix(self.tokenizer.bos_token) if begins else text


def load(
    name: str,
    *,
    dtype: str = "float32",
    device: str = "auto",
    chat: bool = False,
    quantize: str | None = None,
) -> LM:
    """Return the language model a hub id, a folder, a GGUF file or a shipped name stands for.

    Only safetensors and GGUF files are read, and no code that comes with the model is run.

    Args:
        name: "reference", "smollm2", a folder, a GGUF file, or a Hugging Face id; "untrained:NAME"
            has random weights, "chat:NAME" its chat template (`models.identity.PREFIXES`). A model
            that a caller of Python has loaded is used where it is, as it is.
        dtype: "float32", "bfloat16", "float16" or "auto" (`weights.find_dtype`).
        device: "auto" (cuda, else mps, else cpu), "cpu", "cuda", "cuda:N" or "mps"; "map" spreads
            it over all GPUs and host memory, by accelerate's device_map="auto".
        chat: write prompts with the tokenizer's chat template.
        quantize: "8bit" or "4bit", through bitsandbytes; not of a GGUF file.

    Raises:
        UserError: any of these cannot be had; the message says what to do.
    """
    place = find_device(device)
    dtype = find_dtype(dtype, place)
    asked = identity.parse(name)
    if quantize and asked.untrained:
        raise UserError(
            f"model '{name}' was asked for in {quantize}, but random weights cannot be quantized; "
            "leave out quantize, or the untrained model."
        )
    identity.check_quantize(name, quantize)
    quantized = quantization(quantize, dtype)
    path = identity.locate(name)
    if loaded.is_named(asked.source) and not asked.untrained:
        return _lent(loaded.named(asked.source), dtype, chat or asked.chat)
    with opened(path, untrained=asked.untrained) as source:
        if asked.untrained:
            model, notes = fresh(source, name, dtype, place)
        else:
            spread = device == MAP
            model, notes = read(source, name, dtype, place, quantized, spread=spread)
        tokenizer = read_tokenizer(source, name)
    beside = (identity.found_alone(name), identity.adapter_beside(path))
    notes = (*filter(None, beside), *notes)
    digest = identity.digest(path, untrained=asked.untrained)
    with loading(name, place):
        return assemble(
            model,
            tokenizer,
            name=name,
            digest=digest,
            dtype=dtype,
            chat=chat or asked.chat,
            quantize=quantize,
            notes=notes,
        )


def _lent(one: loaded.Loaded, dtype: str, chat: bool) -> LM:
    if dtype != one.dtype:
        raise UserError(
            f"model '{one.label}' was asked for in {dtype}, but was given in {one.dtype}; leave "
            "out dtype, or convert it."
        )
    check_finite(one.model, one.label)
    with loading(one.label, one.model.device):
        return assemble(
            one.model,
            one.tokenizer,
            name=one.label,
            digest=one.digest,
            dtype=dtype,
            chat=chat,
        )


def assemble(
    model: Any,
    tokenizer: Any,
    *,
    name: str,
    digest: str,
    dtype: str = "float32",
    chat: bool = False,
    quantize: str | None = None,
    notes: tuple[str, ...] = (),
) -> LM:
    """Return the language model made of a loaded model and tokenizer, after the parity gate.

    Raises:
        UserError: `chat` without a chat template; a model that is not causal, or gives no numbers.
    """
    template = getattr(tokenizer, "chat_template", None)
    if chat and not template:
        raise UserError(
            f"the tokenizer of '{name}' has no chat template; expected one with --chat: leave out "
            "--chat for a base model, or save a tokenizer with a chat_template in the folder."
        )
    clock = (_told_the_time(),) if identity.reads_clock(str(template)) else ()
    model.eval().requires_grad_(False)
    parts, shares_prefix, found = examine(model, name, dtype, quantize)
    context_tokens, limits = _context(model.config, tokenizer)
    eos_ids = _eos_ids(model, tokenizer)
    pad_id = tokenizer.pad_token_id
    prefix_ids = () if chat else _prefix_ids(tokenizer)
    return LM(
        name=name,
        model=model,
        tokenizer=tokenizer,
        architecture=parts,
        digest=digest,
        dtype=dtype,
        device=input_device(model),
        context_tokens=context_tokens,
        chat=chat,
        shares_prefix=shares_prefix,
        notes=(*notes, *found, *limits, *clock, *filter(None, [not_counted(model.config)])),
        prefix_ids=prefix_ids,
        chat_start=_chat_start(tokenizer, prefix_ids),
        pad_id=(eos_ids[0] if eos_ids else 0) if pad_id is None else pad_id,
        eos_ids=eos_ids,
    )


def _told_the_time() -> str:
    return f"Its chat template asks for the time; it is told {identity.CLOCK} in every prompt."


def _context(config: Any, tokenizer: Any) -> tuple[int, tuple[str, ...]]:
    """Return how many tokens the model reads, and a note where that is not its plain limit."""
    text = config.get_text_config()
    names = ("max_position_embeddings", "seq_length", "max_seq_len")
    limit = next((size for name in names if (size := getattr(text, name, None))), None)
    if limit is None:
        limit = tokenizer.model_max_length
        if limit >= _UNLIMITED_TOKENS:
            return _UNLIMITED_TOKENS, ("It states no context length; none is checked.",)
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        # One long sequence changes the rotation of every row beside it (Phi-3 128k).
        original = rope.get("original_max_position_embeddings") or getattr(
            text, "original_max_position_embeddings", limit
        )
        if original < limit:
            return original, (
                f"Its {limit} tokens of context are used up to {original}: beyond, longrope gives "
                "all positions another rotation, and prompts would no longer be comparable.",
            )
    return limit, ()


def _prefix_ids(tokenizer: Any) -> tuple[int, ...]:
    """Return what the tokenizer puts before a text; what it may put after one is left out."""
    whole, bare = tokenizer("a").input_ids, tokenizer("a", add_special_tokens=False).input_ids
    starts = range(len(whole) - len(bare) + 1)
    return tuple(whole[: next(i for i in starts if whole[i : i + len(bare)] == bare)])


def _chat_start(tokenizer: Any, prefix_ids: tuple[int, ...]) -> str:
    """Return what messages begin with where that is not the tokenizer's own prefix; else ""."""
    if not prefix_ids or not getattr(tokenizer, "chat_template", None):
        return ""
    try:
        text = chat_text(tokenizer, [{"role": "user", "content": MARK}], "")
    except UserError:
        return ""
    if prefix_ids == (tokenizer.bos_token_id,) and text.startswith(tokenizer.bos_token):
        return ""
    return text.partition(MARK)[0]


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    stated = getattr(model.generation_config, "eos_token_id", None)
    stated = stated if isinstance(stated, list) else [stated]
    return tuple(sorted({tokenizer.eos_token_id, *stated} - {None}))
