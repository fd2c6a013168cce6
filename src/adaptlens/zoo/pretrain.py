"""The recipe that makes a reference model from scratch, the same weights every time."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from adaptlens.errors import UserError, unknown
from adaptlens.lm.memory import keep_freed_memory
from adaptlens.zoo import cards
from adaptlens.zoo import tokenizer as tokenizers_
from adaptlens.zoo.corpora import CORPORA
from adaptlens.zoo.recipes import CURRICULUM, RECIPES, Recipe, Stage

__all__ = ["CURRICULUM", "RECIPES", "Recipe", "Stage", "batch", "build", "train"]

Progress = Callable[[int, int, str], None]
"""Called as progress(steps done, steps in all, a few words)."""


def _configured(recipe: Recipe, shared: dict[str, Any]) -> PretrainedConfig:
    """Return the configuration of a family's architecture."""
    if recipe.family == "neox":
        # Half of every head's few dimensions, not a quarter, carry the position.
        rotary = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
        return GPTNeoXConfig(**shared, rope_parameters=rotary)
    shared |= {"num_key_value_heads": recipe.kv_heads or recipe.heads}
    if recipe.family == "qwen":
        return Qwen3Config(**shared, head_dim=recipe.width // recipe.heads)
    return LlamaConfig(**shared)


def build(recipe: Recipe, tokenizer: Any, seed: int) -> PreTrainedModel:
    """Return the untrained model, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    config = _configured(
        recipe,
        {
            "vocab_size": len(tokenizer),
            "hidden_size": recipe.width,
            "intermediate_size": recipe.mlp_width,
            "num_hidden_layers": recipe.layers,
            "num_attention_heads": recipe.heads,
            "max_position_embeddings": recipe.context_tokens,
            "tie_word_embeddings": True,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def batch(
    recipe: Recipe, tokenizer: Any, seed: int, step: int
) -> tuple[torch.Tensor, torch.Tensor, Counter[str]]:
    """Return the ids `[batch, seq]`, the loss weights of those ids, and pairs seen by family."""
    number, stage, done = recipe.stage_at(step)
    rows, tokens = stage.rows, stage.row_tokens
    # Stages of one mix must not read the same documents again: a million apart they never meet.
    first = number * 1_000_000 + done * rows
    make = CORPORA[recipe.corpus].document
    documents = [make(seed, first + row, tokens, stage.mix) for row in range(rows)]
    encoded = tokenizer([document.text for document in documents], return_offsets_mapping=True)
    ids = np.full((rows, tokens), tokenizer.pad_token_id, dtype=np.int64)
    weights = np.zeros((rows, tokens), dtype=np.float32)
    is_kept = np.random.default_rng((seed, step)).random((rows, tokens)) < recipe.rest_share
    kept = is_kept.astype(np.float32) / np.float32(recipe.rest_share)
    seen: Counter[str] = Counter()
    for row, document in enumerate(documents):
        length = min(len(encoded["input_ids"][row]), tokens)
        ids[row, :length] = encoded["input_ids"][row][:length]
        ends = np.array([end for _, end in encoded["offset_mapping"][row][:length]])
        light = recipe.text_weight if document.kind == "text" else recipe.rest_weight
        weights[row, 1:length] = light * kept[row, 1:length]
        for (start, stop), family in zip(document.answers, document.families, strict=True):
            inside = (ends > start) & (ends <= stop)
            weights[row, :length][inside] = 1.0
            seen[f"{document.kind}:{family}"] += bool(inside.any())
        seen[f"documents:{document.kind}"] += 1
    return torch.from_numpy(ids), torch.from_numpy(weights), seen


def weighted_loss(model: PreTrainedModel, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean of the next-token losses; logits are taken where they count."""
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted, targets = weights[:, 1:], ids[:, 1:]
    counts = wanted > 0
    each = functional.cross_entropy(
        model.get_output_embeddings()(states[counts]), targets[counts], reduction="none"
    )
    return (each * wanted[counts]).sum() / wanted.sum()


def _decay_groups(model: PreTrainedModel, decay: float) -> list[dict[str, Any]]:
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside `path`, flush it to the disk, and put it in place at once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def _save_checkpoint(
    path: Path, model: PreTrainedModel, optimizer: torch.optim.AdamW, progress: dict[str, Any]
) -> None:
    """Write weights, optimizer moments and progress as one safetensors file, atomically."""
    tensors = {f"model.{name}": p.detach().cpu() for name, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value.detach().cpu()
    metadata = {"progress": json.dumps(progress)}
    _replace(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def _load_checkpoint(
    path: Path, model: PreTrainedModel, optimizer: torch.optim.AdamW
) -> dict[str, Any]:
    """Put a checkpoint into model and optimizer and return the progress it recorded."""
    with safe_open(path, "pt") as file:
        progress = json.loads(file.metadata()["progress"])
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            optimizer.state[parameter] = {
                key: tensors[f"{key}.{name}"].to("cpu" if key == "step" else parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
    return progress


def pick_device(device: str) -> torch.device:
    """Return the device for a name; "auto" is a GPU where there is one.

    Raises:
        UserError: the name is unknown or the machine has no such device.
    """
    usable = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return torch.device(next(name for name, is_usable in usable.items() if is_usable))
    if device not in usable:
        raise unknown("device", device, ("auto", *usable))
    if not usable[device]:
        raise UserError(
            f"device '{device}' was given, but torch finds none here; expected auto or cpu; "
            "leave --device out to use what there is."
        )
    return torch.device(device)


def train(
    name: str,
    *,
    seed: int,
    out: str | Path,
    device: str = "auto",
    progress: Progress | None = None,
    recipe: Recipe | None = None,
    checkpoint_every: int = 200,
    queries: int = 200,
) -> Path:
    """Pretrain a reference model into a folder that `AutoModelForCausalLM` loads.

    A checkpoint is written every `checkpoint_every` steps; the same call goes on from the last
    one and ends with the weights an unbroken run ends with (on the same device and number of
    threads), because the batch of a step depends on seed and step alone. Called again on a
    finished folder it returns at once. At the end the held-out check is run and the card written.

    Args:
        name: of a recipe.
        seed: of the weights and the corpus.
        out: folder to fill; may hold the checkpoint of an earlier call.
        device: "auto", "cpu", "cuda" or "mps".
        progress: called after every step.
        recipe: another recipe under the same name; None for the named one.
        checkpoint_every: steps between checkpoints.
        queries: per task of the held-out check; the training curve uses at most 60.

    Raises:
        UserError: the name or device is unknown, or `out` holds a run with other settings.
    """
    if name not in RECIPES:
        raise unknown("reference model", name, RECIPES)
    recipe = recipe or RECIPES[name]
    folder = Path(out)
    settings = json.loads(json.dumps({"name": name, "seed": seed, "recipe": recipe.described()}))
    if (folder / "card.json").exists():
        _same_settings(folder, json.loads((folder / "card.json").read_text()), settings)
        return folder
    where = pick_device(device)
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    tokenizer = tokenizers_.save(folder, recipe.corpus)
    model = build(recipe, tokenizer, seed).train()
    torch.nn.Module.to(model, where)
    optimizer = torch.optim.AdamW(
        _decay_groups(model, recipe.weight_decay), lr=recipe.rate, betas=(0.9, 0.98)
    )
    state: dict[str, Any] = {
        "settings": settings,
        "step": 0,
        "seconds": 0.0,
        "seen": {},
        "curve": [],
    }
    checkpoint = folder / "checkpoint.safetensors"
    if checkpoint.exists():
        state = _load_checkpoint(checkpoint, model, optimizer)
        _same_settings(folder, state["settings"], settings)
    seen = Counter(state["seen"])
    losses: list[float] = []
    started = time.monotonic() - state["seconds"]
    for step in range(state["step"], recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step)
        ids, weights, counted = batch(recipe, tokenizer, seed, step)
        seen += counted
        loss = weighted_loss(model, ids.to(where), weights.to(where))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        losses.append(loss.item())
        if progress:
            progress(step + 1, recipe.steps, f"loss {losses[-1]:.3f}")
        if (step + 1) % checkpoint_every == 0 or step + 1 == recipe.steps:
            point = {"step": step + 1, "loss": round(float(np.mean(losses)), 4)}
            point |= CORPORA[recipe.corpus].curve(model.eval(), tokenizer, min(60, queries))
            model.train()
            losses.clear()
            state |= {
                "step": step + 1,
                "seconds": time.monotonic() - started,
                "seen": dict(sorted(seen.items())),
                "curve": [*state["curve"], point],
            }
            _save_checkpoint(checkpoint, model, optimizer, state)
            if progress:
                progress(step + 1, recipe.steps, " ".join(f"{k} {v}" for k, v in point.items()))
    return finish(folder, model, tokenizer, state, queries)


def _same_settings(folder: Path, found: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse to go on with a run that was started otherwise."""
    different = [key for key, value in settings.items() if found.get(key) != value]
    if different:
        raise UserError(
            f"{folder} holds a model trained with another {' and '.join(different)}; expected an "
            "empty folder or one of the same settings; give another folder with --out."
        )


def finish(
    folder: Path, model: PreTrainedModel, tokenizer: Any, state: dict[str, Any], queries: int
) -> Path:
    """Write weights, configuration and, last, the card; drop the checkpoint; return the folder."""
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        do_sample=False,
    )
    torch.nn.Module.to(model.eval(), "cpu")
    dtype = state["settings"]["recipe"].get("dtype", "float32")
    # What is checked and told of must be the weights as they lie on disk.
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    model.float()
    corpus = CORPORA[state["settings"]["recipe"]["corpus"]]
    made = cards.card(model, state, corpus.rows(model, tokenizer, queries=queries), queries)
    readme = cards.readme(made)
    _replace(folder / "README.md", lambda path: _write(path, readme))
    _replace(folder / "card.json", lambda path: _write(path, json.dumps(made, indent=1) + "\n"))
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return folder


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
