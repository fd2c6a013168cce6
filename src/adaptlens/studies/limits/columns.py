"""The tables of the study of limits."""

from collections.abc import Mapping

from adaptlens.columns.shared import CLAIMS, RECIPES, Columns, ends

_ABILITY = "0: guessing, 1: all right"
_SCORING: Columns = {
    "scoring": "choice (by log-likelihood), exact or semantic (of written answers); first: for "
    "each task the first of these that both systems have"
}
_BASE: Columns = {
    "family": "architecture family of the bases",
    "size": "parameters of the base",
    "exposure": "how often pretraining showed the exposed tasks; empty where that is not known",
}
_TASK: Columns = {"task": "the task, as tables call it", "cluster": "the kind of task"}
_COUNTS: Columns = {
    "bases": "base models behind a number",
    "models": "tuned models behind a number",
    "num_tasks": "tasks behind a number",
}
_CORRECTED: Columns = {
    "p": "p-value of 0",
    "p_holm": "the same by Holm's correction over the rows of one kind",
}
_CORRELATION: Columns = {
    "coefficient": "spearman, kendall or pearson",
    "value": "correlation of tuned and in-context ability, after `given` was taken out of both",
    **ends(),
    "p": "p-value of no relation, by exchanging bases",
    "ceiling": "the largest correlation that noise of the scores allows",
    "disattenuated": "`value` over `ceiling`",
    **_COUNTS,
    "exchanges": "exchanges of bases behind `p`",
    "note": "why it is not decided",
    "p_holm": "the same as `p` by Holm's correction over the rows of one coefficient",
    "related": "whether they count as related: `p_holm` < 0.05, an interval above 0, 5 bases",
}
_SIDES: Columns = {
    "ability_left": f"mean ability of the one side ({_ABILITY})",
    "ability_right": "mean ability of the other side",
    "value": "mean of left less right, paired over models and tasks",
    **ends(),
    "p": "p-value of 0",
    **_COUNTS,
}
_UNPARSED: Columns = {
    "unparsed_left": "share of items in which left gave no answer",
    "unparsed_right": "share of items in which right gave no answer",
}
_WHO = "which side is better by more than noise; empty: not decided"

TABLES: Mapping[str, Columns] = {
    "scores": {
        "model": "the base model",
        **_BASE,
        "mixture": "what was tuned on; empty for the base",
        "system": "base, gold (in context), regular, samplegen, pipeline",
        "variation": "how the prompt is varied; empty: as it is",
        **_TASK,
        "seen": "whether the mixture has the task",
        "seed": "seed of tuning; -1 for the base",
        "draw": "draw of examples or seed; -1 where nothing is drawn",
        **{"scoring": "choice (by log-likelihood), exact or semantic (of written answers)"},
        "value": "share of the items that is right",
        "chance": "share that is right by chance",
        "floor": "guess floor: what answers given to other items would score",
        "queries": "items of the task",
        "unparsed": "share of items without an answer",
        "half_a": "`value` on one half of the items",
        "half_b": "`value` on the other half",
    },
    "relations": {
        **_SCORING,
        "tasks": "all; seen or unseen by the mixture",
        "family": "the family of bases; empty: all",
        "given": "what was taken out of both first",
        **_CORRELATION,
    },
    "per_task": {
        **_SCORING,
        **_TASK,
        "given": "what was taken out of both first",
        "tuned": f"mean ability of tuned models ({_ABILITY})",
        "icl": "mean ability of their bases in context",
        **_CORRELATION,
    },
    "per_model": {
        **_SCORING,
        "model": "the base model",
        **_BASE,
        "given": "what was taken out of both first",
        **_CORRELATION,
    },
    "attribution": {
        "system": "the tuned system",
        "given": "nothing, or difficulty: tasks' means are taken out first",
        "predictor": "what the variance goes with; together: all of them",
        "share": "share of the variance of tuned ability, mean over all orders of predictors",
        **ends("`share`"),
        "share_of_r2": "`share` over that of all predictors together",
        "varies": "whether the predictor varies at all",
        "bases": "base models behind a number",
        "tasks": "tasks behind a number",
        "points": "tuned models x tasks behind a number",
    },
    "mixed_effects": {
        "kind": "fixed, or random",
        "term": "the term of the model",
        "value": "its coefficient; of a random term, its standard deviation",
        "error": "standard error of the coefficient",
        **ends(),
        "p": "p-value of 0",
        "df": "degrees of freedom of the test",
        "points": "tuned models x tasks behind a number",
        "bases": "base models behind a number",
        "tasks": "tasks behind a number",
    },
    "exceeding": {
        "level": "task, or base and task: what one row is of",
        "model": "the base; all: every base",
        **_TASK,
        **_SIDES,
        "queries": "items of the task",
        "tasks": "mixtures that count: all, those that have the task (seen), or not (unseen)",
        "p_holm": _CORRECTED["p_holm"],
        "state": "tuned, or in context: which is better by more than noise; empty: not decided",
    },
    "systems": {
        "left": "the one system",
        "right": "the other system",
        "cluster": "the kind of task; all: every kind",
        "tasks": "all, seen or unseen by the mixture",
        **_SIDES,
        **_UNPARSED,
        "p_holm": _CORRECTED["p_holm"],
        "state": _WHO,
    },
    "variations": {
        "system": "the system that is read",
        "variation": "how the prompt is varied",
        "cluster": "the kind of task; all: every kind",
        **_SCORING,
        **_SIDES,
        **_UNPARSED,
        "p_holm": _CORRECTED["p_holm"],
        "state": "better, or worse, than the prompt as it is; empty: not decided",
    },
    "exposure": {
        "family": _BASE["family"],
        "size": _BASE["size"],
        "quantity": "ICL (in context), IT (tuned), or zero-shot",
        "mixture": "mixtures that count: all; seen or unseen, those with the task or without",
        "tasks": "exposed, unexposed, or the difference of both",
        "more": "the larger exposure",
        "less": "the smaller exposure",
        "ability_more": f"mean ability under the larger exposure ({_ABILITY})",
        "ability_less": "mean ability under the smaller exposure",
        "value": "ability under the larger exposure less that under the smaller",
        **ends("`value`, for tasks like these"),
        "p": "p-value of 0, for tasks like these",
        "low_here": "lower end of the 95% interval of `value` on these very tasks",
        "high_here": "upper end of the 95% interval of `value` on these very tasks",
        "p_here": "p-value of 0 on these very tasks",
        "num_tasks": "tasks behind a number",
        "repeats": "repeats of tuning behind a number",
        "queries": "items behind a number",
        "note": "what a reader must know of the row",
        "p_holm": _CORRECTED["p_holm"],
    },
    "mediation": {
        "family": _BASE["family"],
        "size": _BASE["size"],
        "outcome": "the ability that exposure changes",
        "mediator": "the ability that is given",
        "more": "the larger exposure",
        "less": "the smaller exposure",
        "total": "effect of exposure on the outcome",
        **ends("`total`", "total_"),
        "slope": "change of the outcome per unit of the mediator, its noise taken out",
        "reliability": "share of the mediator's variance that is no noise",
        "through": "`slope` times the effect on the mediator: what goes through it",
        "direct": "`total` less `through`: what is left over",
        **ends("`direct`", "direct_"),
        "state": "vanishes, remains, not decided; no effect to explain; undefined: too little is "
        "known of the mediator",
        "num_tasks": "tasks behind a number",
        "note": "what a reader must know of the row",
    },
    "claims": CLAIMS,
    "recipes": RECIPES,
}
