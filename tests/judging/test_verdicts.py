"""Verdicts in their file: kept at once, found by what they depend on, and shared by processes."""

import multiprocessing
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from im_bench.config import UserError
from im_bench.judging.judge import UNKNOWN, Bill, Comparison, Rating, Reply, Request
from im_bench.judging.verdicts import FILE, VERSION, Verdict, Verdicts

JUDGE = {"model": "m", "temperature": 0.0, "body": {}}
BILL = Bill(10, 2, 0.25)


def asked(text: str = "Rate this.", **changed: Any) -> Request:
    given: dict[str, Any] = {"subject": Rating("q", "a", None), "max_tokens": 10} | changed
    return Request([{"role": "user", "content": text}], **given)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


@pytest.fixture
def verdicts(path: Path) -> Verdicts:
    return Verdicts(path, JUDGE)


def keep(verdicts: Verdicts, request: Request, reply: Reply) -> str:
    key = verdicts.key(request)
    verdicts.keep([Verdict(key, reply, "m-2026")])
    return key


# --- kept ---


@pytest.mark.parametrize(
    "reply",
    [
        Reply("[[7]]", None, BILL),
        Reply("m", {"m": -0.125, "M": -2.5}, BILL),
        Reply("", {}, UNKNOWN),
        Reply("a \u2028 line, \ud83d\ude00 and 'quotes'", None, Bill(10, None, None)),
    ],
)
def test_what_was_said_comes_back_as_it_was(path, verdicts, reply):
    reply = reply._replace(text=reply.text.encode("utf-16", "surrogatepass").decode("utf-16"))
    key = keep(verdicts, asked(), reply)
    assert Verdicts(path, JUDGE).kept([key]) == {key: reply}


def test_a_verdict_is_on_the_disk_in_the_moment_it_is_kept(path, verdicts):
    key = keep(verdicts, asked(), Reply("[[7]]", None, BILL))
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as file:
        rows = file.execute("SELECT key, text, cost, served FROM verdicts").fetchall()
    file.close()
    assert rows == [(key, "[[7]]", 0.25, "m-2026")]


def test_nothing_is_kept_of_what_was_not_said(verdicts):
    assert verdicts.kept([verdicts.key(asked())]) == {}
    assert verdicts.kept([]) == {}
    verdicts.keep([])
    assert verdicts.spent(None) == 0.0


def test_the_first_verdict_wins(verdicts):
    key = keep(verdicts, asked(), Reply("[[7]]", None, BILL))
    keep(verdicts, asked(), Reply("[[1]]", None, BILL))
    assert verdicts.kept([key]) == {key: Reply("[[7]]", None, BILL)}
    assert verdicts.spent(None) == 0.25


def test_several_are_kept_and_asked_for_together(verdicts):
    keys = [verdicts.key(asked(str(number))) for number in range(3)]
    verdicts.keep(Verdict(key, Reply(key[:4], None, BILL), None) for key in keys)
    assert {key: reply.text for key, reply in verdicts.kept([*keys, *keys, "none"]).items()} == {
        key: key[:4] for key in keys
    }


# --- keys ---


@pytest.mark.parametrize(
    "other",
    [
        asked("Rate that."),
        asked(max_tokens=11),
        asked(top_logprobs=5),
        Request([{"role": "system", "content": "Rate this."}], Rating("q", "a", None), 10),
    ],
)
def test_another_prompt_or_limit_is_another_verdict(verdicts, other):
    assert verdicts.key(other) != verdicts.key(asked())


@pytest.mark.parametrize(("temperature", "differ"), [(0, False), (0.0, False), (0.5, True), (None, True)])
def test_another_seed_is_another_verdict_where_the_judge_samples(path, temperature, differ):
    sampling = Verdicts(path, JUDGE | {"temperature": temperature})
    assert (sampling.key(asked(seed=1)) != sampling.key(asked())) is differ


@pytest.mark.parametrize(
    "change", [{"model": "other"}, {"temperature": 0.5}, {"temperature": None}, {"body": {"effort": "low"}}]
)
def test_another_judge_has_verdicts_of_its_own(path, verdicts, change):
    other = Verdicts(path, JUDGE | change)
    assert other.key(asked()) != verdicts.key(asked())
    key = keep(verdicts, asked(), Reply("[[7]]", None, BILL))
    assert other.kept([other.key(asked())]) == {}
    assert other.spent(None) == 0.0
    assert verdicts.kept([key])


def test_what_a_judge_does_not_read_is_not_in_the_key(path, verdicts):
    same = [
        asked(subject=Comparison("q", ("a", "b"), ("m", "M"), "good")),
        asked(subject=Rating("other", "words", "reference")),
        asked(usual_tokens=99),
    ]
    assert {verdicts.key(each) for each in same} == {verdicts.key(asked())}
    assert Verdicts(path, dict(reversed(JUDGE.items()))).key(asked()) == verdicts.key(asked())


# --- money ---


def test_what_was_spent_is_told_by_judge_as_far_as_it_is_known(path, verdicts):
    other = Verdicts(path, JUDGE | {"model": "other"})
    for number, cost in enumerate((0.5, 0.25, None)):
        keep(verdicts, asked(str(number)), Reply("[[7]]", None, Bill(1, 1, cost)))
    keep(other, asked(), Reply("[[7]]", None, Bill(1, 1, 8.0)))
    assert (verdicts.spent(None), other.spent(None)) == (0.75, 8.0)


# --- several at once ---


def write(path: Path, judge: dict[str, Any], numbers: range) -> None:
    """Keep these, one after the other, as another process would."""
    verdicts = Verdicts(path, judge)
    for number in numbers:
        keep(verdicts, asked(str(number)), Reply(str(number), None, BILL))


def test_two_threads_that_write_lose_nothing(path, verdicts):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda numbers: write(path, JUDGE, numbers), (range(30), range(20, 50))))
    keys = [verdicts.key(asked(str(number))) for number in range(50)]
    assert [reply.text for reply in verdicts.kept(keys).values()] == [str(number) for number in range(50)]
    assert verdicts.spent(None) == 50 * 0.25


@pytest.mark.slow
def test_two_processes_that_write_lose_nothing(path, verdicts):
    spawn = multiprocessing.get_context("spawn")
    ranges = (range(30), range(20, 50))
    both = [spawn.Process(target=write, args=(path, JUDGE, numbers)) for numbers in ranges]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert [one.exitcode for one in both] == [0, 0]
    assert len(verdicts.kept([verdicts.key(asked(str(number))) for number in range(50)])) == 50


def test_one_at_a_time_asks_one_judge_and_another_judge_does_not_wait(path, verdicts):
    inside, leave = threading.Event(), threading.Event()
    order = []

    def holds() -> None:
        with Verdicts(path, JUDGE).alone(Event()):
            inside.set()
            leave.wait(10)
            order.append("first")

    def waits() -> None:
        with Verdicts(path, JUDGE).alone(Event()):
            order.append("second")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(holds)
        assert inside.wait(10)
        with Verdicts(path, JUDGE | {"model": "other"}).alone(Event()):
            order.append("other")
        second = pool.submit(waits)
        assert not second.done()
        leave.set()
        first.result(10)
        second.result(10)
    assert order == ["other", "first", "second"]


def test_the_turn_is_given_up_by_who_fails(verdicts):
    with pytest.raises(KeyboardInterrupt), verdicts.alone(Event()):
        raise KeyboardInterrupt
    with verdicts.alone(Event()):
        pass


# --- files that cannot be used ---


def test_a_damaged_file_is_named_and_left_as_it_is(path, verdicts):
    keep(verdicts, asked(), Reply("[[7]]", None, BILL))
    path.write_bytes(b"no database at all" * 100)
    before = path.read_bytes()
    for use in (lambda: verdicts.kept(["key"]), lambda: verdicts.spent(None)):
        with pytest.raises(UserError, match=f"{path}: .*; move it away, and verdicts are asked for again"):
            use()
    assert path.read_bytes() == before


def test_a_file_cut_off_in_the_middle_is_named(path, verdicts):
    keep(verdicts, asked(), Reply("[[7]] " * 5000, None, BILL))
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(UserError, match=f"{path}: .*; move it away"):
        verdicts.kept([verdicts.key(asked())])


def test_a_file_of_another_version_is_named_and_left_as_it_is(path, verdicts):
    keep(verdicts, asked(), Reply("[[7]]", None, BILL))
    with sqlite3.connect(path) as file:
        file.execute(f"PRAGMA user_version = {VERSION + 1}")
    file.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"{path}: was written by another version of im-bench; move it away"):
        keep(verdicts, asked(), Reply("[[7]]", None, BILL))
    assert path.read_bytes() == before
