"""LoRA adapters on disk, in the format PEFT, vLLM and others read and write."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptlens.errors import UserError, first_line

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_LARGEST = 1e9
# The keys of PEFT's LoraConfig that say nothing of what the adapter adds, whatever they hold.
_SILENT = (
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
)
_READ = ("peft_type", "r", "lora_alpha", "lora_dropout", "target_modules")
# Other keys, and what they may hold beside nothing (null, false, empty): with these values, too,
# the adapter is alpha / r * B A x beside the base's own weights. PiSSA, OLoRA, CorDA, LoftQ and
# LoRA-GA start from the base's weights and change them, so they are not among the starts.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),
    "task_type": ("CAUSAL_LM",),
}
_NOTHING: tuple[Any, ...] = (None, False, "", [], {})
_MEANINGS = {
    "alpha_pattern": "alphas that differ between modules",
    "bias": "tuned biases",
    "exclude_modules": "modules left out by name",
    "init_lora_weights": "a start that changes the base's own weights, or one not known here",
    "layers_to_transform": "a choice of layers",
    "lora_bias": "a bias in B",
    "modules_to_save": "fully tuned modules",
    "rank_pattern": "ranks that differ between modules",
    "target_parameters": "adapted parameters",
    "trainable_token_indices": "tuned tokens",
    "use_dora": "DoRA",
    "use_qalora": "QALoRA",
    "use_rslora": "rank-stabilized scaling",
}


Matrices = Mapping[str, tuple[Float[Tensor, "rank _"], Float[Tensor, "_ rank"]]]
"""A, which takes in, and B, which puts out, by module name."""


@dataclass(frozen=True)
class Saved:
    """One adapter as read from its folder.

    `base` holds the weights of the base model that PEFT saves beside an adapted output head.
    """

    folder: Path
    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]
    matrices: Matrices
    base: Mapping[str, Float[Tensor, "..."]]

    @property
    def shape(self) -> tuple[int, float, tuple[str, ...]]:
        """What adapters of one bank must have in common."""
        return self.rank, self.alpha, tuple(sorted(self.target_modules))

    def check_names(self, expected: Iterable[str]) -> None:
        """Check that it adapts exactly these modules."""
        differing = sorted(set(expected) ^ set(self.matrices))
        if differing:
            raise UserError(
                f"adapter {self.folder} was made for other modules than this model has (first "
                f"difference: {differing[0]}); load the model it was made for."
            )

    def check_base(self, model: nn.Module) -> None:
        """Check that the base's weights that were saved along are this model's.

        Raises:
            UserError: names the first that are not.
        """
        own = dict(model.named_parameters(remove_duplicate=False))
        for name, saved in self.base.items():
            found = own.get(name)
            if (
                found is None
                or found.shape != saved.shape
                or not torch.equal(saved.to(found.device, found.dtype), found)
            ):
                raise UserError(
                    f"adapter {self.folder} brings weights of its own for {name}, others than this "
                    "model's; expected those of its base: load the model it was made for."
                )


def write(
    folder: Path,
    matrices: Matrices,
    *,
    base_name: str,
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: Sequence[str],
    transposed: bool,
) -> None:
    """Write one adapter so that `peft.PeftModel.from_pretrained(model, folder)` gives it back."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(target_modules),
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": True,
        "init_lora_weights": True,
    }
    tensors = {}
    for name, (a, b) in matrices.items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = a.detach().cpu().contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = b.detach().cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def read(folder: Path) -> Saved:
    """Return the LoRA adapter in a folder.

    Only what is known to be `alpha / r * B A x` is read: every other setting is refused by name.

    Raises:
        UserError: files are missing or damaged, it is not a LoRA adapter, or it uses a feature
            that is not supported here, which is named.
    """
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        tensors = safetensors.torch.load_file(folder / WEIGHTS)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} is not a saved adapter ({Path(error.filename or WEIGHTS).name} is missing); "
            f"give a folder with {CONFIG} and {WEIGHTS}."
        ) from error
    except (ValueError, RecursionError, OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"adapter {folder} is damaged ({first_line(error)}); save or copy it again."
        ) from error
    if not isinstance(config, dict):
        raise UserError(
            f"adapter {folder} is damaged ({CONFIG} is no JSON object); save or copy it again."
        )
    _check_settings(folder, config)
    rank = int(_number(folder, config, "r", least=1, whole=True))
    matrices, base = _matrices(folder, tensors, rank)
    return Saved(
        folder,
        rank,
        _number(folder, config, "lora_alpha", least=-math.inf),
        _number(folder, {"lora_dropout": 0.0} | config, "lora_dropout", least=0),
        tuple(config["target_modules"]),
        matrices,
        base,
    )


def _check_settings(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse an adapter with a setting that makes it more, or other, than plain LoRA."""
    if config.get("peft_type") != "LORA":
        raise UserError(
            f"adapter {folder} is of type {str(config.get('peft_type'))[:40]}; only LORA can be "
            "loaded; retrain it as LoRA."
        )
    names = config.get("target_modules")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise UserError(
            f"adapter {folder} has the target modules {str(names)[:60]!r}; a list of their names "
            "is needed, no pattern; retrain it as plain LoRA."
        )
    for key, value in config.items():
        if key in (*_SILENT, *_READ) or _is_one_of(value, (*_NOTHING, *_PLAIN.get(key, ()))):
            continue
        meaning = f"{_MEANINGS[key]} ({key})" if key in _MEANINGS else f"the setting {key[:60]}"
        raise UserError(
            f"adapter {folder} uses {meaning}: {json.dumps(value)[:60]}, which is not supported; "
            "retrain it as plain LoRA, or merge it into its base and save that."
        )


def _is_one_of(value: Any, allowed: Sequence[Any]) -> bool:
    return any(type(value) is type(one) and value == one for one in allowed)


def _number(
    folder: Path, config: Mapping[str, Any], key: str, *, least: float, whole: bool = False
) -> float:
    value: Any = config.get(key)
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not least <= value <= _LARGEST:
        kind = "a whole number" if whole else "a number"
        bound = f" of at least {least:g}" if math.isfinite(least) else ""
        raise UserError(
            f"adapter {folder} has {key}: {str(value)[:40]}; expected {kind}{bound}: save it again."
        )
    return float(value)


def _matrices(
    folder: Path, tensors: Mapping[str, Tensor], rank: int
) -> tuple[Matrices, dict[str, Float[Tensor, "..."]]]:
    """Return A and B by module name, and the weights of the base that were saved along."""
    halves: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    base = {}
    for key, tensor in tensors.items():
        name, kind, half = key.removeprefix(_PREFIX).rpartition(".lora_")
        if not key.startswith(_PREFIX) or (kind and half not in ("A.weight", "B.weight")):
            raise UserError(
                f"adapter {folder} holds '{key}', which is no LoRA matrix; retrain it as LoRA."
            )
        if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            raise UserError(
                f"adapter {folder}: {key} holds what is no number (NaN, infinite, or no floating "
                "point); expected finite numbers: save or train it again."
            )
        if kind:
            halves[half[0]][name] = tensor
        elif key.endswith((".base_layer.weight", ".base_layer.bias")):
            base[key.removeprefix(_PREFIX).replace(".base_layer.", ".")] = tensor
        else:
            base[key.removeprefix(_PREFIX)] = tensor
    for name in sorted({*halves["A"], *halves["B"]}):
        a, b = halves["A"].get(name), halves["B"].get(name)
        if a is None or b is None:
            lacking = "A" if a is None else "B"
            raise UserError(f"adapter {folder} lacks matrix {lacking} of {name}; save it again.")
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
            raise UserError(
                f"adapter {folder}: the matrices of {name} have the shapes {list(a.shape)} and "
                f"{list(b.shape)}; expected [{rank}, in] and [out, {rank}], as r says: save it "
                "again."
            )
    return {name: (a, halves["B"][name]) for name, a in halves["A"].items()}, base
