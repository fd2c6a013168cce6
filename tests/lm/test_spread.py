"""A model in several places gives what it gives in one, or a refusal of one line."""

import importlib.util
from typing import Any

import accelerate
import numpy as np
import pytest
import torch

import tiny
from adaptlens.adapt import loop
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.errors import UserError
from adaptlens.lm import score
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.full_weights import FullParameters
from adaptlens.lm.generate import generate
from adaptlens.lm.load import LM, assemble, load
from adaptlens.lm.patching.patch import sweep
from adaptlens.lm.prefix.boundaries import Request
from adaptlens.lm.spread import is_spread
from adaptlens.lm.states import Place, lens, readout, states_at
from adaptlens.lm.units import Pair

STEM = tuple(range(10, 130))
REQUESTS = [Request((*STEM, 200 + n, 9 + n), ((7,), (8, 9))) for n in range(6)]
EXAMPLES = [[TokenizedExample((5, 6, 7, 20 + n, 30 + v), 3) for n in range(4)] for v in range(2)]


@pytest.fixture(scope="module")
def whole() -> LM:
    return tiny.tiny_lm("llama")


@pytest.fixture(scope="module")
def spread(tmp_path_factory) -> LM:
    """The same model, two of its layers on disk."""
    parts = ("model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.norm", "lm_head")
    places: dict[str, Any] = dict.fromkeys(parts, "cpu")
    places |= {"model.layers.1": "disk", "model.layers.2": "disk"}
    model = accelerate.dispatch_model(
        tiny.tiny_model("llama"),
        places,
        main_device=torch.device("cpu"),
        offload_dir=tmp_path_factory.mktemp("offloaded"),
    )
    return assemble(model, tiny.tiny_tokenizer(), name="spread", digest="")


def test_it_passes_the_gate_and_takes_tokens_where_it_begins(spread: LM) -> None:
    assert is_spread(spread.model)
    assert next(spread.model.model.layers[1].parameters()).is_meta
    assert (spread.shares_prefix, spread.notes) == (True, ())
    assert spread.device == torch.device("cpu")


def test_answers_have_the_same_log_likelihoods(whole: LM, spread: LM) -> None:
    found, wanted = score.score(spread, REQUESTS), score.score(whole, REQUESTS)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_states_are_the_same_and_read_alike(whole: LM, spread: LM) -> None:
    found, wanted = (
        states_at(lm, [Place(r.prompt_ids) for r in REQUESTS]) for lm in (spread, whole)
    )
    np.testing.assert_allclose(found.residual, wanted.residual, atol=1e-5)
    np.testing.assert_allclose(found.final, wanted.final, atol=1e-5)
    said = [lens(lm, wanted.residual, [7, 8]) for lm in (spread, whole)]
    np.testing.assert_allclose(said[0], said[1], atol=1e-5)
    for own, same in zip(readout(spread, [7, 8]), readout(whole, [7, 8]), strict=True):
        np.testing.assert_allclose(own, same, atol=1e-5)


def test_generated_texts_are_the_same(whole: LM, spread: LM) -> None:
    found, wanted = (generate(lm, REQUESTS, max_new_tokens=8) for lm in (spread, whole))
    assert found == wanted and len({*wanted}) > 1


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_are_trained_and_read_the_same(whole: LM, spread: LM, checkpointing: bool) -> None:
    found = []
    for lm in (spread, whole):
        bank = LoraBank(lm, num_variants=2, rank=4)
        config = TrainingConfig(
            (1e-2,) * 2, (3,) * 2, (0,) * 2, epsilon=1e-2, gradient_checkpointing=checkpointing
        )
        history = loop.train(lm, bank, EXAMPLES, config)
        asked = [Request(r.prompt_ids, r.answers_ids, n % 2) for n, r in enumerate(REQUESTS)]
        found.append((bank.master_weights, history.losses, score.score(lm, asked, bank)))
    (numbers, losses, said), (own, wanted, same) = found
    assert wanted[-1].max() < wanted[0].max()
    torch.testing.assert_close(numbers, own, atol=1e-6, rtol=0)
    np.testing.assert_allclose(losses, wanted, atol=1e-5)
    np.testing.assert_allclose(said, same, atol=1e-5)


def test_what_it_cannot_do_is_refused_in_one_line(spread: LM) -> None:
    pair = Pair((5, 6, 7), (5, 6, 8), 9, 10, ((2,),))
    with pytest.raises(UserError, match="patching was asked for, but 'spread' is spread over"):
        sweep(spread, [pair])
    with pytest.raises(UserError, match="full tuning was asked for, but 'spread' is spread over"):
        FullParameters(spread)


def test_a_device_of_map_leaves_a_model_that_fits_one_device_there(tmp_path, whole: LM) -> None:
    lm = load(str(tiny.tiny_folder(tmp_path, "llama")), device="map")
    np.testing.assert_allclose(score.score(lm, REQUESTS), score.score(whole, REQUESTS), atol=1e-5)
    if not torch.cuda.is_available():
        assert lm.device == torch.device("cpu") and not is_spread(lm.model)


def test_without_accelerate_the_way_to_get_it_is_said(tmp_path, monkeypatch) -> None:
    folder = tiny.tiny_folder(tmp_path, "llama")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'adaptlens\[device-map\]'"):
        load(str(folder), device="map")
