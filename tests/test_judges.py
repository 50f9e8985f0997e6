"""Judges beside the engine: what runs when, what a failure costs, and what is kept when somebody says stop."""

import json
import logging
import multiprocessing
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Timer

import pytest
from judge_server import Answer, JudgeServer, completion
from pydantic import BaseModel

from im_bench.composing import CONF, compose_run
from im_bench.config import Run, UserError
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation.mt_bench import ANSWERS
from im_bench.judges import Judges
from im_bench.judging.verdicts import FILE
from im_bench.pipeline import Cell, verdicts_step
from im_bench.report.collect import read_ledger
from im_bench.scores import Score, write_scores
from im_bench.stages import Wires
from im_bench.store import Step, StepFailed, Store
from im_bench.sweep import run_sweep

SOON = 60
"""Seconds in which what must happen has happened, on the slowest machine."""
ASKED = 32
"""Verdicts on the toy world's MT-Bench."""
LATENCY = 0.2


class Named(BaseModel):
    name: str


class Seen:
    """An observer that remembers who told it what, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.judged_of: list[tuple[int, int]] = []

    def start(self, steps: list[Step]) -> None:
        self.told += [("start", step.label) for step in steps]

    def step(self, step: Step) -> None:
        self.told.append(("step", step.label))

    def judging(self, step: Step) -> None:
        self.told.append(("judging", step.label))

    def done(self, step: Step) -> None:
        self.told.append(("done", step.label))

    def training(self, values: dict[str, float]) -> None:
        raise AssertionError("nothing is trained here")

    def answered(self, done: int, total: int) -> None:
        raise AssertionError("nothing is answered here")

    def judged(self, done: int, total: int) -> None:
        self.judged_of.append((done, total))


def step(name: str, does: Callable[[], object] = lambda: None, *, needs: tuple[Step, ...] = ()) -> Step:
    """A step of verdicts that does this."""
    return Step("verdicts", Named(name=name), lambda out, *inputs: does(), needs=needs, label=name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def seen() -> Seen:
    return Seen()


# --- the thread ---


def test_verdicts_are_asked_for_while_the_main_thread_goes_on(store, seen):
    begun, may_end, ended = Event(), Event(), Event()

    def wait() -> None:
        begun.set()
        assert may_end.wait(SOON)
        ended.set()

    with Judges(store, seen) as judges:
        judges.ask(step("slow", wait))
        assert begun.wait(SOON)
        assert not ended.is_set()  # and here we are
        may_end.set()
        assert judges.finished() == []
    assert ended.is_set()


def test_steps_run_one_after_the_other_in_the_order_in_which_they_were_asked(store, seen):
    order: list[str] = []
    with Judges(store, seen) as judges:
        for name in "abc":
            judges.ask(step(name, lambda name=name: order.append(name)))
        judges.finished()
    assert order == ["a", "b", "c"]
    assert seen.told == [(word, name) for name in "abc" for word in ("judging", "done")]


def test_none_of_the_steps_runs_in_the_main_thread(store, seen):
    threads: list[str] = []
    with Judges(store, seen) as judges:
        for name in "ab":
            judges.ask(step(name, lambda: threads.append(threading.current_thread().name)))
    assert len(set(threads)) == 1 and threads[0].startswith("judges")


def test_a_block_that_is_left_has_its_steps_done(store, seen):
    steps = [step(name, lambda: time.sleep(0.05)) for name in "abc"]
    with Judges(store, seen) as judges:
        for each in steps:
            judges.ask(each)
    assert all(store.done(each) for each in steps)


def test_the_thread_ends_with_the_block(store, seen):
    threads: list[threading.Thread] = []
    with Judges(store, seen) as judges:
        judges.ask(step("a", lambda: threads.append(threading.current_thread())))
    assert [thread.is_alive() for thread in threads] == [False]


def test_a_step_that_is_done_is_not_done_again(store, seen):
    times: list[int] = []
    for _ in range(2):
        with Judges(store, seen) as judges:
            judges.ask(step("a", lambda: times.append(1)))
    assert times == [1]


# --- failures ---


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("no key"), UserError),
        (ValueError("a bug"), StepFailed),
        (OSError("no such folder"), StepFailed),
    ],
)
def test_a_failing_step_is_one_failure_and_the_others_go_on(store, seen, error, told):
    good, bad, late = step("good"), step("bad", failing(error)), step("late")
    with Judges(store, seen) as judges:
        for each in (good, bad, late):
            judges.ask(each)
        [failure] = judges.finished()
    assert failure.step is bad
    assert type(failure.error) is told and str(error) in str(failure.error)
    assert [store.done(each) for each in (good, bad, late)] == [True, False, True]
    assert [name for word, name in seen.told if word == "done"] == ["good", "bad", "late"]


def test_a_failure_is_told_where_it_happens(store, seen, caplog):
    with Judges(store, seen) as judges:
        judges.ask(step("bad", failing(UserError("no key"))))
        judges.finished()
    assert "no key" in caplog.text


def test_what_fails_besides_the_steps_is_raised_when_all_is_waited_for(store, seen):
    with Judges(store, seen) as judges, pytest.raises(ZeroDivisionError):
        judges.then(lambda: 1 // 0)
        judges.finished()


# --- stop ---


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("of the engine")])
def test_a_block_left_by_an_error_cancels_what_waits_and_ends_when_what_runs_does(store, seen, error):
    begun, may_end = Event(), Event()

    def run() -> None:
        begun.set()
        assert may_end.wait(SOON)

    running, waiting = step("running", run), step("waiting")
    with pytest.raises(type(error)), Judges(store, seen) as judges:
        judges.ask(running)
        judges.ask(waiting)
        judges.then(lambda: seen.told.append(("then", "")))
        assert begun.wait(SOON)
        Timer(0.5, may_end.set).start()
        raise error
    assert (store.done(running), store.done(waiting)) == (True, False)
    assert seen.told == [("judging", "running"), ("done", "running")]


# --- then ---


def test_what_comes_then_comes_after_every_step_asked_for_so_far_and_before_later_ones(store, seen):
    may_end, first, second, late = Event(), step("first"), step("second"), step("late")
    found: list[list[bool]] = []
    with Judges(store, seen) as judges:
        judges.ask(step("slow", lambda: may_end.wait(SOON)))
        judges.ask(first)
        judges.ask(second)
        judges.then(lambda: found.append([store.done(each) for each in (first, second, late)]))
        judges.ask(late)
        assert found == []
        may_end.set()
        judges.finished()
    assert found == [[True, True, False]]


def test_what_comes_then_comes_after_a_failure_too(store, seen):
    heard: list[str] = []
    with Judges(store, seen) as judges:
        judges.ask(step("bad", failing(UserError("no key"))))
        judges.then(lambda: heard.append("then"))
        assert len(judges.finished()) == 1
    assert heard == ["then"]


# --- through a sweep ---


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(tmp_path)


def run_of(folder: Path, *overrides: str) -> Run:
    """A config of which nothing is asked that its steps here do not do."""
    model = folder / "model"
    model.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (model / name).write_text("{}")
    own = [
        "model=local",
        f"model.path={model}",
        "benchmark=[mt_bench,alpaca_eval_1]",
        f"paths.results={folder / 'results'}",
    ]
    return compose_run("config", CONF, ["experiment=toy", "loss=none", *own, *overrides])


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is made ready for verdicts: those of the fake steps ask for none."""
    monkeypatch.setattr(Judges, "prepare", lambda self, steps: None)


def scored(out: Path, name: str, value: float, benchmark: str = "mt_bench") -> None:
    score = Score(benchmark, "judged", benchmark, "score", value, None, 1, 1, "higher", judge=name)
    write_scores(out, [score])


def cell(
    run: Run,
    name: str,
    verdict: Callable[..., None] = lambda out, *inputs: scored(out, "a judge", 5.0),
    answer: Callable[[], object] = lambda: None,
) -> Cell:
    """A checkpoint, answers and verdicts; the last two do what they are told."""
    base = Step("base", Named(name=name), lambda out: None, label=f"{name} base")
    answers = Step(
        "answers",
        Named(name=name),
        lambda out, checkpoint: answer(),
        needs=(base,),
        label=f"{name} answers",
    )
    verdicts = Step("verdicts", Named(name=name), verdict, needs=(answers,), label=f"{name} verdicts")
    return Cell(run, base, {"mt_bench": verdicts}, Wires())


def events(run: Run, which: Cell) -> list[dict]:
    file = run.paths.results / "tracking" / f"{which.label}-{which.key}" / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_cell_is_answered_while_the_verdicts_of_the_one_before_are_waited_for(run, seen, at_once):
    other_answered = Event()

    def judge(out: Path, *inputs: Path) -> None:
        assert other_answered.wait(SOON)
        scored(out, "a judge", 5.0)

    first, second = cell(run, "first", judge), cell(run, "second", answer=other_answered.set)
    failures, any_score = run_sweep("small", [first, second], seen)
    assert (failures, any_score) == ([], True)
    assert seen.told.index(("step", "second answers")) < seen.told.index(("done", "first verdicts"))


def test_the_tracker_of_a_cell_is_finished_after_its_verdicts(run, seen, at_once):
    """With its scores; and not before, though the cell's other steps are long through."""
    other_answered, before = Event(), []

    def judge(out: Path, *inputs: Path) -> None:
        assert other_answered.wait(SOON)
        before.extend(events(run, first))
        scored(out, "a judge", 5.0)

    first, second = cell(run, "first", judge), cell(run, "second", answer=other_answered.set)
    run_sweep("small", [first, second], seen)
    assert before == []
    for each in (first, second):
        [event] = events(run, each)
        assert event["scores"] == {"mt_bench/score": 5.0}


def test_a_failing_verdict_costs_its_own_cell_and_no_other(run, seen, at_once):
    bad = cell(run, "bad", lambda out, *inputs: failing(UserError("no key"))())
    good = cell(run, "good")
    failures, any_score = run_sweep("small", [bad, good], seen)
    assert [(failure.step.label, str(failure.error)) for failure in failures] == [("bad verdicts", "no key")]
    assert any_score
    values = {row.cell: row.value for row in read_ledger(run.paths.results / "scores.jsonl")}
    assert values == {bad.key: None, good.key: 5.0}
    assert [event["scores"] for each in (bad, good) for event in events(run, each)] == [
        {},
        {"mt_bench/score": 5.0},
    ]


def test_answers_that_fail_are_not_judged(run, seen, at_once):
    failures, any_score = run_sweep("small", [cell(run, "bad", answer=failing(UserError("no room")))], seen)
    assert [failure.step.label for failure in failures] == ["bad answers"]
    assert not any_score
    assert "judging" not in dict(seen.told)


def test_two_cells_with_the_same_verdicts_have_them_asked_for_once(run, seen, at_once):
    first = cell(run, "first")
    other = cell(run, "other", lambda out, *inputs: scored(out, "a judge", 7.0, "alpaca_eval_1"))
    both = first.benchmarks | {"alpaca_eval_1": other.benchmarks["mt_bench"]}
    second = Cell(run, first.checkpoint, both, Wires())
    failures, _ = run_sweep("small", [first, second], seen)
    assert failures == []
    assert [name for word, name in seen.told if word == "judging"] == ["first verdicts", "other verdicts"]
    told = [event["scores"] for each in (first, second) for event in events(run, each)]
    assert told == [{"mt_bench/score": 5.0}, {"mt_bench/score": 5.0, "alpaca_eval_1/score": 7.0}]


# --- real judges, in a process of their own ---


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the toy world's judged benchmarks."""
    from im_bench.toy.judged import write_judged
    from im_bench.toy.world import make_world

    folder = tmp_path_factory.mktemp("assets")
    write_judged(folder, make_world(0))
    return folder


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


def judged_cell(run: Run, name: str, text: str = "An answer.") -> Cell:
    """A cell whose answers are there at once; its verdicts are asked for as those of any cell."""
    questions = read_rows(Path(str(run.paths.assets)) / "mt_bench/question.jsonl")
    rows = [
        {"question_id": row["question_id"], "model_id": name, "choices": [{"turns": [text, text]}]}
        for row in questions
    ]
    base = Step("base", Named(name=name), lambda out: None, label=f"{name} base")
    answers = Step(
        "answers",
        Named(name=name),
        lambda out, checkpoint: write_rows(out / ANSWERS, rows),
        needs=(base,),
        label=f"{name} answers",
    )
    wires = Wires()
    return Cell(run, base, {"mt_bench": verdicts_step(run, "mt_bench", answers, name, wires)}, wires)


def kept(run: Run) -> int:
    with closing(sqlite3.connect(run.paths.results / FILE)) as file:
        return file.execute("SELECT count(*) FROM verdicts").fetchone()[0]


def is_done(run: Run, which: Cell) -> bool:
    return Store(run.paths.results / "store").done(which.benchmarks["mt_bench"])


def asked_of(server: JudgeServer) -> Counter[str]:
    """How often each prompt came."""
    return Counter(json.dumps(body["messages"]) for body in server.bodies)


class Interrupt:
    """Interrupts once this has happened, and remembers when."""

    def __init__(self, after: Event) -> None:
        self.after, self.at = after, 0.0

    def here(self) -> None:
        """As Ctrl-C does while the engine computes."""
        assert self.after.wait(SOON)
        self.at = time.monotonic()
        raise KeyboardInterrupt

    def of_main_thread(self) -> None:
        """As Ctrl-C does while the main thread waits."""
        if self.after.wait(SOON):
            self.at = time.monotonic()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def is_out_soon(self) -> bool:
        """All verdicts take longer."""
        return self.at > 0 and time.monotonic() - self.at < LATENCY * (ASKED - 8)


@pytest.mark.slow
def test_an_interruption_of_the_engine_ends_the_judges_soon_and_keeps_what_came(tmp_path, assets, seen, slow):
    server, third = slow
    run, interrupt = served_at(tmp_path, assets, server), Interrupt(after=third)
    judged = judged_cell(run, "judged")
    with pytest.raises(KeyboardInterrupt):
        run_sweep("small", [judged, cell(run, "next", answer=interrupt.here)], seen)
    assert interrupt.is_out_soon()
    assert 2 <= kept(run) == len(server.bodies) < ASKED / 2
    assert not is_done(run, judged)
    assert not (run.paths.results / "scores.jsonl").exists()


@pytest.mark.slow
def test_an_interruption_while_the_judges_alone_are_waited_for_ends_as_soon(tmp_path, assets, seen, slow):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread hears of signals, and the tests are in another")
    server, third = slow
    run, interrupt = served_at(tmp_path, assets, server), Interrupt(after=third)
    thread = threading.Thread(target=interrupt.of_main_thread)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_sweep("small", [judged_cell(run, "judged")], seen)
    thread.join()
    assert interrupt.is_out_soon()
    assert 2 <= kept(run) == len(server.bodies) < ASKED / 2


@pytest.mark.slow
def test_after_an_interruption_the_same_sweep_asks_only_for_what_is_missing(tmp_path, assets, seen, slow):
    server, third = slow
    run, interrupt = served_at(tmp_path, assets, server), Interrupt(after=third)
    with pytest.raises(KeyboardInterrupt):
        run_sweep("small", [judged_cell(run, "judged"), cell(run, "next", answer=interrupt.here)], seen)
    server.latency = 0.0
    assert run_sweep("small", [judged_cell(run, "judged")], seen) == ([], True)
    assert len(asked_of(server)) == ASKED and set(asked_of(server).values()) == {1}
    assert seen.judged_of[-1] == (ASKED, ASKED)
    [row] = [row for row in read_ledger(run.paths.results / "scores.jsonl") if row.task == "mt_bench"]
    assert (row.value, row.count, row.judge) == (5.0, ASKED, "slow")


@pytest.mark.slow
def test_a_judging_process_that_is_killed_costs_one_step_and_the_next_has_a_new_one(
    tmp_path, assets, seen, slow
):
    """What had come is kept, and so not asked for again."""
    server, third = slow
    run = served_at(tmp_path, assets, server)
    cells = [judged_cell(run, "first", "One answer."), judged_cell(run, "second", "Another.")]

    def kill() -> None:
        assert third.wait(SOON)
        for child in multiprocessing.active_children():
            child.kill()
        server.latency = 0.0

    thread = threading.Thread(target=kill)
    thread.start()
    [failure], _ = run_sweep("small", cells, seen)
    thread.join()
    assert failure.step.label.startswith("first-mt_bench") and "killed" in str(failure.error)
    assert [is_done(run, each) for each in cells] == [False, True]
    assert run_sweep("small", cells, seen).failures == []
    # Of the first cell's prompts only the one that was on its way is asked for twice.
    assert len(asked_of(server)) == 2 * ASKED and sum(asked_of(server).values()) <= 2 * ASKED + 1


def test_a_judge_that_cannot_be_asked_is_one_failure_in_its_own_words(tmp_path, assets, seen, here, caplog):
    with JudgeServer(lambda body: Answer(404, {"error": {"message": "no such model"}})) as server:
        run = served_at(tmp_path, assets, server)
        [failure], any_score = run_sweep("small", [judged_cell(run, "judged")], seen)
    assert isinstance(failure.error, UserError) and "there is no such model" in str(failure.error)
    assert not any_score
    assert "there is no such model" in caplog.text


def test_what_the_judging_process_logs_is_heard_here(tmp_path, assets, seen, slow, caplog):
    server, _ = slow
    server.latency = 0.0
    run = served_at(tmp_path, assets, server)
    with caplog.at_level(logging.INFO, "im_bench"):
        run_sweep("small", [judged_cell(run, "judged")], seen)
    assert f"judge slow: {ASKED} verdicts to ask, 0 kept" in caplog.text
    assert multiprocessing.active_children() == []
