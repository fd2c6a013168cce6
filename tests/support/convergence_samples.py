"""A convergence study with believable numbers, from which the tests of its page are fed."""

import hashlib
import math

import pandas as pd

from adaptlens.report.labels import Shown
from adaptlens.studies.convergence.page import ConvergenceReport
from report_samples import SCRIPT

TASK, MODELS, DEPTH = "sentiment-novel", ("reference", "untrained:reference"), 4
LEVEL = {
    ("zero-shot", "icl-16"): 0.10, ("zero-shot", "it-16"): 0.12, ("icl-16", "it-16"): 0.77,
    ("icl-16", "sl-16"): 0.70, ("zero-shot", "sl-16"): 0.15, ("it-16", "sl-16"): 0.84,
    ("icl-16", "it-16-unrelated"): 0.04, ("zero-shot", "icl-16-shuffled"): 0.21,
    ("icl-16", "zero-shot steered"): 0.69, ("it-16", "it-16 other draw"): 0.83,
    ("it-16", "it-16-restart"): 0.91,
}  # fmt: skip
"""How alike the pairs of a trained model are in the last layer, centered."""

NAMES = ("zero-shot", "icl-16", "it-16", "sl-16", "icl-16-shuffled", "it-16-unrelated",
         "it-16-restart")  # fmt: skip


LABELS = {
    one.label: one
    for one in (
        Shown("zero-shot", "zero-shot", "zero_shot"),
        *(Shown(f"{name}-16", f"{name}-16", name, 16) for name in ("icl", "it", "sl")),
        Shown("icl-16-shuffled", "icl-16-shuffled", "icl", 16, "shuffled"),
        Shown("it-16-unrelated", "it-16-unrelated", "it", 16, "unrelated"),
        Shown("it-16-restart", "it-16-restart", "it", 16, "restart"),
        Shown("it-16 other draw", "it-16", "it", 16, "other draw"),
        Shown("zero-shot steered", "zero-shot", "zero_shot", 0, "steered"),
    )
}


def cell_of(model: str, condition: str) -> str:
    plain = condition.partition(" ")[0]
    return hashlib.sha256(f"{model} {plain}".encode()).hexdigest()[:20]


def role(right: str) -> str:
    if "draw" in right or "restart" in right:
        return "floor"
    changed = ("unrelated", "shuffled", "steered")
    return "control" if any(change in right for change in changed) else "main"


def value_of(model: str, pair: tuple[str, str], measure: str, layer: int) -> float:
    """A U over the layers; little is alike in an untrained model, and raw cosines lie higher."""
    level = LEVEL[pair] * (1.0 if model == "reference" else 0.2)
    depth = layer / DEPTH
    curve = level + (1 - level) * (1 - 2 * depth) ** 2 * (1 - depth)
    if measure in ("within", "projected"):
        return curve / 2
    return curve if measure == "centered" else 0.4 + 0.6 * curve


def numbers(value: float, baseline: float, half: float = 0.03) -> dict:
    above = value - baseline
    return dict(
        value=value, low=value - half, high=value + half, baseline=baseline, above=above,
        above_low=above - half, above_high=above + half, queries=60, draws=8,
    )  # fmt: skip


def pairs() -> pd.DataFrame:
    rows = []
    for model in MODELS:
        for pair in LEVEL:
            for measure in ("cosine", "centered", "within", "projected"):
                for layer in range(DEPTH + 2):
                    is_final = layer == DEPTH + 1
                    value = value_of(model, pair, measure, min(layer, DEPTH))
                    kind = role(pair[1])
                    rows.append(
                        dict(
                            model=model, task=TASK, position="last", layer=min(layer, DEPTH),
                            is_final=is_final, left=pair[0], right=pair[1], role=kind,
                            measure=measure, floor=math.nan if kind == "floor" else 0.83,
                            cell=" ".join(dict.fromkeys(cell_of(model, c) for c in pair)),
                            **numbers(value, 0.4 if measure == "cosine" else 0.0),
                        )
                    )  # fmt: skip
    return pd.DataFrame(rows)


def level_rows(factor: str, levels: list[tuple[str, float, float]], names: list[str]) -> list[dict]:
    rows = []
    for level, x, value in levels:
        for i, name in enumerate(names):
            for measure in ("cosine", "centered", "within"):
                known = numbers(value / (1 + 2 * i), 0.3 if measure == "cosine" else 0.0)
                left, right = name.split(" ~ ")
                label = {"zero": "zero-shot"}
                rows.append(
                    dict(
                        model="reference", task=TASK, factor=factor, level=level, x=x, pair=name,
                        left=label.get(left, f"{left}-16"), right=f"{right}-16", measure=measure,
                        layer=DEPTH, floor=0.83, agreement=0.9, **known,
                    )
                )  # fmt: skip
    return [{k: v for k, v in row.items() if not k.startswith("above")} for row in rows]


def factors() -> pd.DataFrame:
    three, nan = ["icl ~ it", "zero ~ icl", "zero ~ it"], math.nan
    rows = level_rows(
        "demonstrations", [(str(k), float(k), 0.2 + 0.11 * i) for i, k in
                           enumerate((1, 2, 4, 8, 16, 32))], three,
    )  # fmt: skip
    rows += level_rows("wrong labels", [("0%", 0.0, 0.77), ("50%", 0.5, 0.3), ("100%", 1.0, 0.75)],
                       three)  # fmt: skip
    for kind in ("sentence encoder", "BM25", "chrF"):
        bins = [(f"bin {i + 1} of 5", 0.1 + 0.1 * i, 0.74 + 0.01 * i) for i in range(5)]
        rows += level_rows(f"resemblance: {kind}", bins, ["icl ~ it"])
    for rate in ("default rate", "x0.5", "x2"):
        doses = [(str(d), float(d), 0.1 + 0.02 * d) for d in (0, 1, 4, 15, 30)]
        rows += level_rows(f"dose: {rate}", doses, ["icl ~ it", "zero ~ it"])
    own = [("own task", nan, 0.77), ("another task", nan, 0.48)]
    rows += level_rows("task of the demonstrations", own, three)
    rows += level_rows("prompt", [("plain", nan, 0.1), ("options", nan, 0.2)], three[1:])
    rows += level_rows("prompt", [("demonstrations", nan, 0.77)], three[:1])
    rows += level_rows("position", [("last", nan, 0.77), ("separator", nan, 0.13)], three)
    rows += level_rows("generation", [("last", nan, 0.9), ("answer_first", nan, 0.95)], three)
    return pd.DataFrame(rows)


def implicit() -> pd.DataFrame:
    over = {"anchor ~ ICL": 0.28, "anchor ~ IT": 0.3, "ICL ~ SL": 0.03, "ICL ~ full tuning": -0.1}
    return pd.DataFrame(
        [dict(model="reference", task=TASK, measure=measure, judges=judges, state=state,
              icl_it=0.36 * times, over=name, excess=value * times, low=value * times - 0.08,
              high=value * times + 0.08, p_holm=0.01, queries=60, draws=8,
              counts="no" if "full" in name else "yes")
         for measure, judges, state, times in (("within", "yes", "not decided", 1),
                                               ("centered", "no", "supported", 2))
         for name, value in over.items()]
    )  # fmt: skip


def tables() -> dict[str, pd.DataFrame]:
    about = dict(model="reference", task=TASK)
    ends = {"_low": -0.1, "": 0.0, "_high": 0.1}
    u = {f"lower_minus_middle{end}": 0.2 + by for end, by in ends.items()}
    u |= {f"upper_minus_middle{end}": -0.1 + by for end, by in ends.items()}
    u |= {f"upper_excess{end}": -0.15 + by for end, by in ends.items()}
    coefficient = {f"alone{end}": 0.006 + by / 20 for end, by in ends.items()}
    coefficient |= {f"together{end}": 0.002 + by / 8 for end, by in ends.items()}
    coefficient |= dict(alone_p=0.016, together_p=0.78)
    both = [
        dict(model=model, task=TASK, left=a, right=b, role=role(b), agreement=0.5 + level / 2,
             kappa=level, kl=8 * (1 - level), similarity=0.4 + 0.6 * level, centered=level,
             within=level / 2, projected=level / 2)
        for model in MODELS for (a, b), level in LEVEL.items()
        if "draw" not in b and "steered" not in b
    ]  # fmt: skip
    return {
        "implicit": implicit(),
        "pairs": pairs(),
        "factors": factors(),
        "u_shape": pd.DataFrame(
            [dict(**about, pair="icl-16 ~ it-16", measure="centered", **u, p=0.9,
                  excess_over="icl ~ it-16-unrelated")]
        ),
        "regression": pd.DataFrame(
            [dict(**about, measure="centered", predictor=name, **coefficient, partial_r2=0.01 * i,
                  vif=1.5) for i, name in enumerate(("sentence encoder", "BM25", "chrF"))]
        ),
        "behavior": pd.DataFrame(
            [dict(**about, condition=name, metric="accuracy", value=50.0 + 7 * i, low=45.0 + 7 * i,
                  high=55.0 + 7 * i, queries=60, draws=1 if i == 0 else 8)
             for i, name in enumerate(NAMES)]
        ),
        "pair_behavior": pd.DataFrame(both),
        "lens": pd.DataFrame(
            [dict(model=model, task=TASK, left=a, right=b, layer=layer, kl=2 * layer * (1 - level),
                  low=1.8 * layer * (1 - level), high=2.2 * layer * (1 - level), queries=60,
                  draws=8)
             for model in MODELS for (a, b), level in LEVEL.items() if role(b) == "main"
             for layer in range(DEPTH + 1)]
        ),
        "models": pd.DataFrame(
            [{"model": "reference", "task": TASK, "icl ~ it, cosine": 0.8,
              "icl ~ it, centered": 0.77, "zero ~ it, cosine": -0.16, "claim": "supported",
              "effect": 0.65},
             {"model": "untrained:reference", "task": TASK, "icl ~ it, cosine": 0.03,
              "icl ~ it, centered": 0.15, "zero ~ it, cosine": -0.09, "claim": math.nan,
              "effect": math.nan}]
        ),
    }  # fmt: skip


def claim(factor: int, text: str, state: str, effect: float, **more) -> dict:
    return dict(
        model="reference", task=TASK, factor=factor, claim=text, state=state, effect=effect,
        low=effect - 0.05, high=effect + 0.05, p=0.0002, p_holm=0.004, queries=60, draws=8,
        test="crossed sign flips over queries and draws",
        line=f"{effect:+.3f} [{effect - 0.05:.3f}, {effect + 0.05:.3f}], p(Holm) = 0.004, "
        "60 queries x 8 draws",
    ) | more  # fmt: skip


def claims() -> list[dict]:
    return [
        claim(
            1,
            "in-context learning is implicit instruction tuning",
            "supported",
            0.65,
            headline="prompt and tuning agree on answers (95.0% of queries); within an answer "
            "their states are more alike",
            detail="ICL ~ IT less ICL ~ SL: +0.65",
        ),
        claim(1, "ICL is more like IT than like SL", "not decided", -0.01, p_holm=1.0),
        claim(2, "over the layers, ICL ~ IT is U-shaped", "refuted", -0.02),
        claim(3, "ICL and IT grow more alike with more demonstrations", "supported", 0.1),
        claim(1, "ICL is more like IT than like SL", "refuted", -0.4, model=MODELS[1]),
    ]


def points(num_queries: int = 6) -> pd.DataFrame:
    """Two groups by answer, drifting apart over the layers; the first query's id is a script."""
    rows = []
    for model in MODELS:
        for layer in range(DEPTH + 2):
            for c, condition in enumerate(NAMES[:4]):
                for q in range(num_queries):
                    side = 1 if q % 2 else -1
                    rows.append(
                        dict(
                            model=model, task=TASK, layer=layer,
                            layer_name=str(layer) if layer <= DEPTH else "final",
                            condition=condition, query=SCRIPT if q == 0 else f"test-{q}",
                            gold="wug" if q % 2 else "dax", x=3.0 * c + 0.1 * q,
                            y=side * (0.2 + layer) + 0.05 * q,
                        )
                    )  # fmt: skip
    return pd.DataFrame(rows)


def sample() -> ConvergenceReport:
    listed = [(model, name) for model in MODELS for name in NAMES]
    return ConvergenceReport(
        title="Does in-context learning do to hidden states what tuning does? sentiment-novel",
        claims=claims(),
        tables=tables(),
        map=points(),
        prompts=[
            dict(task=TASK, model="reference", condition=name, query_id="test-0",
                 parts=[("instruction", "Say dax or wug."), ("separator", "\n\n"),
                        ("query", f"Input: {SCRIPT}"), ("cue", "\nOutput:")],
                 answers=[" dax", " wug"], gold=" wug")
            for name in ("zero-shot", "icl-16", "icl-16-shuffled")
        ],
        settings={"shots": 16, "claim": {"measure": "within", "margin": 0.05}},
        versions={"adaptlens": "0.1.0"},
        notes=["Weights of untrained:reference are random; only its shape is as named."],
        labels=LABELS,
        cells=pd.DataFrame(
            [dict(cell=cell_of(model, name), model=model, task=TASK, condition=name, draws="0, 1")
             for model, name in listed]
        ),
    )  # fmt: skip
