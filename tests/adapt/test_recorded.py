"""Samples of lm-evaluation-harness as an arm: which belongs to which item, and what they say."""

import json
from datetime import datetime

import numpy as np
import pytest

from adaptlens.adapt import recorded, samples_file
from adaptlens.errors import UserError
from adaptlens.measure.recorded_answers import as_behavior
from adaptlens.studies.compare.lm_eval_results import write_lm_eval
from adaptlens.studies.stored import read
from adaptlens.types import Example, Task
from faked import compared


def sample(number, text, logliks, target, **more):
    """One line as the harness writes it, the context with a demonstration before the item."""
    sent = {
        f"gen_args_{n}": {"arg_0": f"Text: old\nTone: bad\n\nText: {text}\nTone:", "arg_1": f" {o}"}
        for n, o in enumerate(("good", "bad"))
    }
    resps = [[[str(value), "False"]] for value in logliks]
    return {"doc_id": number, "doc": {"text": text, "label": 0}, "target": target,
            "arguments": sent, "resps": resps, "filter": "none", **more}  # fmt: skip


ROWS = [
    sample(0, "one  film", (-1.0, -2.0), "0", acc=1.0),
    sample(1, "two films", (-1.5, -0.5), 0, acc=0.0),
    sample(2, "no item here", (-1.0, -2.0), "good", acc=1.0),
]
ITEMS = (Example("b", "two films", "good"), Example("a", "one film", "good"))


def task(test=ITEMS, choices=("bad", "good"), kind="choice"):
    return Task("tones", kind, (), (), tuple(test), choices=choices)


def written(folder, rows, name="samples_tones.jsonl"):
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    return str(path)


def answers(folder, rows, of):
    samples = samples_file.read("mine", written(folder, rows))
    found, notes = samples.of(of)
    measured, more = recorded._measured(samples, found, of)
    return as_behavior(measured, of), (*notes, *more)


def test_items_are_found_by_their_text_and_options_by_theirs(tmp_path):
    measured, notes = answers(tmp_path, ROWS, task())
    # The task's order: items b, a; options bad, good.
    assert measured.arrays["loglik"].tolist() == [[[-0.5, -1.5], [-2.0, -1.0]]]
    assert measured.arrays["gold"].tolist() == [1, 1]
    # " bad" and " good", as they were scored.
    assert measured.arrays["answer_bytes"].tolist() == [[[4, 5], [4, 5]]]
    assert notes == ("1 of its 3 documents are no test item here",)


def test_an_item_is_found_at_the_end_of_what_was_sent_where_no_text_of_the_document_is_it(tmp_path):
    rows = [{**row, "doc": {"idx": row["doc_id"]}} for row in ROWS]
    measured, _ = answers(tmp_path, rows, task())
    assert measured.arrays["loglik"].tolist() == [[[-0.5, -1.5], [-2.0, -1.0]]]


def test_items_without_a_sample_are_counted_and_refused(tmp_path):
    more = (*ITEMS, Example("c", "three films", "bad"))
    with pytest.raises(UserError, match=r"1 test item of 3 of task 'tones' without a sample"):
        answers(tmp_path, ROWS, task(more))


def test_a_sample_with_another_right_answer_is_no_sample_of_the_item(tmp_path):
    other = (Example("b", "two films", "bad"), ITEMS[1])
    with pytest.raises(UserError, match=r"1 test item of 2 .* 'two films'"):
        answers(tmp_path, ROWS, task(other))


def test_samples_of_one_text_are_taken_in_turn(tmp_path):
    twice = [sample(0, "a film", (-1.0, -2.0), 0), sample(1, "a film", (-3.0, -4.0), 0)]
    items = (Example("x", "a film", "good"), Example("y", "a film", "good"))
    measured, _ = answers(tmp_path, twice, task(items))
    assert measured.arrays["loglik"][0, :, 1].tolist() == [-1.0, -3.0]


def test_other_answers_than_the_tasks_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"scores ' good', ' bad', not the answer 'fine'"):
        answers(tmp_path, ROWS, task([Example("a", "one film", "fine")], ("fine", "bad")))


def test_an_acc_that_the_log_likelihoods_do_not_give_is_told(tmp_path):
    rows = [{**ROWS[0], "acc": 0.0}, ROWS[1]]
    _, notes = answers(tmp_path, rows, task())
    assert notes == ("in 1 item its own acc is not that of its log-likelihoods",)


def test_generated_texts_are_judged_by_their_exact_match_under_the_first_filter(tmp_path):
    def row(number, text, said, right, name):
        return {"doc": {"q": text}, "arguments": {"gen_args_0": {"arg_0": text, "arg_1": {}}},
                "resps": [[f"So {said}."]], "filtered_resps": [said], "filter": name,
                "exact_match": right}  # fmt: skip

    rows = [row(0, "1+1", "2", 1.0, "strict"), row(1, "1+2", "4", 0.0, "strict"),
            row(0, "1+1", "2", 0.0, "loose")]  # fmt: skip
    items = [Example("a", "1+1", "the answer is 2"), Example("b", "1+2", "3")]
    measured, notes = answers(tmp_path, rows, task(items, (), "generation"))
    assert measured.arrays["exact"].tolist() == [[1.0, 0.0]]
    assert measured.texts["outputs"] == [["2", "4"]]
    assert measured.arrays["chrf"][0, 1] == 0.0
    assert notes == ("answers under the filter 'strict' are taken, not under loose",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1 of 'samples_x.jsonl' is not JSON"),
        ('{"input": "a"}', "line 1 of 'samples_x.jsonl' has no doc, arguments and resps"),
    ],
)
def test_what_is_no_file_of_samples_is_refused(tmp_path, line, said):
    path = tmp_path / "samples_x.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=said):
        samples_file.read("mine", str(path))


def test_what_a_comparison_writes_is_read_again_draw_by_draw_and_template_by_template(tmp_path):
    run = compared(tmp_path / "run")
    write_lm_eval(run, tmp_path / "out", now=datetime(2026, 1, 2, 3, 4, 5))
    stored = read(run, "compare")
    for condition in stored.found:
        (path,) = (tmp_path / "out" / f"reference__{condition.label}").glob("samples_*")
        own = stored.tasks[condition.task_digest]
        samples = samples_file.read("mine", str(path))
        assert samples.draws == condition.draws and samples.templates == condition.templates
        rows, notes = samples.of(own)
        measured, more = recorded._measured(samples, rows, own)
        assert (notes, more) == ((), ())
        before = np.moveaxis(condition.behavior.loglik, 1, 0).reshape(-1, *condition.behavior.loglik.shape[2:])  # fmt: skip # noqa: E501
        assert np.array_equal(measured.arrays["loglik"], before)
        assert "model reference__" in samples.about


def test_draws_of_another_run_are_none_of_this_one(tmp_path):
    run = compared(tmp_path / "run")
    write_lm_eval(run, tmp_path / "out", now=datetime(2026, 1, 2, 3, 4, 5))
    (path,) = (tmp_path / "out" / "reference__icl-2").glob("samples_*")
    assert recorded.draws_of(samples_file.read("mine", str(path))) == (1000, 1001)
