"""R LoRA adapters of one frozen base model, held stacked and run together.

Adapter i adds `alpha / rank * B[i] A[i] x` to the output of each target module (Hu et al. 2021,
arXiv 2106.09685, section 4.1), or `alpha / sqrt(rank)` times that (rank-stabilized: Kalajdzievski
2023, arXiv 2312.03732). One pass runs the base once for all rows and the adapters as one
batched product, whichever adapter each row belongs to.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptlens.errors import UserError, unknown
from adaptlens.lm.adapters import peft_files
from adaptlens.lm.architecture import QUERY_AND_VALUE
from adaptlens.lm.load import LM


@dataclass(frozen=True, eq=False)
class Site:
    """A module of the base model that every adapter adds to.

    `a_start` and `b_start` say where A [rank, in_width] and B [out_width, rank] begin in an
    adapter's row of numbers. `transposed` marks GPT-2's `Conv1D`, whose weight is [in, out].
    """

    name: str
    module: nn.Module
    in_width: int
    out_width: int
    transposed: bool
    a_start: int
    b_start: int


ALL_LINEAR = "all-linear"
"""PEFT's name for every linear map but the output head."""


class LoraBank:
    """R LoRA adapters over one base model, which is untouched outside `routed`.

    All numbers of the adapters lie in `master_weights`, float32 [variants, parameters], so that
    whatever is elementwise (an optimizer, a norm per adapter) takes one operation for all of them.
    A starts as PEFT's does (Kaiming uniform with a = sqrt(5), from each variant's own generator)
    and B at zero, so that every variant starts out equal to the base.

    Args:
        lm: the base model.
        num_variants: how many adapters.
        rank: width of the adapters' bottleneck.
        alpha: the update is scaled by alpha / rank.
        use_rslora: by alpha / sqrt(rank) instead.
        target_modules: names, or last parts of names, of the modules to adapt, as in PEFT;
            "all-linear" alone for every linear map but the output head; None for the family's query
            and value projections (or its fused projection).
        dropout: share of each target's inputs dropped on the adapter's way while training.
        seeds: one seed per variant for the start of A; None for 0, 1, 2, ...

    Raises:
        UserError: a rank below 1, a target that names no module, one that is not linear, or one
            that the model does not run on every token.
    """

    mixes_rows = True

    def __init__(
        self,
        lm: LM,
        *,
        num_variants: int,
        rank: int = 8,
        alpha: float = 16,
        use_rslora: bool = False,
        target_modules: Sequence[str] | None = None,
        dropout: float = 0.0,
        seeds: Sequence[int] | None = None,
    ):
        if rank < 1:
            raise UserError(f"LoRA rank {rank} was given; it must be at least 1; 8 is usual.")
        if not 0 <= dropout < 1:
            raise UserError(f"LoRA dropout {dropout} was given; it must be at least 0, below 1.")
        self.num_variants, self.rank, self.alpha, self.dropout = num_variants, rank, alpha, dropout
        self.use_rslora = use_rslora
        self.scale = alpha / (math.sqrt(rank) if use_rslora else rank)
        self.base_name, self.base_digest = lm.name, lm.digest
        self.target_modules = _named_targets(lm, target_modules)
        self.sites = _find_sites(lm.model, self.target_modules, rank)
        if lm.architecture is None:
            _check_reached(lm, self.sites)
        size = self.sites[-1].b_start + self.sites[-1].out_width * rank
        self.master_weights = torch.zeros(num_variants, size, device=lm.device)
        self.seeds = tuple(range(num_variants) if seeds is None else seeds)
        for variant, seed in zip(range(num_variants), self.seeds, strict=True):
            generator = torch.Generator().manual_seed(seed)
            for site in self.sites:
                start = torch.empty(rank, site.in_width)
                nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
                self._a(site, self.master_weights)[variant].copy_(start)
        self._active = False

    @property
    def num_parameters(self) -> int:
        """How many numbers one adapter has."""
        return self.master_weights.shape[1]

    def _a(
        self, site: Site, numbers: Float[Tensor, "variants parameters"]
    ) -> Float[Tensor, "variants rank in_width"]:
        stop = site.a_start + self.rank * site.in_width
        return numbers[:, site.a_start : stop].unflatten(1, (self.rank, site.in_width))

    def _b(
        self, site: Site, numbers: Float[Tensor, "variants parameters"]
    ) -> Float[Tensor, "variants out_width rank"]:
        stop = site.b_start + self.rank * site.out_width
        return numbers[:, site.b_start : stop].unflatten(1, (site.out_width, self.rank))

    def matrices(self, variant: int) -> peft_files.Matrices:
        """Return A and B of one adapter by module name, as views."""
        own = self.master_weights[variant : variant + 1]
        return {site.name: (self._a(site, own)[0], self._b(site, own)[0]) for site in self.sites}

    def adapts(self, module: nn.Module) -> bool:
        """Return whether the adapters add to what this very module puts out."""
        return any(site.module is module for site in self.sites)

    def pick(self, variants: Sequence[int]) -> "LoraBank":
        """Return a bank of copies of these variants, in this order."""
        return self._holding(
            self.master_weights[list(variants)], tuple(self.seeds[variant] for variant in variants)
        )

    def stacked(self, master_weights: Sequence[Float[Tensor, "variants parameters"]]) -> "LoraBank":
        """Return a bank of the adapters in these copies of `master_weights`, one after another."""
        return self._holding(torch.cat(list(master_weights)), self.seeds * len(master_weights))

    def _holding(
        self, master_weights: Float[Tensor, "variants parameters"], seeds: tuple[int, ...]
    ) -> "LoraBank":
        held = object.__new__(LoraBank)
        held.__dict__.update(self.__dict__)
        held.master_weights, held.seeds = master_weights, seeds
        held.num_variants = len(master_weights)
        held._active = False
        return held

    @contextmanager
    def routed(self, variants: Sequence[int]) -> Iterator[None]:
        """Run batch row b of the base model as adapter `variants[b]` inside this context.

        Rows in even runs of neighboring adapters (0 0 1 1 2 2) cost one batched product per
        module without copying; any other order copies the adapters row by row.
        """
        run = _even_run(variants)
        if run is not None:
            stacked = self.master_weights[run.start : run.stop]
            groups = len(run)
        else:
            stacked = self.master_weights[list(variants)]
            groups = len(variants)
        pairs = [(self._a(site, stacked), self._b(site, stacked)) for site in self.sites]
        with self._installed(pairs, groups):
            yield

    @contextmanager
    def training(
        self,
        first: int,
        last: int,
        gradients: Float[Tensor, "variants parameters"],
        step: int = 0,
        block: int = 0,
    ) -> Iterator[None]:
        """Run the base with even rows of variants first to last - 1, ready for backward.

        What backward passes inside found is added to `gradients[first:last]` on the way out.
        Dropout masks are drawn row by row from each variant's seed, `step` and `block`, so that
        they do not depend on the variants beside it.
        """
        numbers, sums = self.master_weights[first:last], gradients[first:last]
        pairs = [
            (self._a(site, numbers).detach(), self._b(site, numbers).detach())
            for site in self.sites
        ]
        for pair in pairs:
            for leaf in pair:
                leaf.requires_grad_()
        drop = None
        if self.dropout:
            drop = _Dropout(self.dropout, [(s, step, block) for s in self.seeds[first:last]])
        with self._installed(pairs, last - first, drop):
            yield
        for site, (a, b) in zip(self.sites, pairs, strict=True):
            if a.grad is not None and b.grad is not None:
                self._a(site, sums).add_(a.grad)
                self._b(site, sums).add_(b.grad)

    def sync(self) -> None:
        """Do nothing: `routed` reads `master_weights` themselves."""

    @contextmanager
    def _installed(
        self, pairs: Sequence[tuple[Tensor, Tensor]], groups: int, drop: Any = None
    ) -> Iterator[None]:
        if self._active:
            raise RuntimeError("a bank is routed already; leave that context first")
        self._active = True
        handles = [
            site.module.register_forward_hook(_hook(a, b, self.scale, groups, drop))
            for site, (a, b) in zip(self.sites, pairs, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._active = False

    def save(self, folder: Path, names: Sequence[str]) -> None:
        """Write adapter i to `folder/names[i]` in PEFT's format."""
        for variant, name in zip(range(self.num_variants), names, strict=True):
            peft_files.write(
                folder / name,
                self.matrices(variant),
                base_name=self.base_name,
                base_digest=self.base_digest,
                rank=self.rank,
                alpha=self.alpha,
                use_rslora=self.use_rslora,
                dropout=self.dropout,
                target_modules=self.target_modules,
                transposed=self.sites[0].transposed,
            )

    @classmethod
    def load(cls, lm: LM, folders: Sequence[Path]) -> "LoraBank":
        """Return the bank of adapters saved in PEFT's format, one per folder.

        Raises:
            UserError: a folder holds no LoRA adapter, one of a kind not supported here, or one made
                for other modules, widths or weights.
        """
        saved = [peft_files.read(Path(folder)) for folder in folders]
        for one in saved:
            if one.replaced:
                raise peft_files.BeyondLora(
                    f"adapter {one.folder} brings whole modules (modules_to_save: "
                    f"{next(iter(one.replaced))}), which a bank does not hold; give it as --arm.",
                    "modules_to_save",
                )
        return cls.holding(lm, saved)

    @classmethod
    def holding(cls, lm: LM, saved: Sequence[peft_files.Saved]) -> "LoraBank":
        """Return the bank of these adapters, which may differ in ranks, alphas and modules.

        Smaller ranks are filled up with zeros; where scales differ they are in B.

        Raises:
            UserError: one was made for other modules, widths or weights than this model's.
        """
        modules = dict(lm.model.named_modules())
        for one in saved:
            one.check_base(lm.model, lm.digest)
            one.check_names(modules)
        alike = all(one.is_uniform for one in saved)
        alike = alike and len({(one.rank, one.alpha) for one in saved}) == 1
        rank = max(a.shape[0] for one in saved for a, _ in one.matrices.values())
        bank = cls(
            lm,
            num_variants=len(saved),
            rank=rank,
            alpha=saved[0].alpha if alike else rank,
            target_modules=tuple(dict.fromkeys(t for one in saved for t in one.target_modules)),
            dropout=max(one.dropout for one in saved),
        )
        bank.master_weights.zero_()
        for variant, adapter in enumerate(saved):
            own = bank.matrices(variant)
            adapter.check_complete(own)
            for name, (a, b) in adapter.matrices.items():
                at, to = own[name]
                if a.shape[1] != at.shape[1] or b.shape[0] != to.shape[0]:
                    mine, theirs = (at, a) if a.shape[1] != at.shape[1] else (to, b)
                    raise UserError(
                        f"adapter {adapter.folder}: a matrix for {name} has shape "
                        f"{list(theirs.shape)}, but model '{lm.name}' needs {list(mine.shape)}; "
                        "load the model the adapter was made for."
                    )
                at[: a.shape[0]].copy_(a)
                to[:, : a.shape[0]].copy_(b if alike else b.float() * adapter.scales[name])
        return bank


def _named_targets(lm: LM, target_modules: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the modules to adapt, "all-linear" written out."""
    if target_modules is None:
        return _usual_targets(lm)
    if tuple(target_modules) != (ALL_LINEAR,):
        return tuple(target_modules)
    return tuple(sorted({name.rpartition(".")[2] for name in _linear_maps(lm)}))


def _usual_targets(lm: LM) -> tuple[str, ...]:
    if lm.architecture is not None:
        return lm.architecture.tuning_targets
    linear = _linear_maps(lm)
    names = {name.rpartition(".")[2] for name in linear}
    # Models with attention in some layers only have these two in those.
    if names.issuperset(QUERY_AND_VALUE):
        return QUERY_AND_VALUE
    fit = sorted(names - {n.rpartition(".")[2] for n in linear.keys() - _reached(lm, linear)})
    begin = f"model '{lm.name}' has no query and value projections that are known here"
    if not fit:
        raise UserError(f"{begin}, and no linear module that runs on every token; tune it in full.")
    raise UserError(
        f"{begin}; say which of its linear modules LoRA tunes ({', '.join(fit)}), such as "
        f'--set "tune.target_modules=[{", ".join(fit)}]", or use full tuning.'
    )


def _linear_maps(lm: LM) -> dict[str, nn.Module]:
    """Return all linear modules but the output head, by name."""
    head = lm.model.get_output_embeddings()
    return {
        name: module
        for name, module in lm.model.named_modules()
        if _widths(module) is not None and module is not head
    }


def _find_sites(model: nn.Module, target_modules: Sequence[str], rank: int) -> list[Site]:
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
        sites.append(Site(name, module, in_width, out_width, transposed, start, b_start))
        start = b_start + rank * out_width
    missing = [target for target in target_modules if target not in found]
    if missing or not sites:
        linear = {n.rsplit(".", 1)[-1] for n, m in model.named_modules() if _widths(m)}
        raise unknown("LoRA target", missing[0] if missing else "", linear)
    return sites


def _check_reached(lm: LM, sites: Sequence[Site]) -> None:
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


def _even_run(variants: Sequence[int]) -> range | None:
    """Return the neighboring variants that take even turns in these rows, or None."""
    first, last = variants[0], variants[-1]
    groups = last - first + 1
    if groups < 1 or len(variants) % groups:
        return None
    each = len(variants) // groups
    even = all(variant == first + row // each for row, variant in enumerate(variants))
    return range(first, last + 1) if even else None


class _Dropout:
    """Drops inputs of the adapters of one pass; the masks of each adapter have their own seed."""

    def __init__(self, share: float, seeds: Sequence[tuple[int, ...]]):
        self.share, self.seeds = share, seeds
        self.numbers: dict[nn.Module, int] = {}

    def __call__(
        self, x: Float[Tensor, "rows seq width"], module: nn.Module
    ) -> Float[Tensor, "rows seq width"]:
        """Return what is left of a module's input; the same when it is computed once more."""
        rows, seq, width = x.shape[0] // len(self.seeds), x.shape[1], x.shape[2]
        number = self.numbers.setdefault(module, len(self.numbers) + 1)
        draws = []
        for seed in self.seeds:
            state = np.random.SeedSequence((*seed, number)).generate_state(1)[0]
            generator = torch.Generator().manual_seed(int(state))
            # Sequence first: a block made wider by another adapter's rows changes no mask.
            draws.append(torch.rand(seq, rows, width, generator=generator))
        kept = torch.stack(draws).transpose(1, 2).reshape(x.shape) >= self.share
        return x * kept.to(x.device, x.dtype).div_(1 - self.share)


def _hook(
    a: Float[Tensor, "groups rank in_width"],
    b: Float[Tensor, "groups out_width rank"],
    scale: float,
    groups: int,
    drop: Callable[[Tensor, nn.Module], Tensor] | None,
) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    """Return the forward hook that adds `scale * B A x`.

    Adapters are kept and applied in float32 whatever the base's format, as in PEFT.
    """

    def add(
        module: nn.Module, args: tuple[Any, ...], output: Float[Tensor, "*rows out_width"]
    ) -> Float[Tensor, "*rows out_width"]:
        x = args[0]
        if x.shape[0] % groups:
            raise RuntimeError(f"{x.shape[0]} rows cannot be shared evenly by {groups} adapters")
        # Of a model over several devices, each layer's are where it is.
        a_here, b_here = (part.to(output.device).transpose(1, 2) for part in (a, b))
        x = x.to(output.device, a.dtype)
        x = (drop(x, module) if drop else x).reshape(groups, -1, x.shape[-1])
        inner = torch.bmm(x, a_here)
        plain = output.reshape(groups, -1, output.shape[-1]).to(a.dtype)
        return torch.baddbmm(plain, inner, b_here, alpha=scale).view(output.shape).to(output.dtype)

    return add
