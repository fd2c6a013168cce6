"""The tables of the study of convergence."""

from collections.abc import Mapping

from adaptlens.columns.shared import (
    CLAIMS,
    CONDITION,
    DRAWS,
    MODEL,
    PAIR,
    QUERIES,
    RECIPES,
    SIDES,
    TASK,
    Columns,
    ends,
)

_ABOUT: Columns = {**MODEL, **TASK}
_LAYER: Columns = {"layer": "the layer whose output it is; 0 is the embedding"}
_MEASURE: Columns = {"measure": "the measure of similarity"}
_SIMILAR: Columns = {
    **_MEASURE,
    "value": "similarity of the two conditions' states on the same queries, mean over draws and "
    "queries",
    **ends(),
    "baseline": "the same with the queries of one side exchanged (mismatched queries)",
    "floor": "noise floor: similarity of a condition to its own other draws, the lower of the two",
}

_CALLED = {"zero_shot": "zero"}
"""The ways of adapting that the tables of pairs call otherwise."""


def ways(left: str, right: str) -> str:
    """Return what tables call a pair of ways of adapting: "zero ~ icl"."""
    return " ~ ".join(_CALLED.get(name, name) for name in (left, right))


def similarity_of(left: str, right: str, measure: str) -> str:
    """Return the column that has the similarity of two ways of adapting: "icl ~ it, cosine"."""
    return f"{ways(left, right)}, {measure}"


TABLES: Mapping[str, Columns] = {
    "implicit": {
        **_ABOUT,
        **_MEASURE,
        "judges": "whether the claim is judged by this measure",
        "state": "what the claim would be by this measure",
        "icl_it": "similarity of in-context learning and instruction tuning in the last layer",
        "over": "the pair that they are compared with",
        "counts": "whether the comparison counts for the claim, or is told beside it",
        "excess": "`icl_it` less the similarity of the pair in `over`",
        **ends("`excess`"),
        "p_holm": "p-value of no excess, by Holm's correction over layers",
        **QUERIES,
        **DRAWS,
    },
    "pairs": {
        **_ABOUT,
        "position": "the token whose state is read",
        **_LAYER,
        "is_final": "whether the state is that after the final norm",
        **SIDES,
        "role": "main, control, or floor: a condition against itself",
        "cell": "ids of the cells behind the row",
        **_SIMILAR,
        "above": "`value` less `baseline`",
        **ends("`above`", "above_"),
        **QUERIES,
        **DRAWS,
        "mantel_p": "of RSA: p-value of unrelated distances, by permuting queries (Mantel)",
    },
    "u_shape": {
        **_ABOUT,
        "pair": "the two conditions",
        **_MEASURE,
        "lower_minus_middle": "mean similarity in the lower third of the layers less the middle's",
        **ends("`lower_minus_middle`", "lower_minus_middle_"),
        "upper_minus_middle": "mean similarity in the upper third of the layers less the middle's",
        **ends("`upper_minus_middle`", "upper_minus_middle_"),
        "upper_excess": "`upper_minus_middle` over 0, or over that of a control: the one shown "
        "least surely",
        **ends("`upper_excess`", "upper_excess_"),
        "excess_over": "what `upper_excess` is over: itself (0), or a control",
        "p": "p-value of `upper_excess` being no more than 0",
    },
    "factors": {
        **_ABOUT,
        "factor": "what is varied",
        "level": "its level, in words",
        "x": "its level as a number; nothing where it has none",
        "pair": "the two ways of adapting",
        **SIDES,
        **_MEASURE,
        **_LAYER,
        **{name: text for name, text in _SIMILAR.items() if name != "measure"},
        "agreement": "share of queries that both answer alike; of text, begin with the same token",
        **QUERIES,
        **DRAWS,
    },
    "regression": {
        **_ABOUT,
        **_MEASURE,
        "predictor": "by what likeness of query and demonstrations is measured",
        "alone": "change of similarity per standard deviation of the likeness, no other beside it",
        **ends("`alone`", "alone_"),
        "alone_p": "p-value of `alone` being 0",
        "together": "the same with all likenesses in one regression",
        **ends("`together`", "together_"),
        "together_p": "p-value of `together` being 0",
        "partial_r2": "share of what the others leave unexplained that this likeness explains",
        "vif": "variance inflation factor: how far the others predict this likeness",
        "carries": "whether the claim rests on this likeness",
    },
    "behavior": {
        **_ABOUT,
        **CONDITION,
        "metric": "accuracy (of the most likely answer), or chrF",
        "value": "score in points, 0 to 100, mean over draws and queries",
        **ends(),
        **QUERIES,
        **DRAWS,
    },
    "pair_behavior": {
        **_ABOUT,
        **SIDES,
        "role": "main, control, or floor",
        "agreement": "share of queries that both answer alike",
        "kappa": "Cohen's kappa of their answers: agreement beyond what their rates alone give",
        "kl": "KL divergence of right from left of what the last layer's lens reads, in nats",
        "similarity": "raw cosine of the states in the last layer",
        "centered": "cosine of the states in the last layer, each condition's mean taken out",
        "within": "cosine in the last layer, the mean of each answer given taken out",
        "projected": "cosine in the last layer, the directions of the answers projected out",
    },
    "lens": {
        **_ABOUT,
        **SIDES,
        **_LAYER,
        "kl": "KL divergence of right from left of what the lens reads in this layer, in nats",
        **ends("`kl`"),
        **QUERIES,
        **DRAWS,
    },
    "models": {
        **_ABOUT,
        PAIR: "similarity of the two ways of adapting in the last layer, by the measure named",
        "claim": "what becomes of the main claim",
        "effect": "the effect that the main claim is judged by",
    },
    "claims": {
        **CLAIMS,
        "headline": "of the main claim, what was found in a sentence",
        "detail": "of the main claim, its numbers",
    },
    "recipes": RECIPES,
}
