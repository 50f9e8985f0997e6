"""Judges for real beside this machine's engine: they are interrupted, killed, refused, and heard."""

import json
import logging
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event, current_thread

import pytest
from fake_cells import SOON, Named, fake_cell, launched, nothing, run_of, run_step
from judge_server import Answer, JudgeServer, completion

from im_bench.config import Run
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation.mt_bench import ANSWERS
from im_bench.judging.verdicts import FILE
from im_bench.pipeline import Cell, verdicts_step
from im_bench.stages import Wires
from im_bench.store import Step, Store

ASKED = 32
"""Verdicts on the toy world's MT-Bench."""
LATENCY = 0.2


@pytest.fixture(scope="module")
def assets(given: Path) -> Path:
    """The files of the toy world's judged benchmarks."""
    return given / "assets"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would be asked even for the loopback."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def slow(here: None) -> Iterator[tuple[JudgeServer, Event]]:
    """A server that takes its time for a verdict, and an event: the third request is there."""
    third, bodies = Event(), []

    def says(body: dict) -> Answer:
        bodies.append(body)
        if len(bodies) == 3:
            third.set()
        return Answer(200, completion("Rating: [[5]]"))

    with JudgeServer(says, latency=LATENCY) as server:
        yield server, third


def served_at(folder: Path, assets: Path, server: JudgeServer) -> Run:
    own = ["judge=local", "judge.model=slow", f"judge.base_url={server.url}", "judge.concurrency=1"]
    return run_of(folder, *own, f"paths.assets={assets}")


def give(rows: list[dict], out: Path, name: str) -> None:
    write_rows(out / ANSWERS, rows)


def judged_cell(run: Run, name: str, text: str = "An answer.") -> Cell:
    """A cell whose answers are there at once; its verdicts are asked for as those of any cell."""
    questions = read_rows(Path(str(run.paths.assets)) / "mt_bench/question.jsonl")
    rows = [
        {"question_id": row["question_id"], "model_id": name, "choices": [{"turns": [text, text]}]}
        for row in questions
    ]
    base = Step("base", Named(name=name), partial(run_step, nothing, name), label=f"{name} base")
    answer = partial(run_step, partial(give, rows), name)
    answers = Step("answers", Named(name=name), answer, needs=(base,), label=f"{name} answers")
    wires = Wires()
    return Cell(run, base, {"mt_bench": verdicts_step(run, "mt_bench", answers, name, wires)}, wires)


def kept(run: Run) -> int:
    with closing(sqlite3.connect(run.paths.results / FILE)) as file:
        return file.execute("SELECT count(*) FROM verdicts").fetchone()[0]


def is_done(run: Run, plan: Callable[[], Cell]) -> bool:
    return Store(run.paths.results / "store").done(plan().benchmarks["mt_bench"])


def asked_of(server: JudgeServer) -> Counter[str]:
    """How often each prompt came."""
    return Counter(json.dumps(body["messages"]) for body in server.bodies)


def wait_for_ever(file: Path, out: Path, name: str) -> None:
    file.touch()
    while True:
        time.sleep(0.01)


class Interrupt(threading.Thread):
    """Interrupts the main thread, as Ctrl-C does, once this has happened, and remembers when."""

    def __init__(self, *after: Callable[[], bool]) -> None:
        super().__init__()
        self.after, self.at = after, 0.0

    def __enter__(self) -> "Interrupt":
        if current_thread() is not threading.main_thread():
            pytest.skip("only the main thread hears of signals, and the tests are in another")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()

    def run(self) -> None:
        end = time.monotonic() + SOON
        while not all(happened() for happened in self.after) and time.monotonic() < end:
            time.sleep(0.01)
        self.at = time.monotonic()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def is_out_soon(self) -> bool:
        """All verdicts take longer."""
        return self.at > 0 and time.monotonic() - self.at < LATENCY * (ASKED - 8)


@pytest.mark.slow
def test_an_interruption_of_the_engine_ends_it_and_the_judges_soon_and_keeps_what_came(
    tmp_path, assets, seen, slow, caplog
):
    server, third = slow
    run, answering = served_at(tmp_path, assets, server), tmp_path / "answering"
    judged = partial(judged_cell, run, "judged")
    busy = partial(fake_cell, run, "next", answer=partial(wait_for_ever, answering))
    with pytest.raises(KeyboardInterrupt), Interrupt(third.is_set, answering.exists) as interrupt:
        launched([judged, busy], seen)
    assert interrupt.is_out_soon()
    assert multiprocessing.active_children() == []
    assert 2 <= kept(run) == len(server.bodies) < ASKED / 2
    assert not is_done(run, judged)
    store = Store(run.paths.results / "store")
    answers = busy().benchmarks["mt_bench"].needs[0]
    assert store.state(answers).name == "todo"
    assert "killed" not in caplog.text and "next answers" not in caplog.text


@pytest.mark.slow
def test_an_interruption_while_the_judges_alone_are_waited_for_ends_as_soon_and_the_rest_is_asked_next_time(
    tmp_path, assets, seen, slow
):
    server, third = slow
    run = served_at(tmp_path, assets, server)
    judged = partial(judged_cell, run, "judged")
    with pytest.raises(KeyboardInterrupt), Interrupt(third.is_set) as interrupt:
        launched([judged], seen)
    assert interrupt.is_out_soon()
    assert 2 <= kept(run) == len(server.bodies) < ASKED / 2
    server.latency = 0.0
    assert launched([judged], seen) == []
    assert len(asked_of(server)) == ASKED and set(asked_of(server).values()) == {1}
    assert seen.within_of[-1] == (ASKED, ASKED, "verdicts")
    assert is_done(run, judged)


@pytest.mark.slow
def test_a_judging_process_that_is_killed_costs_one_step_and_the_next_has_a_new_one(
    tmp_path, assets, seen, slow
):
    """What had come is kept, and so not asked for again."""
    server, third = slow
    run = served_at(tmp_path, assets, server)
    plans = [
        partial(judged_cell, run, "first", "One answer."),
        partial(judged_cell, run, "second", "Another."),
    ]
    verdicts = plans[0]().benchmarks["mt_bench"]

    def kill() -> None:
        assert third.wait(SOON)
        where = Store(run.paths.results / "store").state(verdicts).where
        os.kill(int(where.partition("process ")[2].partition(",")[0]), signal.SIGKILL)
        server.latency = 0.0

    thread = threading.Thread(target=kill)
    thread.start()
    [failure] = launched(plans, seen)
    thread.join()
    assert failure.step == verdicts.name and "its process was killed by SIGKILL" in failure.why
    assert [is_done(run, plan) for plan in plans] == [False, True]
    assert launched(plans, seen) == []
    # Of the first cell's prompts only the one that was on its way is asked for twice.
    assert len(asked_of(server)) == 2 * ASKED and sum(asked_of(server).values()) <= 2 * ASKED + 1


def test_a_judge_that_cannot_be_asked_is_one_failure_in_its_own_words(tmp_path, assets, seen, here, caplog):
    with JudgeServer(lambda body: Answer(404, {"error": {"message": "no such model"}})) as server:
        run = served_at(tmp_path, assets, server)
        [failure] = launched([partial(judged_cell, run, "judged")], seen)
    assert failure.mendable and "there is no such model" in failure.why
    assert "there is no such model" in caplog.text


def test_what_the_judging_process_logs_and_counts_is_heard_here(tmp_path, assets, seen, slow, caplog):
    server, _ = slow
    server.latency = 0.0
    run = served_at(tmp_path, assets, server)
    with caplog.at_level(logging.INFO, "im_bench"):
        assert launched([partial(judged_cell, run, "judged")], seen) == []
    assert f"judge slow: {ASKED} verdicts to ask, 0 kept" in caplog.text
    assert seen.within_of[-1] == (ASKED, ASKED, "verdicts")
    assert multiprocessing.active_children() == []
