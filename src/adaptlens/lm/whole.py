"""Patching by running whole prompts anew: slower than the sweep, right wherever hooks are."""

from collections.abc import Iterable

import torch
from torch import Tensor

from adaptlens.errors import UserError
from adaptlens.lm.anatomy import Anatomy
from adaptlens.lm.edits import Replacement, visiting
from adaptlens.lm.memory import is_out_of_memory, pass_tokens
from adaptlens.lm.readout import Answers, Question
from adaptlens.lm.units import UnitKind
from adaptlens.lm.walk import routed

Recorded = dict[tuple[UnitKind, int], Tensor]


def run_whole(question: Question, number: int, answers: Answers) -> None:
    """Patch one pair, every site and set, many patched copies of the whole prompt at a time.

    Raises:
        UserError: two copies do not fit the memory.
    """
    pair, parts, device = question.pairs[number], question.parts, question.lm.device
    seq = len(pair.clean)
    both = torch.tensor([pair.clean, pair.corrupt], device=device)
    with routed(question.weights, [pair.variant]):
        where = question.where() if question.ablation == "resample" else ()
        final, recorded = read_whole(parts, both, where)
        clean_logs = answers.baselines([number], final[None])
        other = {key: states[1 - question.base] for key, states in recorded.items()}
        for site, places in enumerate(pair.sites):
            at = torch.zeros(1, seq, dtype=torch.bool, device=device)
            at[:, list(places)] = True

            def values(kind: UnitKind, layer: int, site: int = site) -> Tensor:
                if question.ablation == "resample":
                    return other[kind, layer]
                return question.constant(kind, layer, pair.variant, site)

            low, rows = 0, pass_tokens(parts, 0, seq, question.budget_bytes) // seq
            while low < len(question.sets):
                which = range(low, min(low + max(rows - 1, 1), len(question.sets)))
                sets = [(), *(question.sets[s] for s in which)]
                try:
                    with Replacement(parts, sets, at, values).installed():
                        ids = both[question.base].expand(len(sets), -1)
                        final, _ = read_whole(parts, ids)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    rows = smaller(len(which), seq, device)
                    continue
                answers.patched([number], site, which, final[None], clean_logs)
                low = which.stop


def read_whole(
    parts: Anatomy, ids: Tensor, where: Iterable[tuple[UnitKind, int]] = ()
) -> tuple[Tensor, Recorded]:
    """Return the last token's final states [rows, width], and what the units there put out.

    The latter is [rows, seq, features], by kind and layer.
    """
    recorded: Recorded = {}

    def keep(kind: UnitKind, layer: int, states: Tensor) -> None:
        recorded[kind, layer] = states.reshape(*ids.shape, -1).clone()

    with visiting(parts, where, keep):
        hidden = parts.backbone(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
        ).last_hidden_state
    return hidden[:, -1], recorded


def smaller(patches: int, seq: int, device: torch.device) -> int:
    """Return how many rows to try after memory ran out for an unpatched and some patched runs.

    Raises:
        UserError: there was one patched run only.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if patches == 1:
        raise UserError(
            f"two runs of {seq} tokens do not fit the memory of {device}; expected room for an "
            "unpatched and a patched one: use shorter prompts, a smaller dtype or a smaller model."
        )
    return patches // 2 + 1
