"""A judge behind the chat completions protocol, against a real HTTP server on the loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from im_bench.config import Judge, UserError
from im_bench.judging import api, open_judge
from im_bench.judging.judge import Rating, Reply, Request

KEY = "k-123456"


def completion(text: str | None, first_token: dict[str, float] | None = None) -> dict:
    alternatives = [
        {"token": token, "logprob": value, "bytes": None} for token, value in (first_token or {}).items()
    ]
    logprobs = {"content": [alternatives[0] | {"top_logprobs": alternatives}]} if alternatives else None
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice | {"logprobs": logprobs}],
    }


class Server(ThreadingHTTPServer):
    """Answers each body by `respond`, which gives a status and a body, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, respond: Callable[[dict], tuple[int, dict]]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond = respond
        self.bodies: list[dict] = []
        self.keys: set[str | None] = set()
        self.paths: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.keys.add(self.headers["Authorization"])
        self.server.paths.add(self.path)
        status, answer = self.server.respond(body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(respond: Callable[[dict], tuple[int, dict]]) -> Iterator[Server]:
    server = Server(respond)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def spec_at(port: int, **changes: object) -> Judge:
    spec = Judge(
        name="served",
        kind="openai",
        model="some-model",
        temperature=0.25,
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key_env="IM_BENCH_TEST_KEY",
        concurrency=4,
        timeout_seconds=5,
    )
    return spec.model_copy(update=changes)


def asked(text: str, *, top_logprobs: int = 0) -> Request:
    return Request([{"role": "user", "content": text}], Rating(text, "an answer", None), 7, top_logprobs)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("IM_BENCH_TEST_KEY", KEY)
    # A proxy would be asked even for the loopback.
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def echo(body: dict) -> tuple[int, dict]:
    return 200, completion(f"{body['messages'][-1]['content']}!")


def test_replies_come_in_the_order_of_the_requests():
    with serving(echo) as server:
        replies = open_judge(spec_at(server.server_port)).replies([asked(str(i)) for i in range(20)])
    assert replies == [Reply(f"{i}!") for i in range(20)]


def test_model_temperature_and_limit_are_sent_and_the_key_goes_in_the_header():
    with serving(echo) as server:
        open_judge(spec_at(server.server_port)).replies([asked("hello")])
    [body] = server.bodies
    assert body == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.25,
        "max_tokens": 7,
    }
    assert server.keys == {f"Bearer {KEY}"}
    assert server.paths == {"/v1/chat/completions"}


def test_log_probabilities_of_the_first_token_are_asked_for_and_read():
    with serving(lambda body: (200, completion("m", {"m": -0.1, "M": -2.4}))) as server:
        [reply] = open_judge(spec_at(server.server_port)).replies([asked("which?", top_logprobs=5)])
    assert reply == Reply("m", {"m": -0.1, "M": -2.4})
    assert server.bodies[0]["logprobs"] is True
    assert server.bodies[0]["top_logprobs"] == 5


def test_a_server_without_log_probabilities_is_named_with_a_way_out():
    with (
        serving(lambda body: (200, completion("m"))) as server,
        pytest.raises(UserError, match="no log-probabilities.*alpaca_eval_1"),
    ):
        open_judge(spec_at(server.server_port)).replies([asked("which?", top_logprobs=5)])


def test_a_message_without_content_is_no_reply():
    with serving(lambda body: (200, completion(None))) as server:
        assert open_judge(spec_at(server.server_port)).replies([asked("hello")]) == [None]


def test_a_wrong_key_stops_at_once_and_is_not_shown():
    with serving(lambda body: (401, {"error": {"message": f"no {KEY}"}})) as server:
        with pytest.raises(UserError, match="judge=served, model some-model.*IM_BENCH_TEST_KEY") as caught:
            open_judge(spec_at(server.server_port)).replies([asked(str(i)) for i in range(200)])
        assert KEY not in str(caught.value)
        assert len(server.bodies) < 50


def test_an_unknown_model_stops_at_once():
    with serving(lambda body: (404, {"error": {"message": "who?"}})) as server:
        with pytest.raises(UserError, match="no such model.*judge.model"):
            open_judge(spec_at(server.server_port)).replies([asked(str(i)) for i in range(200)])
        assert len(server.bodies) < 50


def test_a_busy_server_is_asked_again():
    tries: list[int] = []

    def busy_twice(body: dict) -> tuple[int, dict]:
        tries.append(1)
        return echo(body) if len(tries) > 2 else (500, {"error": {"message": "busy"}})

    with serving(busy_twice) as server:
        assert open_judge(spec_at(server.server_port)).replies([asked("a")]) == [Reply("a!")]
    assert len(tries) == 3


def test_a_bad_request_costs_its_own_verdict_only():
    def picky(body: dict) -> tuple[int, dict]:
        return (
            (400, {"error": {"message": "too long"}})
            if body["messages"][-1]["content"] == "long"
            else echo(body)
        )

    with serving(picky) as server:
        judge = open_judge(spec_at(server.server_port))
        assert judge.replies([asked("short"), asked("long")]) == [Reply("short!"), None]
        with pytest.raises(UserError, match="refused every request.*too long"):
            judge.replies([asked("long"), asked("long")])


def test_nobody_at_the_address_is_said_so(monkeypatch):
    monkeypatch.setattr(api, "MAX_RETRIES", 0)
    with serving(echo) as server:
        port = server.server_port
    with pytest.raises(UserError, match=f"127.0.0.1:{port}/v1/: no answer"):
        open_judge(spec_at(port)).replies([asked("hello")])


def test_a_missing_key_is_noticed_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("IM_BENCH_TEST_KEY")
    with pytest.raises(
        UserError, match="judge.api_key_env=IM_BENCH_TEST_KEY: the environment variable is not set"
    ):
        open_judge(spec_at(1))


def test_a_server_of_ones_own_needs_no_key():
    with serving(echo) as server:
        assert open_judge(spec_at(server.server_port, api_key_env=None)).replies([asked("a")]) == [
            Reply("a!")
        ]
