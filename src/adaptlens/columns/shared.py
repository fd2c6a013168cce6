"""Columns that mean the same in many tables."""

from collections.abc import Mapping

Columns = Mapping[str, str]

PAIR = "~"
"""Stands for columns named after two conditions: "icl ~ it, cosine"."""

MODEL: Columns = {"model": "the model, as tables call it"}
TASK: Columns = {"task": "the task, as tables call it"}
FAMILY: Columns = {"family": "family of tasks with a shortcut, or a task of the user's own"}
CONDITION: Columns = {"condition": "the way of adapting, and its number of examples"}
QUERIES: Columns = {"queries": "test items behind a number"}
DRAWS: Columns = {"draws": "draws of examples behind a number; 1 where nothing is drawn"}
ITEMS: Columns = {"items": "pairs of clean and corrupt prompts behind a number"}
SIDES: Columns = {"left": "the one condition", "right": "the other condition"}


def ends(of: str = "`value`", prefix: str = "") -> Columns:
    """Return the columns of the two ends of an interval."""
    return {
        f"{prefix}low": f"lower end of the 95% interval of {of}",
        f"{prefix}high": f"upper end of the 95% interval of {of}",
    }


CLAIMS: Columns = {
    **MODEL,
    **TASK,
    "factor": "number of what the claim is about, as the study counts them",
    "claim": "what is claimed",
    "state": "supported, refuted or not decided",
    "line": "what was found, in a line",
    "effect": "the number that decides",
    **ends("`effect`"),
    "p": "p-value of no effect",
    "p_holm": "the same, corrected over the claims that are tested together",
    "test": "the test behind `p`",
    **QUERIES,
    **DRAWS,
}
RECIPES: Columns = {
    **TASK,
    **MODEL,
    **CONDITION,
    "trained": "LoRA, DoRA, a soft prompt, a vector, or all weights",
    "lora_rank": "rank of the adapters",
    "lora_alpha": "their scale, times the rank",
    "lora_dropout": "share of their inputs that training leaves out",
    "target_modules": "modules that were adapted, by the last parts of their names",
    "optimizer": "what trained it; empty of a vector",
    "learning_rates": "rates tried",
    "rates_chosen": "how many draws chose each rate",
    "max_steps": "numbers of steps tried",
    "steps_chosen": "how many draws chose each number of steps",
    "layers_chosen": "behind which layer a vector is added, and in how many draws",
    "strengths_chosen": "how many times it is",
    "num_templates": "templates that each draw was tuned on, in turn where there are more; "
    "empty of a vector",
    "batch_size": "examples a step, no more than a draw has",
    "gradient_accumulation_steps": "parts that a batch is read in",
    "lr_scheduler": "how the rate goes on",
    "warmup_steps": "steps over which it rises",
    "weight_decay": "share of the weights taken off, times the rate, a step",
    "max_grad_norm": "length that gradients are cut to",
    "seed": "of everything random",
}
