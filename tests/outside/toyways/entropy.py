"""A measurement: how undecided the model is between a choice task's answers."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adaptlens.errors import UserError
from adaptlens.lm import score
from adaptlens.types import CostEstimate, Measured


@dataclass(frozen=True)
class Entropy:
    """`entropy` [repeats, queries], in nats, and its mean."""

    name: ClassVar = "entropy"
    axes: ClassVar = {"entropy": ("repeats", "queries")}

    def cost_estimate(self, sizes):
        """Return every test prompt read with its options, under every way of writing it."""
        ways, queries = len(sizes.ways), len(sizes.task.test)
        read = sizes.read(ways * queries, sizes.options, groups=ways * sizes.groups)
        prompts = float(ways * sizes.num_draws * queries)
        return CostEstimate(prompts, read_tokens=sizes.num_draws * read, disk_bytes=8 * prompts)

    def measure(self, lm, task, adapted, *, progress=None):
        """Return the array above: variant i writes its own prompts and has its own weights."""
        if task.kind != "choice":
            raise UserError(f"entropy: task '{task.name}' has no answers to choose among.")
        variants, weights = range(len(adapted.draws)), adapted.weights
        prompts = [adapted.write(i, query) for i in variants for query in task.test]
        owners = [i % weights.num_variants if weights else 0 for i in variants for _ in task.test]
        logliks = score.score(lm, score.encode(lm, prompts, owners), weights, progress=progress)
        found = np.array([entropy(each) for each in logliks]).reshape(len(variants), -1)
        return Measured({"entropy": float(found.mean())}, {"entropy": found})


def entropy(logliks):
    """Return the entropy of answers with these log-likelihoods, which need not add up to 1."""
    logp = np.asarray(logliks) - np.logaddexp.reduce(logliks)
    return float(-(np.exp(logp) * logp).sum())
