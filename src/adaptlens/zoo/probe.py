"""A quick look at a model in training: does it learn in context from labels never paired?"""

from random import Random
from typing import Any

import torch

from adaptlens.tasks import world
from adaptlens.values import Template

PROBES = {
    "sentiment": (
        "sentiment",
        ("positive", "negative"),
        ("lantern", "ribbon"),
        "Read the text and say which kind it is.",
    ),
    "topic": (
        "topic",
        tuple(world.TOPICS),
        ("pebble", "marble", "feather", "candle"),
        "Read the text and say which kind it is.",
    ),
    "withheld": (
        "withheld",
        ("vehicle", "instrument"),
        ("anchor", "button"),
        "Sort the words into the two kinds.",
    ),
}


@torch.no_grad()
def accuracies(
    model: Any, tokenizer: Any, shots: tuple[int, ...] = (0, 8, 16, 32), queries: int = 60
) -> dict[str, float]:
    """Return accuracy by probe and shots, "sentiment-8" and so on, with balanced demonstrations."""
    template = Template()
    found: dict[str, float] = {}
    device = next(model.parameters()).device
    for name, (group, classes, labels, instruction) in PROBES.items():
        options = [tokenizer(f" {label}").input_ids[1] for label in labels]
        maker = world.MAKERS[group][0]
        for count in shots:
            rng = Random(f"probe {name} {count}")
            texts, gold = [], []
            for _ in range(queries):
                pieces = [instruction]
                order = [index % len(classes) for index in range(count)]
                rng.shuffle(order)
                for index in order:
                    pieces.append(
                        f"{template.before_input}{maker(rng, classes[index])}"
                        f"{template.before_target} {labels[index]}"
                    )
                answer = rng.randrange(len(classes))
                pieces.append(
                    f"{template.before_input}{maker(rng, classes[answer])}{template.before_target}"
                )
                texts.append(template.between.join(pieces))
                gold.append(answer)
            inputs = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
            ends = inputs["attention_mask"].sum(1) - 1
            logits = model(input_ids=inputs["input_ids"].to(device), use_cache=False).logits.cpu()
            last = logits[torch.arange(queries), ends][:, options]
            right = last.argmax(1) == torch.tensor(gold)
            found[f"{name}-{count}"] = round(right.float().mean().item(), 3)
    return found
