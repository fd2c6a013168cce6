"""R LoRA adapters trained in one pass, against a loop over PEFT that keeps the base in memory.

    python benchmarks/bank.py [--quick] [--json] [--model reference llama-18m smollm2]
        [--adapters 1,4,16,30]

Needs the `bench` extra (peft). Both sides start each adapter from the same weights and train it on
the same examples of the bundled task `sentiment-novel` for the same steps: AdamW, gradient norm
at most 1, every step on all k examples. The peer's loop is what a careful person would write: one
`get_peft_model`, its adapter's weights reset between runs, all examples padded into one batch that
is built once, the loss by the model's own `labels`. Solo runs are independent of each other, so of
R of them at most `--solo` are run and their time is scaled to R. Each side is timed after a step of
warm-up, the two in turn, and the median of `--repeats` is kept (cells that take over a minute are
run once). Large models are trained for few steps: a step costs the same however many there are. On
one thread seconds are the processor's. The share is of this machine's peak in float32 matrix
products: two forward passes' worth of operations for every token computed, attention, adapters and
unembedding left out (target: 45%).
"""

import argparse
import itertools
import json
import platform
import statistics
import sys
from typing import Any

import peft
import torch
import transformers

import models
from adaptlens import tasks
from adaptlens.adapt import loop
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.adapt.tokenizing import tokenized
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.flops import matrix_parameters
from adaptlens.lm.load import LM
from adaptlens.lm.memory import keep_freed_memory
from adaptlens.prompts import selection
from adaptlens.zoo import tokenizer as zoo_tokenizer
from machine import clock, matrix_peak

RATE, RANK, ALPHA = 5e-3, 8, 16
STEPS = {"reference": 30}
FEW_STEPS = 4
LONG_SECONDS = 60.0


class Peer:
    """A PEFT model made once, and the loop that trains one adapter after another in it."""

    def __init__(self, lm: LM, targets: tuple[str, ...]):
        config = peft.LoraConfig(
            r=RANK, lora_alpha=ALPHA, target_modules=list(targets), task_type="CAUSAL_LM"
        )
        self.model: Any = peft.get_peft_model(lm.model, config)
        self.pad_id = lm.pad_id
        self.sites = {
            name.removeprefix("base_model.model."): (
                module.lora_A["default"].weight,
                module.lora_B["default"].weight,
            )
            for name, module in self.model.named_modules()
            if hasattr(module, "lora_A")
        }

    def train(
        self,
        start: dict[str, tuple[torch.Tensor, torch.Tensor]],
        examples: list[TokenizedExample],
        steps: int,
    ) -> None:
        """Train one adapter from these matrices, which stay as they are."""
        with torch.no_grad():
            for name, pair in self.sites.items():
                for own, given in zip(pair, start[name], strict=True):
                    own.copy_(given)
        longest = max(len(example.ids) for example in examples)
        ids = torch.full((len(examples), longest), self.pad_id, device=self.model.device)
        seen = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for row, example in enumerate(examples):
            stop = len(example.ids)
            ids[row, :stop] = torch.tensor(example.ids, device=ids.device)
            seen[row, :stop] = 1
            labels[row, example.prompt_tokens : stop] = ids[row, example.prompt_tokens : stop]
        trained = [weight for pair in self.sites.values() for weight in pair]
        optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
        self.model.train()
        for _ in range(steps):
            loss = self.model(input_ids=ids, attention_mask=seen, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        self.model.eval()

    def difference(self, matrices: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> float:
        """Return the largest absolute difference to other matrices."""
        return max(
            float((own - other).abs().max().detach())
            for name, pair in self.sites.items()
            for own, other in zip(pair, matrices[name], strict=True)
        )


def compare(
    lm: LM, peer: Peer, adapters: int, k: int, steps: int, solo: int, repeats: int
) -> dict[str, Any]:
    task = tasks.load("sentiment-novel")
    examples = [
        tokenized(lm, task, selection.demonstrations(task, draw, k), instruction=True)
        for draw in range(adapters)
    ]
    solo = min(solo, adapters)

    def bank(adapters: int, steps: int) -> tuple[LoraBank, loop.History]:
        made = LoraBank(lm, num_variants=adapters, rank=RANK, alpha=ALPHA)
        config = TrainingConfig(
            (RATE,) * adapters, (steps,) * adapters, (0,) * adapters, batch_size=k
        )
        return made, loop.train(lm, made, examples[:adapters], config)

    starts = LoraBank(lm, num_variants=adapters, rank=RANK, alpha=ALPHA)
    bank(1, 1)
    peer.train(starts.matrices(0), examples[0], 1)
    ours, theirs, difference = [], [], 0.0
    for _ in range(repeats):
        begun = clock()
        trained, history = bank(adapters, steps)
        ours.append(clock() - begun)
        spent = 0.0
        for variant in range(solo):
            begun = clock()
            peer.train(starts.matrices(variant), examples[variant], steps)
            spent += clock() - begun
            difference = max(difference, peer.difference(trained.matrices(variant)))
        theirs.append(spent * adapters / solo)
        if ours[-1] + spent > LONG_SECONDS:
            break
    own, other = statistics.median(ours), statistics.median(theirs)
    return {
        "model": lm.name,
        "adapters": adapters,
        "examples": k,
        "steps": steps,
        "bank_seconds": own,
        "peft_seconds": other,
        "ratio": other / own,
        "max_difference": difference,
        "tokens_computed_share": history.total.tokens_computed / history.total.tokens_given,
        "share_of_peak": 4
        * matrix_parameters(lm)
        * history.total.tokens_computed
        / own
        / matrix_peak(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="the reference model, two adapters, one repeat"
    )
    parser.add_argument("--model", nargs="*", default=["reference", "llama-18m"])
    parser.add_argument("--adapters", default="1,4,16,30")
    parser.add_argument("--examples", default="1,8,32")
    parser.add_argument("--solo", type=int, default=4, help="solo runs timed per cell")
    parser.add_argument("--steps", type=int, help="default: 30 on the reference model, else 4")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.quick:
        given.model, given.adapters, given.examples = ["reference"], "1,2", "1"
        given.solo, given.repeats = 1, 1
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    machine = f"{platform.machine()}, {given.threads} threads, torch {torch.__version__}"
    print(f"{machine}, transformers {transformers.__version__}, peft {peft.__version__}",
          file=sys.stderr)  # fmt: skip
    rows = []
    if not given.json:
        print(f"{'model':<10} {'R':>3} {'k':>3} {'bank s':>8} {'peft s':>8} {'ratio':>6} "
              f"{'max diff':>9} {'tokens':>7} {'of peak':>8}")  # fmt: skip
    for name in given.model:
        # Two copies, so that the peer's wrapping cannot slow the bank's model down.
        lm, other = (models.build(name, zoo_tokenizer.build()) for _ in range(2))
        peer = Peer(other, lm.architecture.tuning_targets)
        sizes = [[int(n) for n in text.split(",")] for text in (given.adapters, given.examples)]
        for adapters, k in itertools.product(*sizes):
            row = compare(
                lm,
                peer,
                adapters,
                k,
                given.steps or STEPS.get(name, FEW_STEPS),
                given.solo,
                given.repeats,
            )
            rows.append(row)
            if not given.json:
                print(f"{name:<10} {adapters:>3} {k:>3} {row['bank_seconds']:>8.3f} "
                      f"{row['peft_seconds']:>8.3f} {row['ratio']:>5.2f}x "
                      f"{row['max_difference']:>9.1e} "
                      f"{row['tokens_computed_share']:>7.0%} "
                      f"{row['share_of_peak']:>8.0%}", flush=True)  # fmt: skip
    if given.json:
        print(json.dumps({"machine": machine, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
