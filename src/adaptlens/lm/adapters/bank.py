"""R LoRA adapters of one frozen base model, held stacked and run together.

Adapter i adds `alpha / rank * B[i] A[i] x` to the output of each target module (Hu et al. 2021,
arXiv 2106.09685, section 4.1), or `alpha / sqrt(rank)` times that (rank-stabilized: Kalajdzievski
2023, arXiv 2312.03732). Weight-decomposed adapters (DoRA: Liu et al. 2024, arXiv 2402.09353,
section 4) also rescale the rows of what comes of it, see `lm.adapters.row_norms`. One pass runs
the base once for all rows and the adapters as one batched product, whichever adapter each row
belongs to.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptlens.errors import UserError
from adaptlens.lm.adapters import peft_files
from adaptlens.lm.adapters.row_norms import RowNorms
from adaptlens.lm.adapters.targets import Site, check_reached, find_sites, named_targets
from adaptlens.lm.load import LM


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
        use_dora: whether each target's rows have trained norms, which start at the base's.
        target_modules: names, or last parts of names, of the modules to adapt, as in PEFT;
            "all-linear" alone for every linear map but the output head; None for the family's query
            and value projections (or its fused projection).
        dropout: share of each target's inputs dropped on the adapter's way while training.
        seeds: one seed per variant for the start of A; None for 0, 1, 2, ...

    Raises:
        UserError: a rank below 1, a target that names no module, one that is not linear, or one
            that the model does not run on every token; under DoRA also one that is quantized.
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
        use_dora: bool = False,
        target_modules: Sequence[str] | None = None,
        dropout: float = 0.0,
        seeds: Sequence[int] | None = None,
    ):
        if rank < 1:
            raise UserError(f"LoRA rank {rank} was given; it must be at least 1; 8 is usual.")
        if not 0 <= dropout < 1:
            raise UserError(f"LoRA dropout {dropout} was given; it must be at least 0, below 1.")
        self.num_variants, self.rank, self.alpha, self.dropout = num_variants, rank, alpha, dropout
        self.use_rslora, self.use_dora = use_rslora, use_dora
        self.scale = alpha / (math.sqrt(rank) if use_rslora else rank)
        self.base_name, self.base_digest = lm.name, lm.digest
        self.target_modules = named_targets(lm, target_modules)
        self.sites = find_sites(lm.model, self.target_modules, rank, use_dora)
        if lm.architecture is None:
            check_reached(lm, self.sites)
        self.norms = {
            site.name: RowNorms(site.module, site.name) for site in self.sites if use_dora
        }
        last = self.sites[-1]
        size = last.m_start + (last.out_width if use_dora else 0)
        self.master_weights = torch.zeros(num_variants, size, device=lm.device)
        self.seeds = tuple(range(num_variants) if seeds is None else seeds)
        for variant, seed in zip(range(num_variants), self.seeds, strict=True):
            generator = torch.Generator().manual_seed(seed)
            for site in self.sites:
                start = torch.empty(rank, site.in_width)
                nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
                self._a(site, self.master_weights)[variant].copy_(start)
        for site in self.sites if use_dora else ():
            self._m(site, self.master_weights).copy_(self.norms[site.name].of_base())
        self._active = False

    @property
    def num_parameters(self) -> int:
        """How many numbers one adapter has."""
        return self.master_weights.shape[1]

    @property
    def token_parameters(self) -> int:
        """How many of these numbers every token is multiplied by: all."""
        return self.num_parameters

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

    def _m(
        self, site: Site, numbers: Float[Tensor, "variants parameters"]
    ) -> Float[Tensor, "variants out_width"]:
        return numbers[:, site.m_start : site.m_start + site.out_width]

    def magnitudes(self, variant: int) -> Mapping[str, Float[Tensor, " _"]]:
        """Return DoRA's norms of rows by module name, as views; empty without DoRA."""
        own = self.master_weights[variant : variant + 1]
        return {site.name: self._m(site, own)[0] for site in self.sites if self.use_dora}

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
        with self._installed(self._parts(stacked), groups):
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
        every = [tuple(part.detach() for part in parts) for parts in self._parts(numbers)]
        for parts in every:
            for leaf in parts:
                leaf.requires_grad_()
        drop = None
        if self.dropout:
            drop = _Dropout(self.dropout, [(s, step, block) for s in self.seeds[first:last]])
        with self._installed(every, last - first, drop):
            yield
        for own, parts in zip(self._parts(sums), every, strict=True):
            for place, leaf in zip(own, parts, strict=True):
                if leaf.grad is not None:
                    place.add_(leaf.grad)

    def _parts(self, numbers: Float[Tensor, "variants parameters"]) -> list[tuple[Tensor, ...]]:
        """Return each site's A and B, and its magnitudes under DoRA, as views."""
        return [
            (
                self._a(site, numbers),
                self._b(site, numbers),
                *((self._m(site, numbers),) if self.use_dora else ()),
            )
            for site in self.sites
        ]

    def sync(self) -> None:
        """Do nothing: `routed` reads `master_weights` themselves."""

    @contextmanager
    def _installed(
        self, every: Sequence[tuple[Tensor, ...]], groups: int, drop: Any = None
    ) -> Iterator[None]:
        if self._active:
            raise RuntimeError("a bank is routed already; leave that context first")
        self._active = True
        handles = [
            site.module.register_forward_hook(
                _hook(*parts, scale=self.scale, groups=groups, drop=drop, norms=norms)
            )
            for site, parts in zip(self.sites, every, strict=True)
            for norms in (self.norms.get(site.name),)
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
                self.magnitudes(variant),
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
        if len({bool(one.magnitudes) for one in saved}) > 1:
            plain = next(one for one in saved if not one.magnitudes)
            raise UserError(
                f"adapter {plain.folder} is no DoRA, and others beside it are; load them apart."
            )
        alike = all(one.is_uniform for one in saved)
        alike = alike and len({(one.rank, one.alpha) for one in saved}) == 1
        rank = max(a.shape[0] for one in saved for a, _ in one.matrices.values())
        bank = cls(
            lm,
            num_variants=len(saved),
            rank=rank,
            alpha=saved[0].alpha if alike else rank,
            use_dora=bool(saved[0].magnitudes),
            target_modules=tuple(dict.fromkeys(t for one in saved for t in one.target_modules)),
            dropout=max(one.dropout for one in saved),
        )
        for variant, adapter in enumerate(saved):
            own, magnitudes = bank.matrices(variant), bank.magnitudes(variant)
            for part in (part for pair in own.values() for part in pair):
                part.zero_()
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
                if magnitudes:
                    magnitudes[name].copy_(adapter.magnitudes[name])
        return bank


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
    m: Float[Tensor, "groups out_width"] | None = None,
    *,
    scale: float,
    groups: int,
    drop: Callable[[Tensor, nn.Module], Tensor] | None,
    norms: RowNorms | None,
) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    """Return the forward hook that adds `scale * B A x`, and under DoRA rescales the rows.

    Adapters are kept and applied in float32 whatever the base's format, as in PEFT.
    """
    gain = norms.gain(a, b, m, scale) if norms is not None and m is not None else None

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
        if gain is None or norms is None:
            added = torch.baddbmm(plain, inner, b_here, alpha=scale)
        else:
            # What dropout leaves of the input is also what the base's part is rescaled by: PEFT.
            base = norms.product(x) if drop else norms.without_bias(plain)
            here = gain.to(output.device)[:, None]
            added = plain + (here - 1) * base + here * scale * torch.bmm(inner, b_here)
        return added.view(output.shape).to(output.dtype)

    return add
