"""The recipe that makes a reference model: microworld from scratch, the same weights every time."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from adaptlens.errors import UserError, unknown
from adaptlens.zoo import microworld, probe
from adaptlens.zoo import tokenizer as tokenizers_


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every number that decides the weights, besides the seed.

    Each step reads `tokens_per_step` tokens as rows of one document each: `short_tokens` long
    until `long_from` of the steps are done, and from then on every other step `long_tokens`
    long, so that prompts with many demonstrations stay familiar ground. Answer tokens weigh 1 in
    the loss and all others `rest_weight`; of these a random `rest_share` is kept and weighs
    accordingly more, which leaves the expected loss as it is and saves most of the logits.
    """

    steps: int = 3200
    tokens_per_step: int = 6144
    short_tokens: int = 192
    long_tokens: int = 768
    long_from: float = 0.6
    rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    rest_weight: float = 0.05
    rest_share: float = 0.25
    layers: int = 4
    heads: int = 4
    width: int = 128
    mlp_width: int = 320
    context_tokens: int = 8192

    def row_tokens(self, step: int) -> int:
        """Return the length of the rows of a step."""
        late = step >= self.long_from * self.steps
        return self.long_tokens if late and step % 2 else self.short_tokens

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then cosine to zero."""
        if step < self.warmup_steps:
            return self.rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.rate * 0.5 * (1 + float(np.cos(np.pi * done)))


RECIPES = {"reference": Recipe()}
Progress = Callable[[int, int, str], None]
"""Called as progress(steps done, steps in all, a few words)."""


def build(recipe: Recipe, tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """Return the untrained model, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.mlp_width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context_tokens,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config)


def batch(
    recipe: Recipe, tokenizer: Any, seed: int, step: int
) -> tuple[torch.Tensor, torch.Tensor, Counter[str]]:
    """Return the ids `[batch, seq]`, the loss weights of those ids, and pairs seen by family."""
    tokens = recipe.row_tokens(step)
    rows = recipe.tokens_per_step // tokens
    first = step * recipe.tokens_per_step // recipe.short_tokens
    documents = [microworld.document(seed, first + row, tokens) for row in range(rows)]
    encoded = tokenizer.backend_tokenizer.encode_batch([document.text for document in documents])
    ids = np.full((rows, tokens), tokenizer.pad_token_id, dtype=np.int64)
    weights = np.zeros((rows, tokens), dtype=np.float32)
    kept = np.random.default_rng((seed, step)).random((rows, tokens)) < recipe.rest_share
    rest = kept * np.float32(recipe.rest_weight / recipe.rest_share)
    seen: Counter[str] = Counter()
    for row, (document, encoding) in enumerate(zip(documents, encoded, strict=True)):
        length = min(len(encoding.ids), tokens)
        ids[row, :length] = encoding.ids[:length]
        ends = np.array([end for _, end in encoding.offsets[:length]])
        weights[row, 1:length] = rest[row, 1:length]
        answered = 0
        for start, stop in document.answers:
            inside = (ends > start) & (ends <= stop)
            weights[row, :length][inside] = 1.0
            answered += bool(inside.any())
        seen[document.family] += answered if document.answers else 1
    return torch.from_numpy(ids), torch.from_numpy(weights), seen


def weighted_loss(
    model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the weighted mean of the next-token losses; logits are taken where they count."""
    states = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted, targets = weights[:, 1:], ids[:, 1:]
    counts = wanted > 0
    each = functional.cross_entropy(
        model.lm_head(states[counts]), targets[counts], reduction="none"
    )
    return (each * wanted[counts]).sum() / wanted.sum()


def _decay_groups(model: LlamaForCausalLM, decay: float) -> list[dict[str, Any]]:
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
    path: Path, model: LlamaForCausalLM, optimizer: torch.optim.AdamW, progress: dict[str, Any]
) -> None:
    """Write weights, optimizer moments and progress as one safetensors file, atomically."""
    tensors = {f"model.{name}": p.detach().cpu() for name, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value.detach().cpu()
    metadata = {"progress": json.dumps(progress)}
    _replace(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def _load_checkpoint(
    path: Path, model: LlamaForCausalLM, optimizer: torch.optim.AdamW
) -> dict[str, Any]:
    """Put a checkpoint into model and optimizer and return the progress it recorded."""
    from safetensors import safe_open

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
    """Return the device for a name; "auto" is a GPU where there is one."""
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def train(
    name: str,
    *,
    seed: int,
    out: str | Path,
    device: str = "auto",
    progress: Progress | None = None,
    recipe: Recipe | None = None,
    checkpoint_every: int = 200,
) -> Path:
    """Pretrain a reference model into a folder that `AutoModelForCausalLM` loads.

    A checkpoint is written every `checkpoint_every` steps; the same call goes on from the last
    one, and ends with the weights an unbroken run would have ended with (on the same device and
    number of threads). The batch of a step depends on the seed and the step alone.

    Args:
        name: of a recipe.
        seed: of the weights and the corpus.
        out: folder to fill; may hold the checkpoint of an earlier call.
        device: "auto", "cpu", "cuda" or "mps".
        progress: called after every step.
        recipe: another recipe under the same name; None for the named one.
        checkpoint_every: steps between checkpoints.

    Raises:
        UserError: the name is unknown, or `out` holds a checkpoint of other settings.
    """
    if name not in RECIPES:
        raise unknown("reference model", name, RECIPES)
    recipe = recipe or RECIPES[name]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizers_.save(folder)
    where = pick_device(device)
    model = build(recipe, tokenizer, seed).to(where).train()
    optimizer = torch.optim.AdamW(
        _decay_groups(model, recipe.weight_decay), lr=recipe.rate, betas=(0.9, 0.98)
    )
    settings = {"name": name, "seed": seed, "recipe": asdict(recipe)}
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
        if state["settings"] != settings:
            raise UserError(
                f"{checkpoint} holds a run with other settings ({state['settings']}); expected "
                f"{settings}; choose another folder or delete the checkpoint."
            )
    seen = Counter(state["seen"])
    losses: list[float] = []
    started = time.monotonic() - state["seconds"]
    for step in range(state["step"], recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step)
        ids, weights, counted = batch(recipe, tokenizer, seed, step)
        seen += counted
        ids, weights = ids.to(where), weights.to(where)
        loss = weighted_loss(model, ids, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        losses.append(loss.item())
        if progress:
            progress(step + 1, recipe.steps, f"loss {np.mean(losses[-50:]):.3f}")
        if (step + 1) % checkpoint_every == 0 or step + 1 == recipe.steps:
            point = {"step": step + 1, "loss": round(float(np.mean(losses)), 4)}
            model.eval()
            point |= probe.accuracies(model, tokenizer)
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
                progress(step + 1, recipe.steps, json.dumps(point))
    return finish(folder, model, state)


def finish(folder: Path, model: LlamaForCausalLM, state: dict[str, Any]) -> Path:
    """Write weights, configuration and training record, and return the folder."""
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        do_sample=False,
    )
    model.eval().to("cpu").save_pretrained(folder)
    text = json.dumps(state, indent=1)
    _replace(
        folder / "training.json", lambda path: path.write_text(text, encoding="utf-8") and None
    )
    return folder
