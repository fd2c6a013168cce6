"""Adapters on disk, LoRA above all, in the format PEFT, vLLM and others read and write."""

import json
import math
import re
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
PREFIX = "base_model.model."
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
_READ = (
    "alpha_pattern",
    "exclude_modules",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_rslora",
)
# Other keys, and what they may hold beside nothing (null, false, empty): with these values, too,
# the adapter is a sum of products B A x beside the base's own weights. PiSSA, OLoRA, CorDA, LoftQ
# and LoRA-GA start from the base's weights and change them, so they are not among the starts.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),
    "task_type": ("CAUSAL_LM",),
}
_NOTHING: tuple[Any, ...] = (None, False, "", [], {})
_MEANINGS = {
    "bias": "tuned biases",
    "init_lora_weights": "a start that changes the base's own weights, or one not known here",
    "lora_bias": "a bias in B",
    "target_parameters": "adapted parameters",
    "trainable_token_indices": "tuned tokens",
    "use_qalora": "QALoRA",
}
_MAGNITUDES = ".lora_magnitude_vector"
_BASE_DIGEST = "base_digest"
# Where this project's adapters say, in the header of the weights, what base they were made for.


Matrices = Mapping[str, tuple[Float[Tensor, "rank _"], Float[Tensor, "_ rank"]]]
"""A, which takes in, and B, which puts out, by module name."""


class BeyondLora(UserError):
    """An adapter that is more than products of two matrices; `what` says in what, in few words."""

    def __init__(self, message: str, what: str) -> None:
        """Say it in one line, and what it is about."""
        super().__init__(message)
        self.what = what


@dataclass(frozen=True)
class Saved:
    """One adapter as read from its folder.

    Attributes:
        folder: where it is.
        rank: `r` of its settings; single modules may have their own.
        alpha: `lora_alpha` of its settings, likewise.
        dropout: share of inputs dropped while it was trained.
        target_modules: the modules it was made for, by names or last parts of them; all whose
            matrices it has where its settings choose among them otherwise.
        matrices: A and B by module name.
        scales: by module name, what B A x is multiplied by: alpha / rank, or alpha / sqrt(rank).
        magnitudes: DoRA's norms of rows, by module name; empty without DoRA.
        replaced: whole parameters that stand in place of the base's, by name.
        base: weights of the base that PEFT saves beside an adapted output head.
        base_digest: of the model it was made for, as `LM.digest` has it; empty where not said.
        base_name: what its settings call that model.
        chooses: whether it adapts some of the modules that `target_modules` may name, not all.
    """

    folder: Path
    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]
    matrices: Matrices
    scales: Mapping[str, float]
    magnitudes: Mapping[str, Float[Tensor, " _"]]
    replaced: Mapping[str, Float[Tensor, "..."]]
    base: Mapping[str, Float[Tensor, "..."]]
    base_digest: str
    base_name: str
    chooses: bool

    @property
    def is_uniform(self) -> bool:
        """Whether every module has the rank and scale that `rank` and `alpha` say."""
        ranks = {a.shape[0] for a, _ in self.matrices.values()}
        return ranks == {self.rank} and {*self.scales.values()} == {self.alpha / self.rank}

    def check_names(self, modules: Iterable[str]) -> None:
        """Check that what it adapts is among the modules of a model.

        Raises:
            UserError: names the first that is not.
        """
        if strange := sorted({*self.matrices} - {*modules}):
            raise self._other_modules(strange[0])

    def check_complete(self, sites: Iterable[str]) -> None:
        """Check that it adapts all modules that its target modules name, unless it chooses.

        Args:
            sites: modules of a model, among them all that the target modules name.

        Raises:
            UserError: names the first that it lacks.
        """
        named = {s for s in sites for t in self.target_modules if s == t or s.endswith(f".{t}")}
        lacking = sorted(named - {*self.matrices})
        if lacking and not self.chooses:
            raise self._other_modules(lacking[0])

    def _other_modules(self, name: str) -> UserError:
        return UserError(
            f"adapter {self.folder} was made for other modules than this model has (first "
            f"difference: {name}); load the model it was made for."
        )

    def check_base(self, model: nn.Module, digest: str) -> None:
        """Check that it was made for this model, as far as its files say.

        Args:
            model: the base.
            digest: of the base's files.

        Raises:
            UserError: it says that it was made for another, or brings weights of another along.
        """
        if self.base_digest not in ("", digest):
            raise UserError(
                f"adapter {self.folder} was made for a model with other files ('{self.base_name}', "
                f"{self.base_digest[:12]}) than this one ({digest[:12]}); load the model it was "
                "made for."
            )
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
    magnitudes: Mapping[str, Float[Tensor, " _"]],
    *,
    base_name: str,
    base_digest: str,
    rank: int,
    alpha: float,
    use_rslora: bool,
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
    if use_rslora:
        config["use_rslora"] = True
    if magnitudes:
        config["use_dora"] = True
    made = {}
    for name, (a, b) in matrices.items():
        made[f"{PREFIX}{name}.lora_A.weight"] = a.detach().cpu().contiguous()
        made[f"{PREFIX}{name}.lora_B.weight"] = b.detach().cpu().contiguous()
    for name, norms in magnitudes.items():
        made[f"{PREFIX}{name}{_MAGNITUDES}"] = norms.detach().cpu().contiguous()
    save(folder, config, made, base_digest)


def save(
    folder: Path, config: Mapping[str, Any], made: Mapping[str, Tensor], base_digest: str
) -> None:
    """Write an adapter of any kind: its settings and tensors, as PEFT names them.

    Args:
        folder: where to; made if need be.
        config: what its `adapter_config.json` says.
        made: its tensors by their names.
        base_digest: of the base, which the header of the weights says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = {"format": "pt", _BASE_DIGEST: base_digest}
    data = safetensors.torch.save(dict(made), metadata=header)
    (folder / WEIGHTS).write_bytes(_in_order(data))
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _in_order(data: bytes) -> bytes:
    """Return a safetensors file with its metadata in order: the library writes them in any."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
    if len(text) != size:
        raise RuntimeError("a safetensors header changed its size when put in order")
    return data[:8] + text + data[8 + size :]


def read(folder: Path) -> Saved:
    """Return the LoRA adapter in a folder.

    Ranks and alphas may differ between modules, alpha may be divided by the rank or its root, and
    whole modules may stand in place of the base's (`modules_to_save`). Every setting that is not
    known to leave it at that is refused by name.

    Raises:
        BeyondLora: it is another kind of adapter, or uses a feature that is not read here.
        UserError: files are missing or damaged.
    """
    config = settings(folder)
    found, base_digest = tensors(folder)
    _check_settings(folder, config)
    rank = int(_number(folder, config, "r", least=1, whole=True))
    alpha = _number(folder, config, "lora_alpha", least=-math.inf)
    ranks = _pattern(folder, config, "rank_pattern", least=1, whole=True)
    alphas = _pattern(folder, config, "alpha_pattern", least=-math.inf)
    is_dora = config.get("use_dora") is True
    magnitudes = _taken(found, _MAGNITUDES) if is_dora else {}
    matrices, whole = _tensors(folder, found)
    scales = {}
    for name, (a, b) in matrices.items():
        own = int(_matching(ranks, name, rank))
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != own or b.shape[1] != own:
            raise UserError(
                f"adapter {folder}: the matrices of {name} have the shapes {list(a.shape)} and "
                f"{list(b.shape)}; expected [{own}, in] and [out, {own}], as its settings say: "
                "save it again."
            )
        root = math.sqrt(own) if config.get("use_rslora") else own
        scales[name] = _matching(alphas, name, alpha) / root
    for name in sorted({*magnitudes, *matrices} if is_dora else ()):
        rows = matrices[name][1].shape[0] if name in matrices else 0
        norms = magnitudes.get(name)
        if norms is None or norms.shape != (rows,) or not bool(norms.isfinite().all()):
            has = "none" if norms is None else f"the shape {list(norms.shape)}"
            raise UserError(
                f"adapter {folder} has {has} for DoRA's magnitudes of {name}; expected {rows} "
                "finite numbers, one for each row of B: save it again."
            )
    chooses = [config.get(key) for key in ("layers_to_transform", "exclude_modules")]
    is_choice = isinstance(config["target_modules"], str) or any(
        not _is_one_of(one, _NOTHING) for one in chooses
    )
    saved = tuple(config.get("modules_to_save") or ())
    replaced = {name: tensor for name, tensor in whole.items() if _is_within(name, saved)}
    return Saved(
        folder,
        rank,
        alpha,
        _number(folder, {"lora_dropout": 0.0} | config, "lora_dropout", least=0),
        tuple(sorted(matrices)) if is_choice else tuple(config["target_modules"]),
        matrices,
        scales,
        magnitudes,
        replaced,
        {name: tensor for name, tensor in whole.items() if name not in replaced},
        base_digest,
        str(config.get("base_model_name_or_path") or "")[:200],
        is_choice or bool(saved),
    )


def settings(folder: Path) -> dict[str, Any]:
    """Return what the configuration of an adapter of any kind holds.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_saved(folder, error) from error
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(
            f"adapter {folder} is damaged ({first_line(error)}); save or copy it again."
        ) from error
    if not isinstance(config, dict):
        raise UserError(
            f"adapter {folder} is damaged ({CONFIG} is no JSON object); save or copy it again."
        )
    return config


def tensors(folder: Path) -> tuple[dict[str, Float[Tensor, "..."]], str]:
    """Return the tensors of an adapter of any kind by name, and its base's digest, if it says one.

    Raises:
        UserError: they are missing or damaged.
    """
    try:
        found = safetensors.torch.load_file(folder / WEIGHTS)
        with safetensors.safe_open(folder / WEIGHTS, framework="pt") as file:
            header = file.metadata() or {}
    except FileNotFoundError as error:
        raise _not_saved(folder, error) from error
    except (ValueError, OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"adapter {folder} is damaged ({first_line(error)}); save or copy it again."
        ) from error
    return found, header.get(_BASE_DIGEST, "")


def _not_saved(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"{folder} is not a saved adapter ({Path(error.filename or WEIGHTS).name} is missing); "
        f"give a folder with {CONFIG} and {WEIGHTS}."
    )


def _check_settings(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse an adapter with a setting that makes it more, or other, than products of matrices."""
    if config.get("peft_type") != "LORA":
        kind = str(config.get("peft_type"))[:40]
        raise BeyondLora(
            f"adapter {folder} is of type {kind}, which is no LoRA; retrain it as LoRA, or merge "
            "it into its base and save that.",
            kind,
        )
    names = config.get("target_modules")
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not names or not (is_list or isinstance(names, str)):
        raise UserError(
            f"adapter {folder} has the target modules {str(names)[:60]!r}; expected their names, "
            "or a pattern: save it again."
        )
    kept = config.get("modules_to_save")
    if kept and not (isinstance(kept, list) and all(isinstance(name, str) for name in kept)):
        raise UserError(
            f"adapter {folder} has modules_to_save: {str(kept)[:60]}; expected a list of names: "
            "save it again."
        )
    for key in ("use_rslora", "use_dora"):
        if not _is_one_of(config.get(key), (*_NOTHING, True)):
            raise UserError(
                f"adapter {folder} has {key}: {str(config[key])[:40]}; expected true or false: "
                "save it again."
            )
    for key, value in config.items():
        if key in (*_SILENT, *_READ) or _is_one_of(value, (*_NOTHING, *_PLAIN.get(key, ()))):
            continue
        meaning = f"{_MEANINGS[key]} ({key})" if key in _MEANINGS else f"the setting {key[:60]}"
        raise BeyondLora(
            f"adapter {folder} uses {meaning}: {json.dumps(value)[:60]}, which is not read here; "
            "retrain it as plain LoRA, or merge it into its base and save that.",
            _MEANINGS.get(key, key[:60]),
        )


def _is_one_of(value: Any, allowed: Sequence[Any]) -> bool:
    return any(type(value) is type(one) and value == one for one in allowed)


def _pattern(
    folder: Path, config: Mapping[str, Any], key: str, **bounds: Any
) -> dict[re.Pattern[str], float]:
    """Return the numbers that single modules have, by the pattern of their names."""
    given = config.get(key) or {}
    if not isinstance(given, dict):
        raise UserError(
            f"adapter {folder} has {key}: {str(given)[:60]}; expected names and numbers: save it "
            "again."
        )
    found = {}
    for name in given:
        try:
            compiled = re.compile(rf"(.*\.)?({name})$")
        except (re.error, RecursionError) as error:
            raise UserError(
                f"adapter {folder} has {key} for {name[:60]!r}, which is no pattern of names; save "
                "it again."
            ) from error
        found[compiled] = _number(folder, given, name, **bounds)
    return found


def _matching(numbers: Mapping[re.Pattern[str], float], module: str, otherwise: float) -> float:
    """Return the number of the first pattern that a module's name matches, as PEFT does."""
    return next((number for own, number in numbers.items() if own.match(module)), otherwise)


def _is_within(parameter: str, modules: Sequence[str]) -> bool:
    """Whether a parameter is one of a saved module's, as PEFT tells: by the ends of its names."""
    parts = parameter.split(".")[:-1]
    above = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(name.endswith(module) for name in above for module in modules)


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


def _taken(tensors: dict[str, Tensor], ending: str) -> dict[str, Tensor]:
    """Take those tensors out whose names end so; return them by the names of their modules."""
    names = [key for key in tensors if key.endswith(ending)]
    return {
        key.removeprefix(PREFIX).removesuffix(ending): tensors.pop(key).float() for key in names
    }


def _tensors(
    folder: Path, tensors: Mapping[str, Tensor]
) -> tuple[Matrices, dict[str, Float[Tensor, "..."]]]:
    """Return A and B by module name, and whole parameters by their names in the base."""
    halves: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    whole = {}
    for key, tensor in tensors.items():
        name, kind, half = key.removeprefix(PREFIX).rpartition(".lora_")
        if not key.startswith(PREFIX) or (kind and half not in ("A.weight", "B.weight")):
            raise BeyondLora(
                f"adapter {folder} holds '{key}', which is no LoRA matrix; retrain it as LoRA.",
                f"holds '{key[:80]}'",
            )
        if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            raise UserError(
                f"adapter {folder}: {key} holds what is no number (NaN, infinite, or no floating "
                "point); expected finite numbers: save or train it again."
            )
        if kind:
            halves[half[0]][name] = tensor
        else:
            whole[key.removeprefix(PREFIX).replace(".base_layer.", ".")] = tensor
    for name in sorted({*halves["A"], *halves["B"]}):
        if name not in halves["A"] or name not in halves["B"]:
            lacking = "A" if name not in halves["A"] else "B"
            raise UserError(f"adapter {folder} lacks matrix {lacking} of {name}; save it again.")
    return {name: (a, halves["B"][name]) for name, a in halves["A"].items()}, whole
