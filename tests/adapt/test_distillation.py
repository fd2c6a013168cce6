"""A distilled adapter learns what the base gives with demonstrations, and no answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adaptlens import tasks
from adaptlens.adapt.activation_alignment import ActivationAlignment
from adaptlens.adapt.batches import lay_out
from adaptlens.adapt.distillation import Distillation
from adaptlens.adapt.loop import train
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.errors import UserError
from adaptlens.lm import score
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.load import load
from adaptlens.prompts.fitting import fit
from adaptlens.tasks import templates

HOW = Distillation(examples=2, unlabeled=5, max_steps=6, batch_size=2, learning_rate=0.01)


def belief(lm, task, demos, query):
    """The share of each option after these demonstrations, one text at a time."""
    way = templates.written(task)
    prompt = fit(lm, way, demos, query, on_overflow="error")
    logs = []
    for answer in prompt.answers:
        ids = torch.tensor([lm.encode(prompt.text + answer)])
        start = len(lm.encode(prompt.text))
        with torch.no_grad():
            own = lm.model(input_ids=ids).logits[0].double().log_softmax(-1)
        logs.append(sum(float(own[i - 1, ids[0, i]]) for i in range(start, ids.shape[1])))
    shares = np.exp(np.array(logs) - max(logs))
    return shares / shares.sum()


def test_every_option_is_learned_as_far_as_the_teacher_believes_it(lm, task):
    texts, counts = HOW.training_texts(lm, task, [0, 3])
    for draw, own in zip((0, 3), texts, strict=True):
        inputs = HOW.inputs(task, draw)
        assert len(own) == len(inputs) * len(task.choices)
        demos = HOW.drawn(task, draw)
        for place, query in enumerate(inputs):
            pair = own[place * 2 : place * 2 + 2]
            assert [one.joined for one in pair] == [False, True]
            shares = [one.weight / 2 for one in pair]
            np.testing.assert_allclose(shares, belief(lm, task, demos, query), atol=1e-5)
            # What is learned on has no demonstration in it.
            bare = fit(lm, templates.written(task), (), query, on_overflow="error").text
            assert [lm.tokenizer.decode(one.ids) for one in pair] == [
                lm.tokenizer.decode(lm.encode(f"{bare} {choice}")) for choice in task.choices
            ]
    assert counts.tokens_given > counts.tokens_computed > 0


def test_a_student_is_taught_under_its_own_templates_alone(lm, task):
    several = replace(task, templates=templates.usual(task, chat=False)[:3])
    how = replace(HOW, num_templates=1)
    texts, _ = how.training_texts(lm, several, [0, 1, 2])
    for draw, own in enumerate(texts):
        (wanted,), _ = HOW.training_texts(lm, how.as_tuned(several, draw), [draw])
        assert [one.ids for one in own] == [one.ids for one in wanted]
        weights = [[one.weight for one in side] for side in (own, wanted)]
        assert weights[0] == pytest.approx(weights[1], abs=1e-5)
    assert len(HOW.training_texts(lm, several, [0])[0][0]) == 3 * len(texts[0])


def test_the_answers_of_the_inputs_have_no_say(lm, task):
    known = {example.id for example in HOW.drawn(task, 0)}
    other = {choice: task.choices[i - 1] for i, choice in enumerate(task.choices)}
    wrong = replace(
        task,
        train=tuple(
            one if one.id in known else replace(one, target=other[one.target]) for one in task.train
        ),
    )
    assert HOW.training_texts(lm, task, [0])[0] == HOW.training_texts(lm, wrong, [0])[0]


def test_the_loss_is_the_cross_entropy_of_teacher_and_student(lm, task):
    """Mean over labels of sum_c p_c NLL(c), which falls with the teacher's divergence."""
    (texts,), _ = HOW.training_texts(lm, task, [0])
    blocks = lay_out([texts], 1, block_tokens=4096)
    found = sum(float(block.losses(lm).sum()) for block in blocks)
    naive, labels = 0.0, 0
    for one in texts:
        with torch.no_grad():
            logs = lm.model(input_ids=torch.tensor([one.ids])).logits[0].log_softmax(-1)
        own = [-float(logs[i - 1, one.ids[i]]) for i in range(one.prompt_tokens, len(one.ids))]
        naive, labels = naive + one.weight * sum(own), labels + len(own)
    assert found == pytest.approx(naive / labels, rel=1e-5)


def test_options_of_an_input_come_in_the_same_steps(lm, task):
    """A batch of one input and both options is what all its texts at once give."""
    (texts,), _ = HOW.training_texts(lm, task, [0])
    config = TrainingConfig(learning_rates=(0.01,), max_steps=(1,), order_seeds=(0,), batch_size=1)
    bank = LoraBank(lm, num_variants=1, rank=2)
    history = train(lm, bank, [texts[:2]], config)
    assert history.counts[0, 0, 4] == sum(one.num_labels for one in texts[:2])


def test_draws_beside_each_other_learn_what_they_learn_alone(lm, task):
    together = HOW.adapt(lm, task, [0, 1])
    assert together.adaptation == "distil-2" and together.draws == (0, 1)
    for place, draw in enumerate((0, 1)):
        alone = HOW.adapt(lm, task, [draw])
        gap = together.weights.master_weights[place] - alone.weights.master_weights[0]
        # AdamW takes a whole step where a gradient is nothing but rounding.
        assert float((gap.abs() > 2e-5).float().mean()) < 0.005
    runs = together.training["runs"]
    alone = replace(HOW).adapt(lm, task, [0]).training["runs"][0]
    assert runs[0]["flops"] == pytest.approx(alone["flops"], rel=0.1)


def test_the_student_comes_nearer_to_the_teacher(task):
    lm = load("reference")
    how = Distillation(examples=8, unlabeled=16, max_steps=40, batch_size=8)
    read = replace(task, test=how.inputs(task, 0))
    teacher = np.array([belief(lm, task, how.drawn(task, 0), q)[0] for q in read.test])
    adapted = how.adapt(lm, task, [0])
    sent = [adapted.write(0, query) for query in read.test]
    shares = []
    for weights in (None, adapted.weights):
        logs = np.stack(score.score(lm, score.encode(lm, sent, [0] * len(sent)), weights))
        shares.append(np.exp(logs[:, 0]) / np.exp(logs).sum(1))
    before, after = (np.abs(own - teacher).mean() for own in shares)
    assert after < before / 3


def test_of_text_it_learns_what_the_teacher_writes(lm):
    task = tasks.load("translation", seed=0)
    how = replace(HOW, unlabeled=3)
    task = replace(task, max_new_tokens=4)
    (texts,), _ = how.training_texts(lm, task, [0])
    demos, way = how.drawn(task, 0), templates.written(task)
    written = []
    for query in how.inputs(task, 0):
        prompt = fit(lm, way, demos, query, on_overflow="error")
        (text,) = score.generate(lm, score.encode(lm, [prompt], [0]), 4, stop=("\n",))
        if text.strip():
            asked = fit(lm, way, (), query, on_overflow="error").text
            written.append(lm.encode(f"{asked} {text.strip()}\n\n"))
    assert [list(one.ids) for one in texts] == written
    assert all(one.weight == 1 and not one.joined for one in texts)


@pytest.mark.parametrize("way", [Distillation, ActivationAlignment])
def test_a_teacher_that_writes_nothing_teaches_nothing(way, lm, monkeypatch):
    task = tasks.load("translation", seed=0)
    monkeypatch.setattr(score, "generate", lambda _, requests, *__, **___: [" "] * len(requests))
    with pytest.raises(UserError, match=f"{way.name}-2, draw 1: .* writes nothing for any input"):
        way(examples=2, unlabeled=3).adapt(lm, task, [1])


def test_it_needs_inputs_beyond_the_demonstrations(lm, task):
    few = replace(task, train=task.train[:2])
    with pytest.raises(UserError, match="learns on inputs beyond its 2 demonstrations"):
        HOW.adapt(lm, few, [0])
    with pytest.raises(UserError, match="unlabeled 0 was given"):
        replace(HOW, unlabeled=0)
    assert len(HOW.inputs(replace(task, train=task.train[:4]), 0)) == 2
