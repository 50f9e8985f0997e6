"""A hub on the loopback: a folder of repositories behind the part of the hub's API that its libraries ask for."""

import hashlib
import json
import re
import threading
from collections.abc import Collection
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

ROUTE = re.compile(
    r"(?P<api>/api)?(/(?P<kind>models|datasets))?/(?P<name>[^/]+/[^/]+)"
    r"(/(?P<action>[^/]+)(/(?P<revision>[^/]+)(/(?P<path>.+))?)?)?"
)


class HubServer(ThreadingHTTPServer):
    """Serves `<org>/<name>/...` while it is entered; a folder with a `*config.json` is a model, any other a dataset.

    Args:
        folder: read at each request, so that a repository may change between two.
        gated: repositories whose files need a token; what they hold is told without.
        token: the only token that opens them; None takes any.
        moved: old names, each with the name that the folder has.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path, *, gated: Collection[str] = (), token: str | None = None, moved=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.gated, self.token, self.moved = folder, gated, token, moved or {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []  # the path of each request, without its query
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()
        self._thread.join()

    def repository(self, kind: str, name: str) -> "Repository":
        folder = self.folder / name
        is_model = any(folder.glob("*config.json"))
        if not folder.is_dir() or is_model != (kind == "models"):
            raise Refused(404, "RepoNotFound")
        return Repository(folder)


class Refused(Exception):
    """The request gets this status and this code, by which the libraries tell why."""


class Repository:
    """What a folder holds, as the API lists it; the commit follows from the contents."""

    def __init__(self, folder: Path):
        self.entries: dict[str, dict] = {}
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            path = PurePosixPath(file.relative_to(folder).as_posix())
            for parent in map(str, list(path.parents)[:-1]):
                self.entries[parent] = {"type": "directory", "path": parent, "oid": "0" * 40, "size": 0}
            stat = file.stat()
            oid = blob_id(file, stat.st_mtime_ns)
            self.entries[str(path)] = {"type": "file", "path": str(path), "oid": oid, "size": stat.st_size}
        self.commit = hashlib.sha1(json.dumps(self.entries, sort_keys=True).encode()).hexdigest()

    def siblings(self) -> list[dict]:
        files = [entry for entry in self.entries.values() if entry["type"] == "file"]
        return [{"rfilename": file["path"], "size": file["size"], "blobId": file["oid"]} for file in files]

    def listing(self, under: str, *, recursive: bool) -> list[dict]:
        if under:
            self.entry(under, "directory")
        start = f"{under}/" if under else ""
        below = [entry for path, entry in self.entries.items() if path.startswith(start)]
        return [entry for entry in below if recursive or "/" not in entry["path"].removeprefix(start)]

    def entry(self, path: str, kind: str) -> dict:
        entry = self.entries.get(path)
        if not entry or entry["type"] != kind:
            raise Refused(404, "EntryNotFound")
        return entry


@cache
def blob_id(file: Path, changed: int) -> str:
    """Git's, which is the ETag of a file that is not stored with LFS."""
    data = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    # HTTP 1.0, the default, ends a connection with its answer, so that a server that has stopped answers nobody.
    server: HubServer

    def do_GET(self) -> None:
        self.server.asked.append(urlsplit(self.path).path)
        self.form = parse_qs(self.rfile.read(int(self.headers["Content-Length"] or 0)).decode())
        self.commit: str | None = None
        try:
            moved = self.moved()
            if moved:
                self.send_json({"error": f"moved to {moved}"}, 307, {"Location": moved})
            else:
                self.answer()
        except Refused as refusal:
            status, code = refusal.args
            self.send_json({"error": f"{code}: {self.path}"}, status, {"X-Error-Code": code})

    do_HEAD = do_POST = do_GET

    def moved(self) -> str | None:
        for old, new in self.server.moved.items():
            path, found = re.subn(rf"/{re.escape(old)}(?=[/?]|$)", f"/{new}", self.path, count=1)
            if found:
                return path
        return None

    def answer(self) -> None:
        url = urlsplit(self.path)
        route = ROUTE.fullmatch(url.path)
        if not route:
            raise Refused(404, "RepoNotFound")
        name, path = route["name"], unquote(route["path"] or "")
        repository = self.server.repository(route["kind"] or "models", name)
        self.commit = repository.commit
        if unquote(route["revision"] or "main") not in ("main", repository.commit):
            raise Refused(404, "RevisionNotFound")
        match bool(route["api"]), route["action"]:
            case False, "resolve":
                self.pass_gate(name)
                etag = repository.entry(path, "file")["oid"]
                self.send((self.server.folder / name / path).read_bytes(), 200, {"ETag": f'"{etag}"'})
            case True, None | "revision":
                gated = "auto" if name in self.server.gated else False
                about = {"id": name, "sha": repository.commit, "gated": gated, "private": False}
                self.send_json(about | {"siblings": repository.siblings()})
            case True, "tree":
                recursive = "true" in parse_qs(url.query).get("recursive", [])
                self.send_json(repository.listing(path, recursive=recursive))
            case True, "paths-info":
                known = [repository.entries.get(path) for path in self.form.get("paths", [])]
                self.send_json([entry for entry in known if entry])
            case True, "auth-check":
                self.pass_gate(name)
                self.send_json({})
            case _:
                raise Refused(404, "EntryNotFound")

    def pass_gate(self, name: str) -> None:
        given = self.headers["Authorization"]
        if name in self.server.gated and given is None:
            raise Refused(401, "GatedRepo")
        if name in self.server.gated and self.server.token not in (None, given.removeprefix("Bearer ")):
            raise Refused(403, "GatedRepo")

    def send_json(self, body: object, status: int = 200, headers: dict | None = None) -> None:
        self.send(json.dumps(body).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def send(self, data: bytes, status: int, headers: dict) -> None:
        self.send_response(status)
        commit = {"X-Repo-Commit": self.commit} if self.commit else {}
        for name, value in {**headers, **commit, "Content-Length": len(data)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
