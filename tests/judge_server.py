"""A judge on the loopback: verdicts drawn from the prompt alone, behind OpenAI's chat protocol, with faults by chance.

As a process of its own, so that its clients may be killed while it lives, it prints its port, writes what it sends into
a file, and ends with its standard input:

    python tests/judge_server.py SENT.jsonl --latency 0.02 --faults 0.3 --seed 1 --hang 2
"""

import argparse
import json
import math
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import NamedTuple

FAULTS = ("429", "500", "drop", "hang", "half", "malformed")
"""Too many requests, a server's error, no answer at all, none in time, one that breaks off, one that is no JSON."""
RETRY_AFTER = "0.05"
REFUSAL, UNDECIDED = "I'm sorry, but I can't help with that.", "I cannot decide."
"""What a few prompts in a hundred get, in every run: a refusal, and a verdict without a verdict."""


class Answer(NamedTuple):
    """What goes back: a body as an object, or a text as it is."""

    status: int
    body: object
    headers: Mapping[str, str] = {}


class Sent(NamedTuple):
    """What became of one request."""

    prompt: str
    """The digest of its messages."""
    at: float
    """When it had come, in seconds since 1970."""
    seconds: float
    """How long it took."""
    status: int | None
    """None where nothing was sent."""
    fault: str | None
    """One of FAULTS, or `left`: the client had gone before its answer was ready."""

    @property
    def is_whole(self) -> bool:
        return self.status == 200 and self.fault is None


def digest(messages: list[dict[str, str]]) -> str:
    return sha256(json.dumps(messages).encode()).hexdigest()


def completion(text: str | None, first_token: Mapping[str, float] | None = None, **more: object) -> dict:
    """A completion of the protocol; `more` is more of its message."""
    top = [{"token": token, "logprob": value, "bytes": None} for token, value in (first_token or {}).items()]
    logprobs = {"content": [top[0] | {"top_logprobs": top}]} if top else None
    message = {"role": "assistant", "content": text, **more}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": logprobs}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "judge-1", "choices": [choice]}


def usage(body: Mapping, text: str) -> dict[str, int]:
    """A token is four bytes, and a message takes three besides."""
    read = sum(len(message["content"].encode()) // 4 + 3 for message in body["messages"])
    written = min(body.get("max_completion_tokens") or body["max_tokens"], len(text) // 4 + 1)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def verdict(body: Mapping) -> Answer:
    """A verdict that depends on the messages alone, in the form that they ask for."""
    kind, number = int(digest(body["messages"])[:12], 16) % 100, int(digest(body["messages"])[12:24], 16)
    if kind < 3:
        said = completion(None, refusal=REFUSAL)
        return Answer(200, said | {"usage": usage(body, REFUSAL)})
    text, first_token = spoken(body, number)
    if kind < 6:
        text, first_token = UNDECIDED, {"I": -0.02, "Neither": -4.0}
    said = completion(text, first_token if body.get("logprobs") else None)
    return Answer(200, said | {"usage": usage(body, text)})


def spoken(body: Mapping, number: int) -> tuple[str, dict[str, float] | None]:
    if body.get("logprobs"):
        share = (number % 999 + 0.5) / 999
        first_token = {"m": math.log(share), "M": math.log(1 - share)}
        return max(first_token, key=first_token.__getitem__), first_token
    if "'rank': <model-rank>" in body["messages"][-1]["content"]:
        first = 1 + number % 2
        return str([{"model": "model_1", "rank": first}, {"model": "model_2", "rank": 3 - first}]), None
    return f"Both have their merits, and this is how it is. Rating: [[{1 + number % 10}]]", None


class JudgeServer(ThreadingHTTPServer):
    """Answers what `says` says, while it is entered, and remembers what it was asked and what it has sent.

    Args:
        says: gets the body of a request; one at a time.
        latency: seconds that each answer takes.
        faults: of each of FAULTS the share of requests that meet it, whatever they ask.
        hang: seconds that an answer takes which does not come in time.
        record: a file to which a line is added for each request.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        says: Callable[[dict], Answer] = verdict,
        *,
        latency: float = 0.0,
        faults: Mapping[str, float] | None = None,
        seed: int = 0,
        hang: float = 2.0,
        record: Path | None = None,
    ):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.says, self.latency, self.hang = says, latency, hang
        self.bodies: list[dict] = []
        self.keys: set[str | None] = set()
        self.sent: list[Sent] = []
        self.most_in_flight = 0
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._in_flight, self._random, self._faults = 0, Random(seed), faults or {}
        self._record = record and record.open("a")
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._thread.join()
        if self._record:
            self._record.close()

    def begin(self, body: dict) -> tuple[Answer, str | None]:
        with self.lock:
            self.bodies.append(body)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            shares = [*self._faults.values(), 1 - sum(self._faults.values())]
            [fault] = self._random.choices([*self._faults, None], shares)
            return self.says(body), fault

    def end(self) -> None:
        with self.lock:
            self._in_flight -= 1

    def note(self, sent: Sent) -> None:
        with self.lock:
            self.sent.append(sent)
            if self._record and not self._record.closed:
                self._record.write(json.dumps(sent._asdict()) + "\n")
                self._record.flush()

    def handle_error(self, request, client_address) -> None:
        """A client that goes away is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body together
    disable_nagle_algorithm = True
    server: JudgeServer

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            about = {"id": "judge-1", "object": "model", "created": 0, "owned_by": "tests"}
            self.send(Answer(200, {"object": "list", "data": [about]}))
        else:
            self.send(error(404, f"There is nothing at {self.path}."))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.send(error(404, f"There is nothing at {self.path}."))
            return
        at, clock = time.time(), time.monotonic()
        self.server.keys.add(self.headers["Authorization"])
        answer, fault = self.server.begin(body)
        if fault in ("429", "500"):
            answer = error(int(fault), "A fault, as was asked.", {"Retry-After": RETRY_AFTER})
        self.server.closing.wait(self.server.hang if fault == "hang" else self.server.latency)
        if fault is None and self.client_left():
            fault = "left"
        self.server.end()
        silent = fault in ("drop", "hang", "left")
        sent = Sent(
            digest(body["messages"]), at, time.monotonic() - clock, None if silent else answer.status, fault
        )
        # Before it goes, so that whoever has an answer finds it here.
        self.server.note(sent)
        if silent:
            self.close_connection = True
        else:
            self.send(answer, fault)

    def client_left(self) -> bool:
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except ConnectionError:
            return True

    def send(self, answer: Answer, fault: str | None = None) -> None:
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        data = text.encode()[: len(text) // 2 if fault == "malformed" else None]
        self.send_response(answer.status)
        kind = "application/json" if text.startswith(("{", "[")) else "text/html"
        headers = {"Content-Type": kind, "Content-Length": str(len(data)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault == "half" else data)
        self.close_connection = self.close_connection or fault == "half"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def error(
    status: int, message: str, headers: Mapping[str, str] | None = None, *, code: str | None = None
) -> Answer:
    kind = HTTPStatus(status).phrase
    return Answer(status, {"error": {"message": message, "type": kind, "code": code}}, headers or {})


def evenly(share: float) -> dict[str, float]:
    """Every fault as often as the others, `share` being that of all together."""
    return dict.fromkeys(FAULTS, share / len(FAULTS))


def whole(sent: Iterable[Sent]) -> Counter[str]:
    """How often each prompt has had a whole good reply."""
    return Counter(each.prompt for each in sent if each.is_whole)


def read_sent(path: Path) -> list[Sent]:
    """What a server has recorded; a line that is being written is left out."""
    return [
        Sent(**json.loads(line)) for line in path.read_text().splitlines(keepends=True) if line[-1] == "\n"
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("record", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hang", type=float, default=2.0)
    parser.add_argument("--life", type=float, default=600.0, help="seconds, at most")
    given = parser.parse_args()
    faults = evenly(given.faults)
    with JudgeServer(
        latency=given.latency, faults=faults, seed=given.seed, hang=given.hang, record=given.record
    ) as server:
        print(server.server_port, flush=True)
        select.select([sys.stdin], [], [], given.life)


if __name__ == "__main__":
    main()
