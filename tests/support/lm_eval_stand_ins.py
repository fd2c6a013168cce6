"""Real tasks of lm-evaluation-harness over small local data with the columns that they name.

No hub can be asked here: each file includes the packaged task, functions and all, and says other
data. The texts are made up.
"""

import json
from pathlib import Path
from typing import Any

import yaml

Rows = list[dict[str, Any]]

FILES = {
    "sst2": "glue/sst2/default.yaml",
    "rte": "glue/rte/default.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "copa": "super_glue/copa/default.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "piqa": "piqa/piqa.yaml",
    "winogrande": "winogrande/default.yaml",
    "gsm8k": "gsm8k/gsm8k.yaml",
    "triviaqa": "triviaqa/default.yaml",
    "mmlu_anatomy": "mmlu/default/mmlu_anatomy.yaml",
    "blimp_adjunct_island": "blimp/adjunct_island.yaml",
}
"""Where the packaged tasks are, below lm_eval/tasks."""

_WORDS = (
    *("river", "stone", "garden", "window", "letter", "market", "bridge", "winter"),
    *("teacher", "engine", "music", "paper", "forest", "mountain", "kitchen", "doctor"),
)


def _text(n: int, size: int = 5) -> str:
    return " ".join(_WORDS[(n * 7 + i * (3 + n % 4)) % len(_WORDS)] for i in range(size))


def row(task: str, n: int) -> dict[str, Any]:
    """Return document n of a task."""
    label, said = n % 2, _text(n)
    rows: dict[str, dict[str, Any]] = {
        "sst2": {"sentence": f"a {said} film {n}", "label": label, "idx": n},
        "rte": {
            "sentence1": f"The {said} was sold in {1900 + n}.",
            "sentence2": f"Something was sold in {1900 + n + label}.",
            "label": label,
            "idx": n,
        },
        "boolq": {
            "question": f"is the {said} number {n}",
            "passage": f"There is a {said}. It has the number {n + label}.",
            "idx": n,
            "label": label,
        },
        "copa": {
            "premise": f"The {said} broke {n} times.",
            "choice1": f"It was left in the {_text(n + 1, 1)}.",
            "choice2": f"Somebody mended the {_text(n + 2, 2)}.",
            "question": ("cause", "effect")[n // 2 % 2],
            "idx": n,
            "label": label,
        },
        "arc_easy": {
            "id": f"Q{n}",
            "question": f"Which of these is like a {said} {n}?",
            "choices": {
                "text": [_text(n + i, 2) for i in range(3 + label)],
                "label": ["A", "B", "C", "D"][: 3 + label],
            },
            "answerKey": "ABC"[n % 3],
        },
        "hellaswag": {
            "ind": n,
            "activity_label": "Washing [title] a car",
            "ctx_a": f"A man stands beside a {said} {n}.",
            "ctx_b": "he then",
            "endings": [f"takes the {_text(n + i, 3)}  [step] away." for i in range(4)],
            "label": str(n % 4),
        },
        "piqa": {
            "goal": f"How to clean a {said} {n}?",
            "sol1": f"Use a {_text(n + 1, 3)}.",
            "sol2": f"Use no {_text(n + 1, 3)}, never.",
            "label": label,
        },
        "winogrande": {
            "sentence": f"The {said} did not fit into the box {n} because the _ was too large.",
            "option1": _text(n, 1),
            "option2": "box",
            "answer": str(1 + label),
        },
        "gsm8k": {
            "question": f"A {_text(n, 1)} costs {n} and a {_text(n + 1, 1)} twice that. Sum?",
            "answer": f"It is {n} and {2 * n}.\n#### {1000 + 3 * n:,}",
        },
        "triviaqa": {
            "question": f"What stands beside the {said} {n}",
            "answer": {"aliases": [f"The {_text(n, 1).title()}", _text(n, 1)], "value": "x"},
        },
        "mmlu_anatomy": {
            "question": f" What is a {said} {n}? ",
            "choices": [_text(n + i, 2) for i in range(4)],
            "answer": n % 4,
        },
        "blimp_adjunct_island": {
            "sentence_good": f"Who does the {said} see {n}?",
            "sentence_bad": f"Who the {said} does see {n}?",
        },
    }
    return rows[task]


def splits_of(task: str) -> dict[str, range]:
    """Return the numbers of the documents of each split that the real data have."""
    if task == "blimp_adjunct_island":
        return {"train": range(20)}
    if task == "mmlu_anatomy":
        return {"dev": range(5), "validation": range(5, 13), "test": range(13, 33)}
    splits = {"train": range(30), "validation": range(30, 46)}
    return {**splits, "test": range(46, 62)} if task in ("arc_easy", "gsm8k") else splits


def written(folder: Path, tasks: tuple[str, ...] = tuple(FILES)) -> Path:
    """Write the tasks, and return their folder: lm-eval's `--include_path`."""
    import lm_eval.tasks

    packaged = Path(lm_eval.tasks.__file__).parent
    for task in tasks:
        files = {}
        for split, numbers in splits_of(task).items():
            files[split] = folder / f"{task}-{split}.jsonl"
            lines = (json.dumps(row(task, n)) for n in numbers)
            files[split].write_text("\n".join(lines) + "\n", "utf-8")
        config = {
            "include": str(packaged / FILES[task]),
            "task": f"local_{task}",
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {s: str(path) for s, path in files.items()}},
        }
        (folder / f"{task}.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return folder
