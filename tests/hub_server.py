"""A hub on this machine: the few answers of its server that making a repository, a commit and a download ask for."""

import base64
import hashlib
import importlib
import json
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN = "hf_of_a_test"
LARGE = ".safetensors"
"""What is sent apart from the commit, as large files are."""


@dataclass
class State:
    """What the hub holds: of every repository its commits, each all files of it, and the requests it met."""

    commits: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def put(self, name, **files):
        """Commit files, by name without suffix, as somebody else would."""
        latest = self.commits.setdefault(name, [{}])
        latest.append(latest[-1] | {file.replace("__", "."): content for file, content in files.items()})

    def at(self, name, revision):
        """Return the files and the hash of a revision; None if there is none."""
        hashes = [hash_of(name, number) for number in range(len(self.commits[name]))]
        if revision == "main":
            revision = hashes[-1]
        return (self.commits[name][hashes.index(revision)], revision) if revision in hashes else None


def point_client(monkeypatch, address, home, **settings):
    """Point huggingface_hub, which reads its settings once, to a hub; with a cache of its own. Return the module."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        monkeypatch.delitem(sys.modules, name)
    variables = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_TOKEN": "", **settings}
    variables |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return importlib.import_module("huggingface_hub")


def hash_of(name, number):
    return hashlib.sha1(f"{name} {number}".encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", **headers):
        content = json.dumps(content).encode() if isinstance(content, dict | list) else content
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status, code):
        self.answer(status, x_error_code=code, x_error_message=code)

    def handle_any(self):
        state, path = self.server.state, urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if "chunked" in self.headers.get("transfer-encoding", ""):
            body = b"".join(iter(self.read_chunk, b""))
        state.requests.append(f"{self.command} {path}")
        self.may_write = self.headers.get("authorization") == f"Bearer {TOKEN}"
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                self.create(json.loads(body))
            case ["api", "models", owner, name, "preupload", _]:
                files = json.loads(body)["files"]
                modes = {file["path"]: "lfs" if file["path"].endswith(LARGE) else "regular" for file in files}
                self.answer(
                    200,
                    {
                        "files": [
                            {"path": file, "uploadMode": mode, "shouldIgnore": False} for file, mode in modes.items()
                        ]
                    },
                )
            case [owner, name, "info", "lfs", "objects", "batch"]:
                self.batch(json.loads(body))
            case ["blobs", oid]:
                state.blobs[oid] = body
                self.answer(200)
            case ["api", "models", owner, name, "commit", _]:
                self.commit(f"{owner}/{name}", body)
            case ["api", "validate-yaml"]:
                self.answer(200, {"errors": [], "warnings": []})
            case ["api", "models", owner, name, *_] if f"{owner}/{name}" in state.commits:
                self.answer(200, {"id": f"{owner}/{name}", "sha": state.at(f"{owner}/{name}", "main")[1]})
            case ["api", "models", *_]:
                self.refuse(401, "RepoNotFound")
            case [owner, name, "resolve", revision, *file]:
                self.resolve(f"{owner}/{name}", revision, "/".join(file))
            case _:
                self.answer(404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def read_chunk(self):
        content = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return content

    def create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        if not self.may_write:
            self.refuse(401, "Unauthorized")
            return
        exists = name in self.server.state.commits
        if not exists:
            self.server.state.commits[name] = [{}]
            if asked.get("private") or asked.get("visibility") == "private":
                self.server.state.private.add(name)
        self.answer(409 if exists else 200, {"url": f"{self.server.address}/{name}", "error": "exists"})

    def batch(self, asked):
        actions = {"upload": {"href": f"{self.server.address}/blobs/{{}}"}}
        self.answer(
            200,
            {
                "transfer": "basic",
                "objects": [
                    {**one, "actions": {"upload": {"href": actions["upload"]["href"].format(one["oid"])}}}
                    for one in asked["objects"]
                ],
            },
        )

    def commit(self, name, body):
        state = self.server.state
        files = dict(state.commits[name][-1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                state.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = state.blobs[value["oid"]]
        state.commits[name].append(files)
        oid = hash_of(name, len(state.commits[name]) - 1)
        self.answer(200, {"commitUrl": f"{self.server.address}/{name}/commit/{oid}", "commitOid": oid, "success": True})

    def resolve(self, name, revision, file):
        state = self.server.state
        if name not in state.commits or (name in state.private and not self.may_write):
            self.refuse(401 if name not in state.private else 404, "RepoNotFound")
            return
        found = state.at(name, revision)
        if found is None:
            self.refuse(404, "RevisionNotFound")
            return
        files, oid = found
        if file not in files:
            self.answer(404, x_error_code="EntryNotFound", x_repo_commit=oid)
            return
        content = files[file]
        etag = hashlib.sha256(content).hexdigest()
        self.answer(200, content, etag=f'"{etag}"', x_repo_commit=oid, x_linked_size=str(len(content)))


@contextmanager
def hub():
    """Run a hub on a free port; yield its address and its state."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.state = State()
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.address, server.state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
