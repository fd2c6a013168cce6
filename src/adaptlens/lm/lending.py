"""A loaded model, lent by a caller of Python: checked, described on disk, given back as it was."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from adaptlens import telling
from adaptlens.errors import UserError, one_line
from adaptlens.lm.architecture import attention_implementation
from adaptlens.lm.weights import DTYPES, first_sentence, quiet
from adaptlens.models import identity
from adaptlens.models.loaded import Loaded

_INCIDENTAL = {
    "config.json": ("_name_or_path", "architectures", "dtype", "transformers_version"),
    "tokenizer.json": ("padding", "truncation"),
}
"""What the files of a description say of where a model came from, or was last used for."""


def described(model: Any, tokenizer: Any, folder: Path) -> Loaded:
    """Return a loaded model with its digest, its configuration and tokenizer written to a folder.

    The digest is over names, formats, shapes and numbers of its parameters and buffers, and over
    the files; where it was loaded from, and the device that it is on, have no say.

    Args:
        model: what `AutoModelForCausalLM.from_pretrained` returns, tuned further or not.
        tokenizer: its tokenizer.
        folder: an empty folder.

    Raises:
        UserError: either is something else, or a model that is not whole in one place.
    """
    label = _label(model)
    _check_model(model, label)
    _check_tokenizer(tokenizer, label)
    folder.mkdir(parents=True, exist_ok=True)
    _write(model, tokenizer, folder, label)
    total = hashlib.sha256(f"loaded\0{identity.digest(folder)}\0".encode())
    with telling.slow(f"taking the digest of model '{label}'"):
        for name, tensor in sorted(model.state_dict().items()):
            total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            total.update(tensor.detach().cpu().flatten().contiguous().view(torch.uint8).numpy())
    return Loaded(
        label=label,
        model=model,
        tokenizer=tokenizer,
        folder=folder,
        digest=total.hexdigest(),
        dtype=str(model.dtype).removeprefix("torch."),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


@contextmanager
def lent(model: Any) -> Iterator[None]:
    """Let a model be used inside this context; afterwards it is as its owner left it.

    That is: which modules train, which parameters have gradients, and which, and the attention
    code, which is the one that is right for the model meanwhile. Weights are never left changed.
    """
    modes = [(module, module.training) for module in model.modules()]
    learning = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    attention = model.config._attn_implementation
    wanted = attention_implementation(model.config) or attention
    if wanted != attention:
        model.set_attn_implementation(wanted)
    for parameter, _, _ in learning:
        parameter.grad = None
    try:
        yield
    finally:
        if wanted != attention:
            model.set_attn_implementation(attention)
        for module, training in modes:
            module.training = training
        for parameter, learns, gradient in learning:
            parameter.requires_grad_(learns)
            parameter.grad = gradient


def _label(model: Any) -> str:
    """Return the last part of where a model was loaded from; without it, what it is."""
    path = getattr(model, "name_or_path", None)
    return one_line((Path(path).name if isinstance(path, str) else "") or type(model).__name__, 80)


def _check_model(model: Any, label: str) -> None:
    expected = "expected a causal language model as AutoModelForCausalLM.from_pretrained returns it"
    if hasattr(model, "merge_and_unload") or getattr(model, "_hf_peft_config_loaded", False):
        raise UserError(
            f"model {label} holds an adapter of PEFT's; {expected}: merge it (merge_and_unload), "
            "or give the base model, and the saved adapter as arms={'mine': FOLDER}."
        )
    if hasattr(model, "_orig_mod"):
        raise UserError(f"model {label} is compiled; {expected}: give it before torch.compile.")
    if not isinstance(model, transformers.PreTrainedModel):
        raise UserError(
            f"model is an object of type {type(model).__name__}; {expected}, or the name of one: a "
            "hub id, a folder, 'reference'."
        )
    if model.get_output_embeddings() is None:
        raise UserError(
            f"model {label} is a {type(model).__name__}, which gives no logits of tokens; "
            f"{expected}: load it again with that class."
        )
    if getattr(model, "is_quantized", False):
        raise UserError(
            f"model {label} is quantized; {expected}, without quantization: to compare on "
            "quantized weights, give its name or folder and quantize='4bit' or '8bit'."
        )
    places = {str(parameter.device) for parameter in model.parameters()}
    if len(places) > 1 or "meta" in places:
        raise UserError(
            f"model {label} lies in several places ({', '.join(sorted(places))}); expected it on "
            "one device: move it there with .to(...), or give its name and device='map'."
        )
    formats = {
        str(parameter.dtype).removeprefix("torch.")
        for parameter in model.parameters()
        if parameter.is_floating_point()
    }
    if len(formats) != 1 or not formats <= {*DTYPES}:
        raise UserError(
            f"model {label} has weights in {', '.join(sorted(formats)) or 'no format'}; expected "
            f"all in one of {', '.join(DTYPES)}: convert it, for example with .float()."
        )


def _check_tokenizer(tokenizer: Any, label: str) -> None:
    if tokenizer is None:
        raise UserError(
            f"model {label} was given without its tokenizer; expected tokenizer=, as "
            "AutoTokenizer.from_pretrained returns it."
        )
    if not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
        raise UserError(
            f"tokenizer is an object of type {type(tokenizer).__name__}; expected a tokenizer of "
            "Transformers', as AutoTokenizer.from_pretrained returns it."
        )


def _write(model: Any, tokenizer: Any, folder: Path, label: str) -> None:
    """Write what is told of a model without its weights, as save_pretrained would."""
    try:
        with quiet():
            model.config.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except Exception as error:
        # There is no error of its own for what cannot be written.
        raise UserError(
            f"configuration or tokenizer of model {label} cannot be written down "
            f"({first_sentence(error)}); expected those of a model that save_pretrained can save."
        ) from error
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    told = json.dumps({"eos_token_id": ends})
    (folder / "generation_config.json").write_text(told, encoding="utf-8")
    for name, keys in _INCIDENTAL.items():
        path = folder / name
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            found.update({key: None for key in keys})
            path.write_text(json.dumps(found, sort_keys=True), encoding="utf-8")
