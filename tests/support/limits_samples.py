"""A study of limits with believable numbers, for the tests of its page; tables are the code's."""

import functools
import hashlib

import numpy as np
import pandas as pd

from adaptlens.studies.limits import claims as limits_claims
from adaptlens.studies.limits import contrasts, exposure, mediation, relations, variance
from adaptlens.studies.limits.page import LimitsReport
from report_samples import SCRIPT

CLUSTERS = {
    "language": ("reverse", "plural", "past tense", "antonym"),
    "facts": ("capital", "color", "owner", "age"),
    "code": ("sort", "count", "lookup", "bracket"),
    "judging": ("entails", "same meaning", "refers to", "grammatical", "likely"),
    "text": ("caption", "summary", "rewrite", "continue"),
}
"""Tasks of every cluster; those of "text" are written, without options."""

EXPOSED = ("language",)
LEVELS = ("none", "little", "much")
MIXTURES = ("default", "no-text", "no-language", "few-tasks")
VARIATIONS = ("unified", "irrelevant")
UNIT = 0.09


def tasks_of(tasks: int) -> list[tuple[str, str]]:
    """(task, cluster), clusters in turn."""
    every = [(names[i], cluster) for i in range(5) for cluster, names in CLUSTERS.items()
             if i < len(names)]  # fmt: skip
    return every[:tasks]


def bases_of(sizes: int) -> list[dict]:
    """Three families in `sizes` sizes; the smallest of the first stands for all exposures."""
    found = []
    for f, family in enumerate(("llama", "neox", "qwen")):
        for s in range(sizes):
            size = round(1.1e6 * 4**s * (1 + 0.07 * f))
            for level in LEVELS if f == s == 0 else ("much",):
                name = f"{family}-{'sml'[s]}" + (f"-{level}" if level != "much" else "")
                found.append({"model": name, "family": family, "size": size, "exposure": level})
    return found


def scores_of(
    *, tasks: int = 9, sizes: int = 2, mixtures: int = 2, seeds: int = 2, seed: int = 0
) -> pd.DataFrame:
    """Tuned abilities that follow in-context ones beyond difficulty; language needs exposure."""
    rng = np.random.default_rng(seed)
    rows = []
    listed = tasks_of(tasks)
    effort = rng.normal(size=len(listed))
    for base in bases_of(sizes):
        general = 0.5 * rng.normal() + 0.4 * np.log10(base["size"] / 1e6)
        for place, (task, cluster) in enumerate(listed):
            level = LEVELS.index(base["exposure"]) if cluster in EXPOSED else 2
            own = effort[place] + general + 0.6 * rng.normal() + (0.0, 0.9, 2.2)[level] - 1.0
            bare = 0.35 + 0.3 * UNIT * own
            about = base | {"task": task, "cluster": cluster}
            rows += _read(rng, about, "base", bare, seeds=(-1,))
            rows += _read(rng, about, "gold", 0.45 + UNIT * own, seeds=(-1,))
            for mixture in MIXTURES[:mixtures]:
                seen = place % 3 > 0 and mixture != f"no-{cluster}"
                for one in range(seeds if mixture == "default" else 1):
                    tuned = 0.42 + UNIT * (0.8 * own + 0.5 * rng.normal() + 0.8 * seen)
                    where = about | {"mixture": mixture, "seen": seen}
                    rows += _read(rng, where, "regular", tuned, seeds=(one,))
                    for variation in VARIATIONS if mixture == "default" else ():
                        less = 0.02 + 0.04 * (variation == "irrelevant")
                        rows += _read(rng, where, "regular", tuned - less, (one,), variation)
                    if mixture == "default":
                        rows += _read(rng, where, "samplegen", tuned - 0.04, (one,), lost=0.08)
                        better = tuned - 0.03 + 0.05 * (not seen)
                        rows += _read(rng, where, "pipeline", better, (one,), lost=0.08)
    return pd.DataFrame(rows)


def _read(rng, about, system, ability, seeds, variation="", lost=0.0):
    """Rows of one system on one task under every scoring it has."""
    written = about["cluster"] == "text"
    scorings = ("exact", "semantic") if written else ("choice", "exact", "semantic")
    chance = 0.0 if written else 0.25
    rows = []
    for seed in seeds:
        for scoring in scorings:
            floor = {"choice": chance, "exact": 0.04, "semantic": 0.3}[scoring]
            halves = floor + (1 - floor) * np.clip(ability + 0.03 * rng.normal(size=2), 0, 1)
            rows.append(
                {"mixture": "", "seen": False, **about, "seed": seed, "draw": max(seed, 0),
                 "system": system, "variation": variation, "scoring": scoring,
                 "value": halves.mean(), "chance": 0.0 if scoring == "exact" else chance,
                 "floor": floor, "queries": 100, "unparsed": lost,
                 "half_a": halves[0], "half_b": halves[1]}
            )  # fmt: skip
    return rows


FEW = {"resamples": 60, "exchanges": 99}


@functools.cache
def tables(**shape) -> dict[str, pd.DataFrame]:
    """All tables of simulated scores, made by the study's own code; do not change them."""
    scores = scores_of(**shape)
    rows = {
        "relations": relations.relations(scores, **FEW),
        "per_task": relations.per_task(scores, **FEW),
        "per_model": relations.per_model(scores, resamples=60),
        "attribution": variance.attribution(scores, resamples=60),
        "mixed_effects": variance.mixed_effects(scores),
        "exceeding": contrasts.exceeding(scores),
        "systems": contrasts.systems(scores),
        "variations": contrasts.variations(scores),
        "exposure": exposure.exposure(scores, EXPOSED),
        "mediation": mediation.mediation(scores, EXPOSED, resamples=60),
    }
    return {"scores": scores, **{name: pd.DataFrame(own) for name, own in rows.items()}}


@functools.cache
def claims(**shape) -> tuple[dict, ...]:
    """The five claims on simulated scores."""
    return tuple(limits_claims.claims(tables(**shape)["scores"], exposed=EXPOSED))


def cell_of(model: str, condition: str) -> str:
    return hashlib.sha256(f"{model} {condition}".encode()).hexdigest()[:20]


def prompt(system: str, variation: str = "", **more) -> dict:
    return dict(
        task="reverse", group="reverse", model="llama-s", condition=system, query_id="test-0",
        system=system, variation=variation,
        parts=[("instruction", "Answer the question."), ("separator", "\n\n"),
               ("query", f"Question: {SCRIPT}"), ("cue", "\nAnswer:")],
        answers=[" aba", " bab"], gold="aba", output=" aba\nthe end", answer="aba",
    ) | more  # fmt: skip


def sample(**shape) -> LimitsReport:
    """A report as `limits_tables.analyze` makes it."""
    found = tables(**shape)
    listed = [(base["model"], name) for base in bases_of(shape.get("sizes", 2))
              for name in ("base", "gold", "regular_tuned")]  # fmt: skip
    return LimitsReport(
        title="Does tuned performance follow what the base model does in context? 8 bases",
        claims=claims(**shape),
        tables=found,
        prompts=[
            prompt("base"), prompt("regular"), prompt("regular", "irrelevant"),
            prompt("pipeline", answers=[], parts=[], output="", answer=None),
        ],
        settings={"models": ["ladder"], "claims": {"correlation": 0.3, "gain": 0.05}},
        versions={"adaptlens": "0.1.0"},
        notes=["mixture-default: 12 items were left out."],
        cells=pd.DataFrame(
            [dict(cell=cell_of(model, name), model=model, task="mixture", condition=name,
                  draws="0, 1") for model, name in listed]
        ),
    )  # fmt: skip
