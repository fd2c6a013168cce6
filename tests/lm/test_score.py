"""Scores over the prefix tree are those of one forward pass per prompt and answer."""

import contextlib
import dataclasses
import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.architecture import architecture
from adaptlens.lm.load import LM
from adaptlens.lm.prefix import forward, walk
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.score import Request, score

PER_TOKEN = 1e-5


def tokens(source: random.Random, size: int) -> tuple[int, ...]:
    return tuple(source.randrange(3, 300) for _ in range(size))


def forest(draws: int = 1, queries: int = 28, seed: int = 0) -> list[Request]:
    """Return requests with an instruction for all, demonstrations a draw, and some of neither."""
    source = random.Random(seed)
    instruction, found = tokens(source, 12), []
    for _ in range(draws):
        demonstrations = tokens(source, 70)
        for _ in range(queries):
            prompt = instruction + demonstrations + tokens(source, source.randint(3, 16))
            answers = tuple(tokens(source, size) for size in (1, 3))
            found.append(Request(prompt, answers))
    for size in (1, 30):
        found.append(Request(tokens(source, size), (tokens(source, 1), tokens(source, 2))))
    return found


def one_by_one(lm: LM, requests: Sequence[Request]) -> list[np.ndarray]:
    """Return the scores by Hugging Face's own forward, one sequence at a time."""
    found = []
    for request in requests:
        values = []
        for answer in request.answers_ids:
            ids = torch.tensor([request.prompt_ids + answer])
            with torch.no_grad():
                logprob = lm.model(input_ids=ids).logits[0].log_softmax(-1)
            start = len(request.prompt_ids) - 1
            values.append(sum(float(logprob[start + i, t]) for i, t in enumerate(answer)))
        found.append(np.array(values))
    return found


def assert_same(
    found: list[np.ndarray], wanted: list[np.ndarray], requests: Sequence[Request]
) -> None:
    for mine, theirs, request in zip(found, wanted, requests, strict=True):
        sizes = np.array([len(answer) for answer in request.answers_ids])
        assert np.all(np.abs(mine - theirs) <= PER_TOKEN * sizes)


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_scores_equal_separate_forward_passes(arch):
    lm, requests, work = tiny.tiny_lm(arch), forest(), ForwardStats()
    found = score(lm, requests, work=work)
    assert_same(found, one_by_one(lm, requests), requests)
    assert work.unshared == 0
    assert work.forwards > 1
    assert work.tokens_computed < work.tokens_given / 4


def test_prefixes_within_prefixes_give_the_same_scores():
    lm, requests = tiny.tiny_lm("llama"), forest(draws=3)
    assert_same(score(lm, requests), one_by_one(lm, requests), requests)


@pytest.mark.parametrize("arch", ["llama", "gemma2"])
def test_without_shared_prefixes_the_scores_are_the_same_and_counted(arch):
    lm, requests, work = tiny.tiny_lm(arch), forest(queries=6), ForwardStats()
    alone = dataclasses.replace(lm, shares_prefix=False, architecture=None)
    assert_same(score(alone, requests, work=work), one_by_one(lm, requests), requests)
    assert work.unshared > 0
    assert work.tokens_computed == work.tokens_given


@settings(deadline=None, max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(3, 5), min_size=1, max_size=25),
            st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=3), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["llama", "mistral"]),
)
def test_random_trees_equal_separate_forward_passes(pairs, arch):
    lm = tiny.tiny_lm(arch)
    requests = [Request(tuple(p), tuple(tuple(a) for a in answers)) for p, answers in pairs]
    assert_same(score(lm, requests), one_by_one(lm, requests), requests)


def test_answers_of_one_token_cost_no_token_beyond_the_prompt():
    lm, work = tiny.tiny_lm("llama"), ForwardStats()
    score(lm, [Request((5, 6, 7), ((8,), (9,), (10,)))], work=work)
    assert work.tokens_computed == 3


def test_a_small_budget_changes_the_passes_and_not_the_scores():
    lm, requests = tiny.tiny_lm("llama"), forest()
    much, little = ForwardStats(), ForwardStats()
    wanted = score(lm, requests, work=much)
    assert_same(score(lm, requests, budget_bytes=1, work=little), wanted, requests)
    assert little.forwards > much.forwards


class Shifted:
    """Weights whose variant v adds v to the embeddings of its rows."""

    num_variants = 3

    def __init__(self, lm: LM, mixes_rows: bool):
        self.embed = lm.model.get_input_embeddings()
        self.mixes_rows = mixes_rows
        self.entered: list[tuple[int, ...]] = []

    @contextlib.contextmanager
    def routed(self, variants: Sequence[int]) -> Iterator[None]:
        self.entered.append(tuple(variants))
        shift = torch.tensor(list(variants), dtype=torch.float32)[:, None, None]
        if not self.mixes_rows:
            assert len(set(variants)) == 1
            shift = shift[:1]
        hook = self.embed.register_forward_hook(lambda _, __, out: out + shift)
        try:
            yield
        finally:
            hook.remove()

    def adapts(self, module: object) -> bool:
        return module is self.embed and self.mixes_rows

    def save(self, folder: object, names: Sequence[str]) -> None:
        raise AssertionError


@pytest.mark.parametrize("mixes_rows", [True, False])
@pytest.mark.parametrize("shares_prefix", [True, False])
def test_every_request_is_read_by_its_own_variant(mixes_rows, shares_prefix):
    lm = dataclasses.replace(tiny.tiny_lm("llama"), shares_prefix=shares_prefix)
    requests = [
        dataclasses.replace(request, variant=i % 3) for i, request in enumerate(forest(queries=24))
    ]
    found = score(lm, requests, Shifted(lm, mixes_rows))
    for variant in range(3):
        own = [i for i, request in enumerate(requests) if request.variant == variant]
        with Shifted(lm, False).routed([variant]):
            wanted = one_by_one(lm, [requests[i] for i in own])
        assert_same([found[i] for i in own], wanted, [requests[i] for i in own])


def test_rows_of_several_variants_share_a_pass_where_they_may():
    lm = tiny.tiny_lm("llama")
    weights = Shifted(lm, mixes_rows=True)
    score(lm, [Request((5, 6, 7), ((8,),), variant) for variant in range(3)], weights)
    assert weights.entered == [(0, 1, 2)]


def test_where_memory_runs_out_the_batch_is_halved_and_the_scores_stay(monkeypatch):
    lm, requests, work = tiny.tiny_lm("llama"), forest(), ForwardStats()
    wanted = score(lm, requests)
    whole = forward._Passes.forward

    def cramped(self, packed, layers):
        if packed.num_tokens > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, packed, layers)

    monkeypatch.setattr(forward._Passes, "forward", cramped)
    assert_same(score(lm, requests, work=work), wanted, requests)
    assert work.halvings > 0


def test_a_prefix_that_does_not_fit_is_cached_in_smaller_pieces(monkeypatch):
    lm, requests, work = tiny.tiny_lm("llama"), forest(), ForwardStats()
    wanted = score(lm, requests)
    whole = walk._fill

    def cramped(parts, ids, *rest):
        if ids.shape[1] > 20:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        whole(parts, ids, *rest)

    monkeypatch.setattr(walk, "_fill", cramped)
    assert_same(score(lm, requests, work=work), wanted, requests)
    assert work.halvings > 0


def test_a_prefix_of_which_no_token_fits_is_named(monkeypatch):
    lm, requests = tiny.tiny_lm("llama"), forest()

    def never(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(walk, "_fill", never)
    with pytest.raises(
        UserError, match=r"a shared prefix of \d+ tokens does not fit the memory of"
    ):
        score(lm, requests)


def test_logits_that_do_not_fit_are_read_in_halves(monkeypatch):
    lm, requests, sizes = tiny.tiny_lm("llama"), forest(), []
    wanted, whole = score(lm, requests), forward.logits

    def cramped(parts, final, weights, readers):
        sizes.append(len(final))
        if len(final) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return whole(parts, final, weights, readers)

    monkeypatch.setattr(forward, "logits", cramped)
    assert_same(score(lm, requests), wanted, requests)
    assert max(sizes) > 3


def test_a_single_request_that_does_not_fit_the_memory_is_named(monkeypatch):
    lm = tiny.tiny_lm("llama")

    def never(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(forward._Passes, "forward", never)
    with pytest.raises(UserError, match="single request of 3 tokens does not fit the memory"):
        score(lm, [Request((5, 6, 7), ((8,),))])


def test_other_errors_are_not_taken_for_lack_of_memory(monkeypatch):
    lm = tiny.tiny_lm("llama")

    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(forward._Passes, "forward", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        score(lm, [Request((5, 6, 7), ((8,),))])


def test_a_request_longer_than_the_context_is_named_with_the_excess():
    lm = tiny.tiny_lm("llama")
    long = Request((5,) * (tiny.CONTEXT_TOKENS + 2), ((8,),))
    with pytest.raises(UserError, match=r"request 1 has 258 tokens, 2 more than the context"):
        score(lm, [Request((5,), ((8,),)), long])


def test_sequences_whose_length_turns_all_their_positions_run_alone():
    factors = {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 40}
    model = tiny.tiny_model(
        "phi3", rope_parameters=rope | factors, original_max_position_embeddings=40
    )
    lm = dataclasses.replace(tiny.tiny_lm("phi3"), model=model, architecture=architecture(model))
    requests, work = forest(queries=6), ForwardStats()
    found = score(lm, requests, work=work)
    assert_same(found, one_by_one(lm, requests), requests)
    long = {r.prompt_ids + a[:-1] for r in requests for a in r.answers_ids}
    assert work.unshared == sum(len(ids) > 40 for ids in long)


def test_progress_ends_at_the_number_of_sequences():
    lm, calls = tiny.tiny_lm("llama"), []
    score(lm, forest(), progress=lambda done, total: calls.append((done, total)))
    done, total = calls[-1]
    assert done == total
    assert calls == sorted(calls)


def test_a_shared_prefix_is_cached_once_for_each_variant():
    lm, work = tiny.tiny_lm("llama"), ForwardStats()
    requests = forest(queries=24)[:-2]
    both = [dataclasses.replace(r, variant=v) for v in range(2) for r in requests]
    score(lm, both, Shifted(lm, True), work=work)
    once = ForwardStats()
    score(lm, requests, work=once)
    assert work.tokens_computed == 2 * once.tokens_computed


def test_an_answer_is_greedy_where_each_of_its_tokens_is_the_likeliest():
    lm = tiny.tiny_lm("llama")
    prompt = tokens(random.Random(0), 20)
    best: tuple[int, ...] = ()
    for _ in range(3):
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([prompt + best])).logits
        best += (int(logits[0, -1].argmax()),)
    other = (*best[:2], best[2] % 299 + 1)
    greedy: list[np.ndarray] = []
    score(lm, [Request(prompt, (best, other, best[:1], best[1:]))], greedy=greedy)
    assert [row.tolist() for row in greedy] == [[True, False, True, best[1:] == best[:2]]]


def test_what_is_given_of_an_answer_is_read_and_not_scored():
    lm = tiny.tiny_lm("llama")
    source = random.Random(1)
    prompt = tokens(source, 20)
    answers = tuple(tokens(source, size) for size in (4, 5, 3))
    (found,) = score(lm, [Request(prompt, answers, given=(2, 4, 0))])
    wanted = [
        one_by_one(lm, [Request(prompt + answer[:given], (answer[given:],))])[0][0]
        for answer, given in zip(answers, (2, 4, 0), strict=True)
    ]
    assert np.abs(found - wanted).max() <= 4 * PER_TOKEN
