"""What is asked again, what is not, and when."""

import itertools
import math
import time
from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime
from threading import Event

import pytest
from judge_server import Answer, JudgeServer, error, whole
from served_judge import (
    PRICE,
    asked,
    billed_echo,
    echo,
    from_request,
    kept,
    on_request,
    picky,
    questions,
)

from im_bench.config import UserError
from im_bench.judging import api, served
from im_bench.judging.judge import Bill, Reply
from im_bench.judging.served import Stopped

PAUSE = 0.7
"""Seconds that servers here ask for."""


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
            open_at(server, deadline_seconds=2.0).replies(questions(30))
        assert 2 < time.monotonic() - began < 20
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
