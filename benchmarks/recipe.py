"""What tuning recipe does well: targets, rates and steps side by side, on held-out items.

The default recipe of a comparison rests on this table. Run it on the model and task at hand:

    python benchmarks/recipe.py --model smollm2 --task reviews.tsv
    python benchmarks/recipe.py --model reference --task sentiment-novel

Every setting is trained on the same draws, and read at every number of steps on the way; items
are read under the task's usual templates, which take turns. The loss is that of the validation
items that choose rates and steps.
"""

import argparse
import itertools
from dataclasses import replace

import numpy as np

from adaptlens import tasks
from adaptlens.adapt import loop
from adaptlens.adapt.lora import LORA_RATE_TIMES_WIDTH, InstructionTuning
from adaptlens.adapt.settings import Candidate, width
from adaptlens.lm import score
from adaptlens.lm.load import load
from adaptlens.metrics import accuracy
from adaptlens.models import identity
from adaptlens.tasks import templates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="reference")
    parser.add_argument("--task", default="sentiment-novel")
    parser.add_argument("--label-words")
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--runs", type=int, default=3, help="draws")
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--times", default="0.0625,0.25,1,4", help="rates, of the default")
    parser.add_argument("--stops", default="10,30")
    parser.add_argument("--targets", default="usual,all-linear")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="two draws, two steps, eight items")
    given = parser.parse_args()
    if given.quick:
        given.runs, given.items, given.examples = 2, 8, 2
        given.times, given.stops, given.targets = "1", "1,2", "usual"
    words = {"label_words": given.label_words} if given.label_words else {}
    task = tasks.load(given.task, **words)
    usual = templates.usual(task, chat=identity.has_chat_template(given.model))
    task = replace(task, templates=usual)
    lm = load(given.model)
    stops = tuple(map(int, given.stops.split(",")))
    times = tuple(map(float, given.times.split(",")))
    print(f"{given.model}, {task.name}: {given.examples} examples, {given.runs} draws, ", end="")
    print(f"{given.items} items; default rate {LORA_RATE_TIMES_WIDTH / width(lm):.2g}")
    headings = f"{'rate':>8}{'times':>8}{'steps':>6}{'accuracy':>10}{'worst draw':>12}{'loss':>8}"
    print(f"{'targets':<12}{headings}")
    for targets in given.targets.split(","):
        row(lm, task, given, targets, times, stops)


def row(lm, task, given, targets, times, stops) -> None:
    tuning = InstructionTuning(
        given.examples,
        batch_size=given.batch,
        target_modules=None if targets == "usual" else (targets,),
    )
    rates = [factor * LORA_RATE_TIMES_WIDTH / width(lm) for factor in times]
    draws = range(given.runs)
    examples = {draw: tuning.tokenized(lm, task, tuning.drawn(task, draw)) for draw in draws}
    variants = [
        (Candidate(rate, stops[-1]), draw, examples[draw]) for rate in rates for draw in draws
    ]
    bank, _, kept = tuning.trained(lm, task, variants, None, stops)
    bank = bank.stacked(kept)
    losses, _ = loop.evaluate(lm, bank, tuning.held_out(lm, task), bank.num_variants)
    ways = templates.ways(task)
    items = getattr(task, given.split)[: given.items]
    prompts = [written(lm, ways[place % len(ways)], item) for place, item in enumerate(items)]
    variants = [v for v in range(bank.num_variants) for _ in prompts]
    requests = score.encode(lm, prompts * bank.num_variants, variants)
    found = np.stack(score.score(lm, requests, bank))
    loglik = found.reshape(bank.num_variants, len(items), -1)
    gold = np.array([task.choices.index(item.target) for item in items])
    right = accuracy.correct({"loglik": loglik, "gold": gold}).mean(1)
    shape = (len(stops), len(rates), given.runs)
    for (stop, rate), of_draws, loss in zip(
        itertools.product(stops, rates),
        right.reshape(-1, shape[-1]),
        losses.reshape(-1, shape[-1]).mean(1),
        strict=True,
    ):
        times_default = rate * width(lm) / LORA_RATE_TIMES_WIDTH
        print(
            f"{targets:<12}{rate:>8.1g}{times_default:>8.3g}{stop:>6}"
            f"{100 * of_draws.mean():>10.1f}{100 * of_draws.min():>12.1f}{loss:>8.2f}",
            flush=True,
        )


def written(lm, way, item):
    from adaptlens.adapt.prompting import fit

    return fit(lm, way, (), item, on_overflow="error")


if __name__ == "__main__":
    main()
