"""A vector is what demonstrations do to a state, chosen by what it says of validation items."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import adaptlens
import tiny
from adaptlens import tasks
from adaptlens.adapt.settings import choosing
from adaptlens.adapt.vectors import InContextVector
from adaptlens.errors import UserError
from adaptlens.lm.adapters.shifts import StateShifts
from adaptlens.prompts.fitting import fit
from adaptlens.tasks import templates

HOW = InContextVector(2, unlabeled=3, strengths=(0.5, 4.0), validation_examples=2)


def last_states(lm, task, demos, query):
    """What leaves each layer at the prompt's last token, by a plain pass."""
    prompt = fit(lm, templates.written(task), demos, query, on_overflow="error")
    kept = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: kept.append(out[0, -1]))
        for layer in lm.architecture.layers
    ]
    with torch.no_grad():
        lm.architecture.backbone(input_ids=torch.tensor([lm.encode(prompt.text)]))
    for hook in hooks:
        hook.remove()
    return torch.stack(kept).double().numpy()


def difference(lm, task, demos, inputs):
    each = [last_states(lm, task, demos, q) - last_states(lm, task, (), q) for q in inputs]
    return np.mean(each, axis=0)


def loss(lm, task, layer, vector, items):
    """The loss of right answers with a vector added behind a layer, by plain passes.

    Of a choice among its options, else per token.
    """
    nll, size = 0.0, 0
    for query in items:
        prompt = fit(lm, templates.written(task), (), query, on_overflow="error")
        start = len(lm.encode(prompt.text)) - 1

        def add(_, __, out, start=start):
            out = out.clone()
            out[:, start:] += torch.tensor(vector, dtype=out.dtype)
            return out

        own = {}
        for answer in prompt.answers or (prompt.target,):
            ids = torch.tensor([lm.encode(prompt.text + answer)])
            hook = lm.architecture.layers[layer].register_forward_hook(add)
            with torch.no_grad():
                logs = lm.model(input_ids=ids).logits[0].double().log_softmax(-1)
            hook.remove()
            own[answer] = sum(float(logs[i - 1, ids[0, i]]) for i in range(start + 1, ids.shape[1]))
        nll -= own[prompt.target]
        nll += float(np.log(np.sum(np.exp(list(own.values()))))) if prompt.answers else 0.0
        size += 1 if prompt.answers else ids.shape[1] - start - 1
    return nll / size


def test_layer_and_strength_are_those_that_do_best_on_validation_items(lm, task):
    adapted = HOW.adapt(lm, task, [0, 3])
    record, weights = adapted.training, adapted.weights
    assert isinstance(weights, StateShifts)
    for place, draw in enumerate((0, 3)):
        made = difference(lm, task, HOW.drawn(task, draw), HOW.inputs(task, draw))
        losses = []
        for one in record["candidates"]:
            vector = one["strength"] * made[one["layer"]]
            losses.append(loss(lm, task, one["layer"], vector, choosing(task)[:2]))
        np.testing.assert_allclose(record["validation_losses"][place], losses, atol=1e-4)
        best = record["candidates"][int(np.argmin(losses))]
        assert weights.layers[place] == best["layer"]
        wanted = best["strength"] * made[best["layer"]]
        np.testing.assert_allclose(weights.vectors[place], wanted, atol=1e-4)
    assert adapted.draws == (0, 3)
    assert record["tried_flops"] > record["flops"] > 0


def test_of_text_the_loss_is_that_of_its_tokens(lm):
    task = tasks.load("translation", seed=0)
    record = HOW.adapt(lm, task, [0]).training
    made = difference(lm, task, HOW.drawn(task, 0), HOW.inputs(task, 0))
    losses = [
        loss(lm, task, one["layer"], one["strength"] * made[one["layer"]], choosing(task)[:2])
        for one in record["candidates"]
    ]
    np.testing.assert_allclose(record["validation_losses"][0], losses, atol=1e-4)


def test_without_validation_each_example_judges_vectors_made_without_it(lm, task):
    how = replace(HOW, true_few_shot=True)
    losses = how.adapt(lm, replace(task, validation=()), [0]).training["validation_losses"][0]
    one, other = how.drawn(task, 0)
    wanted = np.zeros(len(losses))
    for shown, out in ((one, other), (other, one)):
        made = difference(lm, task, (shown,), how.inputs(task, 0))
        tried = [(layer, s) for layer in range(len(made)) for s in how.strengths]
        wanted += [loss(lm, task, layer, s * made[layer], [out]) / 2 for layer, s in tried]
    np.testing.assert_allclose(losses, wanted, atol=1e-4)


def test_the_answers_of_the_inputs_have_no_say(lm, task):
    inputs = {example.id for example in HOW.inputs(task, 0)}
    first, second = task.choices[:2]
    wrong = replace(
        task,
        train=tuple(
            replace(one, target=second if one.target == first else first)
            if one.id in inputs
            else one
            for one in task.train
        ),
    )
    own, other = (HOW.adapt(lm, one, [0]).weights.vectors for one in (task, wrong))
    torch.testing.assert_close(own, other)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strengths": []}, "at least one number"),
        ({"layers": []}, "at least one layer"),
        ({"unlabeled": 0}, "must be at least 1"),
        ({"examples": 1, "true_few_shot": True}, "needs at least 2"),
        ({"selection": "similar"}, "selection 'similar'"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        InContextVector(**{"examples": 2, **arguments})


def test_a_layer_that_is_not_there_and_nothing_to_choose_by_are_refused(lm, task):
    with pytest.raises(UserError, match="layer 9 was given"):
        replace(HOW, layers=(0, 9)).adapt(lm, task, [0])
    with pytest.raises(UserError, match="chooses its layer and strength on validation items"):
        HOW.adapt(lm, replace(task, validation=()), [0])


def test_one_layer_and_strength_need_nothing_to_choose_by(lm, task):
    how = replace(HOW, layers=(1,), strengths=(1.0,))
    adapted = how.adapt(lm, replace(task, validation=()), [0])
    assert adapted.weights.layers == (1,)
    assert "chosen" not in adapted.training


def test_a_comparison_says_where_its_vectors_are_added(tmp_path):
    found = adaptlens.prompt_or_tune(
        str(tiny.tiny_folder(tmp_path, "llama")),
        "sentiment-novel",
        shots=[0, 2],
        tuning=["vector"],
        draws=2,
        queries=4,
        validation=4,
        num_templates=1,
        unlabeled=2,
        search=False,
        out=tmp_path / "run",
        quiet=True,
    )
    (row,) = found.tables["recipes"].to_dict("records")
    assert (row["condition"], row["trained"]) == ("vector-2", "a vector")
    assert re.fullmatch(r"\d: \d draws?(, \d: \d draws?)*", row["layers_chosen"])
    assert "vector-2" in set(found.accuracy["condition"])
    assert "vector-2 adds a vector made with 2 examples" in found.page.read_text("utf-8")
