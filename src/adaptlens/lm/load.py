"""A model name becomes a language model that is ready to be read: checked, described, frozen."""

from dataclasses import dataclass, field
from typing import Any

import torch

from adaptlens import modelfiles
from adaptlens.errors import UserError
from adaptlens.lm.anatomy import Anatomy, anatomy, attention_implementation

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class LM:
    """A causal language model with its tokenizer, in evaluation mode and without gradients.

    Attributes:
        name: what the user called it.
        model: the Hugging Face model.
        tokenizer: the Hugging Face tokenizer.
        anatomy: its parts; None where the architecture is not known inside, and then only its
            behaviour can be measured, through `model(...)`.
        digest: sha256 over the weights, configuration and tokenizer files.
        dtype: name of the number format of the weights.
        device: where the weights are.
        context_tokens: the longest prompt with its answer.
        chat: whether prompts are rendered with the tokenizer's chat template.
        shares_prefix: whether an explicit mask with restarted positions was found to give what
            separate forwards give; where false every sequence must run on its own.
        notes: what a reader of the results should know about the model, in sentences.
        prefix_ids: the tokens the tokenizer puts before every text (BOS, or none).
        pad_id: an id to fill rows with; a mask hides it, so any will do where there is no own.
        eos_ids: the tokens that end a generated text.
    """

    name: str
    model: Any
    tokenizer: Any
    anatomy: Anatomy | None
    digest: str
    dtype: str
    device: torch.device
    context_tokens: int
    chat: bool = False
    shares_prefix: bool = False
    notes: tuple[str, ...] = ()
    prefix_ids: tuple[int, ...] = ()
    pad_id: int = 0
    eos_ids: tuple[int, ...] = field(default=())

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, with what the tokenizer puts before it (BOS) once."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        """Return `encode` of every text; much faster than one by one."""
        if not texts:
            return []
        bare = self.tokenizer(list(texts), add_special_tokens=False).input_ids
        rows = [with_prefix(self.prefix_ids, ids) for ids in bare]
        return rows


def with_prefix(prefix: tuple[int, ...], ids: list[int]) -> list[int]:
    """Return ids led by the prefix, which is not doubled where a chat template wrote it already."""
    return list(ids) if tuple(ids[: len(prefix)]) == prefix else [*prefix, *ids]


def load(
    name: str,
    *,
    dtype: str = "float32",
    device: str = "auto",
    chat: bool = False,
    quantize: str | None = None,
) -> LM:
    """Return the language model a hub id, a local folder or a zoo name stands for."""
    import transformers

    folder = modelfiles.folder(name)
    config = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=_DTYPES[dtype],
        attn_implementation=attention_implementation(config),
        use_safetensors=True,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return assemble(
        model.eval().requires_grad_(False),
        tokenizer,
        name=name,
        digest=modelfiles.digest(folder),
        chat=chat,
    )


def assemble(model: Any, tokenizer: Any, *, name: str, digest: str, chat: bool = False) -> LM:
    """Return the language model made of a loaded model and tokenizer, its forward checked."""
    parts = anatomy(model)
    eos = getattr(model.generation_config, "eos_token_id", None)
    eos_ids = {tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}
    probe = tokenizer("a").input_ids
    bare = tokenizer("a", add_special_tokens=False).input_ids
    start = next(i for i in range(len(probe)) if probe[i : i + len(bare)] == bare)
    pad = tokenizer.pad_token_id
    config = model.config.get_text_config()
    return LM(
        name=name,
        model=model,
        tokenizer=tokenizer,
        anatomy=parts,
        digest=digest,
        dtype=str(model.dtype).removeprefix("torch."),
        device=model.device,
        context_tokens=config.max_position_embeddings,
        chat=chat,
        shares_prefix=True,
        prefix_ids=tuple(probe[:start]),
        pad_id=min(eos_ids, default=0) if pad is None else pad,
        eos_ids=tuple(sorted(eos_ids)),
    )
