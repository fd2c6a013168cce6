"""A model with other parameters in place of some of its own, and LoRA on top: one or few variants.

What an adapter brings whole, what merging any other kind of adapter changes, and what sets another
checkpoint of the same model apart, are all this.
"""

import contextlib
import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptlens.errors import UserError, first_line
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.peft_files import PREFIX, WEIGHTS, settings
from adaptlens.lm.load import LM
from adaptlens.lm.spread import check_whole
from adaptlens.lm.weights import quiet

Parameters = Mapping[str, Float[Tensor, "..."]]
"""Parameters by their names in a model; tied ones under each name, as they may come apart."""

SOFT_PROMPTS = (
    "ADAPTION_PROMPT",
    "CARTRIDGE",
    "CPT",
    "MULTITASK_PROMPT_TUNING",
    "PREFIX_TUNING",
    "PROMPT_TUNING",
    "P_TUNING",
)
"""Kinds of PEFT that are no change of weights, so that there is nothing to merge."""


class ReplacedWeights:
    """R variants of a model, each with its own parameters in place of the model's, and adapters.

    Parameters that are not named stay the model's. None is written by `save`: what was brought is
    where it came from.

    Args:
        lm: the model.
        variants: the parameters of each.
        bank: as many adapters, which are added; None for none.
        notes: what a reader should know of how they were read, in sentences.
    """

    mixes_rows = False

    def __init__(
        self,
        lm: LM,
        variants: Sequence[Parameters],
        bank: LoraBank | None = None,
        *,
        notes: tuple[str, ...] = (),
    ) -> None:
        if any(variants):
            check_whole(lm, "replacing whole parameters")
        self.lm, self.variants, self.bank, self.notes = lm, variants, bank, notes
        self.num_variants = len(variants)

    @contextmanager
    def routed(self, variants: Sequence[int]) -> Iterator[None]:
        """Run the model as the one variant that all rows name; afterwards it is as before."""
        if len(set(variants)) != 1:
            raise RuntimeError(f"replaced weights run one variant at a time, not {variants}")
        added = self.bank.routed(variants) if self.bank else contextlib.nullcontext()
        with _placed(self.lm.model, self.variants[variants[0]]), added:
            yield

    def adapts(self, module: nn.Module) -> bool:
        """Return False: all rows of a pass are one variant's."""
        return False

    def save(self, folder: Path, names: Sequence[str]) -> None:
        """Write nothing."""


@contextmanager
def _placed(model: nn.Module, parameters: Parameters) -> Iterator[None]:
    """Put parameters in a model's places, and its own back after it, tied ones tied again."""
    own: list[tuple[nn.Module, str, nn.Parameter]] = []
    try:
        for name, values in parameters.items():
            parent, _, last = name.rpartition(".")
            module = model.get_submodule(parent)
            mine = module._parameters[last]
            assert mine is not None
            own.append((module, last, mine))
            placed = values.to(mine.device, mine.dtype)
            module._parameters[last] = nn.Parameter(placed, requires_grad=False)
        yield
    finally:
        for module, last, mine in own:
            module._parameters[last] = mine


def check_replaceable(lm: LM, parameters: Parameters, what: str) -> None:
    """Check that a model has parameters of these names and shapes.

    Args:
        lm: the model.
        parameters: what is to stand in their places.
        what: is brought, for the error.

    Raises:
        UserError: names the first that it has not.
    """
    own = dict(lm.model.named_parameters(remove_duplicate=False))
    for name, values in parameters.items():
        if name not in own or own[name].shape != values.shape:
            has = f"has it with {list(own[name].shape)}" if name in own else "has none"
            raise UserError(
                f"{what} brings {name} with the shape {list(values.shape)}, and model '{lm.name}' "
                f"{has}; give the model it was made for."
            )


def changed(lm: LM, other: nn.Module, what: str) -> dict[str, Float[Tensor, "..."]]:
    """Return the parameters of another model that differ from this one's.

    Args:
        lm: the model.
        other: of the same architecture and size; it is left as it is.
        what: it is, for the error.

    Raises:
        UserError: it has other parameters.
    """
    theirs = dict(other.named_parameters(remove_duplicate=False))
    check_replaceable(lm, theirs, what)
    own = dict(lm.model.named_parameters(remove_duplicate=False))
    if lacking := sorted({*own} - {*theirs}):
        raise UserError(
            f"{what} lacks {lacking[0]}, which model '{lm.name}' has; give the model it was made "
            "for."
        )
    return {
        name: values.detach().clone()
        for name, values in theirs.items()
        if not torch.equal(values.to(own[name].device, own[name].dtype), own[name])
    }


def merged(lm: LM, folder: Path) -> dict[str, Float[Tensor, "..."]]:
    """Return the parameters that merging an adapter of any kind changes, by the peft library.

    It works on a copy of the model, which takes its memory once more.

    Raises:
        UserError: it is a soft prompt; peft is not installed, or cannot read or merge it; or the
            model is quantized.
    """
    kind = settings(folder).get("peft_type")
    if kind in SOFT_PROMPTS:
        raise UserError(
            f"adapter {folder} is of type {kind}, which changes no weights and cannot be merged; "
            "expected an adapter of weights (LoRA, DoRA, IA3, ...)."
        )
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"adapter {folder} has no {WEIGHTS}; expected weights in safetensors, as peft saves "
            "them (pickled ones can run code and are not read)."
        )
    try:
        import peft
    except ImportError as error:
        raise UserError(
            f"adapter {folder} is of a kind that the peft library merges, which is not installed; "
            "pip install 'adaptlens[peft]', or merge it into its base and give that."
        ) from error
    check_whole(lm, "merging an adapter")
    if getattr(lm.model, "is_quantized", False):
        raise UserError(
            f"adapter {folder} has to be merged, which cannot be done exactly into the quantized "
            f"weights of '{lm.name}'; load it without quantization."
        )
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # What peft warns of and goes on without.
        warnings.filterwarnings("error", message=".*(missing|unexpected).*keys")
        try:
            whole: Any = peft.PeftModel.from_pretrained(copy.deepcopy(lm.model), str(folder))
            known = {*peft.get_peft_model_state_dict(whole)}
            whole = whole.merge_and_unload()
        except Exception as error:  # peft has no class of its own for what it cannot read.
            raise UserError(
                f"adapter {folder} cannot be merged into '{lm.name}' by peft "
                f"({first_line(error)}); give the model it was made for, or merge it yourself and "
                "give that."
            ) from error
    with safetensors.safe_open(folder / WEIGHTS, framework="pt") as file:
        known |= {f"{PREFIX}{name}" for name in lm.model.state_dict()}
        if strange := sorted({*file.keys()} - known):
            raise UserError(
                f"adapter {folder} holds '{strange[0]}', which peft makes nothing of; expected "
                "what its settings say: save it again, or merge it yourself and give that."
            )
    return changed(lm, whole, f"adapter {folder}")
