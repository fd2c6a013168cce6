import time

import pytest

from adaptlens.errors import UserError
from adaptlens.models import http_client, identity, server
from adaptlens.models.http_client import KEY_VARIABLE, OPENAI_VARIABLE, Connection, Limits
from fake_server import serving

SOON = Limits(retries=2, retry_seconds=0.001, concurrency=1)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.delenv(OPENAI_VARIABLE, raising=False)


@pytest.fixture
def fake():
    with serving("chat") as one:
        yield one


def connection(fake, **limits) -> Connection:
    return Connection(fake.url, Limits(**{"retries": 2, "retry_seconds": 0.001, **limits}))


def asked(one: Connection) -> dict:
    body = {"model": "toy", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
    return one.post("/v1/chat/completions", body, counted=True)


CHAT = "/v1/chat/completions"


def test_what_passes_is_tried_again(fake):
    one = connection(fake)
    fake.fails(CHAT, (503, {"error": "loading"}), (429, {}, {"Retry-After": "0"}))
    assert asked(one)["choices"]
    assert fake.paths() == [CHAT] * 3
    assert one.used.requests == 1


def test_a_pause_that_the_server_asks_for_is_made(fake, monkeypatch):
    made = []
    monkeypatch.setattr(time, "sleep", made.append)
    fake.fails(CHAT, (429, {}, {"Retry-After": "7"}), (503, {}))
    asked(connection(fake))
    assert made == [7.0, 14.0]


def test_pauses_double(fake, monkeypatch):
    made = []
    monkeypatch.setattr(time, "sleep", made.append)
    fake.fails(CHAT, *[(500, {})] * 3)
    asked(connection(fake, retries=3, retry_seconds=0.5))
    assert made == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([(500, {"error": {"message": "out of\nmemory"}})] * 3, r"failed at .*500\): out of\\nmem"),
        ([(429, {"error": "slow down"})] * 3, r"still refuses the pace .*slow down.*concurrency"),
        ([(429, {}, {"Retry-After": "9999"})], r"asks for a pause of 9999 s"),
        ([(429, {"error": {"message": "insufficient_quota"}})], r"account is used up"),
        ([(403, {})], r"asks for a key \(status 403\); set ADAPTLENS_API_KEY"),
        ([(400, {"error": {"message": "too long"}})], r"refuses .*status 400\): too long"),
        ([(307, {}, {"Location": "http://elsewhere"})], r"sends .* elsewhere \(status 307\)"),
        ([(200, "<html>")], r"something else than JSON \(<html>\)"),
    ],
)
def test_a_server_that_fails_is_said_in_a_line(fake, answers, said):
    fake.fails(CHAT, *answers)
    with pytest.raises(UserError, match=said) as error:
        asked(connection(fake))
    assert "\n" not in str(error.value)
    assert len(fake.asked) == len(answers)


def test_a_server_that_is_down_is_said_in_a_line():
    with serving("chat") as fake:
        pass
    with pytest.raises(UserError, match=r"cannot be reached \(Connection refused\); start it"):
        asked(connection(fake))


def test_a_server_that_is_slow_is_said_in_a_line(fake):
    def slow(path, body):
        time.sleep(0.2)

    fake.faults.append(slow)
    with pytest.raises(UserError, match=r"gave no answer to .* within 0.05 s; .*timeout_seconds"):
        asked(connection(fake, timeout_seconds=0.05, retries=0))


def test_an_answer_that_never_ends_is_broken_off(fake, monkeypatch):
    monkeypatch.setattr(http_client, "LARGEST_ANSWER_BYTES", 2**20)
    sent = []

    def forever():
        while True:
            sent.append(2**16)
            yield b" " * 2**16

    for status in (200, 500):
        fake.fails(CHAT, (status, forever()))
        with pytest.raises(
            UserError, match=r"sends more than 1 MiB in answer to /v1/chat"
        ) as error:
            asked(connection(fake))
        assert "\n" not in str(error.value)
    # What lies in the buffers between the two is sent, too.
    assert sum(sent) < 32 * 2**20


def test_an_answer_that_trickles_is_not_waited_for_longer_than_one(fake):
    def trickling():
        while True:
            time.sleep(0.02)
            yield b" " * 2**16

    fake.fails(CHAT, (200, trickling()))
    with pytest.raises(UserError, match=r"gave no answer to .* within 0.2 s; .*timeout_seconds"):
        asked(connection(fake, timeout_seconds=0.2, retries=0))


def test_the_key_is_sent_and_never_said(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret")
    with serving("chat", key="sk-secret") as fake:
        one = connection(fake)
        assert asked(one)["choices"]
        fake.fails(CHAT, (400, {"error": {"message": "the key sk-secret is odd"}}))
        with pytest.raises(UserError, match=r"the key \*\*\* is odd"):
            asked(one)
        fake.fails(CHAT, (200, "no JSON, but your key: sk-secret"))
        with pytest.raises(UserError, match=r"something else than JSON .*\*\*\*"):
            asked(one)
        monkeypatch.setenv(KEY_VARIABLE, "sk-other")
        with pytest.raises(UserError, match=r"refuses the key \(status 401\)") as error:
            asked(one)
    assert "sk-" not in str(error.value) + repr(one)
    assert fake.keys == ["sk-secret", "sk-secret", "sk-secret", "sk-other"]


def test_the_key_of_openai_goes_to_no_other_server(fake, monkeypatch):
    monkeypatch.setenv(OPENAI_VARIABLE, "sk-openai")
    asked(connection(fake))
    assert fake.keys == [""]


def test_a_limit_of_requests_ends_it_before_the_next(fake):
    one = connection(fake, max_requests=2)
    asked(one), asked(one)
    with pytest.raises(UserError, match=r"limit of 2 requests \(--max-requests\).*2 requests"):
        asked(one)
    assert len(fake.asked) == 2


def test_a_limit_of_tokens_counts_what_is_read_and_written(fake):
    one = connection(fake, max_tokens=4)
    asked(one), asked(one)
    assert (one.used.read_tokens, one.used.written_tokens) == (2, 2)
    with pytest.raises(UserError, match=r"limit of 4 tokens \(--max-tokens\).*2 tokens read and 2"):
        asked(one)


def test_the_first_error_ends_what_has_not_begun(fake):
    fake.faults.append(lambda path, body: (400, {"error": "no"}))
    one = connection(fake, concurrency=2)
    with pytest.raises(UserError, match="refuses"):
        one.each(lambda _: asked(one), range(50), None)
    assert len(fake.asked) < 50


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("openai:127.0.0.1:8080/v1#a", "names no server; expected openai:URL#NAME"),
        ("openai:http://me:sk-1@host/v1#a", "has a user name or key in it"),
        ("openai:http://host/v1?key=1#a", "names no server"),
    ],
)
def test_a_name_that_names_no_server_is_refused(source, said):
    with pytest.raises(UserError, match=said) as error:
        server.connect(source, SOON)
    assert "sk-1" not in str(error.value)


def test_a_model_that_the_server_has_not_is_refused(fake):
    with pytest.raises(UserError, match=r"unknown model at .* 'tony'; did you mean 'toy'\?"):
        server.connect(f"openai:{fake.url}/v1#tony", SOON)
    with pytest.raises(UserError, match=r"names no model .* it has toy: give for example"):
        server.connect(f"openai:{fake.url}/v1", SOON)


def test_what_is_no_server_of_models_is_refused(fake):
    fake.fails("/v1/models", (404, {}))
    with pytest.raises(UserError, match="names its models at /v1/models"):
        server.connect(fake.source, SOON)


def test_a_served_model_is_what_its_server_says():
    with serving("vllm") as fake:
        first = server.connect(fake.source, SOON)
        assert server.connect(fake.source.replace("/v1", "/v1/"), SOON).digest == first.digest
        fake.names.append("other")
        other = server.connect(fake.source.replace("#toy", "#other"), SOON)
        spec = identity.identify(f"chat:{fake.source}")
    assert other.digest != first.digest
    assert other.connection is first.connection
    assert (spec.digest, spec.dtype, spec.chat) == (first.digest, "served", True)
    assert identity.label(f"chat:{fake.source}") == "chat:toy"
    assert "cannot be digested" in first.notes[0]


def test_what_takes_weights_refuses_a_served_model(fake):
    server.connect(fake.source, SOON)
    for ask in (identity.locate, lambda name: identity.identify(name, quantize="4bit")):
        with pytest.raises(UserError, match=r"'toy' is served .* can only be prompted"):
            ask(fake.source)
