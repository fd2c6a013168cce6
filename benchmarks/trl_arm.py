"""Adapters that TRL's SFTTrainer tuned, brought as arms, beside our own on the same rows.

    python benchmarks/trl_arm.py [--quick] [--model smollm2] [--task TASK] [--label-words A=B,C=D]
        [--examples 16] [--draws 5] [--steps 30] [--rate 0.001] [--queries 100]

Both train LoRA (rank 8, alpha 16, queries and values) with AdamW at one constant rate, in batches
of 8, on the answers of the same draws of examples; each shuffles and starts in its own way. Then
one comparison reads ours and, brought by `--arm`, TRL's, on the same test items. Needs the extra
`bench`.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import adaptlens
from adaptlens import tasks
from adaptlens.adapt.tokenizing import tokenized
from adaptlens.lm.load import LM, load
from adaptlens.prompts.selection import demonstrations
from adaptlens.stats.intervals import Scores, difference
from adaptlens.store import Run
from adaptlens.types import Task

RANK, ALPHA, BATCH, SEED = 8, 16, 8, 0


def tuned_by_trl(
    model: str, task: Task, draw: int, folder: Path, given: argparse.Namespace
) -> Path:
    """Tune on a draw's examples with SFTTrainer; return the folder of the adapter."""
    import peft
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    lm: LM = load(model)
    rows = demonstrations(task, draw, given.examples, seed=SEED)
    texts = tokenized(lm, task, rows, instruction=True)
    data = Dataset.from_dict(
        {
            "input_ids": [list(one.ids) for one in texts],
            "completion_mask": [
                [int(place >= one.prompt_tokens) for place in range(len(one.ids))] for one in texts
            ],
        }
    )
    if lm.tokenizer.pad_token is None:
        lm.tokenizer.pad_token = lm.tokenizer.eos_token
    config = SFTConfig(
        output_dir=str(folder / "trainer"),
        max_steps=given.steps,
        per_device_train_batch_size=min(BATCH, given.examples),
        learning_rate=given.rate,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch",
        bf16=False,
        gradient_checkpointing=False,
        completion_only_loss=True,
        max_length=None,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        use_cpu=str(lm.device) == "cpu",
        seed=draw,
    )
    lora = peft.LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=list(lm.architecture.tuning_targets if lm.architecture else ()),
        task_type="CAUSAL_LM",
    )
    trainer: Any = SFTTrainer(
        model=lm.model,
        args=config,
        train_dataset=data,
        processing_class=lm.tokenizer,
        peft_config=lora,
    )
    with contextlib.redirect_stdout(sys.stderr):
        trainer.train()
    out = folder / f"trl-{draw}"
    trainer.model.save_pretrained(str(out))
    return out


def correct(folder: Path, rule: str) -> dict[str, np.ndarray]:
    """Return whether each answer is right [draws, queries], by condition."""
    from adaptlens.metrics import accuracy

    found = {}
    for record in Run.open(folder).records():
        arrays = {
            name.removeprefix("behavior."): values
            for name, values in record.arrays.items()
            if name.startswith("behavior.") and "validation" not in name
        }
        label = record.spec["adaptation"]["label"]
        found[label] = accuracy.correct(arrays, rule).astype(float)  # type: ignore[arg-type]
    return found


def main() -> None:
    """Tune by both, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two draws of four examples, 3 steps")
    parser.add_argument("--model", default="reference")
    parser.add_argument("--task", default="sentiment-novel")
    parser.add_argument("--label-words", default="")
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rate", type=float, default=0.005)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args()
    if given.quick:
        given.draws, given.examples, given.steps, given.queries = 2, 4, 3, 8
    read: dict[str, Any] = {"label_words": given.label_words} if given.label_words else {}
    task = tasks.load(given.task, seed=SEED, **read)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        arms = {
            f"trl-{draw}": str(tuned_by_trl(given.model, task, draw, folder, given))
            for draw in range(given.draws)
        }
        found = adaptlens.prompt_or_tune(
            model=given.model,
            task={"path": given.task, **read},
            shots=[0],
            sizes=[given.examples],
            tuning=["it"],
            draws=given.draws,
            queries=given.queries,
            num_templates=1,
            search=False,
            scoring="raw",
            arms=arms,
            tune={
                "learning_rate": [given.rate],
                "max_steps": [given.steps],
                "batch_size": BATCH,
                "lora_rank": RANK,
                "lora_alpha": ALPHA,
            },
            out=folder / "run",
        )
        by_arm = correct(found.run_folder, "raw")
    ours = by_arm[f"it-{given.examples}"]
    theirs = np.concatenate([by_arm[name] for name in arms])
    draws = tuple(range(given.draws))
    left, right = (Scores(values, draws, "tune") for values in (theirs, ours))
    gap = difference(left, right, names=("TRL", "adaptlens"), seed=SEED)
    result = {
        "model": given.model,
        "task": task.name,
        "zero_shot": float(by_arm["zero-shot"].mean()),
        "trl": [float(row.mean()) for row in theirs],
        "adaptlens": [float(row.mean()) for row in ours],
        "difference_points": 100 * gap.difference,
        "low": 100 * gap.low,
        "high": 100 * gap.high,
    }
    if given.json:
        print(json.dumps(result))
        return
    shown = {
        name: " ".join(f"{100 * v:.1f}" for v in result[name]) for name in ("trl", "adaptlens")
    }
    print(
        f"{given.model}, {task.name}, {given.examples} examples: zero-shot "
        f"{100 * result['zero_shot']:.1f}; TRL {shown['trl']}; adaptlens {shown['adaptlens']}; TRL "
        f"less adaptlens {result['difference_points']:+.1f} points [{result['low']:.1f}, "
        f"{result['high']:.1f}]"
    )


if __name__ == "__main__":
    main()
