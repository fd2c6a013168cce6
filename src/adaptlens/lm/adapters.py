"""LoRA adapters on disk, in the format PEFT, vLLM and others read and write."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from adaptlens.errors import UserError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_UNSUPPORTED = {
    "use_rslora": "rank-stabilised scaling",
    "use_dora": "DoRA",
    "rank_pattern": "ranks that differ between modules",
    "alpha_pattern": "alphas that differ between modules",
    "layers_to_transform": "a choice of layers",
    "modules_to_save": "fully tuned modules",
    "lora_bias": "a bias in B",
    "target_parameters": "adapted parameters",
}


@dataclass(frozen=True)
class Saved:
    """One adapter as read from its folder: A [rank, in] and B [out, rank] by module name."""

    folder: Path
    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    matrices: Mapping[str, tuple[Tensor, Tensor]]

    @property
    def shape(self) -> tuple[int, float, tuple[str, ...]]:
        """What adapters of one bank must have in common."""
        return self.rank, self.alpha, tuple(sorted(self.targets))

    def check_names(self, expected: Iterable[str]) -> None:
        """Check that it adapts exactly these modules."""
        differing = sorted(set(expected) ^ set(self.matrices))
        if differing:
            raise UserError(
                f"adapter {self.folder} was made for other modules than this model has (first "
                f"difference: {differing[0]}); load the model it was made for."
            )


def write(
    folder: Path,
    matrices: Mapping[str, tuple[Tensor, Tensor]],
    *,
    base_name: str,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str],
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
        "target_modules": sorted(targets),
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

    Raises:
        UserError: files are missing or damaged, it is not a LoRA adapter, or it uses a feature
            that is not supported here, which is named.
    """
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        tensors = safetensors.torch.load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is not a saved adapter ({Path(error.filename or WEIGHTS).name} is missing); "
            f"give a folder with {CONFIG} and {WEIGHTS}."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, safetensors.SafetensorError) as error:
        raise UserError(f"adapter {folder} is damaged ({error}); save or copy it again.") from error
    if config.get("peft_type") != "LORA":
        raise UserError(
            f"adapter {folder} is of type {config.get('peft_type')}; only LORA can be loaded; "
            "retrain it as LoRA."
        )
    for key, meaning in _UNSUPPORTED.items():
        if config.get(key):
            raise UserError(
                f"adapter {folder} uses {meaning} ({key}), which is not supported; retrain it "
                "as plain LoRA."
            )
    if config.get("bias", "none") != "none" or isinstance(config["target_modules"], str):
        raise UserError(
            f"adapter {folder} has tuned biases or a pattern for target modules; a list of target "
            "modules and no biases are needed; retrain it as plain LoRA."
        )
    matrices = {}
    for key, a in tensors.items():
        if not key.startswith(_PREFIX) or not key.endswith((".lora_A.weight", ".lora_B.weight")):
            raise UserError(
                f"adapter {folder} holds '{key}', which is no LoRA matrix; retrain it as LoRA."
            )
        if key.endswith(".lora_A.weight"):
            name = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
            b = tensors.get(f"{_PREFIX}{name}.lora_B.weight")
            if b is None:
                raise UserError(f"adapter {folder} lacks matrix B of {name}; save it again.")
            matrices[name] = (a, b)
    return Saved(
        folder,
        int(config["r"]),
        float(config["lora_alpha"]),
        float(config.get("lora_dropout", 0.0)),
        tuple(config["target_modules"]),
        matrices,
    )
