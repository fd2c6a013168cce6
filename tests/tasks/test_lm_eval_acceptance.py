"""Which tasks of lm-evaluation-harness are accepted, by configuration alone."""

import pytest

from adaptlens.errors import UserError
from adaptlens.tasks.lm_eval_acceptance import Refused, reading
from adaptlens.types import ExactMatch

CHOICE = {"output_type": "multiple_choice", "doc_to_choice": ["a", "b"]}
WRITTEN = {"output_type": "generate_until"}


def filtered_by(*functions, name="own"):
    return {"name": name, "filter": [{"function": one} for one in functions]}


def test_a_choice_task_is_read_by_any_of_its_accuracies_and_says_what_is_not_computed():
    found = reading({**CHOICE, "metric_list": [{"metric": "acc"}, {"metric": "f1"}]}, "cb")
    assert found.kind == "choice"
    assert found.notes == ("lm-eval also gives f1, which is not computed.",)
    assert reading(CHOICE, "sst2").notes == ()


def test_a_mean_of_another_kind_is_said():
    metrics = [{"metric": "acc_norm", "aggregation": "x/agg_functions.agg_arc"}]
    found = reading({**CHOICE, "metric_list": metrics}, "tiny")
    assert found.notes == ("lm-eval aggregates by agg_functions.agg_arc; here it is the mean over "
                           "items.",)  # fmt: skip


def test_a_generation_task_has_its_filter_its_comparison_and_its_ends():
    config = {
        **WRITTEN,
        "metric_list": [
            {"metric": "exact_match", "ignore_case": True, "regexes_to_ignore": [",", "\\$"]}
        ],
        "generation_kwargs": {"until": ["Q:", ""], "do_sample": False, "max_gen_toks": 64},
        "filter_list": [
            {
                "name": "strict",
                "filter": [{"function": "regex", "regex_pattern": "#(.)"}],
            },
            filtered_by("remove_whitespace", "take_first", name="loose"),
        ],
    }
    found = reading(config, "gsm8k")
    rule = ExactMatch((("regex", "#(.)", 0, "[invalid]"),), (",", "\\$"), ignore_case=True)
    assert found.matching == rule
    assert (found.pipeline, found.stop, found.max_new_tokens) == ("strict", ("Q:",), 64)
    assert "lm-eval:gsm8k#loose" in found.notes[0]
    assert reading(config, "gsm8k", "loose").matching.filter == (("strip",),)
    with pytest.raises(UserError, match="no filter 'odd'; expected one of strict, loose"):
        reading(config, "gsm8k", "odd")


def test_where_the_first_filter_needs_code_the_next_is_used():
    config = {**WRITTEN, "filter_list": [filtered_by("custom"), filtered_by("lowercase", name="b")]}
    assert reading(config, "t").pipeline == "b"


def test_what_a_task_does_not_say_is_what_lm_eval_takes():
    found = reading({}, "t")
    assert (found.kind, found.stop, found.max_new_tokens) == ("generation", ("\n\n",), 256)
    assert found.matching == ExactMatch()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**CHOICE, "process_results": "x/utils.process_results"}, "process_results"),
        ({**WRITTEN, "unsafe_code": True}, "runs code that the model writes"),
        ({"class": object}, "a Python class of its own"),
        ({**WRITTEN, "doc_to_image": ["image"]}, "shows images"),
        ({"output_type": "loglikelihood_rolling"}, "output_type loglikelihood_rolling"),
        ({**CHOICE, "metric_list": [{"metric": "mcc"}]}, "is scored by mcc"),
        ({**WRITTEN, "metric_list": [{"metric": "x/utils.rougeL"}]}, "is scored by utils.rougeL"),
        ({**WRITTEN, "metric_list": [{"metric": exec}]}, "is scored by exec"),
        ({**WRITTEN, "filter_list": [filtered_by("custom", "take_first")]}, "answers by custom"),
        ({**WRITTEN, "filter_list": [{"name": "a", "filter": [
            {"function": "regex", "regex_pattern": "("}]}]}, "regular expression"),
        ({**WRITTEN, "generation_kwargs": {"do_sample": True}}, "samples its answers"),
        ({**WRITTEN, "generation_kwargs": {"temperature": 0.7}}, "samples its answers"),
        ({**WRITTEN, "generation_kwargs": {"num_beams": 4}}, "num_beams"),
        ({**WRITTEN, "repeats": 10}, "repeats"),
        ({"output_type": "multiple_choice"}, "no doc_to_choice"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_as_lm_eval_does_is_refused_by_name(config, said):
    with pytest.raises(Refused, match="task 't' ") as refused:
        reading(config, "t")
    assert said in str(refused.value)
    assert "'t'" not in refused.value.reason
