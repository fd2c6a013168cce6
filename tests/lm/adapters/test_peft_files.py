"""Which adapters of PEFT are read: those whose settings are known to change nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import safetensors.torch
import torch

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.peft_files import BeyondLora
from adaptlens.lm.prefix.boundaries import Request
from adaptlens.lm.score import score

pytestmark = pytest.mark.filterwarnings("ignore")
REQUEST = Request((5, 6, 7, 8), ((9,), (10, 11)))


def saved(folder: Path, **settings: Any) -> Any:
    """Save an adapter as PEFT does, with every number of it random, and return its model."""
    config = peft.LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **settings},
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(1)
    model = peft.get_peft_model(tiny.tiny_model("llama"), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(str(folder))
    return peft.PeftModel.from_pretrained(tiny.tiny_model("llama"), str(folder)).eval()


def own_scores(model: Any) -> list[float]:
    found = []
    for answer in REQUEST.answers_ids:
        with torch.no_grad():
            ids = torch.tensor([[*REQUEST.prompt_ids, *answer]])
            logs = model(input_ids=ids).logits[0].log_softmax(-1)
        start = len(REQUEST.prompt_ids) - 1
        found.append(sum(float(logs[start + i, token]) for i, token in enumerate(answer)))
    return found


READ = {
    "plain": {},
    "all linear": {"target_modules": "all-linear"},
    "a longer name": {"target_modules": ["self_attn.q_proj"]},
    "an alpha below 1": {"lora_alpha": 0.5},
    "dropout": {"lora_dropout": 0.3},
    "gaussian start": {"init_lora_weights": "gaussian"},
    "orthogonal start": {"init_lora_weights": "orthogonal"},
    "no start": {"init_lora_weights": False},
    "output head": {"target_modules": ["q_proj", "lm_head"]},
    "rank-stabilized": {"use_rslora": True, "r": 6},
    "DoRA": {"use_dora": True},
    "DoRA of ranks": {"use_dora": True, "rank_pattern": {"v_proj": 2}, "use_rslora": True},
    "ranks": {"rank_pattern": {"v_proj": 2, "layers.0.self_attn.q_proj": 7}},
    "alphas": {"alpha_pattern": {"v_proj": 2, "^model.layers.1.*q_proj": 30}},
    "ranks, alphas, rank-stabilized": {
        "rank_pattern": {"q_proj": 1}, "alpha_pattern": {"v_proj": 5}, "use_rslora": True,
    },
    "left out": {"exclude_modules": ["model.layers.1.self_attn.q_proj"]},
    "one layer": {"layers_to_transform": [0]},
    "a layer of a pattern": {"layers_to_transform": 1, "layers_pattern": "layers"},
    "pattern": {"target_modules": r".*layers\.0.*q_proj"},
}  # fmt: skip
BEYOND = {
    "init_lora_weights": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "pissa by iteration": {"init_lora_weights": "pissa_niter_4"},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "bias": {"bias": "lora_only"},
    "lora_bias": {"lora_bias": True},
    "trainable_token_indices": {"trainable_token_indices": [5, 6]},
    "embeddings": {"target_modules": ["embed_tokens"]},
}


@pytest.mark.parametrize("case", READ)
def test_what_is_read_scores_as_peft_does(case: str, tmp_path: Path) -> None:
    model = saved(tmp_path, **READ[case])
    lm = tiny.tiny_lm("llama")
    (found,) = score(lm, [REQUEST], LoraBank.load(lm, [tmp_path]))
    np.testing.assert_allclose(found, own_scores(model), atol=1e-4)


@pytest.mark.parametrize("case", BEYOND)
def test_what_is_more_than_two_matrices_is_refused_by_name(case: str, tmp_path: Path) -> None:
    saved(tmp_path, **BEYOND[case])
    with pytest.raises(BeyondLora) as caught:
        LoraBank.load(tiny.tiny_lm("llama"), [tmp_path])
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400
    named = {
        "olora": "init_lora_weights", "pissa by iteration": "init_lora_weights",
        "embeddings": "embed",
    }.get(case, case)  # fmt: skip
    assert named in text


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    saved(folder)
    return folder


def altered(plain: Path, folder: Path, **changes: Any) -> Path:
    config = json.loads((plain / "adapter_config.json").read_text()) | changes
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(
        (plain / "adapter_model.safetensors").read_bytes()
    )
    return folder


@pytest.mark.parametrize("off", [None, False, "", [], {}])
def test_a_setting_of_another_version_that_is_off_is_passed_over(
    off: Any, plain: Path, tmp_path: Path
) -> None:
    lm = tiny.tiny_lm("llama")
    found = LoraBank.load(lm, [altered(plain, tmp_path, use_novelty=off)])
    assert torch.equal(found.master_weights, LoraBank.load(lm, [plain]).master_weights)


@pytest.mark.parametrize("on", [True, 0, 1, "yes", [1], {"a": 1}, 0.0])
def test_a_setting_nobody_knows_is_refused_by_name(on: Any, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="uses the setting use_novelty: "):
        LoraBank.load(tiny.tiny_lm("llama"), [altered(plain, tmp_path, use_novelty=on)])


@pytest.mark.parametrize(
    "changes",
    [
        {"r": "4"}, {"r": 0}, {"r": True}, {"r": 4.5}, {"r": None}, {"r": 5}, {"r": 10**30},
        {"lora_alpha": "8"}, {"lora_alpha": None}, {"lora_alpha": float("nan")},
        {"lora_dropout": -1}, {"lora_dropout": "no"}, {"lora_dropout": 1.0},
        {"target_modules": None}, {"target_modules": []}, {"target_modules": [3]},
        {"target_modules": {"a": 1}}, {"target_modules": ["nowhere"]}, {"peft_type": ["LORA"]},
        {"rank_pattern": {"q_proj": 5}}, {"rank_pattern": {"q_proj": "4"}}, {"rank_pattern": [4]},
        {"alpha_pattern": {"(": 4}}, {"alpha_pattern": {"v_proj": None}}, {"use_rslora": "yes"},
        {"modules_to_save": "lm_head"}, {"modules_to_save": [3]},
        {"task_type": "SEQ_CLS"}, {"bias": ["none"]}, {"init_lora_weights": 1},
    ],
)  # fmt: skip
def test_settings_of_the_wrong_kind_are_one_line(
    changes: dict[str, Any], plain: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        LoraBank.load(tiny.tiny_lm("llama"), [altered(plain, tmp_path, **changes)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1]", "3", "null", "{", '"x"', "[" * 100_000, "\udcff"])
def test_a_configuration_that_is_none_is_one_line(text: str, plain: Path, tmp_path: Path) -> None:
    folder = altered(plain, tmp_path)
    (folder / "adapter_config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="is damaged") as caught:
        LoraBank.load(tiny.tiny_lm("llama"), [folder])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_with_what_is_no_number_is_refused_by_name(
    value: float, plain: Path, tmp_path: Path
) -> None:
    folder = altered(plain, tmp_path)
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    name = sorted(tensors)[0]
    tensors[name][0, 0] = value
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match=f"{name} holds what is no number"):
        LoraBank.load(tiny.tiny_lm("llama"), [folder])
