"""What a judge said is kept and paid for once."""

import itertools
import logging
import sqlite3
import time
from contextlib import closing
from threading import Event

import pytest
from judge_server import Answer, JudgeServer, completion, error, whole
from served_judge import (
    PRICE,
    asked,
    billed_echo,
    echo,
    from_request,
    kept,
    on_request,
    questions,
    spec_at,
)

from im_bench.config import UserError
from im_bench.judging import open_judge, served
from im_bench.judging.judge import Bill, Judge, Reply
from im_bench.judging.served import Stopped
from im_bench.judging.verdicts import FILE

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
