"""What stands over a column of a page, and which column of which table it is.

A column that is shown under its own name (see `report.tables.heading_of`) needs no entry. `EVERY`
are headings that are of no table: they mean the same wherever they stand.
"""

from collections.abc import Mapping

EVERY: Mapping[str, str] = {
    "verdict": "supported, refuted or not decided",
    "claim": "what is claimed",
    "effect": "the number that the claim is about, with its 95% interval",
    "weakest number": "of the numbers of a claim, the one that supports it least",
    "numbers": "all numbers of the claim",
    "p": "p-value",
    "p (Holm)": "p-value by Holm's correction over what is tested together",
    "test": "the test behind p",
    "factor": "the part of the study that the claim belongs to",
    "task": "the task, as tables call it",
    "model": "the model, as tables call it",
    "family": "the family of tasks, or of bases",
    "queries": "test items behind a number",
    "items": "test items, or pairs of prompts, behind a number",
    "draws": "draws of examples behind a number",
    "tuned models": "tuned models behind a number",
    "base": "the base model",
    "parameters": "of the base",
    "cell": "ids of the cells behind the row",
    "cells": "ids of the cells behind the row",
}

PAGES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "compare": {
        "scores": {
            "arm": "accuracy.condition", "plain template": "templates.value",
            "worst template": "templates.value", "best template": "templates.value",
            "worst draw": "accuracy.worst_draw", "rule": "accuracy.rule",
            "read under": "accuracy.template",
            "templates × draws × queries": "accuracy.templates",
            "tokens a query": "cost.query_tokens",
            "one PEFT run, GFLOP": "cost.training_flops",
        },
        "rules": {"arm": "accuracy.condition"},
        "templates": {"arm": "templates.condition"},
        "searches": {
            "arm": "searches.condition", "draw": "searches.draw", "template": "searches.template",
            "label words": "searches.label_words", "demonstrations": "searches.order",
            "rule": "searches.rule",
            "right on labeled items, %": "searches.validation_accuracy",
            "labeled items": "searches.items", "prompts read": "searches.reads",
            "tokens": "searches.tokens",
            "options that give the template back": "searches.options",
        },
        "differences": {
            "difference, points": "differences.difference",
            "p (equivalence)": "differences.equivalence_p",
            "detectable, points": "differences.detectable",
            "equivalence margin, points": "differences.margin",
        },
        "front": {
            "arm": "front.condition", "score": "front.value", "a query": "front.cost",
            "with a cached prompt": "front.cost_cached", "stands": "front.state",
            "held against": "front.against", "difference, points": "front.difference",
            "p (matched)": "front.matched_p",
        },
        "recipes": {
            "arm": "recipes.condition", "LoRA rank": "recipes.lora_rank",
            "LoRA alpha": "recipes.lora_alpha", "LoRA dropout": "recipes.lora_dropout",
            "learning rates tried": "recipes.learning_rates",
            "learning rate chosen": "recipes.rates_chosen", "steps tried": "recipes.max_steps",
            "accumulation steps": "recipes.gradient_accumulation_steps",
            "schedule": "recipes.lr_scheduler", "gradient norm at most": "recipes.max_grad_norm",
        },
        "curves": {
            "way": "curves.adaptation", "curve": "curves.value", "forms that fit": "curves.forms",
        },
        "break_even": {
            "prompt": "break_even.prompt_condition", "tuned": "break_even.tuned_condition",
            "counted in": "break_even.unit", "break-even, queries": "break_even.queries",
            "least, single draws": "break_even.low", "most, single draws": "break_even.high",
        },
    },
    "convergence": {
        "implicit": {
            "verdict by it": "implicit.state", "ICL ~ IT": "implicit.icl_it",
            "less": "implicit.over", "p (Holm, layers)": "implicit.p_holm",
        },
        "pairs": {
            "similarity": "pairs.value", "mismatched queries": "pairs.baseline",
            "above mismatched": "pairs.above", "noise floor": "pairs.floor",
        },
        "factors": {
            "by": "factors.factor", "similarity": "factors.value",
            "mismatched queries": "factors.baseline", "noise floor": "factors.floor",
            "same answer, %": "factors.agreement",
        },
        "u_shape": {
            "lower − middle": "u_shape.lower_minus_middle",
            "upper − middle": "u_shape.upper_minus_middle",
            "upper side, weakest excess": "u_shape.upper_excess", "over": "u_shape.excess_over",
        },
        "regression": {
            "likeness": "regression.predictor", "p, alone": "regression.alone_p",
            "with all": "regression.together", "p, with all": "regression.together_p",
            "partial R²": "regression.partial_r2",
        },
        "behavior": {"score, points": "behavior.value"},
        "pair_behavior": {
            "same answer, %": "pair_behavior.agreement",
            "KL of answers, nats": "pair_behavior.kl",
            "raw cosine": "pair_behavior.similarity", "centered cosine": "pair_behavior.centered",
            "within answers": "pair_behavior.within",
            "answers projected out": "pair_behavior.projected",
        },
        "lens": {"KL, nats": "lens.kl"},
        "models": {"ICL is implicit IT": "models.claim"},
    },
    "implicit": {
        "chosen": {
            "pattern, %": "curves.value", "misleading, %": "curves.value",
            "plain, %": "curves.value", "method": "curves.method", "samples": "curves.samples",
        },
        "curves": {"accuracy, %": "curves.value"},
        "shortcut": {"points": "shortcut.value"},
        "needed": {
            "items": "needed.condition", "to reach, %": "needed.target",
            "over zero-shot": "needed.gain", "demonstrations": "needed.icl_samples",
            "samples needed": "needed.samples", "times as many": "needed.ratio",
            "largest tried": "needed.most",
        },
        "transfer": {
            "learned": "transfer.learned_family", "items": "transfer.read",
            "over zero-shot, points": "transfer.value",
        },
        "gates": {
            "circuit": "gates.defined", "clean − corrupt": "gates.gap",
            "right, %": "gates.accuracy", "commonest answer, %": "gates.chance",
            "why none": "gates.reason",
        },
        "profiles": {},
        "differences": {},
        "shift": {
            "what": "shift.role", "units": "shift.kind", "noise floor": "shift.floor",
            "why undefined": "shift.state",
        },
        "overlap": {
            "units": "overlap.size", "shared": "overlap.jaccard",
            "of what can be seen": "overlap.corrected", "why undefined": "overlap.state",
        },
        "functional": {
            "circuit of": "functional.source", "used by": "functional.target",
            "units": "functional.size", "why undefined": "functional.state",
        },
        "faithfulness": {
            "units": "faithfulness.size", "circuit alone": "faithfulness.faithfulness",
            "without the circuit": "faithfulness.completeness",
            "random units alone": "faithfulness.random",
            "mean that a unit adds": "faithfulness.minimality",
        },
        "specifications": {"comparison": "specifications.name"},
        "variance": {"share, %": "variance.share"},
        "heads": {"share of the gap": "annotations.value"},
        "graph": {"share of the gap": "circuit.value"},
        "edges": {},
    },
    "limits": {
        "bases": {
            "tuned": "per_task.tuned", "in context": "per_task.icl",
            "difference": "exceeding.value", "tasks": "relations.num_tasks",
            "exposure": "scores.exposure",
        },
        "pairs": {
            "cluster": "scores.cluster", "tuned": "per_task.tuned", "in context": "per_task.icl",
            "difference": "exceeding.value", "lowest tuned": "per_task.tuned",
            "highest tuned": "per_task.tuned",
        },
        "relations": {
            "which tasks": "relations.tasks", "correlation": "relations.value",
            "over the ceiling": "relations.disattenuated",
            "tasks": "relations.num_tasks",
            "why undecided": "relations.note",
        },
        "per-task": {
            "correlation": "per_task.value", "over the ceiling": "per_task.disattenuated",
            "in context": "per_task.icl", "tasks": "per_task.num_tasks",
            "why undecided": "per_task.note",
        },
        "per-model": {
            "correlation": "per_model.value", "over the ceiling": "per_model.disattenuated",
            "tasks": "per_model.num_tasks", "why undecided": "per_model.note",
        },
        "attribution": {
            "taken out first": "attribution.given", "share, %": "attribution.share",
            "of what is explained, %": "attribution.share_of_r2",
        },
        "mixed": {"degrees of freedom": "mixed_effects.df"},
        "exposure": {
            "which tasks": "exposure.tasks", "tasks": "exposure.num_tasks",
            "ability, more": "exposure.ability_more", "ability, less": "exposure.ability_less",
            "difference": "exposure.value", "on these tasks": "exposure.low_here",
            "p on these tasks": "exposure.p_here",
        },
        "mediation": {
            "effect on": "mediation.outcome", "given": "mediation.mediator",
            "exposures": "mediation.more", "total effect": "mediation.total",
            "left over": "mediation.direct", "through the other": "mediation.through",
            "what is left": "mediation.state", "tasks": "mediation.num_tasks",
        },
        "clusters": {
            "cluster": "scores.cluster", "system": "scores.system",
            "ability": "systems.ability_left", "tasks": "relations.num_tasks",
        },
        "systems": {
            "which tasks": "systems.tasks", "tasks": "systems.num_tasks",
            "system": "systems.left", "less": "systems.right", "ability": "systems.ability_left",
            "of the other": "systems.ability_right", "difference": "systems.value",
            "better": "systems.state", "no answer, %": "systems.unparsed_left",
            "of the other, %": "systems.unparsed_right",
        },
        "exceeding": {
            "mixtures": "exceeding.tasks", "tuned": "exceeding.ability_left",
            "in context": "exceeding.ability_right", "difference": "exceeding.value",
            "better": "exceeding.state",
        },
        "variations": {
            "tasks": "variations.num_tasks", "varied": "variations.ability_left",
            "as it is": "variations.ability_right",
            "difference": "variations.value", "varied is": "variations.state",
            "no answer, %": "variations.unparsed_left", "as it is, %": "variations.unparsed_right",
        },
        "scorings": {
            "system": "scores.system", "scoring": "scores.scoring", "cluster": "scores.cluster",
            "right, %": "scores.value", "guess floor, %": "scores.floor",
            "chance, %": "scores.chance", "no answer found, %": "scores.unparsed",
            "ability": "systems.ability_left", "tasks": "relations.num_tasks",
        },
    },
}  # fmt: skip
"""Study to table of its page (up to a number or a family) to heading to column."""
