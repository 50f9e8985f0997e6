"""A judge behind the chat completions protocol, against a real HTTP server on the loopback."""

import itertools
import logging
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from threading import Event

import pytest
from judge_server import Answer, JudgeServer, completion, digest, error, usage, whole
from tenacity import wait_random_exponential

from im_bench.config import Price, Served, UserError
from im_bench.judging import api, open_judge, served
from im_bench.judging.judge import Bill, Judge, Rating, Reply, Request
from im_bench.judging.served import Stopped
from im_bench.judging.verdicts import FILE, Verdicts

KEY = "k-123456"
PRICE = Price(prompt=1000, answer=2000, date="2026-11-01")
PAUSE = 0.7
"""Seconds that servers here ask for."""


def spec_at(url: str, **changes: object) -> Served:
    spec = Served(
        name="served",
        kind="openai",
        model="some-model",
        temperature=0.25,
        base_url=url,
        api_key_env="IM_BENCH_TEST_KEY",
        concurrency=4,
        timeout_seconds=5,
        deadline_seconds=30,
    )
    return spec.model_copy(update=changes)


def asked(text: str, **changes: object) -> Request:
    message = {"role": "user", "content": text}
    return Request(**{"messages": [message], "subject": Rating(text, "", None), "max_tokens": 7} | changes)


def questions(number: int) -> list[Request]:
    return [asked(f"question {i:03d}") for i in range(number)]


def echo(body: dict) -> Answer:
    return Answer(200, completion(f"{body['messages'][-1]['content']}!"))


def billed_echo(body: dict) -> Answer:
    text = f"{body['messages'][-1]['content']}!"
    return Answer(200, completion(text) | {"usage": usage(body, text)})


def picky(body: dict) -> Answer:
    is_long = body["messages"][-1]["content"].startswith("long")
    return error(400, "the prompt is too long") if is_long else echo(body)


def on_request(number: int, answer: Callable[[dict], Answer]) -> Callable[[dict], Answer]:
    """An echo, but for one request, the first being 0."""
    numbers = itertools.count()
    return lambda body: (answer if next(numbers) == number else echo)(body)


def from_request(
    number: int, answer: Callable[[dict], Answer], before: Callable[[dict], Answer] = echo
) -> Callable[[dict], Answer]:
    """An echo until this request."""
    numbers = itertools.count()
    return lambda body: (answer if next(numbers) >= number else before)(body)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("IM_BENCH_TEST_KEY", KEY)
    # A proxy would be asked even for the loopback.
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Between two tries there is a 25th of the time."""
    monkeypatch.setattr(
        api, "wait_random_exponential", lambda multiplier, max: wait_random_exponential(multiplier / 25, max)
    )


@pytest.fixture
def open_at(tmp_path) -> Callable[..., Judge]:
    """Opens a judge at a server, with verdicts in the test's own folder."""

    def opened(server: JudgeServer, **changes: object) -> Judge:
        wires = {name: changes.pop(name) for name in ("tokens", "follow", "stop") if name in changes}
        return open_judge(spec_at(server.url, **changes), tmp_path, **wires)

    return opened


def kept(folder: Path, column: str = "text") -> list:
    with closing(sqlite3.connect(folder / FILE)) as file:
        return [value for (value,) in file.execute(f"SELECT {column} FROM verdicts")]


# --- what is sent, and what comes back ---


def test_replies_come_in_the_order_of_the_requests(open_at):
    with JudgeServer(echo, latency=0.01) as server:
        replies = open_at(server).replies(questions(20))
    assert replies == [Reply(f"question {i:03d}!") for i in range(20)]


def test_model_temperature_seed_and_limit_are_sent_and_the_key_goes_in_the_header(open_at):
    with JudgeServer(echo) as server:
        open_at(server).replies([asked("hello", seed=3)])
    assert server.bodies == [
        {
            "model": "some-model",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.25,
            "max_tokens": 7,
            "seed": 3,
        }
    ]
    assert server.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("temperature", "sent"), [(None, {}), (0.0, {"temperature": 0.0}), (1.0, {"temperature": 1.0, "seed": 3})]
)
def test_a_seed_goes_with_sampling_only_and_without_a_temperature_none_is_sent(open_at, temperature, sent):
    with JudgeServer(echo) as server:
        open_at(server, temperature=temperature).replies([asked("hello", seed=3)])
    [body] = server.bodies
    assert {name: body[name] for name in ("temperature", "seed") if name in body} == sent


def test_the_body_of_the_config_is_part_of_each_request(open_at):
    with JudgeServer(echo) as server:
        open_at(server, body={"reasoning_effort": "low", "top_p": 0.5}).replies([asked("hello")])
    [body] = server.bodies
    assert (body["reasoning_effort"], body["top_p"], body["max_tokens"]) == ("low", 0.5, 7)


def test_max_completion_tokens_takes_the_place_of_max_tokens(open_at):
    with JudgeServer(echo) as server:
        open_at(server, body={"max_completion_tokens": 4096}).replies([asked("hello")])
    [body] = server.bodies
    assert body["max_completion_tokens"] == 4096
    assert "max_tokens" not in body


def test_log_probabilities_of_the_first_token_are_asked_for_and_read(open_at):
    with JudgeServer(lambda body: Answer(200, completion("m", {"m": -0.1, "M": -2.4}))) as server:
        [reply] = open_at(server).replies([asked("which?", top_logprobs=5)])
    assert reply == Reply("m", {"m": -0.1, "M": -2.4})
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 5)


def test_a_server_without_log_probabilities_is_named_at_its_first_reply_with_a_way_out(open_at):
    with JudgeServer(lambda body: Answer(200, completion("m"))) as server:
        with pytest.raises(UserError, match="no log-probabilities.*judge.pairwise=ranking"):
            open_at(server).replies([asked(f"which {i}?", top_logprobs=5) for i in range(20)])
        assert len(server.bodies) == 1


def test_a_refusal_of_the_model_is_the_reply_and_needs_no_log_probabilities(open_at):
    with JudgeServer(lambda body: Answer(200, completion(None, refusal="I will not."))) as server:
        assert open_at(server).replies([asked("hello", top_logprobs=5)]) == [Reply("I will not.")]


def test_a_message_without_anything_is_a_reply_without_text(open_at):
    with JudgeServer(lambda body: Answer(200, completion(None))) as server:
        assert open_at(server).replies([asked("hello")]) == [Reply("")]


def test_whoever_follows_hears_of_each_reply_and_of_those_that_were_kept(open_at):
    heard: list[tuple[int, int]] = []
    with JudgeServer(echo) as server:
        open_at(server).replies(questions(3))
        open_at(server, follow=lambda done, total: heard.append((done, total))).replies(questions(10))
    assert heard == sorted(heard)
    assert {done for done, _ in heard} <= set(range(3, 11))
    assert heard[-1] == (10, 10)
    assert {total for _, total in heard} == {10}


# --- the key ---


def test_a_missing_key_is_noticed_before_anything_is_sent(open_at, monkeypatch):
    monkeypatch.delenv("IM_BENCH_TEST_KEY")
    with (
        JudgeServer(echo) as server,
        pytest.raises(
            UserError, match="judge.api_key_env=IM_BENCH_TEST_KEY: the environment variable is not"
        ),
    ):
        open_at(server)


def test_a_server_of_ones_own_needs_no_key(open_at):
    with JudgeServer(echo) as server:
        assert open_at(server, api_key_env=None).replies([asked("a")]) == [Reply("a!")]


@pytest.mark.parametrize("secret", ["sk-proj-Abc_123-xyz", KEY])
@pytest.mark.parametrize(
    "answer",
    [
        *(
            pytest.param(lambda key, status=status: error(status, f"no {key}"), id=str(status))
            for status in (400, 401, 403, 404, 422, 500)
        ),
        pytest.param(lambda key: error(429, f"no {key}", code="insufficient_quota"), id="429"),
        pytest.param(lambda key: Answer(200, f"<p>{key}</p>"), id="html"),
    ],
)
def test_a_key_that_the_server_repeats_is_shown_nowhere(
    open_at, tmp_path, monkeypatch, caplog, secret, answer
):
    monkeypatch.setenv("IM_BENCH_TEST_KEY", secret)
    caplog.set_level(logging.DEBUG)
    with JudgeServer(from_request(1, lambda body: answer(secret))) as server:
        told: list = []
        try:
            told += open_at(server, deadline_seconds=0.1).replies([asked("a"), asked("b")])
        except UserError as caught:
            told.append(caught)
    assert told
    assert server.keys == {f"Bearer {secret}"}
    shown = " ".join(map(str, told)) + caplog.text + (tmp_path / FILE).read_bytes().decode(errors="replace")
    assert secret not in shown


# --- what every request would meet ---


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            error(401, "who?"),
            "judge served, model some-model at .*the key is not accepted.*IM_BENCH_TEST_KEY",
        ),
        (error(403, "no"), "the key is not accepted; set judge.api_key_env"),
        (error(404, "who?"), "no such model or address .*; set judge.model or judge.base_url"),
        (error(429, "You exceeded your quota.", code="insufficient_quota"), "status 429: .*quota"),
    ],
)
def test_what_every_request_would_meet_stops_at_the_first(open_at, answer, words):
    with JudgeServer(lambda body: answer, latency=0.05) as server:
        with pytest.raises(UserError, match=words):
            open_at(server, concurrency=16).replies(questions(200))
        assert len(server.bodies) == 1


def test_a_model_that_is_retired_is_called_so_where_it_is_not_found(open_at):
    with (
        JudgeServer(lambda body: error(404, "who?")) as server,
        pytest.raises(UserError, match=r"no such model or address \(gone since May\)"),
    ):
        open_at(server, retired="gone since May").replies(questions(3))


def test_a_key_that_is_withdrawn_on_the_way_stops_and_what_came_is_kept(open_at, tmp_path):
    with JudgeServer(on_request(20, lambda body: error(401, "no more")), latency=0.02) as server:
        with pytest.raises(UserError, match="the key is not accepted"):
            open_at(server).replies(questions(200))
        assert len(server.bodies) <= 24
    assert 17 <= len(kept(tmp_path)) <= 23


def test_nobody_at_the_address_is_told_within_a_few_tries(open_at):
    with JudgeServer(echo) as server:
        port = server.server_port
    began = time.monotonic()
    with pytest.raises(UserError, match=f"127.0.0.1:{port}/v1/: no answer.*set judge.base_url"):
        open_at(server).replies(questions(50))
    assert time.monotonic() - began < 5


def test_a_web_page_in_place_of_a_completion_is_told_within_a_few_tries(open_at):
    with JudgeServer(lambda body: Answer(200, "<html>Welcome!</html>")) as server:
        with pytest.raises(UserError, match="no completion: <html>Welcome!</html>; set judge.base_url"):
            open_at(server).replies(questions(50))
        assert len(server.bodies) == api.FIRST_TRIES


def test_a_server_that_never_answers_is_told_within_a_few_tries(open_at, monkeypatch):
    monkeypatch.setattr(api, "FIRST_TRIES", 3)
    with JudgeServer(echo, latency=5) as server:
        with pytest.raises(UserError, match="no answer within judge.timeout_seconds=0.2, again and again"):
            open_at(server, timeout_seconds=0.2).replies(questions(50))
        assert len(server.bodies) == 3
        assert not whole(server.sent)


# --- what passes ---


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_a_busy_server_is_asked_again(open_at, status):
    numbers = itertools.count()

    def busy_twice(body: dict) -> Answer:
        return echo(body) if next(numbers) >= 2 else Answer(status, {"error": {"message": "busy"}})

    with JudgeServer(busy_twice) as server:
        assert open_at(server).replies([asked("a")]) == [Reply("a!")]
    assert [sent.status for sent in server.sent] == [status, status, 200]


def reset(of: str, duration: str) -> dict[str, str]:
    return {f"x-ratelimit-remaining-{of}": "0", f"x-ratelimit-reset-{of}": duration}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda body: error(429, "slow", {"Retry-After": f"{PAUSE}"}), id="Retry-After"),
        pytest.param(lambda body: error(503, "slow", {"Retry-After": f"{PAUSE}"}), id="Retry-After of a 503"),
        pytest.param(
            lambda body: error(429, "slow", {"retry-after-ms": f"{PAUSE * 1000}", "Retry-After": "60"}),
            id="retry-after-ms",
        ),
        pytest.param(lambda body: error(429, "slow", reset("requests", "700ms")), id="no requests, 429"),
        pytest.param(lambda body: echo(body)._replace(headers=reset("requests", "0.7s")), id="no requests left"),
        pytest.param(lambda body: echo(body)._replace(headers=reset("tokens", "0m0.7s")), id="no tokens left"),
    ],
)  # fmt: skip
def test_nobody_asks_in_a_pause_that_the_server_wants(open_at, answer):
    told: list[float] = []

    def pausing(body: dict) -> Answer:
        told.append(time.time())
        return answer(body)

    with JudgeServer(on_request(10, pausing), latency=0.01) as server:
        assert len(open_at(server).replies(questions(40))) == 40
    check_quiet(server, told[0], PAUSE)


def test_a_pause_may_be_told_as_a_date(open_at):
    told: list[float] = []

    def pausing(body: dict) -> Answer:
        told.append(time.time())
        until = datetime.fromtimestamp(math.floor(told[0] + 2), UTC)
        return error(429, "slow", {"Retry-After": format_datetime(until, usegmt=True)})

    with JudgeServer(on_request(10, pausing), latency=0.01) as server:
        assert len(open_at(server).replies(questions(40))) == 40
    check_quiet(server, told[0], math.floor(told[0] + 2) - told[0])


def check_quiet(server: JudgeServer, told: float, seconds: float) -> None:
    """Those that were on their way when the server spoke come within 0.3 s; the next not before the time."""
    after = [sent.at - told for sent in server.sent if sent.at > told]
    assert [at for at in after if 0.3 < at < seconds] == []
    assert len([at for at in after if at <= 0.3]) < 4
    assert seconds <= min(at for at in after if at > 0.3) < seconds + 2
    assert server.most_in_flight > 1


def test_a_rate_limit_with_something_left_is_no_pause(open_at):
    left = {"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "1h0m0s"}
    with JudgeServer(lambda body: echo(body)._replace(headers=left)) as server:
        began = time.monotonic()
        open_at(server).replies(questions(20))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_no_more_requests_are_in_flight_than_the_config_says(open_at, concurrency):
    with JudgeServer(echo, latency=0.15) as server:
        open_at(server, concurrency=concurrency).replies(questions(5 * concurrency))
    assert server.most_in_flight == concurrency
    assert len(server.bodies) == 5 * concurrency


def test_a_deadline_ends_the_tries_of_a_verdict_and_the_others_are_kept(open_at, tmp_path):
    def one_fails(body: dict) -> Answer:
        is_bad = body["messages"][-1]["content"] == "question 005"
        return error(500, "this one never") if is_bad else echo(body)

    with JudgeServer(one_fails) as server:
        began = time.monotonic()
        with pytest.raises(UserError, match="status 500: .*this one never"):
            open_at(server, deadline_seconds=0.5).replies(questions(30))
        assert 0.5 < time.monotonic() - began < 5
    assert len(kept(tmp_path)) == 29
    tries = Counter(body["messages"][-1]["content"] for body in server.bodies)
    assert tries["question 005"] > 2
    assert sum(tries.values()) - tries["question 005"] == 29


# --- a request that the server finds bad ---


def test_a_bad_request_costs_its_own_verdict_only_and_the_servers_words_are_the_reply(open_at, tmp_path):
    with JudgeServer(picky) as server:
        replies = open_at(server).replies([asked("a"), asked("long"), asked("b")])
        assert [reply.text for reply in replies[::2]] == ["a!", "b!"]
        assert "the prompt is too long" in replies[1].text
        assert replies[1].bill == Bill(0, 0, 0.0)
        assert len(server.bodies) == 3
    assert sorted(kept(tmp_path)) == ["a!", "b!"]


def test_a_bad_request_is_not_kept_and_is_asked_again(open_at):
    with JudgeServer(picky) as server:
        open_at(server).replies([asked("a"), asked("long")])
        server.says = echo
        assert open_at(server).replies([asked("a"), asked("long")]) == [Reply("a!"), Reply("long!")]
        assert [body["messages"][-1]["content"] for body in server.bodies] == ["a", "long", "long"]


def test_a_bad_request_still_costs_its_own_verdict_only_where_all_others_are_kept(open_at):
    requests = [asked("a"), asked("long"), asked("b")]
    with JudgeServer(picky) as server:
        first, second = open_at(server).replies(requests), open_at(server).replies(requests)
    assert first == second


def test_a_bad_request_that_comes_first_stops_nothing(open_at):
    with JudgeServer(picky) as server:
        replies = open_at(server).replies([asked("long 1"), asked("long 2"), *questions(10)])
    assert [reply.text for reply in replies[2:]] == [f"question {i:03d}!" for i in range(10)]


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_finds_every_request_bad_is_told_so_after_a_few(open_at, status):
    with JudgeServer(lambda body: error(status, "top_logprobs is unknown")) as server:
        with pytest.raises(UserError, match="refused every request; it said: .*top_logprobs is unknown"):
            open_at(server, concurrency=16).replies(questions(100))
        assert len(server.bodies) == served.REFUSED_TO_STOP


# --- what is kept ---


def test_identical_requests_are_asked_once(open_at):
    with JudgeServer(echo) as server:
        replies = open_at(server).replies([asked("a"), asked("b"), asked("a"), asked("a")])
    assert [reply.text for reply in replies] == ["a!", "b!", "a!", "a!"]
    assert len(server.bodies) == 2


def test_a_second_judge_asks_nothing_that_the_first_was_told(open_at):
    requests = [*questions(10), asked("which?", top_logprobs=5)]

    def says(body: dict) -> Answer:
        answer = billed_echo(body)
        first = completion("m", {"m": -0.1, "M": -2.4}) if body.get("logprobs") else answer.body
        return answer._replace(body=answer.body | {"choices": first["choices"]})

    with JudgeServer(says) as server:
        first = open_at(server, price=PRICE).replies(requests)
        assert open_at(server, price=PRICE).replies(requests) == first
        assert len(server.bodies) == 11


@pytest.mark.parametrize(
    "changes", [{"model": "another"}, {"temperature": 0.5}, {"temperature": None}, {"body": {"top_p": 0.5}}]
)
def test_another_judge_is_asked_again(open_at, changes):
    with JudgeServer(echo) as server:
        open_at(server).replies(questions(3))
        open_at(server, **changes).replies(questions(3))
        assert len(server.bodies) == 6


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"max_tokens": 8}, {"messages": [{"role": "system", "content": "a"}]}]
)
def test_another_request_is_asked_again(open_at, changes):
    with JudgeServer(echo) as server:
        open_at(server).replies([asked("a")])
        open_at(server).replies([asked("a", **changes)])
        assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "changes",
    [{"name": "renamed"}, {"concurrency": 1}, {"timeout_seconds": 1}, {"price": PRICE, "budget": 10.0}],
)
def test_what_does_not_change_a_verdict_asks_nothing_again(open_at, changes):
    with JudgeServer(echo) as server:
        first = open_at(server).replies(questions(3))
        assert open_at(server, **changes).replies(questions(3)) == first
        assert len(server.bodies) == 3


def test_the_folder_of_results_need_not_be_there(tmp_path):
    with JudgeServer(echo) as server:
        assert open_judge(spec_at(server.url), tmp_path / "not" / "yet").replies([asked("a")]) == [
            Reply("a!")
        ]


@pytest.mark.parametrize("harm", ["no database at all, whatever it is" * 40, None])
def test_a_file_of_verdicts_that_cannot_be_read_is_named(open_at, tmp_path, harm):
    if harm:
        (tmp_path / FILE).write_text(harm)
    else:
        with closing(sqlite3.connect(tmp_path / FILE)) as file:
            file.execute("PRAGMA user_version = 99")
    with JudgeServer(echo) as server:
        with pytest.raises(UserError, match=f"{FILE}: .*move it away"):
            open_at(server).replies([asked("a")])
        assert not server.bodies


def test_replies_that_name_several_models_are_warned_of(open_at, caplog):
    names = itertools.count()
    with JudgeServer(lambda body: Answer(200, completion("a") | {"model": f"m{next(names) % 2}"})) as server:
        open_at(server).replies(questions(6))
    assert "replies name different models: m0, m1" in caplog.text


# --- what it costs ---


def test_tokens_are_counted_by_the_server_and_paid_at_the_configs_price(open_at):
    with JudgeServer(billed_echo) as server:
        [free] = open_at(server).replies([asked("hello")])
        [paid] = open_at(server, price=PRICE).replies([asked("hullo")])
    assert free.bill == Bill(4, 2, None)
    assert paid.bill == Bill(4, 2, pytest.approx((4 * 1000 + 2 * 2000) / 1e6))


def test_a_server_that_counts_no_tokens_has_no_bill(open_at):
    with JudgeServer(echo) as server:
        [reply] = open_at(server, price=PRICE).replies([asked("hello")])
    assert reply.bill == Bill(None, None, None)


def test_what_a_pass_will_ask_and_cost_is_told_before_it(open_at, caplog):
    caplog.set_level(logging.INFO, "im_bench")
    with JudgeServer(billed_echo) as server:
        open_at(server, price=PRICE).replies(questions(2))
        open_at(server, price=PRICE, tokens=lambda text: len(text)).replies(questions(6))
    assert "judge served (temperature 0.25): 2 verdicts to ask, 0 kept" in caplog.text
    told = (
        "4 verdicts to ask, 2 kept; about 48 tokens of prompts and 4 of replies, 0.06 USD at prices of 2026"
    )
    assert told in caplog.text


@pytest.mark.parametrize("concurrency", [1, 16])
@pytest.mark.parametrize("budget", [0.05, 0.12, 0.3])
def test_a_budget_is_never_exceeded_and_the_same_words_go_on_when_it_is_raised(
    open_at, tmp_path, concurrency, budget
):
    requests = questions(60)
    most = (12 + 16) * 1000 / 1e6 + 7 * 2000 / 1e6

    def judge(budget: float) -> Judge:
        return open_at(server, concurrency=concurrency, price=PRICE, budget=budget)

    with JudgeServer(billed_echo, latency=0.01) as server:
        with pytest.raises(UserError) as caught:
            judge(budget).replies(requests)
        spent = sum(kept(tmp_path, "cost"))
        assert budget - most < spent <= budget
        came = len(server.bodies)
        assert len(kept(tmp_path)) == came > 0
        assert f"judge.budget={budget:g}: {spent:.2f} USD are spent" in str(caught.value)
        assert f"{came} verdicts came and are kept, {60 - came} are left; raise it" in str(caught.value)
        with pytest.raises(UserError, match="0 verdicts came"):
            judge(budget).replies(requests)
        assert len(server.bodies) == came
        assert len(judge(10.0).replies(requests)) == 60
    assert set(whole(server.sent).values()) == {1}
    assert len(server.bodies) == 60


def test_a_budget_holds_a_reply_of_the_length_that_the_body_allows(open_at, tmp_path):
    def long_winded(body: dict) -> Answer:
        limit = body.get("max_completion_tokens") or body["max_tokens"]
        return Answer(200, completion("a") | {"usage": {"prompt_tokens": 5, "completion_tokens": limit}})

    for name in ("max_completion_tokens", "max_tokens"):
        with JudgeServer(long_winded) as server, pytest.raises(UserError, match="judge.budget=1"):
            open_at(server, price=PRICE, budget=1.0, body={name: 100}).replies(questions(30))
        assert sum(kept(tmp_path, f"CASE WHEN judge LIKE '%\"{name}\"%' THEN cost ELSE 0 END")) <= 1


def test_a_budget_needs_a_server_that_counts_tokens(open_at, tmp_path):
    with JudgeServer(echo) as server:
        with pytest.raises(UserError, match="judge.budget: the server does not say how many tokens"):
            open_at(server, price=PRICE, budget=1.0).replies(questions(20))
        assert len(server.bodies) == 1
    assert len(kept(tmp_path)) == 1


# --- somebody says stop ---


def test_nothing_is_asked_after_a_stop_and_what_came_is_kept(open_at, tmp_path):
    stop = Event()

    def stopping(body: dict) -> Answer:
        stop.set()
        return echo(body)

    with JudgeServer(on_request(20, stopping), latency=0.02) as server:
        with pytest.raises(Stopped, match="stopped; .* verdicts came and are kept, .* are left"):
            open_at(server, stop=stop).replies(questions(100))
        came = len(server.bodies)
        assert 21 <= came <= 24
        assert len(kept(tmp_path)) == came
        open_at(server).replies(questions(100))
        assert len(server.bodies) == 100


def test_a_stop_before_the_first_request_asks_nothing(open_at):
    stop = Event()
    stop.set()
    with JudgeServer(echo) as server:
        with pytest.raises(Stopped):
            open_at(server, stop=stop).replies(questions(5))
        assert not server.bodies


def test_a_stop_hands_out_what_is_kept(open_at):
    stop = Event()
    stop.set()
    with JudgeServer(echo) as server:
        first = open_at(server).replies(questions(5))
        assert open_at(server, stop=stop).replies(questions(5)) == first


def test_a_reply_that_does_not_come_is_not_waited_for_long_after_a_stop(open_at, monkeypatch):
    monkeypatch.setattr(served, "GRACE", 0.2)
    stop = Event()

    def stopping(body: dict) -> Answer:
        stop.set()
        return echo(body)

    with JudgeServer(stopping, latency=20) as server:
        began = time.monotonic()
        with pytest.raises(Stopped, match="stopped; 0 verdicts came and are kept"):
            open_at(server, timeout_seconds=60, stop=stop).replies(questions(5))
        assert time.monotonic() - began < 5


# --- the server of these tests ---


def test_the_server_sends_nothing_to_a_client_that_has_left(open_at, monkeypatch):
    monkeypatch.setattr(api, "FIRST_TRIES", 1)
    with JudgeServer(echo, latency=0.4) as server:
        with pytest.raises(UserError, match="no answer within judge.timeout_seconds=0.1"):
            open_at(server, timeout_seconds=0.1).replies([asked("a")])
        time.sleep(0.6)
        assert [(sent.status, sent.fault) for sent in server.sent] == [(None, "left")]


def test_the_servers_verdicts_depend_on_the_prompt_alone(open_at, tmp_path):
    requests = questions(60)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with JudgeServer() as one, JudgeServer() as other:
        first = open_judge(spec_at(one.url), tmp_path / "one").replies(requests)
        again = open_judge(spec_at(other.url, concurrency=9), tmp_path / "other").replies(requests[::-1])
    assert first == again[::-1]
    assert whole(one.sent) == {digest(request.messages): 1 for request in requests}


# --- what outlasts patience ---


def test_a_pause_longer_than_the_deadline_is_told_and_not_waited_for(open_at):
    server = JudgeServer(from_request(1, lambda body: error(429, "slow", {"Retry-After": "86400"})))
    with (
        server,
        pytest.raises(UserError, match="asks for a pause of 86400 s, longer than judge.deadline_sec"),
    ):
        open_at(server, deadline_seconds=2, concurrency=1).replies(questions(3))
    assert len(server.bodies) == 2


@pytest.mark.parametrize("reset", ["2026-11-01T00:00:00Z", "soon", ""])
def test_a_reset_that_is_no_duration_is_no_pause(reset):
    pace = api.Pace()
    pace.heard({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}, 200)
    assert pace._opens <= time.monotonic()


def test_a_prompt_that_is_too_large_for_the_server_is_refused_like_one_too_long_for_the_model(open_at):
    with JudgeServer(on_request(1, lambda body: error(413, "too large"))) as server:
        replies = open_at(server, concurrency=1).replies(questions(3))
    assert [reply.text[-9:] for reply in replies] == ["tion 000!", "too large", "tion 002!"]


def test_who_waits_for_another_process_stops_when_told(open_at):
    with JudgeServer(echo) as server:
        stop = Event()
        stop.set()
        first, second = open_at(server), open_at(server, stop=stop)
        with first._verdicts.alone(Event()), pytest.raises(Stopped, match="another process"):
            second.replies(questions(1))


def test_verdicts_from_before_there_was_a_price_count_against_a_budget(open_at, tmp_path):
    with JudgeServer(billed_echo) as server:
        open_at(server).replies(questions(20))
        judge = open_at(server, price=PRICE, budget=0.05)
        with pytest.raises(UserError, match=r"judge.budget=0.05: \d+\.\d\d USD are spent"):
            judge.replies([asked("one more")])
    assert len(kept(tmp_path)) == 20


# --- what is no verdict, and what may have been billed all the same ---


def test_the_words_of_a_refusal_are_marked_as_no_verdict(open_at):
    words = "Invalid 'messages[1].content': string too long"
    with JudgeServer(on_request(1, lambda body: error(400, words))) as server:
        first, second = open_at(server, concurrency=1).replies(questions(2))
    assert (first.refused, second.refused) == (False, True)
    assert words in second.text


def test_replies_on_their_way_are_kept_when_another_request_fails(open_at, tmp_path):
    def answer(body: dict) -> Answer:
        time.sleep(0.3)
        return echo(body)

    numbers = itertools.count()
    with JudgeServer(
        lambda body: (lambda b: error(404, "gone"))(body) if next(numbers) == 2 else answer(body)
    ) as server:
        with pytest.raises(UserError, match="no such model"):
            open_at(server, concurrency=4).replies(questions(20))
        sent = len(server.bodies)
    assert len(kept(tmp_path)) == sent - 1


def test_a_try_that_timed_out_counts_against_the_budget_and_is_remembered(open_at, tmp_path):
    request = asked("x" * 84)  # with its marks 100 tokens at most, and 7 of the reply: 0.114 USD
    silent = from_request(1, lambda body: time.sleep(0.5) or billed_echo(body), billed_echo)
    with JudgeServer(silent) as server:
        judge = open_at(
            server, price=PRICE, budget=0.5, timeout_seconds=0.2, concurrency=1, deadline_seconds=60
        )
        with pytest.raises(UserError, match=r"judge.budget=0.5"):
            judge.replies([asked("hello"), request])
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        [(lost,)] = file.execute("SELECT sum(cost) FROM lost").fetchall()
    assert 0.3 < lost <= 0.5


@pytest.mark.parametrize("address", ["http://me:secret@localhost:1/v1", "http://secret@localhost/v1"])
def test_an_address_holds_no_password(address):
    with pytest.raises(ValueError, match="judge.base_url: a password has no place in an address"):
        Served.model_validate(spec_at(address).model_dump())


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://localhost/v1", "http://localhost:99999/v1", ""])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError, match="judge.base_url=.*: is no address; it begins with http"):
        Served.model_validate(spec_at(address).model_dump())


@pytest.mark.parametrize("key", ["model", "messages", "n", "temperature", "stream", "logprobs"])
def test_a_body_cannot_say_what_has_a_key_of_its_own(key):
    with pytest.raises(ValueError, match=f"judge.body.{key}: is not for you to say here"):
        Served.model_validate(spec_at("http://h/v1", body={key: 3}).model_dump())


@pytest.mark.parametrize("tokens", [None, "lots", -1, 0, 1.5])
def test_a_limit_in_a_body_is_a_number_of_tokens(tokens):
    with pytest.raises(
        ValueError, match="judge.body.max_completion_tokens=.*: give a number of tokens from 1"
    ):
        Served.model_validate(spec_at("http://h/v1", body={"max_completion_tokens": tokens}).model_dump())


@pytest.mark.parametrize("pasted", ["sk-\u201cx\u201d", "sk-1\x01"])
def test_a_key_with_signs_that_no_key_has_is_refused_before_anything_is_sent(open_at, monkeypatch, pasted):
    monkeypatch.setenv("IM_BENCH_TEST_KEY", pasted)
    with JudgeServer(echo) as server, pytest.raises(UserError, match="signs that no key has"):
        open_at(server)


# --- what servers send besides ---


def test_half_a_character_is_kept_as_a_question_mark(open_at, tmp_path):
    half = Answer(200, completion("so \ud83d"))
    with JudgeServer(lambda body: half) as server:
        assert [reply.text for reply in open_at(server).replies(questions(2))] == ["so ?"] * 2
    assert kept(tmp_path) == ["so ?"] * 2


def test_a_write_that_fails_once_loses_nothing_that_has_come(open_at, tmp_path, monkeypatch):
    write, calls = Verdicts.keep, itertools.count()

    def fails_once(self: Verdicts, arrived: list) -> None:
        if next(calls) == 2:
            raise UserError("the disk is away")
        write(self, arrived)

    monkeypatch.setattr(Verdicts, "keep", fails_once)
    with JudgeServer(billed_echo, latency=0.01) as server:
        with pytest.raises(UserError, match="the disk is away"):
            open_at(server, price=PRICE).replies(questions(30))
        sent = len(server.bodies)
    assert len(kept(tmp_path)) == sent


def test_a_pass_that_goes_on_knows_that_the_judge_returns_log_probabilities(open_at):
    def with_logprobs(body: dict) -> Answer:
        if body["messages"][-1]["content"] == "question 002":
            return Answer(200, completion("m"))
        return Answer(200, completion("m", {"m": -0.1}))

    wanted = [asked(f"question {i:03d}", top_logprobs=5) for i in range(3)]
    with JudgeServer(with_logprobs) as server:
        open_at(server).replies(wanted[:2])
        replies = open_at(server).replies(wanted[2:] + wanted[:1])
    assert [reply.first_token for reply in replies] == [None, {"m": -0.1}]


@pytest.mark.parametrize("said", ["12", [1], True, -3, None])
def test_a_count_of_tokens_that_is_none_is_unknown(open_at, said):
    counts = {"prompt_tokens": said, "completion_tokens": 1}
    with JudgeServer(lambda body: Answer(200, completion("a") | {"usage": counts, "model": {}})) as server:
        [reply] = open_at(server).replies(questions(1))
    assert reply.bill.prompt_tokens is None
