"""Several templates in one cell give what as many cells with one template each give."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from adaptlens.adapt.full_tuning import FullTuning
from adaptlens.adapt.lora import InstructionTuning, SupervisedTuning
from adaptlens.adapt.prompting import InContext, ZeroShot
from adaptlens.conditions import conditions
from adaptlens.lm import score
from adaptlens.lm.load import LM
from adaptlens.measure.behavior import Behavior
from adaptlens.store import Run
from adaptlens.tasks.templates import parse, written
from adaptlens.types import Adapted, Example, Prompt, Task, Template

FILMS = ("Heat", "Jaws", "Alien")


def example(number: int) -> Example:
    return Example(
        f"e{number}", f"the {number}", "pos" if number % 2 else "neg",
        fields=(("film", FILMS[number % 3]),),
    )  # fmt: skip


def task(kind: Any = "choice", chat: bool = False) -> Task:
    templates = (
        Template(name="plain"),
        parse(r"Film: {film}\nText: {input}\nSays {target}"),
        Template("A: ", "\nB:", name="words", words=(("pos", "good one"), ("neg", "bad"))),
        parse("{{ options }}? {{ input }} {{ target }}", instructed=True),
    )
    if chat:
        templates += (Template("", "", name="chat", chat=True),)
    return Task(
        "films",
        kind,
        tuple(map(example, range(12))),
        tuple(map(example, range(12, 17))),
        tuple(map(example, range(20, 23))),
        instruction="Good or bad?",
        choices=("pos", "neg") if kind == "choice" else (),
        templates=templates,
        max_new_tokens=4,
    )


@pytest.fixture(scope="module")
def lm() -> LM:
    # With a chat template, which prompts use only where their template says so.
    made = tiny.tiny_lm("llama")
    made.tokenizer.chat_template = tiny.tiny_tokenizer(chat=True).chat_template
    return made


def measured(lm: LM, task: Task, adapted: Adapted) -> Any:
    return Behavior().measure(lm, task, adapted)


def by_template(array: np.ndarray, ways: int) -> np.ndarray:
    """[templates, repeats, ...] of an array as it is stored."""
    return array.reshape(ways, -1, *array.shape[1:])


@pytest.mark.parametrize("how", [ZeroShot(), InContext(2), InContext(2, selection="similar")])
def test_prompting_under_several_templates_is_prompting_under_each(lm: LM, how: Any) -> None:
    films = task(chat=True)
    draws = (1, 0)
    together = measured(lm, films, how.adapt(lm, films, draws)).arrays
    for place, template in enumerate(films.templates):
        alone = replace(films, templates=(template,))
        apart = measured(lm, alone, how.adapt(lm, alone, draws)).arrays
        for name in ("loglik", "prior_loglik", "answer_tokens", "answer_bytes"):
            got = by_template(together[name], len(films.templates))[place]
            np.testing.assert_allclose(got, apart[name], atol=1e-5, err_msg=template.name)
            # Draw d reads validation query q under template (q + d) modulo their number.
            held, wanted = together[f"validation_{name}"], apart[f"validation_{name}"]
            numbers = (-1,) if len(held) == 1 else draws
            for row, draw in enumerate(numbers):
                mine = [q for q in range(5) if (q + draw) % len(films.templates) == place]
                np.testing.assert_allclose(held[row, mine], wanted[row, mine], atol=1e-5)


def test_a_task_with_one_template_alone_is_the_task_written_so(lm: LM) -> None:
    films = task()
    for template in films.templates:
        alone = replace(films, templates=(template,))
        own = written(films, template)
        same = replace(
            films, templates=(), template=replace(template, words=(), item="", instruction=None),
            instruction=own.task.instruction, choices=own.task.choices,
            train=tuple(map(own.example, films.train)),
            validation=tuple(map(own.example, films.validation)),
            test=tuple(map(own.example, films.test)),
        )  # fmt: skip
        for how in (InContext(2), InstructionTuning(3, learning_rate=0.01, max_steps=2)):
            left = measured(lm, alone, how.adapt(lm, alone, (0,))).arrays["loglik"]
            right = measured(lm, same, how.adapt(lm, same, (0,))).arrays["loglik"]
            np.testing.assert_allclose(left, right, atol=1e-5)


def logliks(lm: LM, prompt: Prompt) -> list[float]:
    """Log-probability of each answer after a prompt, one plain forward pass each."""
    found = []
    for answer in prompt.answers or (prompt.target,):
        (request,) = score.encode(lm, [Prompt(prompt.parts, (answer,))])
        ids = [*request.prompt_ids, *request.answers_ids[0]]
        with torch.no_grad():
            logits = lm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        start = len(request.prompt_ids)
        found.append(sum(float(logits[i - 1, ids[i]]) for i in range(start, len(ids))))
    return found


@pytest.mark.parametrize("kind", ["choice", "generation"])
@pytest.mark.parametrize(
    "how",
    [
        InstructionTuning(3, learning_rate=0.02, max_steps=3),
        SupervisedTuning(3, learning_rate=0.02, max_steps=3),
        FullTuning(3, learning_rate=1e-3, max_steps=2),
    ],
)
def test_a_tuned_model_is_read_under_each_template_by_its_own_weights(
    lm: LM, how: Any, kind: Any
) -> None:
    films = task(kind, chat=True)
    if kind == "generation":
        films = replace(films, templates=films.templates[:2] + films.templates[-1:])
    adapted = how.adapt(lm, films, (0, 2))
    ways = len(films.templates)
    assert adapted.weights is not None and adapted.weights.num_variants == 2
    assert adapted.draws == (0, 2) * ways and adapted.templates == tuple(
        template.name for template in films.templates
    )
    arrays = measured(lm, films, adapted).arrays
    name = "loglik" if kind == "choice" else "target_loglik"
    for place, template in enumerate(films.templates):
        alone = replace(films, templates=(template,))
        for draw in range(2):
            for number, query in enumerate(films.test):
                # An adapter of another task with this template alone writes the same prompt.
                prompt = adapted.write(place * 2 + draw, query)
                assert prompt == _prompt(lm, alone, how, query)
                with adapted.weights.routed([draw]):
                    wanted = logliks(lm, prompt)
                got = by_template(arrays[name], ways)[place, draw, number]
                np.testing.assert_allclose(np.atleast_1d(got), wanted, atol=2e-5)


def _prompt(lm: LM, alone: Task, how: Any, query: Example) -> Prompt:
    from adaptlens.adapt.settings import writer

    return writer(lm, alone, how.instruction, 1)(0, query)


def test_generation_under_several_templates_is_generation_under_each(lm: LM) -> None:
    films = task("generation")
    films = replace(films, templates=films.templates[:2])
    together = measured(lm, films, InContext(2).adapt(lm, films, (0, 1)))
    outputs = []
    for place, template in enumerate(films.templates):
        alone = replace(films, templates=(template,))
        apart = measured(lm, alone, InContext(2).adapt(lm, alone, (0, 1)))
        outputs += apart.texts["outputs"]
        for name in ("exact", "chrf", "target_loglik"):
            got = by_template(together.arrays[name], 2)[place]
            np.testing.assert_allclose(got, apart.arrays[name], atol=1e-5)
    assert together.texts["outputs"] == outputs


# Chat templates

MESSAGES = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("writes_bos", [True, False])
@pytest.mark.parametrize("always", [True, False])
def test_a_prompt_by_the_chat_template_has_the_tokens_the_tokenizer_gives_it(
    bos: bool, writes_bos: bool, always: bool
) -> None:
    made = tiny.tiny_lm("llama", bos=bos)
    start = "{{ bos_token }}" if bos and writes_bos else ""
    made.tokenizer.chat_template = start + MESSAGES
    from adaptlens.lm.load import assemble

    lm = assemble(made.model, made.tokenizer, name="m", digest="d", chat=always)
    films = replace(task(chat=True), templates=(Template("", "", name="chat", chat=True),))
    for how, shown in ((ZeroShot(), 0), (InContext(2), 2)):
        adapted = how.adapt(lm, films, (0,))
        demos = adapted.examples[0] if shown else ()
        messages = []
        for number, one in enumerate((*demos, films.test[0])):
            asked = f"Good or bad?\n\n{one.input}" if number == 0 else one.input
            messages += [{"role": "user", "content": asked}]
            messages += [{"role": "assistant", "content": one.target}] if number < shown else []
        wanted = made.tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=False
        )
        prompt = adapted.write(0, films.test[0])
        assert lm.encode(prompt.text) == list(wanted)
        # Long texts that begin alike are tokenized together, and are the same.
        long = [
            Prompt((*prompt.parts[:-1], SimpleNamespace(text="x " * 200 + str(i))), ("neg",))
            for i in range(6)
        ]
        for one, request in zip(long, score.encode(lm, long), strict=True):
            whole = lm.encode(one.text + "neg")
            assert list(request.prompt_ids + request.answers_ids[0]) == whole
    # Plain prompts keep what the tokenizer puts before every text.
    if not always:
        assert lm.encode("the pos")[: int(bos)] == [1] * bos


# Stored, and joined again


def test_draws_of_templates_in_several_cells_join_draw_by_draw(tmp_path: Any) -> None:
    run = Run.open(tmp_path / "run", create=True)
    names = ["plain", "named", "bare"]

    def spec(draws: Any) -> dict[str, Any]:
        return {
            "format": 1,
            "model": {"name": "m", "digest": "d", "dtype": "float32", "chat": False},
            "task": {"name": "t", "digest": "t", "kind": "choice", "queries": 2, "seed": 0},
            "adaptation": {"name": "best_prompt", "arguments": {"examples": 4}, "label": "b-4"},
            "measurements": [], "draws": list(draws), "seed": 0, "components": {},
        }  # fmt: skip

    # Five draws and then ten in all: the score of draw d under template w on query q is w + 10 d
    # + q / 10, and on validation query v, 10 d + v / 10.
    for draws in (range(5), range(5, 10)):
        rows = [[w + 10 * d + q / 10 for q in range(2)] for w in range(3) for d in draws]
        held = [[10 * d + v / 10 for v in range(4)] for d in draws]
        with run.claim(spec(draws)) as claim:
            claim.finish(
                {
                    "draws": list(draws), "numbers": {}, "notes": [], "templates": names,
                    "training": {"search": [{"prompt": f"of {d}"} for d in draws]},
                },
                {
                    "behavior.loglik": np.array(rows)[..., None] * [1.0, 2.0],
                    "behavior.answer_tokens": np.array(rows)[..., None] * [1.0, 2.0],
                    "behavior.validation_loglik": np.array(held)[..., None] * [1.0, 2.0],
                    "behavior.gold": np.array([1, 0]),
                },
                {"prompts": []},
            )  # fmt: skip
    for wanted in (range(10), (7, 2)):
        (found,) = conditions(run, [spec(wanted)])
        order = sorted(wanted)
        assert found.draws == tuple(order) and found.templates == tuple(names)
        assert [own["prompt"] for own in found.searches] == [f"of {d}" for d in order]
        for name in ("loglik", "answer_tokens"):
            array = found.arrays[f"behavior.{name}"]
            assert array.shape == (len(order), 3, 2, 2)
            for place, draw in enumerate(order):
                for w in range(3):
                    assert array[place, w, 1, 1] == pytest.approx(2 * (w + 10 * draw + 0.1))
        held_out = found.arrays["behavior.validation_loglik"]
        assert held_out.shape == (len(order), 4, 2)
        assert held_out[:, 3, 0] == pytest.approx([10 * d + 0.3 for d in order])
        assert found.arrays["behavior.gold"].tolist() == [1, 0]
