"""Files go to a hub only with a token, into a new or empty repository, private unless asked."""

import pytest
from huggingface_hub import constants

from adaptlens.errors import UserError
from adaptlens.models import hub_upload
from fake_hub import TOKEN, serving

FILES = {"README.md": b"---\nlibrary_name: peft\n---\n# a", "adapter_config.json": b"{}",
         "adapter_model.safetensors": bytes(range(256))}  # fmt: skip


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving() as one:
        monkeypatch.setattr(constants, "ENDPOINT", one.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield one


def test_a_new_repository_holds_the_files_and_is_private(hub):
    assert hub_upload.push("ana/reviews", FILES) == f"{hub.url}/ana/reviews"
    assert hub.files == {"ana/reviews": FILES}
    assert hub.private == {"ana/reviews": True}


def test_one_that_was_asked_to_be_public_is(hub):
    hub_upload.push("ana/reviews", FILES, public=True)
    assert hub.private == {"ana/reviews": False}


def test_an_empty_one_is_filled(hub):
    hub.has("ana/reviews", **{".gitattributes": b"*"})
    hub_upload.push("ana/reviews", FILES)
    assert hub.files["ana/reviews"] == {".gitattributes": b"*", **FILES}


def refused(said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        hub_upload.push("ana/reviews", FILES)
    assert "\n" not in str(error.value) and TOKEN not in str(error.value)


def test_one_that_holds_something_is_left_as_it_is(hub):
    hub.has("ana/reviews", **{"model.safetensors": b"theirs"})
    refused(r"is there and holds 1 files \(model.safetensors, ...\); nothing is replaced")
    assert hub.files == {"ana/reviews": {"model.safetensors": b"theirs"}}


def test_a_public_one_is_not_filled_unasked(hub):
    hub.has("ana/reviews", private=False)
    refused("is there and public; give --public")
    hub_upload.push("ana/reviews", FILES, public=True)


@pytest.mark.parametrize(
    ("status", "path", "said"),
    [
        (401, "/api/models/ana/reviews", r"refuses the token \(status 401\); set another HF_TOKEN"),
        (403, "/api/repos/create", r"does not let this token write there \(status 403\)"),
        (403, "/commit/main", r"does not let this token write there \(status 403\)"),
        (400, "/commit/main", r"refuses it: not with \*\*\* \(status 400\)"),
    ],
)
def test_a_hub_that_refuses_is_said_in_a_line(hub, status, path, said):
    hub.refuses = status, path
    refused(said)


def test_a_token_that_is_wrong_is_said_in_a_line(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused(r"refuses the token \(status 401\)")
    assert hub.files == {}


def test_nothing_is_asked_without_a_token_or_offline(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    refused("without a token .*HF_TOKEN .*hf auth login")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE is set")
    assert hub.asked == []


def test_a_hub_that_is_down_is_said_in_a_line(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    refused(r"the hub http://127.0.0.1:9 cannot be reached")


@pytest.mark.parametrize("name", ["reviews", "ana/reviews/1", "/reviews", "ana/../b", "a" * 97])
def test_a_name_that_is_no_repositorys_is_refused(name):
    with pytest.raises(UserError, match="expected OWNER/NAME"):
        hub_upload.check_name(name)


@pytest.mark.parametrize(
    ("name", "base"),
    [("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"), ("chat:Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
     ("reference", ""), ("smollm2", ""), ("./models/mine", ""), ("/models/mine", "")],
)  # fmt: skip
def test_a_base_is_named_by_its_hub_id_alone(name, base):
    assert hub_upload.base_on_hub(name) == base


def test_a_folder_that_looks_like_a_hub_id_is_a_folder(tmp_path, monkeypatch):
    (tmp_path / "models/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_upload.base_on_hub("models/mine") == ""
