"""Servers of the reference model for tests, each as one of the real ones answers.

What they say is computed plainly: one forward pass for every request.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from adaptlens.lm.load import LM, load

NAME = "toy"

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
Fault = Callable[[str, dict[str, Any]], Answer | None]


@cache
def model() -> LM:
    return load("reference", device="cpu")


@torch.inference_mode()
def logprobs(ids: list[int]) -> torch.Tensor:
    """Return the log-probabilities [seq, vocab] after each token."""
    return model().model(torch.tensor([ids])).logits[0].float().log_softmax(-1).double()


def written(ids: list[int], most: int) -> tuple[str, str]:
    """Return the greedy continuation, and why it ended."""
    out: list[int] = []
    while len(out) < most:
        token = int(logprobs([*ids, *out])[-1].argmax())
        if token in model().eos_ids:
            return _text(out), "stop"
        out.append(token)
    return _text(out), "length"


def _text(ids: list[int]) -> str:
    return model().tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def _ids(prompt: Any) -> list[int]:
    return prompt if isinstance(prompt, list) else model().encode(prompt)


class FakeServer:
    """One server: what was asked of it, and how it answers.

    Attributes:
        kind: "vllm" (echo, tokens), "llama.cpp" (next tokens), "echo" (texts alone, no tokens), or
            "chat" (messages alone, no log-probabilities).
        asked: (path, body) of every request, in order.
        faults: each may answer a request in place of the model.
        names: of its models.
    """

    def __init__(self, kind: str, key: str = "") -> None:
        self.kind, self.key = kind, key
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str] = []
        self.faults: list[Fault] = []
        self.names = [NAME]
        self._lock = threading.Lock()
        self.url = ""

    @property
    def source(self) -> str:
        return f"openai:{self.url}/v1#{NAME}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def fails(self, path: str, *answers: Answer) -> None:
        """Answer the next requests to a path by these, in order; iterators part by part."""
        left = list(answers)

        def fault(asked: str, body: dict[str, Any]) -> Answer | None:
            return left.pop(0) if asked == path and left else None

        self.faults.append(fault)

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        with self._lock:
            self.asked.append((path, body))
            for fault in self.faults:
                if found := fault(path, body):
                    return found
            return self._own(path, body)

    def _own(self, path: str, body: dict[str, Any]) -> Answer:
        knows = {
            "vllm": ("/tokenize", "/detokenize", "/v1/completions"),
            "llama.cpp": ("/tokenize", "/v1/completions", "/completion", "/props"),
            "echo": ("/v1/completions",),
            "chat": ("/v1/chat/completions",),
        }[self.kind]
        if path == "/v1/models":
            data = [
                {"id": name, "owned_by": self.kind, "created": len(self.asked)}
                for name in self.names
            ]
            for one in data if self.kind == "vllm" else []:
                one["max_model_len"] = model().context_tokens
            return 200, {"object": "list", "data": data}
        if path not in knows:
            return 404, {"error": {"message": "Not Found"}}
        return getattr(self, "_" + path.strip("/").replace("/", "_"))(body)

    def _props(self, body: dict[str, Any]) -> Answer:
        return 200, {"default_generation_settings": {"n_ctx": model().context_tokens}}

    def _tokenize(self, body: dict[str, Any]) -> Answer:
        text, name = (
            ("prompt", "add_special_tokens") if self.kind == "vllm" else ("content", "add_special")
        )
        if text not in body:
            return 400, {"error": {"message": "no chat template"}}
        found = (
            model().encode(body[text])
            if body[name]
            else model().tokenizer(body[text], add_special_tokens=False).input_ids
        )
        return 200, {"tokens": found}

    def _completion(self, body: dict[str, Any]) -> Answer:
        ids = body["prompt"]
        scores = logprobs(ids)[-1]
        values, tokens = scores.topk(min(body["n_probs"], len(scores)))
        top = [
            {"id": t, "token": "", "logprob": v}
            for t, v in zip(tokens.tolist(), values.tolist(), strict=True)
        ]
        return 200, {
            "completion_probabilities": [{"top_logprobs": top}],
            "tokens_evaluated": len(ids),
            "tokens_predicted": 1,
            "timings": {"cache_n": 1},
        }

    def _v1_completions(self, body: dict[str, Any]) -> Answer:
        if body["model"] not in self.names:
            return 404, {"error": {"message": "no such model"}}
        ids, usage = _ids(body["prompt"]), {}
        text, reason = written(ids, body["max_tokens"])
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(model().encode(text))}
        if not body.get("echo"):
            for mark in body.get("stop", ()):
                text = text.partition(mark)[0]
            return 200, {"choices": [{"text": text, "finish_reason": reason}], "usage": usage}
        if self.kind not in ("vllm", "echo"):
            return 400, {"error": {"message": "Only no echo is supported"}}
        whole = [*ids, *_ids(text)[-1:]]
        scores = logprobs(whole)
        own = [None, *(float(scores[i, token]) for i, token in enumerate(whole[1:]))]
        found = {"token_logprobs": own}
        if isinstance(body["prompt"], str):
            offsets = (
                model()
                .tokenizer(body["prompt"], add_special_tokens=False, return_offsets_mapping=True)
                .offset_mapping
            )
            starts = [start for start, _ in offsets]
            before = [0] * (len(ids) - len(starts))
            found["text_offset"] = [*before, *starts, len(body["prompt"])]
        return 200, {"choices": [{"text": "", "logprobs": found}], "usage": usage}

    def _v1_chat_completions(self, body: dict[str, Any]) -> Answer:
        asked = "\n\n".join(one["content"] for one in body["messages"])
        text, _ = written(model().encode(asked), body["max_tokens"])
        usage = {"prompt_tokens": len(asked), "completion_tokens": 1}
        return 200, {
            "choices": [{"message": {"role": "assistant", "content": text}}],
            "usage": usage,
        }


@contextmanager
def serving(kind: str, key: str = "") -> Iterator[FakeServer]:
    """Have a server answer on a port of this machine."""
    fake = FakeServer(kind, key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answered(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else {}
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            fake.keys.append(given)
            if fake.key and given != fake.key:
                said = f"Incorrect API key provided: {given}"
                status, found, *more = 401, {"error": {"message": said}}
            else:
                status, found, *more = fake.answer(self.path, body)
            if isinstance(found, Iterator):
                self.send_response(status)
                self.end_headers()
                for part in found:
                    self.wfile.write(part)
                return
            content = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(status)
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answered

        def log_message(self, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Handler) as http:
        fake.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            http.shutdown()
            thread.join()
