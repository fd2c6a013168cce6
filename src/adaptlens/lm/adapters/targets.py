"""Which modules of a model LoRA adapts, and where each has its numbers in a bank."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adaptlens.errors import UserError, unknown
from adaptlens.lm.architecture import LAYOUTS, QUERY_AND_VALUE
from adaptlens.lm.load import LM
from adaptlens.lm.weights import opened, skeleton
from adaptlens.models import identity, shape


@dataclass(frozen=True, eq=False)
class Site:
    """A module of the base model that every adapter adds to.

    `a_start` and `b_start` say where A [rank, in_width] and B [out_width, rank] begin in an
    adapter's row of numbers, `m_start` where DoRA's magnitudes [out_width] do. `transposed` marks
    GPT-2's `Conv1D`, whose weight is [in, out].
    """

    name: str
    module: nn.Module
    in_width: int
    out_width: int
    transposed: bool
    a_start: int
    b_start: int
    m_start: int


ALL_LINEAR = "all-linear"
"""PEFT's name for every linear map but the output head."""


def named_targets(lm: LM, target_modules: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the modules to adapt, "all-linear" written out."""
    if target_modules is None:
        return _usual_targets(lm)
    if tuple(target_modules) != (ALL_LINEAR,):
        return tuple(target_modules)
    return tuple(sorted({name.rpartition(".")[2] for name in _linear_maps(lm.model)}))


@functools.lru_cache(maxsize=64)
def usual_targets(model: str) -> tuple[str, ...] | None:
    """Return the names of the modules that are adapted by default, before the model is loaded.

    None where it has no query and value projections that are known: see `named_targets`.

    Args:
        model: the name that it is found by.
    """
    if layout := LAYOUTS.get(shape.family(model)):
        return layout.tuning_targets
    with opened(identity.locate(model), untrained=True) as source:
        return _query_and_value(_linear_maps(skeleton(source, model)))


def _query_and_value(linear: Iterable[str]) -> tuple[str, ...] | None:
    """Return their names, if they are among those of the linear modules."""
    # Models with attention in some layers only have these two in those.
    names = {name.rpartition(".")[2] for name in linear}
    return QUERY_AND_VALUE if names.issuperset(QUERY_AND_VALUE) else None


def _usual_targets(lm: LM) -> tuple[str, ...]:
    if lm.architecture is not None:
        return lm.architecture.tuning_targets
    linear = _linear_maps(lm.model)
    if found := _query_and_value(linear):
        return found
    names = {name.rpartition(".")[2] for name in linear}
    fit = sorted(names - {n.rpartition(".")[2] for n in linear.keys() - _reached(lm, linear)})
    begin = f"model '{lm.name}' has no query and value projections that are known here"
    if not fit:
        raise UserError(f"{begin}, and no linear module that runs on every token; tune it in full.")
    raise UserError(
        f"{begin}; say which of its linear modules LoRA tunes ({', '.join(fit)}), such as "
        f'--set "tune.target_modules=[{", ".join(fit)}]", or use full tuning.'
    )


def _linear_maps(model: Any) -> dict[str, nn.Module]:
    """Return all linear modules but the output head, by name."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if _widths(module) is not None and module is not head
    }


def find_sites(
    model: nn.Module, target_modules: Sequence[str], rank: int, use_dora: bool
) -> list[Site]:
    """Return the modules named by `target_modules`, each with its place in an adapter's numbers."""
    sites: list[Site] = []
    start = 0
    found = set()
    for name, module in model.named_modules():
        matching = [t for t in target_modules if name == t or name.endswith("." + t)]
        if not matching:
            continue
        found.update(matching)
        widths = _widths(module)
        if widths is None:
            raise UserError(
                f"LoRA target '{matching[0]}' names {name}, a {type(module).__name__}; expected a "
                "linear module: choose among the projections, such as q_proj or v_proj; what is "
                "looked up, as embeddings are, is tuned by full tuning only."
            )
        in_width, out_width = widths
        b_start = start + rank * in_width
        transposed = not isinstance(module, nn.Linear)
        m_start = b_start + rank * out_width
        sites.append(Site(name, module, in_width, out_width, transposed, start, b_start, m_start))
        start = m_start + (out_width if use_dora else 0)
    missing = [target for target in target_modules if target not in found]
    if missing or not sites:
        linear = {n.rsplit(".", 1)[-1] for n, m in model.named_modules() if _widths(m)}
        raise unknown("LoRA target", missing[0] if missing else "", linear)
    return sites


def check_reached(lm: LM, sites: Sequence[Site]) -> None:
    """Refuse modules that do not see all tokens of all rows, batch first, when the model runs.

    What is added there would reach no token, or another row's: a model may use a weight without
    calling its module, or send each token to some of its modules only (experts).

    Raises:
        UserError: names the first such module.
    """
    reached = _reached(lm, {site.name: site.module for site in sites})
    missed = [site.name for site in sites if site.name not in reached]
    if missed:
        raise UserError(
            f"LoRA target {missed[0]} of '{lm.name}' does not run on every token as a module of "
            "its own, so an adapter on it would not be what is read; leave it out of "
            "target_modules, or use full tuning."
        )


@torch.no_grad()
def _reached(lm: LM, modules: Mapping[str, nn.Module]) -> set[str]:
    """Return the names of the modules that see all tokens of all rows when the model runs."""
    batch, seq = 3, 2
    reached: set[str] = set()

    def seen(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def note(_: nn.Module, args: tuple[Any, ...], __: Any) -> None:
            shape = args[0].shape[:-1]
            if tuple(shape) in ((batch, seq), (batch * seq,)):
                reached.add(name)

        return note

    hooks = [module.register_forward_hook(seen(name)) for name, module in modules.items()]
    try:
        lm.model(input_ids=torch.full((batch, seq), lm.pad_id, device=lm.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return reached


def _widths(module: nn.Module) -> tuple[int, int] | None:
    """Return (in, out) of a linear map, also of GPT-2's transposed one; None for anything else."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D":
        in_width, out_width = module.weight.shape  # type: ignore[misc]
        return in_width, out_width
    return None
