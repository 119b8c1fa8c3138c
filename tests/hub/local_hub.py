"""A Hub on this machine: what huggingface_hub asks of one over HTTP, with faults on demand.

A model is called `user/name`, other repositories `datasets/user/name` and `spaces/user/name`.

As on the Hub, large files lie on another host: they are uploaded to and downloaded from `localhost`, whereas the Hub
itself is `127.0.0.1`, so a token that leaves the Hub is seen. Clients run in processes of their own, since
huggingface_hub reads HF_ENDPOINT and the like when it is imported.
"""

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".tflite", ".bin", ".parquet", ".whl")
"""What the .gitattributes of a new repository send to large file storage."""
ALICE, BOB = "hf_theTokenOfAlice", "hf_theTokenOfBob"
NOBODY = {401: "Invalid username or password.", 404: "Repository not found"}


@dataclass(frozen=True)
class File:
    content: bytes
    large: bool

    @property
    def oid(self) -> str:
        """The sha256 of a large file; otherwise the name that git gives its content."""
        if self.large:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass(frozen=True)
class Commit:
    sha: str
    message: str
    files: dict[str, File]


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, File], message: str) -> Commit:
        commits = self.branches.setdefault(branch, [])
        content = sorted((path, file.oid) for path, file in files.items())
        sha = hashlib.sha1(repr((len(commits), branch, message, content)).encode()).hexdigest()
        commits.append(Commit(sha, message, files))
        return commits[-1]

    def at(self, revision: str) -> Commit | None:
        """The commit that a branch points to, or that is called so."""
        if revision in self.branches:
            return self.branches[revision][-1]
        everything = [commit for commits in self.branches.values() for commit in commits]
        return next((commit for commit in everything if commit.sha == revision), None)


@dataclass
class Fault:
    """What goes wrong with the requests whose method and path match, for so many `times`.

    `status` with `headers` is answered instead of what was asked; or the connection is `cut` after so many bytes of the
    body, be it sent or received; or it hangs there until the Hub stops, where `stalls`.
    """

    method: str
    path: str
    times: float = float("inf")
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stalls: bool = False


@dataclass(frozen=True)
class Request:
    method: str
    host: str
    path: str
    headers: dict[str, str]


class LocalHub:
    """A Hub with users, repositories and faults; `with LocalHub() as hub` serves it."""

    def __init__(self) -> None:
        self.users = {ALICE: "alice", BOB: "bob"}  # by their tokens
        self.repos: dict[str, Repo] = {}
        self.storage: dict[str, bytes] = {}  # of large files, by sha256
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.stopping = threading.Event()
        self.stalled = threading.Event()
        self.connections: set[socket.socket] = set()
        self.port = 0

    def __enter__(self) -> "LocalHub":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve, after a stop on the same port again."""
        self.stopping.clear()
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), type("Handler", (_Handler,), {"hub": self}))
        self.server.daemon_threads, self.server.block_on_close = True, False
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Be gone from the network: connections are refused."""
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):  # the client was the first
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, repo_id: str, files: dict[str, bytes], private: bool = False, gated: bool = False) -> Repo:
        """Make a repository without a client; its paths may be any."""
        repo = self.repos[repo_id] = Repo(private, gated)
        repo.commit("main", {path: File(data, path.endswith(LARGE)) for path, data in files.items()}, "put")
        return repo

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        return {path: file.content for path, file in self.repos[repo_id].at(revision).files.items()}

    def fail(self, method: str, path: str, **fault: object) -> None:
        """Add a `Fault`; `path` is a regular expression that is searched in the path."""
        self.faults.append(Fault(method, path, **fault))

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault of a request, if there is one."""
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Be known as an open connection."""
        super().setup()
        self.hub.connections.add(self.connection)

    def finish(self) -> None:
        """Be known as a closed one."""
        self.hub.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        """Not on stderr, which belongs to the tests."""

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server looks for

    def answer(self) -> None:
        """Route a request, and turn what it raises into a response."""
        self.path = unquote(urlsplit(self.path).path)
        host = self.headers["Host"].partition(":")[0]
        self.hub.requests.append(Request(self.command, host, self.path, dict(self.headers)))
        self.problem = self.hub.fault(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if self.problem and self.problem.cut is not None and length:
            self.rfile.read(min(self.problem.cut, length))
            self.close_connection = True
            return
        self.body = self.rfile.read(length)
        try:
            if self.problem and self.problem.status:
                raise _RefusedError(self.problem.status, "as the test asked for", **self.problem.headers)
            for method, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, self.path)
                if match and self.command in method.split():
                    answer(self, **match.groupdict())
                    return
            raise _RefusedError(404, f"nothing answers {self.command} {self.path}")
        except _RefusedError as refused:
            self.json({"error": refused.message}, refused.status, **refused.headers)

    def json(self, answer: object, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(answer).encode(), status, **{"Content-Type": "application/json", **headers})

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.problem and (self.problem.cut is not None or self.problem.stalls):
            self.wfile.write(content[: self.problem.cut or 0])
            self.wfile.flush()
            if self.problem.stalls:
                self.hub.stalled.set()
                self.hub.stopping.wait(60)
            self.close_connection = True
            return
        self.wfile.write(content)

    # --- who asks, and for what ---

    def user(self) -> str | None:
        """Who asks; a token that is nobody's is refused everywhere."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.hub.users:
            raise _RefusedError(401, "Invalid credentials in Authorization header")
        return self.hub.users.get(token)

    def readable(self, repo_id: str, content: bool = False) -> Repo:
        """A repository that who asks may see, and read the `content` of."""
        user, repo = self.user(), self.hub.repos.get(repo_id)
        owner = user is not None and user == repo_id.split("/")[-2]
        if repo is None or (repo.private and not owner):
            status = 401 if user is None else 404
            raise _RefusedError(status, NOBODY[status], "RepoNotFound")
        if content and repo.gated and not owner:
            raise _RefusedError(401 if user is None else 403, f"Access to model {repo_id} is restricted", "GatedRepo")
        return repo

    def writable(self, repo_id: str) -> Repo:
        repo, user = self.readable(repo_id), self.user()
        if user is None:
            raise _RefusedError(401, NOBODY[401])
        if user != repo_id.split("/")[-2]:
            raise _RefusedError(403, f"You don't have the rights to write to {repo_id}")
        return repo

    def commit_at(self, repo: Repo, revision: str) -> Commit:
        commit = repo.at(revision)
        if commit is None:
            raise _RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # --- what is answered ---

    def whoami(self) -> None:
        user = self.user()
        if user is None:
            raise _RefusedError(401, NOBODY[401])
        self.json({"type": "user", "name": user, "auth": {}})

    def create(self) -> None:
        asked, user = json.loads(self.body), self.user()
        if user is None:
            raise _RefusedError(401, NOBODY[401])
        owner = asked["organization"] or user
        if owner != user:
            raise _RefusedError(403, f"You don't have the rights to create a model under the namespace {owner!r}")
        kind = "" if asked.get("type", "model") == "model" else f"{asked['type']}s/"
        repo_id = f"{kind}{owner}/{asked['name']}"
        answer = {"url": f"{self.hub.url}/{repo_id}", "name": repo_id}
        if repo_id in self.hub.repos:
            self.json({**answer, "error": "You already created this model repo"}, 409)
            return
        repo = self.hub.repos[repo_id] = Repo(private=asked.get("visibility") == "private")
        attributes = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in LARGE)
        repo.commit("main", {".gitattributes": File(attributes.encode(), False)}, "initial commit")
        self.json(answer)

    def validate_yaml(self) -> None:
        self.user()
        self.json({"errors": [], "warnings": []})

    def info(self, repo_id: str, revision: str = "main") -> None:
        repo = self.readable(repo_id)
        commit = self.commit_at(repo, revision)
        siblings = [{"rfilename": path} for path in commit.files]
        about = {"id": repo_id, "modelId": repo_id, "sha": commit.sha, "tags": [], "siblings": siblings}
        self.json({**about, "private": repo.private, "gated": "manual" if repo.gated else False})

    def tree(self, repo_id: str, revision: str) -> None:
        commit = self.commit_at(self.readable(repo_id), revision)
        entries = []
        for path, file in commit.files.items():
            size = len(file.content)
            entries.append({"type": "file", "path": path, "oid": file.oid, "size": size})
            if file.large:
                entries[-1]["lfs"] = {"oid": file.oid, "size": size, "pointerSize": 130}
        self.json(entries)

    def branch(self, repo_id: str, branch: str) -> None:
        repo = self.writable(repo_id)
        if branch in repo.branches:
            raise _RefusedError(409, f"Reference already exists: refs/heads/{branch}")
        repo.branches[branch] = list(repo.branches["main"])
        self.json({})

    def preupload(self, repo_id: str, revision: str) -> None:
        there = self.commit_at(self.writable(repo_id), revision).files
        answer = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(LARGE) else "regular"
            oid = there[path].oid if path in there else None
            answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.json({"files": answer})

    def lfs_batch(self, repo_id: str) -> None:
        self.writable(repo_id)
        objects = []
        for file in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"http://localhost:{self.hub.port}/storage/{file['oid']}/{file['size']}"}}
            objects.append({**file, **({} if file["oid"] in self.hub.storage else {"actions": upload})})
        self.json({"transfer": "basic", "objects": objects})

    def store(self, oid: str, size: str) -> None:
        if len(self.body) != int(size) or hashlib.sha256(self.body).hexdigest() != oid:
            raise _RefusedError(400, "the content is not what was announced")
        self.hub.storage[oid] = self.body
        self.json({})

    def commit(self, repo_id: str, revision: str) -> None:
        repo = self.writable(repo_id)
        files, message = dict(self.commit_at(repo, revision).files), None
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), False)
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.storage:
                    raise _RefusedError(400, f"{value['path']} was not uploaded")
                files[value["path"]] = File(self.hub.storage[value["oid"]], True)
            elif item["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise _RefusedError(400, f"unknown operation {item['key']}")
        sha = repo.commit(revision, files, message).sha
        self.json({"commitUrl": f"{self.hub.url}/{repo_id}/commit/{sha}", "commitOid": sha})

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        commit = self.commit_at(self.readable(repo_id, content=True), revision)
        file = commit.files.get(path)
        if file is None:
            raise _RefusedError(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": commit.sha})
        headers = {"ETag": f'"{file.oid}"', "X-Repo-Commit": commit.sha}
        if not file.large:
            self.content(file.content, headers)
            return
        self.hub.storage[file.oid] = file.content
        location = f"http://localhost:{self.hub.port}/storage/{file.oid}"
        linked = {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": headers["ETag"], "Location": location}
        self.send(b"", 302, **headers, **linked)

    def stored(self, oid: str) -> None:
        self.content(self.hub.storage[oid], {"ETag": f'"{oid}"'})

    def content(self, content: bytes, headers: dict[str, str]) -> None:
        """All of a file, or what a Range asks for."""
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if start is None:
            self.send(content, **headers)
            return
        first, total = int(start[1]), len(content)
        self.send(content[first:], 206, **headers, **{"Content-Range": f"bytes {first}-{total - 1}/{total}"})


_REPO = r"(?P<repo_id>(?:(?:datasets|spaces)/)?[^/]+/[^/]+?)"
_API = rf"/api/(?:models/|(?=datasets/|spaces/)){_REPO}"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", r"/api/whoami-v2", _Handler.whoami),
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.validate_yaml),
    ("GET", rf"{_API}", _Handler.info),
    ("GET", rf"{_API}/revision/(?P<revision>.+)", _Handler.info),
    ("GET", rf"{_API}/tree/(?P<revision>.+)", _Handler.tree),
    ("POST", rf"{_API}/branch/(?P<branch>.+)", _Handler.branch),
    ("POST", rf"{_API}/preupload/(?P<revision>.+)", _Handler.preupload),
    ("POST", rf"{_API}/commit/(?P<revision>.+)", _Handler.commit),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})/(?P<size>\d+)", _Handler.store),
    ("GET HEAD", r"/storage/(?P<oid>[0-9a-f]{64})", _Handler.stored),
    ("GET HEAD", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
]
