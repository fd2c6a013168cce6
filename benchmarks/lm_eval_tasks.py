"""How many of lm-evaluation-harness's tasks `--task lm-eval:NAME` takes, and why not the others.

    python benchmarks/lm_eval_tasks.py

Judged from the configurations of the installed version alone: no data are fetched, so a task that
counts as taken may still fail on its data (several right options, no network). Counted are its
classification and generation tasks (multiple_choice and generate_until, Python classes among
them); tasks of log-likelihood alone are listed beside. Needs the extra `bench`.
"""

import argparse
import importlib.metadata
import itertools
import json
import logging
from collections import Counter
from typing import Any

from lm_eval.tasks import TaskManager

from adaptlens.tasks.lm_eval_acceptance import Refused, reading

TARGET = 0.9
SHOWN = 25
COUNTED = ("multiple_choice", "generate_until")


def configurations() -> dict[str, dict[str, Any]]:
    """Return every task's configuration, its functions as names."""
    manager = TaskManager()
    return {name: manager.task_index[name].cfg or {} for name in manager.all_subtasks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="print the ten commonest reasons only")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    outside: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    taken = trained = 0
    for name, config in configurations().items():
        kind = str(config.get("output_type") or "generate_until")
        if kind not in COUNTED:
            outside[kind] += 1
            continue
        try:
            reading(config, name)
        except Refused as refused:
            reasons[refused.reason] += 1
            examples.setdefault(refused.reason, name)
            continue
        taken += 1
        shown = config.get("fewshot_config") or {}
        trained += any(
            (
                config.get("training_split"),
                config.get("fewshot_split"),
                *map(shown.get, ("split", "samples")),
            )
        )
    counted = taken + sum(reasons.values())
    found = {
        "lm_eval": importlib.metadata.version("lm_eval"),
        "counted": counted,
        "taken": taken,
        "share": taken / counted,
        "with_a_split_to_learn_from": trained,
        "not_counted": dict(outside),
        "refused": dict(reasons.most_common()),
    }
    if arguments.json:
        print(json.dumps(found))
        return
    print(
        f"lm_eval {found['lm_eval']}: {taken:,} of {counted:,} tasks taken ({taken / counted:.1%}, "
        f"target {TARGET:.0%}), {trained:,} of them with a split or samples to learn from"
    )
    print("not counted: " + ", ".join(f"{n} {kind}" for kind, n in outside.items()))
    shown_reasons = itertools.islice(reasons.most_common(), 10 if arguments.quick else SHOWN)
    for reason, count in shown_reasons:
        print(f"{count:6,}  {reason} (as {examples[reason]})")


if __name__ == "__main__":
    main()
