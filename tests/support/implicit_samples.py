"""A study of implicit patterns with believable numbers, for the tests of its page."""

import hashlib
import itertools
import math
import random
from collections.abc import Sequence

import pandas as pd

from adaptlens.report.labels import Shown
from adaptlens.studies.implicit.page import ImplicitReport
from report_samples import SCRIPT

MODEL = "reference-math"
FAMILIES = ("expression", "code", "relation", "boolean", "algebra")
SHOTS, SIZES = (1, 2, 4, 8, 16, 32), (32, 64, 128, 256, 512, 1024)
CHOSEN = {"icl": 16, "it": 1024, "full": 512}
KINDS = {
    "pattern": ("pattern", "pattern"),
    "misleading": ("pattern", "broken"),
    "plain": ("broken", "broken"),
    "reverse": ("broken", "pattern"),
}
MAIN = ("zero-shot", "icl-16", "it-256", "sl-256", "full-256")
CONTROLS = ("icl-16-shuffled", "it-256-shuffled", "icl-16-neutral")
LABELS = {
    "zero-shot": Shown("zero-shot", "zero-shot", "zero_shot"),
    "icl-16": Shown("icl-16", "icl-16", "icl", 16),
    **{f"{name}-256": Shown(f"{name}-256", f"{name}-256", name, 256)
       for name in ("it", "sl", "full")},
    "icl-16-shuffled": Shown("icl-16-shuffled", "icl-16-shuffled", "icl", 16, "shuffled"),
    "icl-16-neutral": Shown("icl-16-neutral", "icl-16-neutral", "icl", 16, "neutral"),
    "it-256-shuffled": Shown("it-256-shuffled", "it-256-shuffled", "it", 256, "shuffled"),
}  # fmt: skip
LABELS |= {
    f"{name}, other queries": Shown(f"{name}, other queries", name, LABELS[name].adaptation,
                                    LABELS[name].examples, "other half")
    for name in MAIN
}  # fmt: skip
UNDEFINED = {"relation": ("zero-shot",), "algebra": ("zero-shot", "icl-16-shuffled")}
"""The conditions of a family that have no circuit."""

REASON = "no clean-corrupt gap: {} does not tell them apart (+0.021 [-0.110, 0.152])"


def cell_of(family: str, condition: str) -> str:
    return hashlib.sha256(f"{family} {condition}".encode()).hexdigest()[:20]


def around(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def accuracy(family: str, method: str, samples: int, condition: str) -> float:
    """Demonstrations teach the shortcut fast and mislead; tuning is slow and is not misled."""
    start = 20.0 + 3 * FAMILIES.index(family)
    if method == "icl":
        rise = {"pattern": 55.0, "misleading": -14.0, "plain": 16.0, "reverse": 20.0}[condition]
        return start + rise * math.log2(2 * samples) / 6
    rise = {"pattern": 38.0, "misleading": 19.0, "plain": 24.0, "reverse": 28.0}[condition]
    return start + (rise + 6 * (method == "full")) * math.log2(samples / 16) / 6


def curves(families: Sequence[str]) -> pd.DataFrame:
    rows = []
    for family in families:
        about = {"model": MODEL, "family": family, "queries": 100}
        for read in ("pattern", "broken"):
            rows.append(
                {**about, "learned": "", "read": read, "condition": "", "method": "zero-shot",
                 "tuned_on": "single", "samples": 0, "draws": 1, "chosen": False,
                 **around(20.0 + 3 * FAMILIES.index(family) - 4 * (read == "broken"), 7.5)}
            )  # fmt: skip
        for condition, (learned, read) in KINDS.items():
            for method in CHOSEN:
                for samples in SHOTS if method == "icl" else SIZES:
                    value = accuracy(family, method, samples, condition)
                    rows.append(
                        {**about, "learned": learned, "read": read, "condition": condition,
                         "method": method, "tuned_on": "single", "samples": samples, "draws": 5,
                         "chosen": samples == CHOSEN[method], **around(value, 5.0)}
                    )  # fmt: skip
                if method != "icl":
                    rows.append(
                        {**rows[-1], "tuned_on": "mixed", "chosen": False,
                         **around(value - 9.0, 6.0)}
                    )  # fmt: skip
    return pd.DataFrame(rows)


def shortcut(families: Sequence[str]) -> pd.DataFrame:
    rows = []
    for i, family in enumerate(families):
        for method, size in (("icl", 30.0), ("it", 6.0), ("full", 2.0)):
            for samples in SHOTS if method == "icl" else SIZES:
                for quantity, times in (("shortcut use", 1.0), ("over-reliance", 0.8)):
                    rows.append(
                        {"model": MODEL, "family": family, "method": method, "samples": samples,
                         "quantity": quantity, **around(times * (size - 4 * i), 6.5), "p": 0.003,
                         "queries": 100, "draws": 5, "chosen": samples == CHOSEN[method]}
                    )  # fmt: skip
    return pd.DataFrame(rows)


def needed(families: Sequence[str]) -> pd.DataFrame:
    """In code no tuning reaches in-context learning on pattern items; elsewhere some does."""
    rows = []
    for i, family in enumerate(families):
        for condition in ("pattern", "plain"):
            for method in ("it", "full"):
                is_reached = family != "code" or condition == "plain"
                samples = 90.0 * (i + 1) if is_reached else math.inf
                high = samples * 1.8 if i != 4 else math.inf
                rows.append(
                    {"model": MODEL, "family": family, "condition": condition, "target": 71.5,
                     "gain": 21.5, "gain_low": 14.0, "gain_high": 29.0, "icl_samples": 16,
                     "method": method, "samples": samples,
                     "low": samples / 1.6 if is_reached else 700.0, "high": high,
                     "ratio": samples / 16, "ratio_high": high / 16,
                     "ratio_low": samples / 1.6 / 16 if is_reached else 700 / 16,
                     "most": 1024, "queries": 100, "draws": 5}
                )  # fmt: skip
    return pd.DataFrame(rows)


def transfer(families: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": MODEL, "learned_family": learned, "family": read, "read": kind,
             "method": method, "samples": CHOSEN[method], "p": 0.01, "queries": 50, "draws": 5,
             **around(gain * (1.0 if learned == read else 0.25 - 0.15 * abs(i - j))
                      * (1.0 if kind == "pattern" else -0.4), 7.0)}
            for i, learned in enumerate(families) for j, read in enumerate(families)
            for kind in ("pattern", "broken") for method, gain in (("icl", 44.0), ("it", 31.0))
        ]
    )  # fmt: skip


def units(layers: int, heads: int) -> list[dict]:
    found = []
    for layer in range(layers):
        found += [
            {"unit": f"L{layer}.H{head}", "kind": "head", "layer": layer, "index": head}
            for head in range(heads)
        ]
        found.append({"unit": f"L{layer}.MLP", "kind": "mlp", "layer": layer, "index": 0})
    return found


def profile(family: str, condition: str, every: Sequence[dict]) -> list[float]:
    """A few units do most of it; conditions of one kind share most of them; some work against."""
    shared, own = random.Random(f"{family}"), random.Random(f"{family} {condition}")
    moved = {"zero": 0.0, "icl": 0.6, "it": 0.15, "sl": 0.2, "full": 0.3}[condition.split("-")[0]]
    found = []
    for unit in every:
        same, other = (one.gauss(0, 0.3) ** 3 for one in (shared, own))
        value = (1 - moved) * same + moved * other
        found.append(1.6 * value + (0.08 if unit["kind"] == "mlp" else 0.0))
    return found


def defined(family: str, conditions: Sequence[str]) -> list[str]:
    return [name for name in conditions if name not in UNDEFINED.get(family, ())]


def circuit_tables(
    families: Sequence[str], layers: int, heads: int, conditions: Sequence[str]
) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {
        name: [] for name in ("gates", "profiles", "differences", "shift", "overlap", "functional",
                              "faithfulness", "specifications", "variance", "annotations",
                              "circuit", "edges")
    }  # fmt: skip
    every = units(layers, heads)
    for family in families:
        about = {"model": MODEL, "family": family}
        values = {c: profile(family, c, every) for c in conditions}
        own = defined(family, conditions)
        main = [c for c in own if c in MAIN]
        chance = random.Random(f"rest of {family}")
        for c in conditions:
            found["gates"].append(
                {**about, "condition": c, "gap": 3.1 if c in own else 0.021,
                 "low": 2.6 if c in own else -0.11, "high": 3.6 if c in own else 0.152,
                 "accuracy": 62.0 if c in own else 27.0, "chance": 25.0, "defined": c in own,
                 "reason": "" if c in own else REASON.format(c), "items": 128,
                 "draws": 1 if c == "zero-shot" else 5}
            )  # fmt: skip
        for c in own:
            order = sorted(range(len(every)), key=lambda i, c=c: -abs(values[c][i]))
            for i, unit in enumerate(every):
                found["profiles"].append(
                    {**about, "condition": c, **unit, **around(values[c][i], 0.05),
                     "p": 0.004 if abs(values[c][i]) > 0.1 else 0.6}
                )  # fmt: skip
            for rank, i in enumerate(order[: max(4, min(60, len(every) * 2 // 5))]):
                member = {"value": values[c][i], "sign": 1 if values[c][i] > 0 else -1}
                found["circuit"].append(
                    {**about, "condition": c, **every[i], **member,
                     "label": "induction" if rank < 3 and every[i]["kind"] == "head" else ""}
                )  # fmt: skip
            for i in (i for i in order if every[i]["kind"] == "head"):
                scores = {name: abs(chance.gauss(0, 0.4)) % 1 for name in
                          ("induction", "label_attention", "query_attention", "sink",
                           "function_vector")}  # fmt: skip
                found["annotations"].append(
                    {**about, "condition": c, **every[i], "value": values[c][i], **scores}
                )
            chain = sorted(order[:6], key=lambda i: every[i]["layer"])
            for left, right in itertools.pairwise(chain):
                if every[left]["layer"] < every[right]["layer"]:
                    found["edges"].append(
                        {**about, "condition": c, "source": every[left]["unit"],
                         "target": every[right]["unit"], "value": 0.2 - 0.03 * left % 0.3}
                    )  # fmt: skip
            for size in (len(every) // 5, 2 * len(every) // 5) if c in MAIN else ():
                share = 1 - math.exp(-6 * size / len(every))
                found["faithfulness"].append(
                    {**about, "condition": c, "size": size, "faithfulness": share,
                     "low": share - 0.08, "high": share + 0.08, "completeness": 1 - share,
                     "random": 0.1 * share, "items": 64, "draws": 5}
                )  # fmt: skip
        pairs = [(a, b, "main") for i, a in enumerate(main) for b in main[i + 1 :]]
        pairs += [(c.rsplit("-", 1)[0], c, "control") for c in own if c in CONTROLS]
        for n, (a, b, role) in enumerate(pairs):
            both = {**about, "left": a, "right": b}
            far = 0.9 if "icl" in a + b and role == "main" else 0.25
            counts = {"items": 128, "draws": 5}
            for measure, value in (("distance", far + 0.02 * n), ("decorrelation", far / 2),
                                   ("rank overlap", 1 - far), ("total effect", 0.3 - 0.05 * n),
                                   ("effective units", 0.1 * far)):  # fmt: skip
                is_defined = measure != "decorrelation" or role == "main"
                found["shift"].append(
                    {**both, "role": role, "measure": measure, "kind": "all", "p": 0.002,
                     **(around(value, 0.12) if is_defined else around(math.nan, 0)),
                     "floor": 0.21 if measure == "distance" else math.nan,
                     "state": "" if is_defined else "reliability below 0.5", **counts}
                )  # fmt: skip
            if role != "main":
                continue
            for i, unit in enumerate(every):
                change = values[b][i] - values[a][i]
                found["differences"].append(
                    {**both, **unit, **around(change, 0.09),
                     "p_max": 0.01 if abs(change) > 0.12 else 0.7,
                     "q": 0.02 if abs(change) > 0.1 else 0.5}
                )  # fmt: skip
            for share in (0.05, 0.1, 0.2, 0.4):
                reach, ceiling = 0.7 * (1 - far / 2), 0.7
                found["overlap"].append(
                    {**both, "size": max(1, round(share * len(every))), "share": share,
                     "jaccard": reach, "chance": share / 2, "ceiling": ceiling,
                     "corrected": (reach - share / 2) / (ceiling - share / 2),
                     "low": (reach - share / 2) / (ceiling - share / 2) - 0.15,
                     "high": (reach - share / 2) / (ceiling - share / 2) + 0.15, "state": ""}
                )  # fmt: skip
        for a in main:
            found["shift"].append(
                {**about, "left": a, "right": f"{a}, other queries", "role": "floor",
                 "p": math.nan, "measure": "distance", "kind": "all", **around(0.0, 0.2),
                 "floor": 0.21, "state": "", "items": 128, "draws": 5}
            )  # fmt: skip
            for b in main:
                if a != b:
                    gone = b == "sl-256" and family == "code"
                    found["functional"].append(
                        {**about, "source": a, "target": b, "size": 10,
                         **around(math.nan if gone else 0.4 + 0.1 * main.index(a), 0.2),
                         "state": "the target's own circuit does no better than random ones"
                         if gone else "", "items": 64, "draws": 5}
                    )  # fmt: skip
        named = [(a, b, f"{a} ~ {b}") for a, b, role in pairs if role == "main"]
        if "zero-shot" in own:
            named.append(("icl-16", "it-256", "shift of ICL less that of IT"))
        for left, right, name in named:
            for metric in ("logit_difference", "log_probability"):
                for direction, ablation in (("denoise", "resample"), ("noise", "resample"),
                                            ("noise", "mean")):  # fmt: skip
                    for corruption in ("other", "twin"):
                        found["specifications"].append(
                            {**about, "left": left, "right": right, "name": name,
                             "metric": metric, "direction": direction, "ablation": ablation,
                             "corruption": corruption, **around(chance.gauss(0.4, 0.2), 0.2)}
                        )  # fmt: skip
        shares = {"item": 0.31, "draw": 0.14, "specification": 0.22, "rest": 0.33}
        found["variance"] += [
            {**about, "component": name, "levels": 5, "variance": share / 10, "share": share}
            for name, share in shares.items()
        ]
    return found


def tables(
    families: Sequence[str] = FAMILIES,
    layers: int = 5,
    heads: int = 4,
    conditions: Sequence[str] = MAIN + CONTROLS,
) -> dict[str, pd.DataFrame]:
    behavior = {
        "curves": curves(families),
        "shortcut": shortcut(families),
        "needed": needed(families),
        "transfer": transfer(families) if len(families) > 1 else pd.DataFrame(),
    }
    found = circuit_tables(families, layers, heads, conditions)
    effects = pd.DataFrame({"condition": ["icl-16"] * 12, "value": [0.5] * 12})
    return {
        **behavior,
        **{name: pd.DataFrame(rows) for name, rows in found.items()},
        "effects": effects,
    }


def claim(factor: int, text: str, state: str, effect: float, **more) -> dict:
    half = 4.0 if factor < 5 else 0.12
    return dict(
        model=MODEL, task="expression", factor=factor, claim=text, state=state, effect=effect,
        low=effect - half, high=effect + half, p=0.0002, p_holm=0.004, queries=100, draws=5,
        test="crossed sign flips over items and draws",
        line=f"{effect:+.3f} [{effect - half:.3f}, {effect + half:.3f}], p(Holm) = 0.004, "
        "100 queries x 5 draws",
    ) | more  # fmt: skip


SHIFTED = "in-context learning shifts the circuit more than it does"


def claims(families: Sequence[str] = FAMILIES) -> list[dict]:
    found = []
    for i, family in enumerate(families):
        found += [
            claim(1, "in-context learning uses the shortcut", "supported", 31.0 - i, task=family),
            claim(1, "in-context learning uses the shortcut more than LoRA tuning on 1,024 samples",
                  "supported" if i < 4 else "refuted", 24.5 - 7 * i, task=family),
            claim(2, "in-context learning relies on the shortcut",
                  "not decided" if i == 2 else "supported", 14.0, task=family),
            claim(6, SHIFTED, "not decided" if family in UNDEFINED else "supported", 0.61,
                  task=family),
        ]  # fmt: skip
        if family in UNDEFINED:
            nothing = dict.fromkeys(("effect", "low", "high", "p", "p_holm"), math.nan)
            found[-1] |= {**nothing, "line": f"undefined: {REASON.format('zero-shot')}"}
    found.append(claim(4, "what is learned from one family helps with another", "refuted", 0.4,
                       task="all families"))  # fmt: skip
    return found


def sample(families: Sequence[str] = FAMILIES, **shape) -> ImplicitReport:
    listed = [(family, name) for family in families for name in MAIN + CONTROLS]
    return ImplicitReport(
        title="Does in-context learning find a hidden shortcut that tuning misses? "
        + ", ".join(families),
        claims=claims(families),
        tables=tables(families, **shape),
        prompts=[
            dict(task=f"{families[0]}-pattern", model=MODEL, condition=name, query_id="test-0",
                 parts=[("instruction", "Compute the value."), ("separator", "\n\n"),
                        ("query", f"Input: {SCRIPT}"), ("cue", "\nOutput:")],
                 answers=[], gold=" 12")
            for name in ("zero-shot", "icl-16", "icl-16-neutral")
        ],
        settings={
            "margin": 5.0, "shots": [0, *SHOTS], "sizes": list(SIZES),
            "circuits": {"items": 128, "corruptions": ["other", "twin"], "place": "last",
                         "methods": ["denoise", "noise", "noise-mean"],
                         "metrics": ["logit_difference", "log_probability"], "margin": 0.1},
        },
        versions={"adaptlens": "0.1.0"},
        notes=["algebra: 3 of 100 items have no shortcut of their own."],
        labels=LABELS,
        cells=pd.DataFrame(
            [dict(cell=cell_of(family, name), model=MODEL, task=f"{family}-pattern",
                  condition=name, draws="0, 1") for family, name in listed]
        ),
    )  # fmt: skip


def big() -> ImplicitReport:
    """A model of 32 layers with 32 heads each, and one family."""
    return sample(("expression",), layers=32, heads=32)
