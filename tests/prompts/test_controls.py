"""Controls change what they say, on the draws they say, and nothing else."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from adaptlens.adapt.lora import InstructionTuning, TuningTrajectory
from adaptlens.adapt.prompting import InContext, ZeroShot
from adaptlens.errors import UserError
from adaptlens.prompts import controls, selection
from adaptlens.types import Example, Task


def task(**changes) -> Task:
    def item(i):
        return Example(f"e{i}", f"the item {i}", ("red", "blue", "green")[i % 3])

    given = {
        "train": tuple(map(item, range(30))),
        "validation": (),
        "test": tuple(map(item, range(40, 46))),
        "instruction": "Which color?",
        "choices": ("red", "blue", "green"),
        "unrelated": tuple(
            Example(f"u{i}", f"word{i} other", "yes", ("yes", "no")) for i in range(12)
        ),
    }
    return Task("colors", "choice", **{**given, **changes})


def drawn(control: str, size: int = 8, draw: int = 0):
    return controls.drawn(task(), draw, size, selection="random", seed=0, control=control)


@given(st.integers(0, 20), st.integers(1, 12))
def test_no_control_is_the_draw_itself(draw: int, size: int):
    assert drawn("none", size, draw) == selection.demonstrations(task(), draw, size)


@given(st.integers(0, 20), st.sampled_from([0, 25, 50, 75, 100]))
def test_wrong_labels_are_as_many_as_asked_and_the_texts_stay(draw: int, share: int):
    right, wrong = drawn("none", draw=draw), drawn(f"wrong-{share}", draw=draw)
    assert [e.input for e in right] == [e.input for e in wrong]
    differ = sum(a.target != b.target for a, b in zip(right, wrong, strict=True))
    assert differ == share * 8 // 100
    assert {e.target for e in wrong} <= {"red", "blue", "green"}


@given(st.integers(0, 20))
def test_a_higher_share_of_wrong_labels_keeps_those_of_a_lower_one(draw: int):
    right = drawn("none", draw=draw)
    changed = [
        {i for i, (a, b) in enumerate(zip(right, drawn(f"wrong-{p}", draw=draw), strict=True))
         if a.target != b.target}
        for p in (25, 50, 75, 100)
    ]  # fmt: skip
    assert all(low < high for low, high in pairwise(changed))


def test_shuffled_labels_keep_their_shares_and_forget_their_inputs():
    agree, targets = [], Counter()
    for draw in range(200):
        right, shuffled = drawn("none", 30, draw), drawn("shuffled", 30, draw)
        targets.update(e.target for e in shuffled)
        agree += [a.target == b.target for a, b in zip(right, shuffled, strict=True)]
    assert set(targets.values()) == {200 * 10}
    # Of 6,000 labels a third agree by chance: 2,000, give or take 6 times 37.
    assert abs(sum(agree) - 2000) < 220


def test_unrelated_demonstrations_bring_their_own_answers():
    found = drawn("unrelated", 5)
    assert all(e.id.startswith("u") and e.choices == ("yes", "no") for e in found)
    assert found == drawn("unrelated", 12)[:5]
    with pytest.raises(UserError, match="has 12; name a task with more"):
        drawn("unrelated", 13)


def test_neutral_examples_are_as_long_and_say_nothing_of_the_task():
    right, neutral = drawn("none"), drawn("neutral")
    words = {word for e in task().unrelated for word in e.input.split()}
    for own, other in zip(right, neutral, strict=True):
        assert len(own.input.split()) == len(other.input.split())
        assert set(f"{other.input} {other.target}".split()) <= words


@pytest.mark.parametrize("control", ["wrong", "wrong-101", "wrong--5", "shuffle"])
def test_an_unknown_control_is_named(control: str):
    with pytest.raises(UserError, match="unknown control"):
        drawn(control)


def test_wrong_labels_need_a_second_answer():
    one = task(train=tuple(Example(f"e{i}", f"{i}", "red") for i in range(4)), choices=("red",),
               test=(Example("q", "q", "red"),))  # fmt: skip
    with pytest.raises(UserError, match="need at least two answers"):
        controls.drawn(one, 0, 2, selection="random", seed=0, control="wrong-100")


def test_a_neutral_prefix_has_the_tokens_of_the_demonstrations_to_within_one_word():
    lm = tiny.tiny_lm("llama")
    whole = InContext(6).adapt(lm, task(), (0, 1))
    neutral = InContext(6, control="neutral").adapt(lm, task(), (0, 1))
    bare = ZeroShot().adapt(lm, task(), ())
    word = max(len(lm.encode(f" {w}")) for e in task().unrelated for w in e.input.split())
    for variant in (0, 1):
        for query in task().test:
            sent = neutral.write(variant, query)
            gap = len(lm.encode(whole.write(variant, query).text)) - len(lm.encode(sent.text))
            assert 0 <= gap <= word + 2
            assert sent.text.endswith(bare.write(0, query).text.removeprefix("Which color?"))
            assert "filler" in [part.role for part in sent.parts]


def test_every_wording_ends_as_the_anchor_does():
    lm = tiny.tiny_lm("llama")
    plain = ZeroShot().adapt(lm, task(), ())
    for name in controls.WORDINGS:
        adapted = ZeroShot(wording=name).adapt(lm, task(), ())
        for query in task().test:
            text, anchor = adapted.write(0, query).text, plain.write(0, query).text
            assert text != anchor
            assert text.endswith(anchor.removeprefix("Which color?"))
    options = ZeroShot(wording="options").adapt(lm, task(), ())
    assert "red, blue, green" in options.write(0, task().test[0]).text


def test_a_wording_of_ones_own_may_use_the_three_words_and_no_other():
    found = controls.worded(task(), "mine", "{instruction} One of {choices}, after {cue}")
    assert found.instruction == "Which color? One of red, blue, green, after Output:"
    with pytest.raises(UserError, match="placeholder in wording 'mine'"):
        controls.worded(task(), "mine", "{answer}")
    with pytest.raises(UserError, match="share none"):
        controls.worded(Task("t", "generation", (), (), ()), "options", "{choices}")


def test_a_path_after_n_steps_is_a_training_of_n_steps():
    lm, draws = tiny.tiny_lm("llama"), (0, 3)
    path = TuningTrajectory(4, checkpoint_steps=(0, 2, 5), learning_rate=1e-2).adapt(
        lm, task(), draws
    )
    assert path.checkpoint_steps == (0, 2, 5) and path.draws == (0, 3) * 3
    master_weights = path.weights.master_weights.reshape(3, 2, -1)
    for place, steps in ((1, 2), (2, 5)):
        solo = InstructionTuning(4, max_steps=steps, learning_rate=1e-2).adapt(lm, task(), draws)
        np.testing.assert_array_equal(
            master_weights[place].numpy(), solo.weights.master_weights.numpy()
        )
    b_of_start = [b for _, b in path.weights.matrices(0).values()]
    assert all((b == 0).all() for b in b_of_start)


def test_a_restart_changes_the_start_and_not_the_draw():
    lm = tiny.tiny_lm("llama")
    first = InstructionTuning(4, max_steps=3).adapt(lm, task(), (0,))
    again = InstructionTuning(4, max_steps=3, restart=1).adapt(lm, task(), (0,))
    assert first.examples == again.examples
    assert not np.allclose(
        first.weights.master_weights.numpy(), again.weights.master_weights.numpy()
    )
    assert InstructionTuning(4, restart=1).label == "it-4-restart"
