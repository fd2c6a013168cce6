"""An error in Python names keywords, where one of the command line names options."""

import pandas as pd
import pytest

import adaptlens
from adaptlens.errors import UserError
from adaptlens.studies.compare.config import COMPARISON
from adaptlens.studies.python_words import in_keywords, keywords, with_keywords

KNOWN = keywords(COMPARISON)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "name them with --input and --target (--input A,B joins them)",
            "name them with input= and target= (input='A,B' joins them)",
        ),
        (
            "--choices and --label-words were both given",
            "choices= and label_words= were both given",
        ),
        (
            "words tell more: --choices 0=bad,1=good.",
            "words tell more: choices={'0': 'bad', '1': 'good'}.",
        ),
        ("the answer 'x' (--choices names them).", "the answer 'x' (choices= names them)."),
        ("leave out --chat, or use another", "leave out chat=True, or use another"),
        (
            "say --header or --no-header (in --config header: true).",
            "say header=True or header=False.",
        ),
        (
            "these rows out beside the task's path in --config.",
            "these rows out beside the task's path.",
        ),
        (
            "use fewer shots, or --on-overflow drop-demos",
            "use fewer shots, or on_overflow='drop-demos'",
        ),
        (
            "use --dtype float32 or bfloat16, or --device cpu.",
            "use dtype='float32' or bfloat16, or device='cpu'.",
        ),
        (
            "--queries 1: takes two; give more, or raise --queries if it is set.",
            "queries=1: takes two; give more, or raise queries= if it is set.",
        ),
        ("as in --shots 2,4,8", "as in shots=[2, 4, 8]"),
        (
            "leave tuning out with --tuning '', or give it",
            "leave tuning out with tuning=[], or give it",
        ),
        ("give it as --arm mine=openai:URL#NAME.", "give it as arms={'mine': 'openai:URL#NAME'}."),
        ("--ood b: its answers are a, c", "ood['b']: its answers are a, c"),
        ("add --task FILE, or --model NAME", "add task='FILE', or model='NAME'"),
        ("give your own with --template.", "give your own with templates=."),
        (
            "add --set validation=64; --set tune.lora_rank=16",
            "add validation=64; tune={'lora_rank': 16}",
        ),
        ("with --set 'measures=[cosine]'.", "with measures=[cosine]."),
        # What runs in a shell stays, and what no keyword stands for.
        (
            "run `adaptlens compare --out runs/x` first",
            "run `adaptlens compare --out runs/x` first",
        ),
        ("unset it, or leave out --push-to-hub.", "unset it, or leave out --push-to-hub."),
    ],
)
def test_options_become_keywords(said, told):
    assert with_keywords(said, KNOWN) == told


def test_an_error_keeps_its_kind_and_where_it_came_from():
    with (
        pytest.raises(UserError, match=r"^name it with input=$") as raised,
        in_keywords(COMPARISON),
    ):
        raise UserError("name it with --input")
    assert str(raised.value.__cause__) == "name it with --input"
    with pytest.raises(UserError, match=r"^no option here$"), in_keywords(COMPARISON):
        raise UserError("no option here")


@pytest.mark.parametrize("call", [adaptlens.prompt_or_tune, adaptlens.study_convergence])
def test_a_frame_without_its_columns_named_is_refused_in_keywords(call):
    frame = pd.DataFrame({"one": ["a b"] * 40, "two": ["c d"] * 40, "three": ["e f"] * 40})
    with pytest.raises(UserError) as raised:
        call(task=frame, quiet=True)
    assert "input=" in str(raised.value) and "--" not in str(raised.value)
