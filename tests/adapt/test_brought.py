"""Arms that a user brings score as the library that wrote them says, and nothing is left behind."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

import tiny
from adaptlens import tasks
from adaptlens.adapt.brought import BroughtAdapter, BroughtCheckpoint, BroughtPrompt
from adaptlens.errors import UserError
from adaptlens.lm import score
from adaptlens.lm.load import LM, load
from adaptlens.models import arm_files
from adaptlens.studies import own_arms
from adaptlens.tasks import prompt_files
from adaptlens.types import NO_DRAWS, Adapted, Task

pytestmark = pytest.mark.filterwarnings("ignore")

KINDS: dict[str, dict[str, Any]] = {
    "rank-stabilized, with a module of its own": {
        "use_rslora": True, "modules_to_save": ["lm_head"],
    },
    "a norm of its own": {"modules_to_save": ["norm"], "rank_pattern": {"q_proj": 2}},
    "DoRA": {"use_dora": True},
    "PiSSA": {"init_lora_weights": "pissa"},
    "OLoRA": {"init_lora_weights": "olora"},
    "tuned tokens": {"trainable_token_indices": [5, 6]},
    "adapted embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
}  # fmt: skip
OTHERS = {
    "IA3": peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "LoHa": peft.LoHaConfig(r=2, target_modules=["q_proj"]),
    "VeRA": peft.VeraConfig(r=4, target_modules=["v_proj"]),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture(scope="module")
def lm(base: Path) -> LM:
    return load(str(base))


@pytest.fixture(scope="module")
def task() -> Task:
    found = tasks.load("sentiment-novel", seed=0)
    return replace(found, test=found.test[:3])


def trained(base: Path, folder: Path, config: Any) -> Any:
    """Save an adapter as PEFT does, every number of it random, and return its model as PEFT has it.

    That is read back from the folder: what it was before some ways of starting is not what it is.
    """
    config.task_type = "CAUSAL_LM"
    torch.manual_seed(1)
    model = peft.get_peft_model(load(str(base)).model, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(str(folder))
    return peft.PeftModel.from_pretrained(load(str(base)).model, str(folder)).eval()


def lora(**settings: Any) -> peft.LoraConfig:
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
                           | settings)  # fmt: skip


def scores(lm: LM, adapted: Adapted, task: Task) -> np.ndarray:
    """The log-likelihood of every answer [variants, queries, choices]."""
    rows = []
    for variant in range(len(adapted.draws)):
        sent = [adapted.write(variant, query) for query in task.test]
        weights = adapted.weights
        owner = variant % weights.num_variants if weights else 0
        requests = score.encode(lm, sent, [owner] * len(sent))
        rows.append(np.stack(score.score(lm, requests, weights)))
    return np.stack(rows)


def as_peft(model: Any, lm: LM, adapted: Adapted, task: Task) -> np.ndarray:
    """The same, one text at a time, by PEFT's model."""
    rows = []
    for query in task.test:
        prompt = adapted.write(0, query)
        start = len(lm.encode(prompt.text))
        row = []
        for answer in prompt.answers:
            ids = torch.tensor([lm.encode(prompt.text + answer)])
            with torch.no_grad():
                logs = model(input_ids=ids).logits[0].log_softmax(-1)
            row.append(sum(float(logs[i - 1, ids[0, i]]) for i in range(start, ids.shape[1])))
        rows.append(row)
    return np.array(rows)


def arm(folder: Path, **more: Any) -> BroughtAdapter:
    return BroughtAdapter("mine", arm_files.adapter_digest(folder), source=str(folder), **more)


def bare(lm: LM, task: Task) -> np.ndarray:
    own = arm_without_change(lm, task)
    return scores(lm, replace(own, weights=None), task)


def arm_without_change(lm: LM, task: Task) -> Adapted:
    from adaptlens.adapt.prompting import ZeroShot

    return ZeroShot().adapt(lm, task, NO_DRAWS)


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_an_adapter_of_any_kind_scores_as_peft_says(kind, base, lm, task, tmp_path):
    config = OTHERS[kind] if kind in OTHERS else lora(**KINDS[kind])
    model = trained(base, tmp_path, config)
    before = bare(lm, task)
    adapted = arm(tmp_path).adapt(lm, task, NO_DRAWS)
    found = scores(lm, adapted, task)
    np.testing.assert_allclose(found[0], as_peft(model, lm, adapted, task), atol=1e-4)
    assert np.abs(found - before).max() > 1e-3
    np.testing.assert_array_equal(bare(lm, task), before)
    merged = "merged into the weights by the peft library" in " ".join(adapted.notes)
    assert merged == (kind not in list(KINDS)[:3])


def test_an_adapter_is_read_under_every_template_by_one_set_of_weights(base, lm, task, tmp_path):
    trained(base, tmp_path, lora(modules_to_save=["lm_head"]))
    from adaptlens.tasks import templates

    several = replace(task, templates=templates.usual(task, chat=False)[:2])
    adapted = arm(tmp_path).adapt(lm, several, NO_DRAWS)
    assert adapted.draws == NO_DRAWS * 2 and len(adapted.templates) == 2
    found = scores(lm, adapted, several)
    for place, template in enumerate(several.templates):
        alone = replace(task, template=template)
        other = arm(tmp_path).adapt(lm, alone, NO_DRAWS)
        np.testing.assert_allclose(found[place], scores(lm, other, alone)[0], atol=1e-5)


@pytest.mark.parametrize("config", [lora(modules_to_save=["lm_head"]), lora(use_dora=True)],
                         ids=["lora and a module", "merged"])  # fmt: skip
def test_at_no_strength_it_is_the_base_and_at_full_strength_itself(
    config, base, lm, task, tmp_path
):
    trained(base, tmp_path, config)
    own = scores(lm, arm(tmp_path).adapt(lm, task, NO_DRAWS), task)
    at = {
        control: scores(lm, arm(tmp_path, control=control).adapt(lm, task, NO_DRAWS), task)
        for control in ("x0", "x0.5", "x1")
    }
    np.testing.assert_allclose(at["x0"], bare(lm, task), atol=1e-5)
    np.testing.assert_allclose(at["x1"], own, atol=1e-4)
    assert np.abs(at["x0.5"] - at["x0"]).max() > 1e-3


def changes(lm: LM, weights: Any, variant: int) -> dict[str, torch.Tensor]:
    """What a variant adds to each weight of the model that it changes."""
    own = {name: p.detach().clone() for name, p in lm.model.named_parameters()}
    found = {name: values.float() - own[name] for name, values in weights.variants[variant].items()}
    if weights.bank:
        for name, (a, b) in weights.bank.matrices(variant).items():
            found[f"{name}.weight"] = weights.bank.scale * b @ a
    return found


def test_null_adapters_have_its_shape_and_norm_and_nothing_else_of_it(base, lm, task, tmp_path):
    trained(base, tmp_path, lora(use_rslora=True, modules_to_save=["lm_head"]))
    whole = arm(tmp_path).adapt(lm, task, NO_DRAWS)
    null = arm(tmp_path, control="null").adapt(lm, task, (0, 1))
    assert null.adaptation == "mine-null" and null.draws == (0, 1)
    own = changes(lm, whole.weights, 0)
    for draw in (0, 1):
        other = changes(lm, null.weights, draw)
        assert other.keys() == own.keys()
        for name, change in own.items():
            assert float(other[name].norm()) == pytest.approx(float(change.norm()), rel=1e-4)
            near = torch.cosine_similarity(other[name].flatten(), change.flatten(), 0)
            assert abs(float(near)) < 0.5
    assert np.abs(np.diff(scores(lm, null, task), axis=0)).max() > 1e-4
    again = arm(tmp_path, control="null").adapt(lm, task, (1,))
    for name, change in changes(lm, again.weights, 0).items():
        assert torch.equal(change, changes(lm, null.weights, 1)[name])


def test_another_checkpoint_scores_as_itself(base, lm, task, tmp_path):
    other = load(str(base))
    torch.manual_seed(3)
    for name, parameter in other.model.named_parameters():
        if "layers.1" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    folder = tmp_path / "tuned"
    shutil.copytree(base, folder)
    other.model.save_pretrained(folder)
    files = arm_files.find("tuned", str(folder))
    assert files.kind == "checkpoint"
    adapted = BroughtCheckpoint("tuned", files.digest, source=files.source).adapt(
        lm, task, NO_DRAWS
    )
    alone = load(str(folder))
    expected = scores(alone, arm_without_change(alone, task), task)
    np.testing.assert_allclose(scores(lm, adapted, task), expected, atol=1e-5)
    assert set(adapted.weights.variants[0]) <= {n for n, _ in other.model.named_parameters()}
    assert all("layers.1" in name for name in adapted.weights.variants[0])


def test_what_was_made_for_another_base_is_refused_in_a_line(base, lm, task, tmp_path):
    from adaptlens.lm.adapters.bank import LoraBank

    wide = tiny.tiny_folder(tmp_path, "gpt2")
    trained(base, tmp_path / "a", lora())
    LoraBank(lm, num_variants=1, rank=2).save(tmp_path, ["ours"])
    assert scores(lm, arm(tmp_path / "ours").adapt(lm, task, NO_DRAWS), task).shape[0] == 1
    other = tiny.tiny_folder(tmp_path / "other", "llama")
    model = load(str(other)).model
    model.model.norm.weight.data += 0.1
    model.save_pretrained(other)
    cases = [
        (load(str(wide)), arm(tmp_path / "a"), "other modules than this model has"),
        (load(str(other)), arm(tmp_path / "ours"), "made for a model with other files"),
        (lm, BroughtCheckpoint("w", arm_files.find("w", str(wide)).digest, source=str(wide)),
         "another tokenizer|made for"),
        (lm, replace(arm(tmp_path / "a"), digest="0"), "not what the run was planned with"),
    ]  # fmt: skip
    for model, brought, said in cases:
        with pytest.raises(UserError, match=said) as caught:
            brought.adapt(model, task, NO_DRAWS)
        assert "\n" not in str(caught.value)


def test_a_soft_prompt_of_pefts_is_read_before_every_text(base, lm, task, tmp_path):
    config = peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    model = peft.get_peft_model(load(str(base)).model, config)
    model.save_pretrained(str(tmp_path))
    own = model.prompt_encoder["default"].embedding.weight.detach()
    adapted = arm(tmp_path).adapt(lm, task, NO_DRAWS)
    torch.testing.assert_close(adapted.weights.master_weights[0], own.flatten())
    assert np.abs(scores(lm, adapted, task) - bare(lm, task)).max() > 1e-3
    null = arm(tmp_path, control="null").adapt(lm, task, (0, 1)).weights
    made = null.embeddings(null.master_weights)
    torch.testing.assert_close(made.norm(dim=2), own.norm(dim=1).expand(2, -1))
    assert not torch.equal(made[0], made[1])
    with pytest.raises(UserError, match=r"has no strength; x0\.5 was asked for"):
        arm(tmp_path, control="x0.5").adapt(lm, task, NO_DRAWS)
    found = {"mine": arm_files.find("mine", str(tmp_path))}
    asked = [one.arguments.get("control") for one in own_arms.wanted(found, task, controls=True)]
    assert asked == [None, "null"]


def test_what_changes_no_weights_otherwise_is_refused(base, lm, task, tmp_path):
    config = peft.PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    peft.get_peft_model(load(str(base)).model, config).save_pretrained(str(tmp_path))
    with pytest.raises(UserError, match="PREFIX_TUNING, which changes no weights"):
        arm(tmp_path).adapt(lm, task, NO_DRAWS)


def test_a_prompt_is_written_as_its_file_says(lm, task, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("Text: {input}\nWhich? {target}\n")
    template, shown = prompt_files.read("p", str(path), task)
    prompt = BroughtPrompt("p", template, shown).adapt(lm, task, NO_DRAWS).write(0, task.test[0])
    assert prompt.text == f"Text: {task.test[0].input}\nWhich?" and not shown
    assert prompt.answers == tuple(f" {choice}" for choice in task.choices)
    path.write_text("Be brief.\n")
    template, _ = prompt_files.read("p", str(path), task)
    prompt = BroughtPrompt("p", template).adapt(lm, task, NO_DRAWS).write(0, task.test[0])
    assert prompt.text == f"Be brief.\n\nInput: {task.test[0].input}\nOutput:"
    again = BroughtPrompt("p", **{"template": asdict(template)})
    assert again.template == template


PROGRAM = {
    "predict": {
        "traces": [],
        "demos": [{"augmented": True, "text": "dull", "label": "negative"}],
        "signature": {
            "instructions": "Classify the mood.",
            "fields": [
                {"prefix": "Text:", "description": "${text}"},
                {"prefix": "Label:", "description": "${label}"},
            ],
        },
    },
    "metadata": {"dependency_versions": {"dspy": "3.0.0"}},
}


def test_a_program_that_dspy_saved_brings_instruction_fields_and_demonstrations(lm, task, tmp_path):
    path = tmp_path / "program.json"
    path.write_text(json.dumps(PROGRAM))
    template, shown = prompt_files.read("p", str(path), task)
    prompt = BroughtPrompt("p", template, shown).adapt(lm, task, NO_DRAWS).write(0, task.test[0])
    assert prompt.text == (
        f"Classify the mood.\n\nText: dull\nLabel: negative\n\nText: {task.test[0].input}\nLabel:"
    )


def changed_program(**changes: Any) -> str:
    return json.dumps({"predict": PROGRAM["predict"] | changes})


FIELDS = PROGRAM["predict"]["signature"]["fields"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("{}", "holds 0 predictors"),
        (json.dumps({"a": PROGRAM["predict"], "b": PROGRAM["predict"]}), "holds 2 predictors"),
        (changed_program(demos=[{"text": "x"}]), "expected texts for text and label"),
        (changed_program(demos=["x"]), "expected texts for text and label"),
        (changed_program(signature={"instructions": "", "fields": [*FIELDS, {"prefix": "Why:"}]}),
         "has 3 fields"),
    ],
)  # fmt: skip
def test_a_program_that_is_none_is_one_line(text, said, task, tmp_path):
    path = tmp_path / "program.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        prompt_files.read("p", str(path), task)
    assert "\n" not in str(caught.value)
