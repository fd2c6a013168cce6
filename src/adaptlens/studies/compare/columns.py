"""The tables of a comparison."""

from collections.abc import Mapping

from adaptlens.columns.shared import CONDITION, DRAWS, MODEL, QUERIES, SIDES, TASK, Columns, ends

_ABOUT: Columns = {**TASK, **MODEL, **CONDITION}
_METRIC: Columns = {
    "metric": "judged: accuracy by the rule that judges the arm; accuracy, accuracy_normalized, "
    "accuracy_corrected, accuracy_calibrated: by one rule for all arms; chrf; exact",
}
_SCORE: Columns = {
    "value": "score, the mean over templates, draws and queries: a fraction of 1 (chrF: of 100)",
    **ends(),
}
_RULE: Columns = {"rule": "the scoring rule that chooses an answer; several where draws differ"}

TABLES: Mapping[str, Columns] = {
    "accuracy": {
        **_ABOUT,
        "adaptation": "the way of adapting; best_ before it: at its best template",
        "examples": "demonstrations, or training examples, of each draw",
        **_METRIC,
        **_SCORE,
        **_RULE,
        **QUERIES,
        **DRAWS,
        "templates": "templates that the score is the mean over",
        "template": "the template chosen for the arm; empty where it stands for all",
        "worst_draw": "the lowest mean of one draw, in the units of `value`",
        "collapsed": "share of the draws that lie nearer to chance than to the median draw",
        "cell": "ids of the cells behind the row",
    },
    "templates": {
        **_ABOUT,
        "template": "the template that items are written in",
        **_METRIC,
        **_RULE,
        "value": "score under this template, the mean over draws and queries: a fraction of 1 "
        "(chrF: of 100)",
        **ends(),
        **DRAWS,
        **QUERIES,
    },
    "searches": {
        **_ABOUT,
        "draw": "the draw that searched; -1 where nothing is drawn",
        "prompt": "name of the prompt found",
        "template": "its template, as --template takes it",
        "label_words": "its words for the answers; empty where items have options of their own",
        "order": "how its demonstrations are ordered",
        "rule": "the scoring rule found with it",
        "validation_accuracy": "share of the labeled items that chose it which it gets right",
        "items": "labeled items that chose it",
        "reads": "prompts that the search read",
        "tokens": "tokens that the search read",
        "options": "options of `adaptlens compare` that give the template back",
        "sent": "the prompt of the first test item, as sent",
    },
    "gates": {
        **TASK,
        **MODEL,
        "gate": "the gate, as it was given",
        "passed": "whether it is shown, with an error of at most 5 %",
        "difference": "what the arm scores above what it is held against, in points",
        "least": "the largest difference that is shown, one-sided, at 95 %, in points",
        "bound": "the difference that the gate asks for, in points",
        "p": "one-sided p-value of a difference of no more than the bound",
        "reason": "why the data cannot show anything, where they cannot",
    },
    "baselines": {
        **TASK,
        "metric": "the metric of the verdict: judged, or chrf",
        "name": "an answer that takes no model: chance, the majority answer, copying the input",
        "value": "what it scores on the test items: a fraction of 1 (chrF: of 100)",
    },
    "differences": {
        **TASK,
        **MODEL,
        **_METRIC,
        **SIDES,
        "difference": "mean score of left less that of right, on the same queries and draws",
        "low": "lower end of the interval of `difference`",
        "high": "upper end of the interval of `difference`",
        "level": "level of the interval",
        "p": "p-value of no difference, two-sided",
        "p_holm": "the same by Holm's correction over the pairs of this model and task",
        "equivalence_p": "p-value of a difference of at least `margin`: small means equivalent",
        "margin": "the smallest difference that matters",
        "detectable": "the smallest difference that this design would show in 8 of 10 runs",
        **QUERIES,
        **DRAWS,
        "test": "the test behind `p`",
        "correction": "the correction behind `p_holm`, and over how many tests",
        "supports_claims": "whether there are draws enough for a claim",
        "templates": "templates that both sides were read under",
        "needed_draws": "draws that would decide a difference like this, with these queries",
        "needed_queries": "queries that would decide a difference like this, with these draws",
    },
    "calibration": {
        **_ABOUT,
        "brier": "Brier score: squared distance of the options' probabilities from the answer; "
        "0 is best, 2 worst",
        "ece": "expected calibration error: mean distance of confidence and share right over bins "
        "of confidence, 0 to 1; above 0 by chance alone",
        "ece_if_calibrated": "what `ece` is expected to be of a perfectly calibrated model with "
        "the same confidences, by chance alone",
        "ece_p": "share of simulated calibrated models with an `ece` as large: small means "
        "miscalibrated",
        "answer_loglik": "mean log-probability of the right option among the options, in nats",
    },
    "reliability": {
        **_ABOUT,
        "bin_confidence": "mean confidence of the answers in a bin of confidence",
        "bin_accuracy": "share of them that is right",
        "count": "answers in the bin",
    },
    "cost": {
        **_ABOUT,
        "training_flops": "FLOPs of one tuning run as plain PEFT does it; 0 where nothing is tuned",
        "training_flops_computed": "FLOPs of the same run as done here",
        "training_tried_flops": "FLOPs of all runs that choosing rate and steps takes, plain PEFT",
        "training_tried_flops_computed": "FLOPs of the same runs as done here",
        "training_seconds_amortized": "seconds of one run: its share of those trained together",
        "training_search_flops": "FLOPs of the search for the prompt, per draw",
        "query_flops": "FLOPs of one query",
        "query_flops_cached": "FLOPs of one query where what all queries share is kept",
        "query_tokens": "tokens read for one query",
        "cached_tokens": "tokens of these that all queries share",
        "query_seconds": "seconds of one query, on the machine that ran it",
        "query_seconds_cached": "seconds of one query where what all queries share is kept",
        "peak_bytes": "most bytes that adapting and reading took at once",
        "trainable": "parameters that were tuned",
    },
    "break_even": {
        **TASK,
        **MODEL,
        "prompt_condition": "the judged prompt",
        "tuned_condition": "the judged tuned model",
        "serving": "uncached, or cached: what all queries share is computed once",
        "unit": "what is counted: FLOP, seconds, money",
        "trainer": "who trains: plain PEFT, or adaptlens, which shares work between runs",
        "counted": "one run, or everything tried on both sides",
        "queries": "from how many queries on the tuned model has cost no more; infinite: never",
        "low": "the least of single draws (no interval)",
        "high": "the most of single draws (no interval)",
    },
    "measured": {
        **_ABOUT,
        "measurement": "what was measured besides answers and cost",
        "array": "which of its arrays",
        "mean": "over everything that the array has, then over draws",
        "lowest": "mean of the draw where it is lowest (no interval)",
        "highest": "mean of the draw where it is highest (no interval)",
        "draws": "draws measured",
    },
    "answers": {
        **_ABOUT,
        "template": "the template the item was written in",
        "draw": "the draw; -1 where nothing is drawn",
        "query": "id of the test item",
        "input": "its text",
        "gold": "its answer",
        "answer": "the answer given: by log-likelihood as it is, or the text written",
        "correct": "whether it is right",
        "margin": "log-likelihood of the right option less that of the best other, in nats; of "
        "text, chrF",
    },
}
