"""The convergence study as one self-contained HTML page, and as figures beside it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import equals
from adaptlens.report.frame import other_tables, publish
from adaptlens.report.images import FORMATS, Figure, Wanted
from adaptlens.report.study_page import (
    Card,
    StudyReport,
    browsed,
    claims_table,
    render_study,
)
from adaptlens.report.tables import Conditions, Table
from adaptlens.report.theme import PAIRS, SIMILARITIES, Pair, in_order, style_of
from adaptlens.studies.convergence import figures_claim, figures_levels
from adaptlens.studies.convergence import tables as tabled
from adaptlens.studies.convergence.figures import (
    DRAWN,
    agreement,
    bars,
    heat,
    last_layer,
    of_pairs,
    over_layers,
)
from adaptlens.studies.convergence.figures import lens as lens_
from adaptlens.studies.convergence.state_map import HEIGHT, WIDTH, embedded, state_maps

if TYPE_CHECKING:
    import pandas as pd

IMPLICIT = "in-context learning is implicit instruction tuning"
"""How the claim reads that the page begins with."""

NAMED = {
    "task": "task of the demonstrations",
    "generation": "generation",
    "prompt": "prompt",
    "position": "position",
}
CURVES = {
    "demonstrations": "demonstrations",
    "resemblance": "resemblance",
    "labels": "wrong labels",
    "dose": "dose",
}
"""The sections whose figure has names, or numbers, for levels, and the factor each shows."""

TITLES = {
    "demonstrations": "Number of demonstrations",
    "resemblance": "Likeness of query and demonstrations",
    "labels": "Wrong labels",
    "task": "Demonstrations of another task",
    "generation": "Generation",
    "prompt": "Better prompts without demonstrations",
    "position": "Position of the token",
    "dose": "Tuning dose",
    "models": "Models",
}
"""The headings of the factors."""

SHOWN = ("cosine", "centered", "within", "projected")
"""The measures of the figures of pairs: the paper's, and with the answer taken out. Those that do
not judge are drawn apart, but for the paper's."""

KNOWN = {
    "implicit", "claims", "pairs", "factors", "u_shape", "regression", "behavior",
    "pair_behavior", "lens", "models",
}  # fmt: skip
"""The tables that the page has sections for."""

MAIN = "Main pairs in the last layer"

TICKS = "Broad, faint tick: the same pair with mismatched queries. Thin tick: its noise floor."
LINES = "For ICL ~ IT, dashed: mismatched queries; dotted: the noise floor."


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvergenceReport(StudyReport):
    """Everything the page of a convergence study shows.

    Attributes:
        map: points in two dimensions: model, task, layer, condition, query, gold, x, y.
    """

    map: "pd.DataFrame"

    def main_tables(self) -> list[Table | None]:
        """Return the main pairs in the last layer: by the raw cosine, and by what judges."""
        if (pairs := self.table("pairs")) is None:
            return []
        last = last_layer(of_pairs(pairs, self.labels))
        rows = last[(last["role"] == "main") & last["measure"].isin(["cosine", self.measure])]
        tasks = rows["task"].unique()
        caption = f"{MAIN}: {tasks[0]}" if len(tasks) == 1 else MAIN
        conditions = Conditions.of(self.labels, self.cells)
        found = tabled.pairs(rows, "pairs-main", caption, conditions)
        return [found.only(*tabled.IN_BRIEF).without_constant("task") if found else None]

    @property
    def measure(self) -> str:
        """The measure by which the claims are judged."""
        return str(self.settings.get("claim", {}).get("measure", "within"))


def write(report: ConvergenceReport, path: Path | str, *, formats: Iterable[str] = FORMATS) -> Path:
    """Write the page and its figures, see `publish`; return the page's path."""
    return publish(path, wanted(report), partial(html, report), formats)


def html(report: ConvergenceReport, figures: Mapping[str, Figure]) -> str:
    """Return the page as one string."""
    from markupsafe import Markup

    pairs = report.table("pairs")
    maps = state_maps(report.map, report.labels)
    return render_study(
        __package__,
        report,
        figures,
        ["page.js", "map.js"] if maps else ["page.js"],
        tables=_tables(report),
        titles=TITLES,
        implicit=[claim for claim in report.claims if claim["claim"] == IMPLICIT],
        cards=_by_factor(report.claims),
        adaptations=[style_of(name) for name in _adaptations(report)],
        pair_styles=[
            one for pair, one in PAIRS.items() if one.meaning and pair in _main_pairs(report)
        ],
        maps=maps,
        map_size=(WIDTH, HEIGHT),
        map_data=Markup(embedded(maps)),
        **browsed(None if pairs is None else tabled.everything(pairs), ("task", "model")),
    )


def wanted(report: ConvergenceReport) -> Iterator[Wanted]:
    """Yield the figures that the report has rows for."""
    labels = report.labels
    measures = tuple(dict.fromkeys(("cosine", report.measure)))
    judged = SIMILARITIES.get(report.measure, report.measure)
    if (implicit := report.table("implicit")) is not None and implicit["excess"].notna().any():
        margin = report.settings["claim"]["margin"]
        hollow = "Hollow: not counted. " if (implicit["counts"] == "no").any() else ""
        yield Wanted(
            "implicit",
            "How much more alike ICL and IT are in the last layer than the pairs they are held "
            f"against, with 95% intervals, by the measure that judges ({judged}), and by the raw "
            "cosine of the paper; the table has other measures. "
            f"The line is the margin, {margin:g}: the claim needs every interval beyond it. The "
            "steered anchor is the anchor's states moved, for each answer, by the mean change of "
            f"tuning: IT's answers and nothing else of IT. {hollow}{_n(implicit)}",
            partial(
                figures_claim.excesses,
                implicit[implicit["measure"].isin([*measures])],
                margin=margin,
            ),
        )
    if (pairs := report.table("pairs")) is not None:
        beside = [one for one in SHOWN if one in set(pairs["measure"]) and one not in measures]
        main = pairs[pairs["role"] == "main"]
        if len(last := last_layer(of_pairs(main, labels))):
            yield Wanted(
                "pairs",
                "How alike the states of two conditions are, out of the last layer and before the "
                f"final norm: mean over queries and draws with 95% intervals. {TICKS} {_n(last)}",
                partial(bars, pairs, labels, measures=measures),
            )
            yield Wanted(
                "pairs-beside",
                f"The same by other measures. {TICKS} {_n(last)}",
                partial(bars, pairs, labels, measures=beside),
            )
            yield Wanted(
                "layers",
                "The same over all layers; layer 0 is the embedding of the last token, which all "
                "prompts share, so that the lower layers are alike in any pair; the hollow marks "
                f"are after the final norm. Bands: 95% intervals. {LINES} Where all states are "
                f"equal, a centered cosine is undefined and left out. {_n(main)}",
                partial(over_layers, pairs, labels, measures=measures),
            )
            yield Wanted(
                "layers-beside",
                f"The same by other measures. Bands: 95% intervals. {LINES} {_n(main)}",
                partial(over_layers, pairs, labels, measures=beside),
            )
            tuned = (("icl", "it"), ("icl", "sl"))
            if set(tuned) <= set(last["pair"]):
                yield Wanted(
                    "it-against-sl",
                    "Is ICL more like tuning with the instruction (IT) or without it (SL)? Bands: "
                    f"95% intervals. {LINES} {_n(main)}",
                    partial(over_layers, pairs, labels, measures=measures, only=tuned),
                )
        yield Wanted(
            "heat",
            f"Every pair in every layer: {judged} less that of mismatched queries. Stronger blue: "
            f"more alike; orange: less alike than mismatched queries. {_n(pairs)}",
            partial(heat, pairs, labels, measure=report.measure),
        )
        if last["model"].nunique() > 1:
            names = [re.sub(r"[^:/]*/", "", model) for model in last["model"]]
            each = last.assign(factor="model", level=names, model="", x=float("nan"))
            drawn = each[each["pair"].isin(DRAWN)]
            yield Wanted(
                "models",
                f"The pairs out of each model's last layer, with 95% intervals. {TICKS} {_n(last)}",
                partial(figures_levels.named, drawn, "model", labels, measures=measures),
            )
    yield from _of_factors(report, measures, judged)
    if (both := report.table("pair_behavior")) is not None:
        yield Wanted(
            "agreement",
            "How alike a pair is inside, in the last layer, against how often it gives the same "
            "answer. In color: the main pairs. Hollow: controls and second seeds.",
            partial(agreement, both, labels, measure=_of_answers(report.measure)),
        )
    if (lens := report.table("lens")) is not None:
        yield Wanted(
            "lens",
            "How far apart the answers are that the model's own final norm and unembedding read "
            f"from each layer. Bands: 95% intervals. {_n(lens)}",
            partial(lens_, lens, labels),
        )


def _of_factors(
    report: ConvergenceReport, measures: Sequence[str], judged: str
) -> Iterator[Wanted]:
    """Yield the figures of the factors, and of the regression on likeness."""
    said = {
        "demonstrations": "Similarity in the last layer by number of demonstrations.",
        "resemblance": "ICL ~ IT in the last layer by how much a query resembles its draw's "
        "demonstrations, in bins of equal size, by each measure of likeness.",
        "labels": "Similarity in the last layer by share of wrong labels among the demonstrations.",
        "dose": f"Similarity in the last layer along tuning ({judged}), by learning rate.",
        "task": "Similarity in the last layer with demonstrations of the task itself and of "
        "another one.",
        "generation": "Similarity in the last layer at the end of the prompt, at the answer's "
        "first token and averaged over its tokens (the right answer is given).",
        "prompt": "How near the anchor comes to ICL and IT in the last layer by a better prompt "
        "alone; last, what demonstrations and tuning reach.",
        "position": "Similarity in the last layer at other tokens of the prompt; last, answers in "
        "the demonstrations against the end of a prompt.",
    }
    factors = report.table("factors")
    for name, factor in {**CURVES, **NAMED}.items():
        if factors is None:
            break
        if (rows := figures_levels.of_factor(factors, factor, report.labels)).empty:
            continue
        kept = (report.measure,) if name in ("dose", "resemblance") else measures
        chart = figures_levels.curve if name in CURVES else figures_levels.named
        lines = TICKS if name in NAMED else "" if name == "resemblance" else LINES
        yield Wanted(
            name,
            " ".join(filter(None, [said[name], "Bars: 95% intervals." if name in CURVES else
                                   "Lines: 95% intervals.", lines, _n(rows)])),
            partial(chart, factors, factor, report.labels, measures=kept),
        )  # fmt: skip
    if (fitted := report.table("regression")) is not None:
        yield Wanted(
            "regression",
            "Change of ICL ~ IT per standard deviation of each likeness, with 95% intervals over "
            "queries and draws. Filled: alone. Hollow: with all of them in the regression.",
            partial(figures_levels.regression, fitted),
        )


def _tables(report: ConvergenceReport) -> dict[str, Any]:
    """Return the page's tables by name; those the report does not know come under "others"."""
    tables, conditions = report.tables, Conditions.of(report.labels, report.cells)
    found: dict[str, Any] = {
        "claims": claims_table(report.claims, tabled.FACTORS, tabled.effect),
        "implicit": tabled.implicit(tables),
        "u_shape": tabled.u_shape(tables),
        "regression": tabled.regression(tables),
        "behavior": tabled.behavior(tables, conditions),
        "pair_behavior": tabled.pair_behavior(tables, conditions),
        "lens": tabled.lens(tables, conditions),
        "models": tabled.models(tables),
        "pairs": [],
        "factors": dict.fromkeys((*CURVES, *NAMED)),
        **other_tables(tables, KNOWN, report.cells),
    }
    if (pairs := report.table("pairs")) is not None:
        last = last_layer(of_pairs(pairs, report.labels))
        for role, caption in (
            ("main", MAIN),
            ("control", "Controls in the last layer"),
            ("floor", "Noise floors in the last layer: other draws, other tuning seeds"),
        ):
            table = tabled.pairs(last[last["role"] == role], f"pairs-{role}", caption, conditions)
            found["pairs"] += [table] if table else []
    if (factors := report.table("factors")) is not None:
        for name, factor in {**CURVES, **NAMED}.items():
            rows = figures_levels.of_factor(factors, factor, report.labels)
            found["factors"][name] = tabled.factor(rows, f"factor-{name}", TITLES[name], conditions)
    return found


def _by_factor(claims: Sequence[Mapping[str, Any]]) -> dict[str, list[Card]]:
    """Return the claims of each factor, but the one that the page begins with."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for claim in (claim for claim in claims if claim["claim"] != IMPLICIT):
        of_factor = found.setdefault(tabled.FACTORS.get(claim["factor"], ""), {})
        of_factor.setdefault(claim["claim"], []).append(claim)
    several = len({(claim["task"], claim["model"]) for claim in claims}) > 1
    said = partial(_said, several=several)
    return {name: [Card.of(rows, said) for rows in own.values()] for name, own in found.items()}


def _said(claim: Mapping[str, Any], *, several: bool) -> str:
    """Return the numbers of a claim, and where there are several what they are of."""
    where = f"{claim['task']} on {claim['model']} " if several else ""
    return f"{where}{tabled.effect(claim).text}, p {equals(claim['p_holm'])}"


def _of_answers(measure: str) -> str:
    """Return the measure that stands beside agreement of answers, which are not all read there."""
    return measure if measure in ("centered", "within", "projected") else "within"


def _adaptations(report: ConvergenceReport) -> list[str]:
    return in_order(name for pair in _main_pairs(report) for name in pair)


def _main_pairs(report: ConvergenceReport) -> set[Pair]:
    """Return the main pairs that were compared."""
    if (pairs := report.table("pairs")) is None:
        return set()
    main = pairs[pairs["role"] == "main"]
    return set(of_pairs(main, report.labels)["pair"])


def _n(rows: "pd.DataFrame") -> str:
    """Return "n = 60 queries × 5 to 8 draws.", or nothing where that is not known."""
    if not {"queries", "draws"} <= set(rows.columns) or rows.empty:
        return ""
    parts = []
    for name in ("queries", "draws"):
        low, high = int(rows[name].min()), int(rows[name].max())
        parts.append(f"{low} {name}" if low == high else f"{low} to {high} {name}")
    return f"n = {' × '.join(parts)}."
