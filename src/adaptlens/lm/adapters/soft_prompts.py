"""R soft prompts before one frozen base: trained embeddings of so many virtual tokens.

Prompt tuning, Lester et al. 2021 (arXiv 2104.08691). A virtual token has an id beyond the
vocabulary, the same for all variants, and what the embedding puts out for it is the variant's own.
So it takes a position, is cached and shared as any token is, and no text can hold it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from adaptlens.errors import UserError
from adaptlens.lm.adapters import peft_files
from adaptlens.lm.load import LM

KIND = "PROMPT_TUNING"
_TENSOR = "prompt_embeddings"


def virtual_ids(lm: LM, num_tokens: int) -> tuple[int, ...]:
    """Return the ids that stand for so many virtual tokens: those after the vocabulary's."""
    vocab = lm.model.get_input_embeddings().num_embeddings
    return tuple(range(vocab, vocab + num_tokens))


def after(lm: LM, num_tokens: int) -> LM:
    """Return the model with the context that so many virtual tokens leave to texts.

    Raises:
        UserError: they leave none.
    """
    left = lm.context_tokens - num_tokens
    if left < 1:
        raise UserError(
            f"a soft prompt of {num_tokens} tokens fills the context of '{lm.name}', which is "
            f"{lm.context_tokens} tokens; give fewer (num_virtual_tokens)."
        )
    return replace(lm, context_tokens=left)


class SoftPrompts:
    """Variants that read embeddings of their own before every text.

    Attributes:
        virtual_ids: what stands before the ids of every text, see `types.HasVirtualTokens`.
        master_weights: the embeddings of each variant, one after another, in float32.

    Args:
        lm: the base model.
        embeddings: of each variant's virtual tokens.
    """

    mixes_rows = True
    dropout = 0.0
    notes: tuple[str, ...] = ()
    token_parameters = 0
    """How many of the numbers every token is multiplied by: none, they are tokens."""

    def __init__(self, lm: LM, embeddings: Float[Tensor, "variants tokens width"]) -> None:
        self.embed: Any = lm.model.get_input_embeddings()
        self.config = lm.model.config.get_text_config()
        self.base_name, self.base_digest = lm.name, lm.digest
        self.virtual_ids = virtual_ids(lm, embeddings.shape[1])
        self.master_weights = embeddings.to(lm.device, torch.float32).flatten(1).clone()
        self.num_variants = len(self.master_weights)
        self._active = False

    @property
    def num_parameters(self) -> int:
        """How many numbers one of them has."""
        return self.master_weights.shape[1]

    def embeddings(
        self, numbers: Float32[Tensor, "variants parameters"]
    ) -> Float32[Tensor, "variants tokens width"]:
        """Return rows of `master_weights` token by token."""
        return numbers.unflatten(1, (len(self.virtual_ids), -1))

    def pick(self, variants: Sequence[int]) -> "SoftPrompts":
        """Return copies of these variants, in this order."""
        return self._holding(self.master_weights[list(variants)])

    def stacked(
        self, master_weights: Sequence[Float[Tensor, "variants parameters"]]
    ) -> "SoftPrompts":
        """Return the variants in these copies of `master_weights`, one after another."""
        return self._holding(torch.cat(list(master_weights)))

    def _holding(self, master_weights: Float[Tensor, "variants parameters"]) -> "SoftPrompts":
        held = object.__new__(SoftPrompts)
        held.__dict__.update(self.__dict__)
        held.master_weights, held.num_variants = master_weights, len(master_weights)
        held._active = False
        return held

    @contextmanager
    def routed(self, variants: Sequence[int]) -> Iterator[None]:
        """Let the virtual tokens of batch row b be those of `variants[b]` inside this context."""
        with self._installed(self.embeddings(self.master_weights[list(variants)])):
            yield

    @contextmanager
    def training(
        self,
        first: int,
        last: int,
        gradients: Float[Tensor, "variants parameters"],
        step: int = 0,
        block: int = 0,
    ) -> Iterator[None]:
        """Run the base with even rows of variants first to last - 1, ready for backward.

        What backward passes inside found is added to `gradients[first:last]` on the way out.
        """
        leaf = self.master_weights[first:last].detach().clone().requires_grad_()
        with self._installed(self.embeddings(leaf)):
            yield
        if leaf.grad is not None:
            gradients[first:last] += leaf.grad

    def sync(self) -> None:
        """Do nothing: `routed` reads `master_weights` themselves."""

    def adapts(self, module: nn.Module) -> bool:
        """Return whether this is the embedding."""
        return module is self.embed

    @contextmanager
    def _installed(self, own: Float32[Tensor, "groups tokens width"]) -> Iterator[None]:
        """Put these embeddings in the places of virtual tokens; even runs of rows share one."""
        if self._active:
            raise RuntimeError("soft prompts are routed already; leave that context first")
        vocab = self.embed.num_embeddings
        asked: list[Int[Tensor, "batch seq"]] = []

        def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            asked[:] = [args[0]]
            # The table has no row for them: any will do, as it is replaced.
            return (args[0].masked_fill(args[0] >= vocab, 0), *args[1:])

        def after(
            _: nn.Module, __: object, output: Float[Tensor, "batch seq width"]
        ) -> Float[Tensor, "batch seq width"] | None:
            (ids,) = asked
            if ids.shape[0] % len(own):
                raise RuntimeError(f"{len(ids)} rows cannot be shared evenly by {len(own)} prompts")
            rows, places = (ids >= vocab).nonzero(as_tuple=True)
            if not len(rows):
                return None
            here = own.to(output.device)
            found = here[rows // (len(ids) // len(own)), ids[rows, places] - vocab]
            return output.index_put((rows, places), found.to(output.dtype))

        self._active = True
        hooks = [
            self.embed.register_forward_pre_hook(before),
            self.embed.register_forward_hook(after),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._active = False

    def save(self, folder: Path, names: Sequence[str]) -> None:
        """Write soft prompt i to `folder/names[i]` in PEFT's format."""
        made = self.embeddings(self.master_weights)
        config = {
            "peft_type": KIND,
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base_name,
            "inference_mode": True,
            "num_attention_heads": self.config.num_attention_heads,
            "num_layers": self.config.num_hidden_layers,
            "num_transformer_submodules": 1,
            "num_virtual_tokens": made.shape[1],
            # How a new one would start: these are read from the file whatever it says.
            "prompt_tuning_init": "RANDOM",
            "token_dim": made.shape[2],
        }
        for one, name in zip(made, names, strict=True):
            tensors = {_TENSOR: one.detach().cpu().contiguous()}
            peft_files.save(folder / name, config, tensors, self.base_digest)

    @classmethod
    def load(cls, lm: LM, folder: Path) -> "SoftPrompts":
        """Return the soft prompt of a folder in PEFT's format.

        Raises:
            UserError: it is none, damaged, or made for a model of another width or other files.
        """
        kind = peft_files.settings(folder).get("peft_type")
        if kind != KIND:
            raise UserError(
                f"adapter {folder} is of type {str(kind)[:40]}; expected {KIND}, as peft saves a "
                "soft prompt."
            )
        tensors, base_digest = peft_files.tensors(folder)
        if base_digest not in ("", lm.digest):
            raise UserError(
                f"adapter {folder} was made for a model with other files ({base_digest[:12]}) than "
                f"'{lm.name}' ({lm.digest[:12]}); load the model it was made for."
            )
        width, found = lm.model.get_input_embeddings().weight.shape[1], tensors.get(_TENSOR)
        if found is None or found.ndim != 2 or found.shape[1] != width or not len(found):
            has = "none" if found is None else f"the shape {list(found.shape)}"
            raise UserError(
                f"adapter {folder} has {has} for {_TENSOR}; expected [tokens, {width}], the width "
                f"of '{lm.name}': give the model it was made for."
            )
        if not found.is_floating_point() or not bool(found.isfinite().all()):
            raise UserError(
                f"adapter {folder}: {_TENSOR} holds what is no number; save or train it again."
            )
        return cls(lm, found[None])
