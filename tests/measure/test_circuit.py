"""Circuits of adapted models: which queries are paired, what is patched, what is left without."""

import numpy as np
import pytest
import torch

import tiny
from adaptlens import tasks
from adaptlens.adapt.lora import InstructionTuning, TuningTrajectory
from adaptlens.adapt.prompting import InContext, ZeroShot
from adaptlens.circuits import distance, profiles, transfer
from adaptlens.circuits.unit_sets import UnitSet
from adaptlens.errors import UserError
from adaptlens.lm.load import LM, load
from adaptlens.lm.patching import patch
from adaptlens.lm.patching.edge_attribution import Node, edge_attribution
from adaptlens.lm.units import Pair
from adaptlens.measure.circuit import Ablated, Circuits
from adaptlens.measure.edges import EdgeEffects
from adaptlens.measure.heads import Heads
from adaptlens.measure.patch_pairs import matched, written
from adaptlens.types import METRICS, Task
from planted import planted_lm

CONDITIONS = {
    "zero-shot": (ZeroShot(), (-1,)),
    "icl": (InContext(2), (0, 1)),
    "it": (InstructionTuning(4, max_steps=3), (0, 1)),
}


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LM:
    return load(str(tiny.tiny_folder(tmp_path_factory.mktemp("model"), "llama")))


@pytest.fixture(scope="module")
def task() -> Task:
    return tasks.load("relation-pattern", limit_train=16, limit_validation=2, limit_test=40)


def patched(found, name: str = "it", draws: tuple[int, ...] = (0, 1)) -> profiles.Patched:
    arrays = {key: found.arrays[f"other.{key}"][..., 0] for key in ("clean", "corrupt", "floor")}
    return profiles.Patched(
        name,
        tuple(found.texts["units"]),
        found.arrays["other.denoise"][..., 0],
        draws=draws,
        **arrays,
    )


def test_pairs_have_as_many_tokens_and_other_answers(lm: LM, task: Task) -> None:
    pairs = matched(lm, task, "other", "pattern", 8, 0)
    assert pairs
    for pair in pairs:
        assert pair.clean.group == pair.corrupt.group == "pattern"
        assert pair.clean.target != pair.corrupt.target
        assert len(lm.encode(pair.clean.input)) == len(lm.encode(pair.corrupt.input))


def test_a_twin_is_the_nearest_item_of_the_other_kind(lm: LM, task: Task) -> None:
    for pair in matched(lm, task, "twin", "pattern", 8, 0):
        assert (pair.clean.group, pair.corrupt.group) == ("pattern", "broken")
        asked = np.array(lm.encode(pair.clean.input))

        def apart(text: str, asked: np.ndarray = asked) -> int:
            ids = np.array(lm.encode(text))
            return int((ids != asked).sum()) if len(ids) == len(asked) else len(asked) + 1

        others = [
            e.input for e in task.test if e.group == "broken" and e.target != pair.clean.target
        ]
        assert apart(pair.corrupt.input) == min(map(apart, others))


@pytest.mark.parametrize("name", CONDITIONS)
def test_all_conditions_patch_the_same_queries(lm: LM, task: Task, name: str) -> None:
    adaptation, draws = CONDITIONS[name]
    adapted = adaptation.adapt(lm, task, draws)
    found = Circuits(items=4, group="pattern").measure(lm, task, adapted)
    chosen = matched(lm, task, "other", "pattern", 4, 0)
    assert found.texts["items"]["other"] == [[p.clean.id, p.corrupt.id] for p in chosen]
    units = len(found.texts["units"])
    assert found.arrays["other.denoise"].shape == (len(draws), len(chosen), units, len(METRICS))


def test_places_are_the_last_token_the_cue_the_query_or_all_that_differ(lm: LM, task: Task) -> None:
    adapted = InContext(2).adapt(lm, task, (0,))
    chosen = matched(lm, task, "other", "", 3, 0)
    sites = {place: [p.sites[0] for p in written(lm, adapted, task, chosen, place)]
             for place in ("last", "cue", "query", "all")}  # fmt: skip
    # The tiny tokenizer writes the space before an answer, common to all, as a token of its own.
    cue = len(lm.encode("x" + task.template.before_target + " ")) - len(lm.encode("x"))
    for n, pair in enumerate(written(lm, adapted, task, chosen, "last")):
        end = len(pair.clean)
        first = next(i for i in range(end) if pair.clean[i] != pair.corrupt[i])
        assert sites["last"][n] == (end - 1,)
        assert sites["all"][n] == tuple(range(first, end))
        assert sites["cue"][n] == tuple(range(end - cue, end))
        assert sites["query"][n] == tuple(range(first, end - cue))


def test_an_untrained_adapter_has_the_circuit_of_the_base() -> None:
    reference, sentiment = load("reference"), tasks.load("sentiment", limit_test=60)
    untouched = TuningTrajectory(4, checkpoint_steps=(0, 1)).adapt(reference, sentiment, (0,))
    base = ZeroShot().adapt(reference, sentiment, (-1,))
    measure = Circuits(items=24, methods=("denoise",))
    tuned, own = (measure.measure(reference, sentiment, a) for a in (untouched, base))
    for name, values in own.arrays.items():
        assert np.abs(tuned.arrays[name][:1] - values).max() <= 1e-5
    zero = patched(own, "zero-shot", (-1,))
    it = patched(own, "it", (0,))
    assert profiles.gate(zero, correct=own.arrays["other.clean"][..., 3], chance=0.5) == ""
    assert abs(distance.distance(zero, it).value) <= 1e-6
    sets = {
        UnitSet("circuit", one.name, 6): tuple(profiles.circuit(one, 6).members)
        for one in (zero, it)
    }
    circuit = UnitSet("circuit", "it", 6)
    random = transfer.matched_sets(sets[circuit], zero.units, 4, seed=0)
    more = {
        circuit._replace(kind="random", part=str(i)): members for i, members in enumerate(random)
    }
    found = Ablated(sets=tuple({**sets, **more}.items()), items=24).measure(
        reference, sentiment, base
    )
    kept = (found.arrays["kept"] - found.arrays["corrupt"][:, :, None])[..., 0].astype(float)
    moved = transfer.transfer(kept[..., 0], kept[..., 1], np.moveaxis(kept[..., 2:], -1, 0))
    assert moved.reason == ""
    assert moved.found.value == pytest.approx(1)


def test_zeroing_a_known_head_moves_that_unit_and_no_other() -> None:
    lm, planted = planted_lm()
    a, b, c, d, start = 11, 23, 37, 41, 1
    pairs = [
        Pair((start, a, b, c, d, a), (start, a, b, c, d, c), b, d, ((5,),)),
        Pair((start, a, b, c, d, c), (start, a, b, c, d, a), d, b, ((5,),)),
    ]
    head = planted["induction"]

    def effects() -> np.ndarray:
        found = patch.sweep(lm, pairs)
        return found.values[:, 0, :, 0] - found.corrupt[:, None, 0]

    before = effects()
    width = lm.model.config.n_embd // lm.model.config.n_head
    output = lm.model.transformer.h[head.layer].attn.c_proj
    with torch.no_grad():
        output.weight[head.index * width : (head.index + 1) * width] = 0
    moved = np.abs(effects() - before).max(0)
    units = patch.all_units(lm.architecture, ("head", "mlp"))
    assert [str(u) for u, by in zip(units, moved, strict=True) if by > 1e-3] == [str(head)]


def test_ablating_nothing_changes_nothing_and_ablating_all_is_the_corrupt_answer(
    lm: LM, task: Task
) -> None:
    adapted = InContext(2).adapt(lm, task, (0, 1))
    assert lm.architecture is not None
    names = tuple(str(unit) for unit in patch.all_units(lm.architecture, ("head", "mlp")))
    none, every = UnitSet("circuit", "x", 0), UnitSet("circuit", "x", len(names))
    found = Ablated(sets=((none, ()), (every, names)), items=6, first=2, place="all").measure(
        lm, task, adapted
    )
    clean, corrupt = found.arrays["clean"], found.arrays["corrupt"]
    assert clean.shape[:2] == (2, 4)
    assert np.abs(found.arrays["removed"][:, :, 0] - clean).max() <= 1e-4
    assert np.abs(found.arrays["kept"][:, :, 1] - clean).max() <= 1e-4
    # The last token is the same in both prompts, so its stream is that of the corrupt run.
    assert np.abs(found.arrays["removed"][:, :, 1, 0] - corrupt[..., 0]).max() <= 1e-4


def test_the_planted_circuit_is_found() -> None:
    lm, planted = planted_lm()
    a, b, c, d, start = 11, 23, 37, 41, 1
    text = (start, a, b, c, d)
    query = [
        Pair((*text, a), (*text, c), b, d, ((5,),)),
        Pair((*text, c), (*text, a), d, b, ((5,),)),
    ]
    found = patch.sweep(lm, query)
    share = (found.values[:, 0, :, 0] - found.corrupt[:, None, 0]) / (found.clean - found.corrupt)[
        :, None, 0
    ]
    units = [str(unit) for unit in found.patches]
    induction = units.index(str(planted["induction"]))
    assert share[:, induction] == pytest.approx(1, abs=1e-3)
    assert np.delete(share, induction, axis=1) == pytest.approx(0, abs=1e-3)
    swapped = (start, a, d, c, b)
    shown = [Pair((*text, a), (*swapped, a), b, d, ((2, 4),)),
             Pair((*text, c), (*swapped, c), d, b, ((2, 4),))]  # fmt: skip
    before = patch.sweep(lm, shown, direction="noise", ablation="zero")
    lost = before.clean[:, None, 0] - before.values[:, 0, :, 0]
    assert {units[i] for i in np.argwhere(lost[0] > 1e-3).ravel()} == {str(planted["previous"])}


def test_heads_are_read_in_every_condition(lm: LM, task: Task) -> None:
    for adaptation, draws in CONDITIONS.values():
        adapted = adaptation.adapt(lm, task, draws)
        found = Heads(queries=4).measure(lm, task, adapted).arrays
        assert {"induction", "labels", "query", "first"} <= set(found)
        assert ("vector" in found) == (adaptation.name == "icl")
        for values in found.values():
            assert values.shape[0] == len(adapted.draws)
        total = found["labels"] + found["query"] + found["first"]
        assert (total <= 1 + 1e-5).all() and (found["query"] > 0).all()


def test_bad_requests_are_refused_in_one_line(lm: LM, task: Task) -> None:
    adapted = ZeroShot().adapt(lm, task, (-1,))
    for wrong in ({"corruptions": ("othr",)}, {"methods": ("denoize",)}, {"place": "end"}):
        with pytest.raises(UserError, match=r"did you mean|known"):
            Circuits(**wrong)
    with pytest.raises(UserError, match="at least 2"):
        Circuits(items=1)
    with pytest.raises(UserError, match="no two test items of group nowhere"):
        Circuits(group="nowhere").measure(lm, task, adapted)
    with pytest.raises(UserError, match="leaves none"):
        Ablated(sets=(), items=4, first=4).measure(lm, task, adapted)
    with pytest.raises(UserError, match="unit of the circuit of 'x'"):
        Ablated(sets=((UnitSet("circuit", "x", 1), ("L9.H9",)),), items=4).measure(
            lm, task, adapted
        )


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_edges_into_a_head_are_those_into_its_queries_keys_and_values(
    arch: str, task: Task
) -> None:
    own = tiny.tiny_lm(arch)
    adapted = InContext(1).adapt(own, task, (0, 1))
    found = EdgeEffects(items=3, group="pattern").measure(own, task, adapted)
    chosen = matched(own, task, "other", "pattern", 3, 0)
    readers = edge_attribution(own, written(own, adapted, task, chosen, "last"))
    scores = readers.scores.reshape(2, 3, *readers.scores.shape[1:]).mean(1)
    targets = found.texts["targets"]
    change = found.arrays["change"]
    assert change.sum(2) == pytest.approx(scores.sum(2), abs=1e-4)
    parts = own.architecture
    each = parts.num_heads // parts.num_kv_heads
    for head in range(parts.num_heads):
        by_kind = {node: i for i, node in enumerate(readers.destinations)}
        wanted = scores[..., by_kind[Node("q", 1, head)]] + sum(
            scores[..., by_kind[Node(kind, 1, head // each)]] / each for kind in ("k", "v")
        )
        assert change[..., targets.index(f"L1.H{head}")] == pytest.approx(wanted, abs=1e-5)
