"""A stand-in of the model hub: a real HTTP server with the endpoints that pushing and pulling use, and nothing else."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN, USER = "hf_stand_in", "tester"


@dataclass
class Repo:
    """Commits of a repository: sha -> path -> content, and its branches and tags."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.heads[branch] = sha
        return sha

    def files(self, revision: str = "main") -> dict[str, bytes] | None:
        return self.commits.get(self.heads.get(revision, revision))


class Hub(ThreadingHTTPServer):
    """What was created, uploaded and asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    # -- answers -----------------------------------------------------------------------------------------------------

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def json(self, value: object, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def missing(self, code: str) -> None:
        self.answer(404, b"{}", X_Error_Code=code, X_Error_Message=code)

    def handle_any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        for pattern, method, needs_login, answer in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                if needs_login and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self.answer(401, b'{"error": "Invalid username or password."}')
                return answer(self, *match.groups())
        return self.missing("EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    # -- what they ask -----------------------------------------------------------------------------------------------

    def whoami(self) -> None:
        self.json({"type": "user", "name": USER, "orgs": []})

    def yaml(self) -> None:
        self.json({"errors": [], "warnings": []})

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        if not name.startswith(f"{USER}/"):
            return self.json(
                {"error": "You don't have the rights to create a model under this namespace"}, 403
            )
        if name in self.server.repos:
            return self.json(
                {"url": f"{self.server.url}/{name}", "error": "You already created this model repo"}, 409
            )
        repo = self.server.repos[name] = Repo(private=bool(asked.get("private")))
        repo.commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self.json({"url": f"{self.server.url}/{name}", "name": name})

    def repo(self, name: str) -> Repo | None:
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            self.missing("RepoNotFound")
            return None
        return repo

    def info(self, name: str, revision: str | None = None) -> None:
        repo = self.repo(name)
        if repo is None:
            return None
        sha = repo.heads.get(revision or "main", revision or "")
        if sha not in repo.commits:
            return self.missing("RevisionNotFound")
        siblings = [{"rfilename": path} for path in repo.commits[sha]]
        return self.json(
            {
                "id": name,
                "modelId": name,
                "sha": sha,
                "private": repo.private,
                "siblings": siblings,
                "tags": [],
            }
        )

    def preupload(self, name: str, _revision: str) -> None:
        if self.repo(name) is None:
            return None
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith((".safetensors", ".parquet")) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(self.body)["files"]
        ]
        return self.json({"files": files})

    def batch(self, _name: str) -> None:
        objects = [
            one
            if one["oid"] in self.server.large
            else one | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}}
            for one in json.loads(self.body)["objects"]
        ]
        self.json({"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.json({"error": "not that content"}, 400)
        self.server.large[oid] = self.body
        return self.answer(200)

    def commit(self, name: str, branch: str) -> None:
        repo = self.repo(name)
        if repo is None:
            return None
        files = dict(repo.files(branch) or {})
        for line in self.body.splitlines():
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif step["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif step["key"] == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(files, branch)
        return self.json(
            {"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{name}/commit/{sha}"}
        )

    def resolve(self, name: str, revision: str, path: str) -> None:
        repo = self.repo(name)
        if repo is None:
            return None
        sha = repo.heads.get(revision, revision)
        if sha not in repo.commits:
            return self.missing("RevisionNotFound")
        content = repo.commits[sha].get(path)
        if content is None:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self.answer(200, content, X_Repo_Commit=sha, ETag=etag, Content_Length=str(len(content)))


NAME = r"([^/]+/[^/]+)"
ROUTES = (
    ("/api/whoami-v2", ("GET",), True, Handler.whoami),
    ("/api/validate-yaml", ("POST",), False, Handler.yaml),
    ("/api/repos/create", ("POST",), True, Handler.create),
    (f"/api/models/{NAME}", ("GET",), False, Handler.info),
    (f"/api/models/{NAME}/revision/(.+)", ("GET",), False, Handler.info),
    (f"/api/models/{NAME}/preupload/(.+)", ("POST",), True, Handler.preupload),
    (f"/{NAME}.git/info/lfs/objects/batch", ("POST",), True, Handler.batch),
    (r"/lfs/([0-9a-f]{64})", ("PUT",), False, Handler.put),
    (f"/api/models/{NAME}/commit/(.+)", ("POST",), True, Handler.commit),
    (f"/{NAME}/resolve/([^/]+)/(.+)", ("GET", "HEAD"), False, Handler.resolve),
)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """The server, on a port of its own."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
