"""The training half of the pipeline that benchmarks/study.py compares with: one adapter, one run.

What a person would write today: load the model, wrap it by PEFT (or not, for full tuning), train on
k rows of a JSON-lines file with all of them in one padded batch, save.
"""

import argparse
import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Train one model and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--instruction", default="")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    if not given.full:
        lora = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
        model = get_peft_model(model, lora)
    ids, labels = [], []
    for line in given.rows.read_text().splitlines():
        row = json.loads(line)
        prompt = f"{given.instruction}Input: {row['input']}\nOutput:"
        before = tokenizer(prompt).input_ids
        whole = tokenizer(f"{prompt} {row['target']}\n\n").input_ids
        ids.append(whole)
        labels.append([-100] * len(before) + whole[len(before) :])
    longest = max(map(len, ids))
    batch = {
        "input_ids": torch.tensor([x + [0] * (longest - len(x)) for x in ids]),
        "attention_mask": torch.tensor([[1] * len(x) + [0] * (longest - len(x)) for x in ids]),
        "labels": torch.tensor([x + [-100] * (longest - len(x)) for x in labels]),
    }
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=given.rate, weight_decay=0.0
    )
    for _ in range(given.steps):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(given.out)
    if given.full:
        tokenizer.save_pretrained(given.out)


if __name__ == "__main__":
    main()
