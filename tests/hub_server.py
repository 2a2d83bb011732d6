"""A server with the part of the Hugging Face Hub's interface that uploads and downloads use.

Repositories are in memory. As on the Hub, files that end in .safetensors, .onnx or .parquet are stored under their
SHA-256 (LFS), all others under git's hash; a revision is `main` or a commit, and a write needs a token.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_test"
LARGE = (".safetensors", ".onnx", ".parquet")
Files = dict[str, bytes]


@dataclass
class Repository:
    """The files of each commit, and what was asked for when it was made."""

    created: dict[str, Any]
    commits: dict[str, Files] = field(default_factory=dict)

    def at(self, revision: str) -> tuple[str, Files] | None:
        """Return a commit and its files; None if there is no such revision."""
        commit = ([None, *self.commits][-1] if revision == "main" else revision) or ""
        return (commit, self.commits[commit]) if commit in self.commits else None

    def commit(self, files: Files) -> str:
        """Add a commit; return its hash."""
        name = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[name] = files
        return name


class Hub(ThreadingHTTPServer):
    """The server. `requests` lists what was asked of it.

    `fault` says what happens in the middle of a file: `cut` ends the connection, `stall` leaves it open for ever, and
    `damage` sends other bytes. `stalled` is set once a file has stalled.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fault = ""
        self.stalled = threading.Event()

    def files(self, repository: str) -> Files:
        """Return the newest files of a repository: `owner/name`, or `datasets/owner/name`."""
        found = self.repositories[repository].at("main")
        assert found is not None
        return found[1]

    def add(self, repository: str, files: Files) -> str:
        """Add a commit to a repository, which is made if it is not there; return the commit."""
        return self.repositories.setdefault(repository, Repository({})).commit(files)


class Handler(BaseHTTPRequestHandler):
    """Answers requests."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._file(self._path())

    def do_GET(self) -> None:
        path = self._path()
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)", path):
            found = self._repository(match[1], match[2]).at(unquote(match[3]))
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": _git_hash(content)}
                for name, content in (found[1] if found else {}).items()
            ]
            self._answer(200, entries)
        else:
            self._file(path)

    def do_PUT(self) -> None:
        oid = self._path().rpartition("/")[2]
        content = self._body()
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.stored[oid] = content
        self._answer(200, {})

    def do_POST(self) -> None:
        path, body = self._path(), self._body()
        if path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            prefix = {"dataset": "datasets/"}.get(asked.get("type"), "")
            name = f"{prefix}{asked['organization']}/{asked['name']}"
            known = name in self.server.repositories
            self.server.repositories.setdefault(name, Repository(asked))
            self._answer(409 if known else 200, {"url": f"{self.server.address}/{name}"})
        elif match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/(preupload|commit)/main", path):
            answer = self._preupload if match[3] == "preupload" else self._commit
            self._answer(200, answer(match[1], match[2], body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                one
                | {"actions": {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}", "header": {}}}}
                for one in json.loads(body)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})
        else:
            self._answer(404, {"error": path})

    def _preupload(self, kind: str, name: str, body: bytes) -> Any:
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(body)["files"]
        ]
        return {"files": files}

    def _commit(self, kind: str, name: str, body: bytes) -> Any:
        repository = self._repository(kind, name)
        newest = repository.at("main")
        files = dict(newest[1]) if newest else {}
        for line in map(json.loads, body.splitlines()):
            key, value = line["key"], line["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(files)
        place = name if kind == "models" else f"{kind}/{name}"
        return {"commitUrl": f"{self.server.address}/{place}/commit/{commit}", "commitOid": commit}

    def _file(self, path: str) -> None:
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repository = self.server.repositories.get(match[1]) if match else None
        if match is None or repository is None:
            return self._answer(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
        found = repository.at(unquote(match[2]))
        if found is None:
            return self._answer(404, {"error": "none"}, {"X-Error-Code": "RevisionNotFound"})
        commit, files = found
        name = unquote(match[3])
        if name not in files:
            return self._answer(404, {"error": "none"}, {"X-Error-Code": "EntryNotFound"})
        large = name.endswith(LARGE)
        etag = hashlib.sha256(files[name]).hexdigest() if large else _git_hash(files[name])
        self._answer(200, files[name], {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    def _repository(self, kind: str, name: str) -> Repository:
        return self.server.repositories[name if kind == "models" else f"{kind}/{name}"]

    def _path(self) -> str:
        self.server.requests.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        assert not parse_qs(parts.query).get("create_pr")
        return parts.path

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        fault, half = self.server.fault if isinstance(content, bytes) else "", len(text) // 2
        self.wfile.write(text[:half])
        if fault == "stall":
            self.wfile.flush()
            self.server.stalled.set()
            self.rfile.read(1)  # until the client goes
        if fault in ("cut", "stall"):
            self.close_connection = True
        else:
            self.wfile.write(bytes(len(text) - half) if fault == "damage" else text[half:])


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """Run the server while the block runs."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
