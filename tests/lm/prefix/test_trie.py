"""Packed rows hold every sequence once, each token seeing what it would see alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.lm.prefix.schedule import Stage, plan
from adaptlens.lm.prefix.trie import common, pack, row_lengths, sort

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple)
TREES = st.lists(TOKENS, min_size=1, max_size=24)


def num_nodes(sequences: list[tuple[int, ...]]) -> int:
    """Return the size of the prefix tree: its distinct non-empty prefixes."""
    return len({s[:i] for s in sequences for i in range(1, len(s) + 1)})


def stages(stage: Stage) -> list[Stage]:
    return [stage, *(below for deeper in stage.deeper for below in stages(deeper))]


def test_three_sequences_by_hand():
    #      1
    #     / \
    #    2   5        depth first: 1 2 3 4 5
    #   / \
    #  3   4
    (packed,) = pack([(1, 5), (1, 2, 4), (1, 2, 3)], 8)
    assert packed.ids.tolist() == [[1, 2, 3, 4, 5]]
    assert packed.positions.tolist() == [[0, 1, 2, 2, 1]]
    assert packed.ends.tolist() == [[5, 4, 3, 4, 5]]
    assert packed.mask()[0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 0, 0, 0, 1],
    ]
    assert packed.sequences == (2, 1, 0)
    assert [places.tolist() for places in packed.places] == [[0, 1, 2], [0, 1, 3], [0, 4]]
    assert not packed.is_chain


@settings(deadline=None, max_examples=60)
@given(
    TREES,
    st.integers(1, 30),
    st.integers(0, 3),
    st.sampled_from([None, 20, 200]),
    st.randoms(use_true_random=False),
)
def test_every_token_sees_its_own_sequence_and_nothing_else(
    branches, row_tokens, prefix, batch_tokens, source
):
    sequences = [tuple(range(90, 90 + prefix)) + branch for branch in branches]
    variants = [source.randrange(2) for _ in sequences]
    found = set()
    for packed in pack(
        sequences, row_tokens, prefix=prefix, variants=variants, batch_tokens=batch_tokens
    ):
        seen = packed.mask_with_prefix().numpy()
        for n, row, places in zip(packed.sequences, packed.rows, packed.places, strict=True):
            found.add(n)
            assert packed.variants[row] == variants[n]
            assert tuple(packed.ids[row, places].tolist()) == sequences[n][prefix:]
            assert packed.positions[row, places].tolist() == [*range(prefix, len(sequences[n]))]
            for i, place in enumerate(places):
                keys = [*range(prefix), *(prefix + places[: i + 1])]
                assert np.flatnonzero(seen[row, place]).tolist() == keys
    assert found == set(range(len(sequences)))


@given(TREES)
def test_one_wide_row_holds_each_node_of_the_tree_once(sequences):
    (packed,) = pack(sequences, 1000)
    assert packed.num_tokens == num_nodes(sequences)
    assert packed.ids.shape == (1, num_nodes(sequences))


@given(TREES, st.integers(1, 20), st.integers(1, 60))
def test_rows_and_batches_keep_to_their_sizes(sequences, row_tokens, batch_tokens):
    for packed in pack(sequences, row_tokens, batch_tokens=batch_tokens):
        rows, width = packed.ids.shape
        longest = max(len(sequences[n]) for n in packed.sequences)
        assert width <= (row_tokens if longest <= row_tokens else longest + row_tokens)
        assert rows == 1 or rows * width <= batch_tokens


def test_a_chain_is_a_row_that_does_not_branch():
    assert pack([(1, 2, 3), (1, 2)], 8)[0].is_chain
    assert pack([(1, 2, 3), (4,)], 3)[0].is_chain
    assert not pack([(1, 2, 3), (4,)], 8)[0].is_chain


def test_rows_are_filled_by_branches_that_share_little():
    # Nine sequences of 4 tokens, no two alike: rows of 12 hold exactly three each.
    (packed,) = pack([(i, 0, 0, i) for i in range(9)], 12)
    assert packed.ids.shape == (3, 12)


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_counts_leading_items_in_common(one, other):
    naive = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    assert common(one, other) == (min(len(one), len(other)) if naive is None else naive)


@given(TREES)
def test_sorted_neighbors_tell_what_any_two_share(sequences):
    order = sort(sequences)
    for low in range(len(sequences)):
        for high in range(low + 1, len(sequences)):
            two = [sequences[order.numbers[i]] for i in (low, high)]
            assert order.depth(low, high + 1) <= common(*two)
            assert common(*two) == order.shared[low + 1 : high + 1].min()


@settings(max_examples=60)
@given(TREES, st.lists(st.integers(0, 3), max_size=200).map(tuple), st.integers(1, 8))
def test_a_plan_reads_every_sequence_once_after_a_prefix_of_its_own(branches, stem, width):
    sequences = [stem + branch for branch in branches]
    first = [len(s) - 1 for s in sequences]
    found = stages(plan(sequences, first, width))
    assert sorted(n for stage in found for n in stage.sequences) == [*range(len(sequences))]
    for stage in found:
        for n in stage.sequences:
            assert stage.stop <= first[n]
            assert sequences[n][: stage.stop] == sequences[stage.source][: stage.stop]
        for deeper in stage.deeper:
            assert deeper.start == stage.stop < deeper.stop


def test_a_long_prefix_of_many_is_cached_and_one_of_few_is_not():
    many = [tuple(range(300)) + (i, i, i, i) * 8 for i in range(40)]
    (stage,) = plan(many, [301] * 40, 128).deeper
    assert (stage.start, stage.stop, len(stage.sequences)) == (0, 300, 40)
    assert plan(many[:3], [301] * 3, 128).deeper == ()


def test_few_sequences_after_a_long_beginning_are_one_row():
    # Four endings of a passage of 300 tokens, and as many of another: 2 (300 + 4 * 8).
    passages = [tuple(range(p, p + 300)) for p in (0, 1000)]
    sequences = [passage + (2000 + i,) * 8 for passage in passages for i in range(4)]
    assert plan(sequences, [len(s) - 1 for s in sequences], 128).deeper == ()
    (packed,) = pack(sequences, 128)
    assert packed.ids.shape == (2, 332)
    assert packed.num_tokens == 664


def test_nested_prefixes_are_cached_in_stages():
    instruction = tuple(range(100))
    sequences = [
        instruction + (1000 + draw,) * 200 + (i,) * 30 for draw in range(3) for i in range(20)
    ]
    (whole,) = plan(sequences, [len(s) - 1 for s in sequences], 128).deeper
    assert (whole.stop, whole.sequences) == (100, ())
    assert [(s.start, s.stop, len(s.sequences)) for s in whole.deeper] == [(100, 300, 20)] * 3


def test_deeply_nested_sequences_are_packed_and_planned():
    depth = 1500
    sequences = [(7,) * n for n in range(1, depth + 1)]
    assert pack(sequences, 16)[0].num_tokens >= depth
    found = stages(plan(sequences, [len(s) - 1 for s in sequences], 16))
    assert sorted(n for stage in found for n in stage.sequences) == [*range(depth)]


@given(TREES, st.integers(1, 30))
def test_lengths_of_rows_are_those_that_pack_lays_out(sequences, row_tokens):
    (packed,) = pack(sequences, row_tokens)
    laid = [0] * len(packed.ids)
    for row, path in zip(packed.rows, packed.places, strict=True):
        laid[row] = max(laid[row], int(path[-1]) + 1)
    assert sorted(row_lengths(sort(sequences), row_tokens)) == sorted(laid)
