"""A Hugging Face hub on this machine, as far as a push asks of it."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_secretsecretsecret"


class FakeHub:
    """Repositories of models.

    Attributes:
        url: its address.
        files: by repository, what each of its files holds.
        private: by repository.
        refuses: a status, and the path that is answered by it.
        asked: (method, path) of every request, in order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.refuses: tuple[int, str] | None = None
        self.asked: list[tuple[str, str]] = []

    def has(self, repository: str, private: bool = True, **files: bytes) -> None:
        self.files[repository], self.private[repository] = {**files}, private

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        path = path.partition("?")[0]
        self.asked.append((method, path))
        if self.refuses and path.endswith(self.refuses[1]):
            return self.refuses[0], {"error": f"not with {token}"}
        if token != TOKEN:
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            made = json.loads(body)
            name = f"{made['organization']}/{made['name']}"
            if name in self.files:
                return 409, {"url": f"{self.url}/{name}", "error": "You already created this"}
            # What says so depends on the version of huggingface_hub.
            self.has(name, made.get("private") or made.get("visibility") == "private")
            return 200, {"url": f"{self.url}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        name = "/".join(path.split("/")[3:5])
        if name not in self.files:
            return 404, {"error": "Repository not found"}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in files
            ]
            return 200, {"files": modes}
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files[name][line["value"]["path"]] = content
            done = {"commitUrl": f"{self.url}/{name}/commit/1", "commitOid": "1" * 40}
            return 200, {"success": True, **done}
        siblings = [{"rfilename": file} for file in self.files[name]]
        info = {"id": name, "private": self.private[name], "siblings": siblings, "sha": "1" * 40}
        return 200, info


@contextmanager
def serving() -> Iterator[FakeHub]:
    """Have a hub answer on a port of this machine."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answered(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, found = hub.answer(self.command, self.path, body, token)
            content = json.dumps(found).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _answered

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        hub.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            http.shutdown()
            thread.join()
