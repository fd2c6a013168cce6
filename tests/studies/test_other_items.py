"""What adapted models are also read on: how it is found, and what is refused."""

from dataclasses import asdict, replace

import pytest

from adaptlens.cells import read_tasks, task_digest, task_file
from adaptlens.errors import UserError
from adaptlens.store import Run
from adaptlens.studies.other_items import with_others
from adaptlens.types import Example, Task

TASK = Task(
    "own", "choice", (Example("t", "seen before", "bad"),), (), (Example("q", "x", "good"),),
    "Judge.", ("good", "bad"),
)  # fmt: skip


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["text,label", *(f"item {i},{('bad', 'good')[i % 2]}" for i in range(20))]
    (tmp_path / "far.csv").write_text("\n".join([*lines, "seen before,bad"]))
    (tmp_path / "other.csv").write_text(
        "\n".join(f"{line}".replace("bad", "yes") for line in lines)
    )
    (tmp_path / "text.txt").write_text("One piece of text.\n\nword\n" + "a long one " * 200 + "\n")
    return tmp_path


def others(task=TASK, queries=None, **given):
    sets = {"also": [], "ood": {}, "queries": queries, "seed": 0} | given
    return with_others(task, **sets).elsewhere


def test_another_domain_is_asked_as_the_task_is_without_what_was_trained_on(rows):
    (far,) = others(ood={"tweets": {"path": "far.csv"}})
    assert (far.name, far.role, len(far.task.test)) == ("tweets", "ood", 20)
    assert far.task.choices == ("good", "bad") and far.task.instruction == "Judge."
    assert not far.task.train and not far.task.validation
    assert len({item.id for item in far.task.test}) == 20
    (few,) = others(ood={"tweets": {"path": "far.csv"}}, queries=7)
    assert few.task.test == far.task.test[:7]


def test_what_was_left_out_is_said(rows):
    found = with_others(
        TASK, also=[{"path": "text.txt"}], ood={"tweets": {"path": "far.csv"}}, queries=7, seed=0
    )
    assert found.notes == (
        "text: 1 line of a single word left out",
        "text: 1 line cut to 1,000 characters",
        "tweets: 1 item of its 21 left out: trained on",
        "tweets: the first 7 of 20 items are read (queries)",
    )


def test_a_domain_may_have_the_raw_answers_or_the_words_for_them(rows):
    raw = "\n".join(["text,label", *(f"item {i},{i % 2}" for i in range(20))])
    (rows / "raw.csv").write_text(raw)
    words = {"label_words": {"0": "bad", "1": "good"}}
    for path in ("raw.csv", "far.csv"):
        (far,) = others(ood={"far": {"path": path, **words}})
        assert {item.target for item in far.task.test} == {"bad", "good"}
    (rows / "wrong.csv").write_text(raw.replace(",1", ",7"))
    with pytest.raises(UserError, match="its answers are '0', '7'; expected those"):
        others(ood={"far": {"path": "wrong.csv", **words}})


def test_other_tasks_keep_their_words_and_texts_are_lines(rows):
    other, text = others(also=[{"path": "other.csv"}, {"path": "text.txt"}])
    assert (other.name, other.role, {*other.task.choices}) == ("other", "also", {"yes", "good"})
    assert (text.name, text.role) == ("text", "text")
    first, second = text.task.test
    assert first.target == "One piece of text." and len(second.target) == 1000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ood": {"b": {"path": "other.csv"}}}, "--ood b: its answers are .* expected those of"),
        ({"also": [{"path": "gone.csv"}]}, "there is no file 'gone.csv'"),
        ({"also": [{"path": "gone.txt"}]}, "gone.txt"),
        ({"also": [{"path": "other.csv"}, {"path": "other.csv"}]}, "more than one set of items"),
        ({"also": [{"path": "flan:nli"}]}, "is several tasks"),
    ],
)
def test_what_cannot_be_read_or_compared_is_refused(rows, given, said):
    with pytest.raises(UserError, match=said):
        others(**given)


def test_a_domain_that_was_trained_on_is_none(rows):
    (rows / "same.csv").write_text((rows / "far.csv").read_text())
    seen = [f"item {i}" for i in range(20)]
    task = replace(TASK, train=tuple(Example(x, x, "bad") for x in ("seen before", *seen)))
    with pytest.raises(UserError, match="are training items of task 'own'"):
        others(task, ood={"same": {"path": "same.csv"}})


def test_a_task_without_others_keeps_its_digest_and_one_with_them_comes_back(rows, tmp_path):
    found = with_others(TASK, also=[{"path": "other.csv"}], ood={}, queries=3, seed=0)
    assert task_digest(replace(found, elsewhere=())) == task_digest(TASK)
    digest = task_digest(found)
    assert digest != task_digest(TASK)
    run = Run.open(tmp_path / "run", create=True)
    (run.folder / "tasks").mkdir()
    run.write_json(task_file(digest), asdict(found))
    assert read_tasks(run, [digest])[digest] == found
