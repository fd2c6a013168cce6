"""Patching in one pass over the layers: every patched sibling joins at the layer it differs in.

Causal attention leaves what comes before the first patched token as it was, and a layer leaves
what lies below it; so a patched run differs from the unpatched one only after that token and from
that layer on, and only there is it computed. The unpatched sibling runs along, and at each layer
the patched ones start out as copies of it.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from adaptlens.lm.hooks import Activations, Patch, recording
from adaptlens.lm.memory import attempt, does_not_fit, halving, pass_tokens
from adaptlens.lm.patching.effects import PatchEffects, PatchRequest, two_runs
from adaptlens.lm.patching.suffix import KVSegment, SuffixPass
from adaptlens.lm.prefix.trie import common, sort
from adaptlens.lm.prefix.walk import last_mlp_at, routed
from adaptlens.lm.units import UnitKind

# A stretch shorter than this is not worth a pass of its own.
_LEAST_SHARED_TOKENS = 16
# As in `plan`: what one more pass costs, in tokens' worth of work.
_PASS_COST_TOKENS = 96


@dataclass(frozen=True, eq=False)
class _Read:
    """Some pairs, read unpatched.

    Attributes:
        numbers: which pairs.
        before: keys and values of the clean runs (0) and the corrupt ones (1), of those that
            patches are made in, by stretches of places.
        starts: the first place that `recorded` holds.
        recorded: what units put out in those of the runs (0, 1) that patches are taken from,
            [pairs, seq, features] by kind and layer.
        clean_logs: log-probabilities of the clean runs.
    """

    numbers: list[int]
    before: dict[int, list[KVSegment]]
    starts: Int[Tensor, " pairs"]
    recorded: dict[int, Activations]
    clean_logs: Float32[Tensor, "pairs vocab"]


def run_sweep(numbers: Sequence[int], asked: Sequence[PatchEffects]) -> None:
    """Patch pairs read by one variant, every site and set, for several requests at once.

    The requests differ in direction and ablation alone; unpatched prompts are read once for all.

    Raises:
        UserError: an unpatched and a patched run do not fit the memory.
    """
    if not numbers:
        return
    requests = [effects.request for effects in asked]
    request, device = requests[0], requests[0].lm.device
    with routed(request.weights, [request.variant(numbers[0])]):
        waiting = _grouped(requests, numbers)
        while waiting:
            group = waiting.pop(0)
            read = attempt(partial(_baselines, group, asked), device)
            if read is None:
                if len(group) == 1:
                    raise does_not_fit(two_runs(len(request.pairs[group[0]].clean)), device)
                half = len(group) // 2
                waiting[:0] = [group[:half], group[half:]]
                continue
            for effects in asked:
                for site in range(len(request.pairs[0].sites)):
                    _patch(effects, read, site)


def _grouped(requests: Sequence[PatchRequest], numbers: Sequence[int]) -> list[list[int]]:
    """Return the pairs in groups that are read together: alike from the start, within the budget.

    A group ends where two neighbors share much less than either shares with its other neighbor.
    """
    request = requests[0]
    parts, pairs = request.parts, request.pairs
    order = sort([pair.clean for pair in pairs], numbers)
    shared = np.append(order.shared, 0)
    longest = max(int(order.lengths.max()), 1)
    features = sum(
        {"head": parts.num_heads * parts.head_width}.get(kind, 4 * parts.width)
        for kind, _ in request.where()
    )
    size = torch.finfo(parts.dtype).bits // 8
    runs = len({one.base for one in requests})
    keys = 2 * parts.num_layers * parts.num_kv_heads * parts.head_width
    kept = (1 + runs) * keys + runs * features
    by_memory = request.budget_bytes // (2 * size * longest * kept + 4 * parts.vocab)
    by_tokens = pass_tokens(parts, 0, longest, request.budget_bytes) // 2
    groups: list[list[int]] = []
    tokens = 0
    for i, number in enumerate(order.numbers.tolist()):
        own = int(order.lengths[i]) - int(order.shared[i])
        apart = shared[i] + _PASS_COST_TOKENS < max(shared[i - 1], shared[i + 1])
        if not groups or apart or len(groups[-1]) >= by_memory or tokens + own > by_tokens:
            groups.append([])
            tokens = 0
        groups[-1].append(number)
        tokens += own
    return groups


def _baselines(numbers: list[int], asked: Sequence[PatchEffects]) -> _Read:
    """Read the clean and corrupt prompts; what they share is read once."""
    requests = [effects.request for effects in asked]
    request = requests[0]
    parts, device = request.parts, request.lm.device
    pairs = [request.pairs[n] for n in numbers]
    lasts = [len(pair.clean) - 1 for pair in pairs]
    parting = [min(common(p.clean, p.corrupt), last) for p, last in zip(pairs, lasts, strict=True)]
    stem = min(min(common(pairs[0].clean, pair.clean) for pair in pairs), min(parting))
    stem = stem if stem >= _LEAST_SHARED_TOKENS else 0
    before: list[KVSegment] = []
    if stem:
        before.append(_shared(request, [pairs[0].clean], [0], [stem], before))
    starts = [stem] * len(pairs)
    if max(parting) - stem >= _LEAST_SHARED_TOKENS:
        before.append(_shared(request, [p.clean for p in pairs], starts, parting, before))
        starts = parting
    seq = max(last + 1 - start for last, start in zip(lasts, starts, strict=True))
    rows = [
        [token for ids in (p.clean, p.corrupt) for token in _padded(ids[start:], seq)]
        for p, start in zip(pairs, starts, strict=True)
    ]
    first, last = torch.tensor(starts, device=device), torch.tensor(lasts, device=device)
    bases = sorted({one.base for one in requests})
    both = SuffixPass(parts, torch.tensor(rows, device=device), first, seq, before, keep=bases)
    which = (len(pairs), 2, seq)
    recorded: dict[int, Activations] = {}
    with contextlib.ExitStack() as stack:
        for base in sorted({one.base for one in requests if one.ablation == "resample"}):
            keeping = recording(parts, request.where(), which, 1 - base)
            recorded[1 - base] = stack.enter_context(keeping)
        stack.enter_context(_last_tokens_only(request, 2, seq, last - first))
        final = both.run(last)
    ends = final[torch.arange(len(pairs), device=device), :, last - first]
    for effects in asked:
        logs = effects.baselines(numbers, ends)
    found = {base: [*before, both.stretch(stem, base)] for base in bases}
    if starts != [stem] * len(pairs):
        for stretches in found.values():
            own, shared = stretches.pop(), stretches.pop()
            stretches.append(_joined(shared, own, first - stem, last + 1 - stem))
    return _Read(numbers, found, first, recorded, logs)


def _last_tokens_only(
    request: PatchRequest, siblings: int, seq: int, ends: Int[Tensor, " pairs"]
) -> contextlib.AbstractContextManager[None]:
    """Let the last layer's feed-forward part run at each sibling's last token only.

    What units of that layer put out elsewhere reaches no last token.
    """
    depth = request.parts.num_layers
    if seq == 1 or ("neuron", depth - 1) in request.where():
        return contextlib.nullcontext()
    rows = torch.arange(len(ends) * siblings, device=ends.device)
    at = rows * seq + ends.repeat_interleave(siblings)
    return last_mlp_at(request.parts, at, request.weights)


def _shared(
    request: PatchRequest,
    prompts: Sequence[Sequence[int]],
    starts: Sequence[int],
    stops: Sequence[int],
    before: list[KVSegment],
) -> KVSegment:
    """Return keys and values of the prompts from `starts`, which are all one place, to `stops`."""
    device = request.lm.device
    seq = max(stops) - starts[0]
    rows = [
        _padded(ids[start:stop], seq)
        for ids, start, stop in zip(prompts, starts, stops, strict=True)
    ]
    given = torch.tensor(rows, device=device)
    found = SuffixPass(
        request.parts, given, torch.tensor(starts, device=device), seq, list(before), keep=(0,)
    )
    nothing = torch.zeros(0, dtype=torch.long, device=device)
    with last_mlp_at(request.parts, nothing, request.weights):
        found.run(torch.tensor(stops, device=device) - 1)
    return found.stretch(starts[0])


def _joined(
    one: KVSegment, other: KVSegment, cuts: Int[Tensor, " pairs"], stops: Int[Tensor, " pairs"]
) -> KVSegment:
    """Return per pair the first `cuts` places of one, then all of the other."""
    length = one.num_places
    order = torch.arange(int(stops.max()), device=cuts.device)
    index = torch.where(order < cuts[:, None], order, order - cuts[:, None] + length)
    index = index.clamp(max=length + other.num_places - 1)[:, None, :, None]

    def join(a: Tensor, b: Tensor) -> Tensor:
        both = torch.cat([a, b], dim=2)
        return both.gather(2, index.expand(-1, both.shape[1], -1, both.shape[3]))

    return KVSegment(
        [join(a, b) for a, b in zip(one.keys, other.keys, strict=True)],
        [join(a, b) for a, b in zip(one.values, other.values, strict=True)],
        one.start,
    )


def _padded(ids: Sequence[int], seq: int) -> list[int]:
    return [*ids, *([0] * (seq - len(ids)))]


def _patch(effects: PatchEffects, read: _Read, site: int) -> None:
    """Patch one site of the pairs read."""
    request = effects.request
    resampled = request.ablation == "resample"
    chosen: dict[int, list[int]] = {}
    for row, number in enumerate(read.numbers):
        pair = request.pairs[number]
        # Before the prompts part both runs put out the same.
        parting = common(pair.clean, pair.corrupt) if resampled else 0
        if real := sorted({place for place in pair.sites[site] if place >= parting}):
            chosen[row] = real
        else:
            effects.unchanged(number, site)
    if not chosen:
        return
    ends = {row: len(request.pairs[read.numbers[row]].clean) for row in chosen}
    seq = max(ends[row] - real[0] for row, real in chosen.items())
    tokens = pass_tokens(request.parts, 0, seq, request.budget_bytes)
    rows = sorted(chosen, key=lambda row: ends[row] - chosen[row][0])
    at_once = max(tokens // (seq * (1 + len(request.sets))), 1)
    for low in range(0, len(rows), at_once):
        some = {row: chosen[row] for row in rows[low : low + at_once]}
        _Sweep(effects, read, site, some).run(tokens)


@dataclass(frozen=True, eq=False)
class _Sweep:
    """The sweep over the layers for one site of some pairs.

    `chosen` holds, by row of what was read, the places to patch.
    """

    effects: PatchEffects
    read: _Read
    site: int
    chosen: dict[int, list[int]]

    @property
    def request(self) -> PatchRequest:
        """What is asked."""
        return self.effects.request

    def run(self, tokens: int) -> None:
        """Patch set by set, those that differ from a lower layer on first, `tokens` at a time."""
        request, device = self.request, self.request.lm.device
        numbers = [self.read.numbers[row] for row in self.chosen]
        pairs = [request.pairs[n] for n in numbers]
        places = list(self.chosen.values())
        starts = [real[0] for real in places]
        lasts = [len(pair.clean) - 1 for pair in pairs]
        seq = max(last + 1 - start for last, start in zip(lasts, starts, strict=True))
        at = torch.zeros(len(pairs), seq, dtype=torch.bool)
        for row, (real, start) in enumerate(zip(places, starts, strict=True)):
            at[row, [place - start for place in real]] = True
        base = [(p.clean, p.corrupt)[request.base] for p in pairs]
        rows = [_padded(ids[start:], seq) for ids, start in zip(base, starts, strict=True)]
        ids = torch.tensor(rows, device=device)
        first, last = torch.tensor(starts, device=device), torch.tensor(lasts, device=device)
        before = [
            self._of_chosen(each.until(max(starts))) for each in self.read.before[request.base]
        ]
        before = [each for each in before if each.num_places]
        recorded = self._aligned(first, seq)
        clean_logs = self.read.clean_logs[list(self.chosen)]
        depth = request.parts.num_layers
        layer_of = [min((u.layer for u in units), default=depth - 1) for units in request.sets]
        order = sorted(range(len(request.sets)), key=layer_of.__getitem__)

        def values(kind: UnitKind, layer: int) -> Float[Tensor, "..."]:
            if request.ablation == "resample":
                return recorded[kind, layer]
            return request.constant(kind, layer, numbers[0], self.site)

        most, what = tokens // (seq * len(pairs)) - 1, two_runs(len(pairs[0].clean))
        for chunk in halving(len(order), most, device, what):
            which = order[chunk.low : chunk.high]
            sets = [(), *(request.sets[s] for s in which)]
            growth = [1 + sum(layer_of[s] <= layer for s in which) for layer in range(depth)]
            with chunk:
                with (
                    Patch(request.parts, sets, at.to(device), values).installed(),
                    _last_tokens_only(request, len(sets), seq, last - first),
                ):
                    final = SuffixPass(request.parts, ids, first, seq, before, growth).run(last)
                ends = final[torch.arange(len(pairs), device=device), :, last - first]
                self.effects.patched(numbers, self.site, which, ends, clean_logs)

    def _of_chosen(self, stretch: KVSegment) -> KVSegment:
        rows = list(self.chosen)
        if len(stretch.keys[0]) == 1 or rows == list(range(len(self.read.numbers))):
            return stretch
        return KVSegment(
            [keys[rows] for keys in stretch.keys],
            [values[rows] for values in stretch.values],
            stretch.start,
        )

    def _aligned(self, first: Int[Tensor, " pairs"], seq: int) -> Activations:
        """Return what the other runs' units put out from each pair's first patched place on."""
        recorded = self.read.recorded.get(1 - self.request.base, {})
        if not recorded or self.request.ablation != "resample":
            return {}
        device = first.device
        chosen = torch.tensor(list(self.chosen), device=device)
        offsets = first - self.read.starts[chosen]
        index = offsets[:, None] + torch.arange(seq, device=device)
        rows = chosen[:, None]
        return {
            key: states[rows, index.clamp(max=states.shape[1] - 1)]
            for key, states in recorded.items()
        }
