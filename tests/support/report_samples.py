"""A comparison with believable numbers, from which the report's tests are fed."""

import hashlib
import math
import random
import shlex

import pandas as pd

from adaptlens.report.labels import Shown
from adaptlens.studies.compare.page import Report

TASKS = ("sentiment-novel", "translation")
CONDITIONS = (
    "zero-shot",
    *(f"{a}-{k}" for k in (1, 4, 16) for a in ("icl", "it", "sl", "full")),
    "best-prompt-0",
    "best-prompt-16",
)
ARMS = (*CONDITIONS, "best-it-16")
UNDRAWN = ("zero-shot", "best-prompt-0")
TEMPLATES = {"plain": -0.01, "named": 0.02, "question": -0.03, "bare": 0.02}
"""What reading an arm under a template adds to its score; 0 on the whole."""

SCRIPT = "</script><script>document.title='owned'</script><b onclick=alert(1)>bold</b> & \"q\""


RULES = {
    "judged": "calibrated, raw",
    "accuracy": "raw",
    "accuracy_normalized": "bytes",
    "accuracy_corrected": "corrected",
}


def cell_of(task: str, condition: str) -> str:
    return hashlib.sha256(f"{task} {condition}".encode()).hexdigest()[:16]


def split(condition: str) -> tuple[str, int]:
    if condition == "zero-shot":
        return "zero_shot", 0
    name, _, k = condition.rpartition("-")
    return name.replace("-", "_"), int(k)


LABELS = {condition: Shown(condition, condition, *split(condition)) for condition in CONDITIONS}
LABELS |= {"best-it-16": Shown("best-it-16", "it-16", "it", 16, is_chosen=True)}


def score(task: str, condition: str) -> float:
    name, k = split(condition)
    rises = {"zero_shot": 0.0, "icl": 0.44, "best_prompt": 0.42, "it": 0.40, "best_it": 0.41}
    rise = {**rises, "sl": 0.33, "full": 0.30}[name]
    level = 0.51 if task == "sentiment-novel" else 0.22
    return level + rise * math.log2(1 + k) / math.log2(17)


def tables() -> dict[str, pd.DataFrame]:
    accuracy, baselines, calibration, reliability, cost = [], [], [], [], []
    differences, break_even, templates = [], [], []
    model = "reference"
    for task in TASKS:
        choice = task == "sentiment-novel"
        scale = {"chrf": 100.0}
        for condition in ARMS if choice else CONDITIONS[:-2]:
            name, k = split(condition)
            metrics = (
                ("judged", "accuracy", "accuracy_normalized", "accuracy_corrected")
                if choice
                else ("chrf", "exact")
            )
            several = choice and not name.startswith("best")
            drawn = condition not in UNDRAWN
            if name == "best_it":
                metrics = ("judged",)
            for i, metric in enumerate(metrics):
                value = (score(task, condition) - 0.015 * i) * scale.get(metric, 1.0)
                half = (0.055 - 0.002 * k) * scale.get(metric, 1.0)
                accuracy.append(
                    dict(
                        task=task, model=model, condition=condition, adaptation=name, examples=k,
                        metric=metric, value=value, low=value - half, high=value + half,
                        rule=RULES.get(metric, ""), queries=200, draws=10 if drawn else 1,
                        templates=len(TEMPLATES) if several else 1,
                        template="named" if name == "best_it" else "",
                        worst_draw=value - half if drawn else math.nan,
                        cell=cell_of(task, condition),
                    )
                )  # fmt: skip
            for template, more in TEMPLATES.items() if several else ():
                value = score(task, condition) + more
                templates.append(
                    dict(
                        task=task, model=model, condition=condition, template=template,
                        metric="judged", rule="calibrated", value=value, low=value - 0.05,
                        high=value + 0.05, draws=10 if drawn else 1, queries=200,
                    )
                )  # fmt: skip
            tuned = name in ("it", "sl", "full", "best_it")
            per_query = 4.1e7 * (1 if tuned or k == 0 else 1 + 0.9 * k)
            cost.append(
                dict(
                    task=task, model=model, condition=condition,
                    training_flops=2.2e9 * k**0.7 * (3 if name == "full" else 1) if tuned else 0.0,
                    training_seconds_amortized=(3.5 if name == "full" else 1.4) if tuned else 0.0,
                    query_flops=per_query, query_flops_cached=per_query if tuned else 4.6e7,
                    query_tokens=per_query / 2e6, query_seconds=per_query / 2e10,
                    peak_bytes=3.1e8 + 1e7 * k, trainable=16384 if tuned else 0,
                )
            )  # fmt: skip
            if choice and name != "best_it":
                calibration.append(
                    dict(
                        task=task, model=model, condition=condition, brier=0.31 - 0.006 * k,
                        ece=0.14 - 0.004 * k, answer_loglik=-1.1 + 0.02 * k,
                    )
                )  # fmt: skip
                for b in range(5):
                    confidence = 0.55 + 0.1 * b
                    lean = {"icl": -0.06, "it": -0.14, "sl": -0.1, "full": -0.18}.get(name, 0.0)
                    reliability.append(
                        dict(
                            task=task, model=model, condition=condition, bin_confidence=confidence,
                            bin_accuracy=max(0.0, confidence + lean * (confidence - 0.4) * 2),
                            count=40 + 90 * b,
                        )
                    )  # fmt: skip
        for metric in ("judged", "chrf"):
            if (metric == "judged") == choice:
                unit = scale.get(metric, 1.0)
                chance = 0.5 if choice else 0.08
                baselines.append(dict(task=task, metric=metric, name="chance", value=chance * unit))
                baselines.append(
                    dict(task=task, metric=metric, name="majority 'dax'", value=0.535 * unit)
                    if choice
                    else dict(task=task, metric=metric, name="copy the input", value=0.14 * unit)
                )
                for i, (left, right) in enumerate(
                    [("it-16", "icl-16"), ("sl-16", "icl-16"), ("full-16", "icl-16"),
                     ("it-16", "sl-16"), ("it-4", "icl-4"), ("icl-16", "zero-shot")]
                ):  # fmt: skip
                    gap = (score(task, left) - score(task, right)) * unit
                    half = 0.045 * unit
                    p = 0.0002 if abs(gap) > half else 0.21
                    differences.append(
                        dict(
                            task=task, model=model, left=left, right=right, metric=metric,
                            difference=gap, low=gap - half, high=gap + half, p=p,
                            p_holm=min(1.0, p * (6 - i)), equivalence_p=0.03 if i == 0 else 0.4,
                            detectable=0.05 * unit, queries=200, draws=10,
                            test="paired permutation", correction="Holm, 6 tests",
                        )
                    )  # fmt: skip
        for k in (1, 4, 16):
            for name in ("it", "sl", "full"):
                for serving in ("uncached", "cached"):
                    saved = {"uncached": 0.9 * k * 4.1e7, "cached": 5e6}[serving]
                    once = 2.2e9 * k**0.7 * (3 if name == "full" else 1)
                    break_even.append(
                        dict(
                            task=task, model=model, prompt_condition=f"icl-{k}",
                            tuned_condition=f"{name}-{k}", serving=serving, unit="FLOP",
                            trainer="plain PEFT", counted="one run", low=math.nan, high=math.nan,
                            queries=math.inf if name == "full" and k == 1 else once / saved,
                        )
                    )  # fmt: skip
                break_even.append(
                    dict(
                        task=task, model=model, prompt_condition=f"icl-{k}",
                        tuned_condition=f"{name}-{k}", serving="uncached", unit="seconds",
                        trainer="adaptlens", counted="one run", low=math.nan, high=math.nan,
                        queries=1.4 * (2.5 if name == "full" else 1) / (0.9 * k * 4.1e7 / 2e10),
                    )
                )  # fmt: skip
    return {
        "accuracy": pd.DataFrame(accuracy),
        "templates": pd.DataFrame(templates),
        "searches": pd.DataFrame(searches()),
        "recipes": pd.DataFrame(recipes()),
        "baselines": pd.DataFrame(baselines),
        "differences": pd.DataFrame(differences),
        "calibration": pd.DataFrame(calibration),
        "reliability": pd.DataFrame(reliability),
        "cost": pd.DataFrame(cost),
        "break_even": pd.DataFrame(break_even),
    }


def recipes() -> list[dict]:
    """How each arm was tuned: all alike but for the rate and the batch."""
    return [
        dict(
            task=task, model="reference", condition=f"{name}-{k}", trained="LoRA", lora_rank=8.0,
            lora_alpha=16.0, target_modules="q_proj, v_proj", learning_rates="0.005 or 0.02",
            rates_chosen=f"0.005: {k % 10} draws, 0.02: {10 - k % 10} draws", max_steps="30",
            steps_chosen="30: 10 draws", batch_size=min(k, 8),
        )
        for task in TASKS for name in ("it", "sl") for k in (1, 4, 16)
    ]  # fmt: skip


def searches() -> list[dict]:
    """Two searches; what the first found is full of markup."""
    common = dict(task="sentiment-novel", model="reference", validation_accuracy=0.875, items=32)
    return [
        dict(
            common, condition="best-prompt-0", draw=-1, prompt=f"Text/{SCRIPT}",
            template="Text: {input}\\nLabel: {target}", label_words="dax/wug", order="",
            rule="raw", reads=2400, tokens=36000,
            options="--template 'Text: {input}\\nLabel: {target}'",
            sent=f"Text: {SCRIPT}\nLabel:",
        ),
        dict(
            common, condition="best-prompt-16", draw=3, prompt="named; half",
            template="Text: {input}\\nLabel: {target}", label_words="Dax/Wug", order="half",
            rule="calibrated", reads=640, tokens=9100,
            options="--template 'Text: {input}\\nLabel: {target}' --label-words 'dax=Dax,wug=Wug'",
            sent="Text: the soup was warm\nLabel: Dax\n\nText: the road felt long\nLabel:",
        ),
    ]  # fmt: skip


def per_query(rows: int) -> pd.DataFrame:
    """`rows` answers; every 10th query's text carries a script, every 7th a long review."""
    chance = random.Random(0)
    words = ["the", "lantern", "was", "bright", "and", "kind", "but", "the", "soup", "felt", "dull"]
    texts = [
        SCRIPT if i % 10 == 0 else " ".join(chance.choices(words, k=60 if i % 7 == 0 else 9))
        for i in range(200)
    ]
    records = []
    for row in range(rows):
        query, condition = row % 200, CONDITIONS[(row // 200) % len(CONDITIONS)]
        gold = ("dax", "wug")[query % 2]
        right = chance.random() < score("sentiment-novel", condition)
        records.append(
            dict(
                task="sentiment-novel", model="reference", condition=condition,
                draw=-1 if condition in UNDRAWN else row // (200 * len(CONDITIONS)) % 10,
                query=f"test-{query}",
                input=texts[query], gold=gold,
                answer=gold if right else ("wug", "dax")[query % 2], correct=right,
                margin=math.nan if row == 3 else chance.gauss(1.2 if right else -0.8, 0.7),
            )
        )  # fmt: skip
    return pd.DataFrame(records)


def prompts() -> list[dict]:
    found = []
    demo = [
        ("demo_input", "Input: the soup was warm and the host was kind"),
        ("cue", "\nOutput:"),
        ("demo_target", " dax"),
        ("separator", "\n\n"),
    ]
    query = [("query", "Input: the road felt long and gray"), ("cue", "\nOutput:")]
    say = [("instruction", "Say which word fits the text: dax or wug."), ("separator", "\n\n")]
    for condition, parts in (
        ("zero-shot", [*say, *query]),
        ("icl-4", [*say, *demo * 4, *query]),
        ("icl-16", [*say, *demo * 16, *query]),
        ("it-16", [*say, *query]),
        ("sl-16", [*query]),
        ("full-16", [*say, ("query", f"Input: {SCRIPT}"), ("cue", "\nOutput:")]),
    ):
        found.append(
            dict(
                task="sentiment-novel", model="reference", condition=condition, query_id="test-0",
                parts=parts, answers=[" dax", " wug"], gold=" wug",
            )
        )  # fmt: skip
    found.append(
        dict(
            task="translation", model="reference", condition="zero-shot", query_id="test-0",
            parts=[("chat", "<|user|>"), ("instruction", "Translate."), ("separator", "\n\n"),
                   ("query", "the bird sings"), ("cue", "\n"), ("chat", "<|assistant|>")],
            answers=[], gold=" mira solen",
        )
    )  # fmt: skip
    return found


def sample(rows: int = 400) -> Report:
    """The whole report, with `rows` answers in the per-query table."""
    found = tables()
    cells = found["accuracy"].drop_duplicates("cell")[["cell", "task", "model", "condition"]]
    return Report(
        title="sentiment-novel and translation on reference",
        verdicts=[
            dict(
                task="sentiment-novel", model="reference", state="prompt",
                line="prompt: icl-16 beats it-16 by 4.0 points [0.3, 8.1], p(Holm)=0.031, "
                "200 queries × 10 draws; tuning never becomes cheaper with a cached prompt",
                allowed="Both sides: the same 10 draws of 1, 4 or 16 labeled examples of 512.",
                break_even="no break-even: icl-16 is better than it-16",
            ),
            dict(
                task="translation", model="reference", state="undecided",
                line="undecided: it-16 and icl-16 differ by −4.0 chrF points [−8.5, 0.5], "
                "p(Holm)=0.21; this design detects 5.0 points or more",
            ),
        ],
        tables=found,
        prompts=prompts(),
        per_query=per_query(rows),
        settings={
            "command": "adaptlens compare --model reference --task sentiment-novel",
            "shots": [0, 1, 4, 16], "draws": 10, "seed": 0,
            "tune": {"lora_rank": 8, "lora_alpha": 16, "target_modules": ["q_proj"]},
        },
        made={"made": "2026-01-02 10:00 UTC to 2026-01-02 10:20 UTC", "machine": "not recorded"},
        command=f"adaptlens compare --model reference --task {shlex.quote(SCRIPT)}",
        versions={"adaptlens": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        notes=[
            "translation: 2 of 4,000 prompts lost demonstrations to fit the context of 512 tokens.",
            "ECE is biased upwards with few queries; Brier is not.",
        ],
        cells=cells.assign(draws=10, state="done", seconds=1.25),
        labels=LABELS,
    )  # fmt: skip
