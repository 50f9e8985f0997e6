"""A process that does work for this one: what comes back, and what becomes of both when one of them dies."""

import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Event
from urllib.error import HTTPError

import pytest
from settings import Seen

from im_bench.config import UserError
from im_bench.work import Quiet
from im_bench.worker import Cancelled, Killed, Worker

SOON = 60
"""Seconds in which what must happen has happened, on the slowest machine."""
WORD = "IM_BENCH_TESTS_WORD"
log = logging.getLogger("im_bench.tests")


class TellsNobody(Exception):
    """It cannot be sent: it holds what no other process can have."""

    def __init__(self, *, why: str) -> None:
        super().__init__(why)
        self.lock = threading.Lock()


# --- work, each as a process is sent it ---


def add(one, other, follower, stop):
    return one + other


def own_id(follower, stop):
    return os.getpid()


def word(follower, stop):
    return os.environ.get(WORD)


def throw(error, follower, stop):
    raise error


def throw_what_cannot_be_sent(follower, stop):
    raise TellsNobody(why="the reason")


def throw_a_system_error_that_cannot_be_sent(follower, stop):
    raise HTTPError("http://localhost", 500, "the reason", None, open(os.devnull))  # noqa: SIM115


def a_lock(follower, stop):
    return threading.Lock()


def leave(code, follower, stop):
    sys.exit(code)


def follow(follower, stop):
    follower.began("a")
    for done in range(200):
        follower.within("a", done, 200, "requests")
    follower.ended("a")


def follow_from_many_threads(follower, stop):
    def tell(key):
        for done in range(200):
            follower.within(key, done, 200, "requests")

    threads = [threading.Thread(target=tell, args=(key,)) for key in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def say(follower, stop):
    log.info("to whom it concerns")
    logging.getLogger("another").info("too much")
    logging.getLogger("another").warning("of another")
    print("printed", flush=True)
    os.write(1, b"written\n")


def note_and_wait(file, follower, stop):
    """Write down which process this is, and wait for ever."""
    draft = file.with_suffix(".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(file)
    while True:
        time.sleep(0.01)


def fork_and_wait(file, follower, stop):
    """As `note_and_wait`, with a child that holds everything that this process has open."""
    child = os.fork()
    if child == 0:
        time.sleep(SOON)
        os._exit(0)
    file.with_suffix(".child").write_text(str(child))
    note_and_wait(file, follower, stop)


class Slow:
    """Takes its time to be gone."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __del__(self) -> None:
        self.file.write_text(str(os.getpid()))
        time.sleep(1)


def wait_amid_a_finaliser(file, follower, stop):
    """Wait for ever, and say when that is over."""
    try:
        Slow(file)  # gone at once
        note_and_wait(file.with_name("other"), follower, stop)
    finally:
        file.with_name("over").touch()


def until_stop(file, seconds, follower, stop):
    """Wait for a stop, then so long, and say so."""
    file.touch()
    assert stop.wait(SOON)
    time.sleep(seconds)
    return "ended by itself"


def is_set(follower, stop):
    return stop.is_set()


# --- here ---


@pytest.fixture(scope="module")
def shared_worker() -> Iterator[Worker]:
    """One process for all tests that harm none."""
    worker = Worker(0.0)
    yield worker
    worker.close()


@pytest.fixture
def do(shared_worker: Worker) -> Callable:
    def do(piece, follower=None, stop=None):
        return shared_worker.do(piece, follower or Quiet(), stop or Event())

    return do


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(0.0)
    yield worker
    worker.close()


def lives(process: int) -> bool:
    """Whether it runs; one whose parent has not looked yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not until():
        assert time.monotonic() < end
        time.sleep(0.01)


class During(threading.Thread):
    """Does something to the process that has written itself down, once it has."""

    def __init__(self, file: Path, does: Callable[[int], object]) -> None:
        super().__init__()
        self.file, self.does = file, does

    def __enter__(self) -> "During":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()

    def run(self) -> None:
        wait(self.file.exists)
        self.does(int(self.file.read_text() or 0))


def killing(file: Path) -> During:
    return During(file, lambda process: os.kill(process, signal.SIGKILL))


# --- what comes back ---


def test_work_is_done_in_one_other_process_and_its_value_comes_back(do):
    assert do(partial(add, 20, 22)) == 42
    assert do(own_id) == do(own_id) != os.getpid()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UserError("rows.jsonl, row 3: the output is empty"), UserError),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OSError),
        (FileNotFoundError(2, "No such file", "rows.jsonl"), OSError),
    ],
)
def test_what_a_user_or_the_system_is_to_mend_is_raised_here_in_its_words(do, error, kind):
    with pytest.raises(kind) as raised:
        do(partial(throw, error))
    assert str(raised.value) == str(error)


def test_any_other_error_is_raised_here_with_its_traceback(do):
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*in throw.*ZeroDivisionError: the reason"):
        do(partial(throw, ZeroDivisionError("the reason")))


@pytest.mark.parametrize(
    ("piece", "kind", "told"),
    [
        (throw_what_cannot_be_sent, RuntimeError, "TellsNobody: the reason"),
        (throw_a_system_error_that_cannot_be_sent, OSError, "HTTP Error 500: the reason"),
        (a_lock, RuntimeError, "cannot pickle"),
    ],
)
def test_what_cannot_be_sent_is_told_all_the_same_and_kills_nobody(do, piece, kind, told):
    before = do(own_id)
    with pytest.raises(kind, match=told):
        do(piece)
    assert do(own_id) == before


def test_a_follower_hears_everything_in_order(do):
    seen = Seen()
    do(follow, seen)
    within = [("within", "a", done, 200, "requests") for done in range(200)]
    assert seen.told == [("began", "a"), *within, ("ended", "a")]


def test_what_threads_tell_at_once_comes_whole_and_each_in_its_order(do):
    seen = Seen()
    do(follow_from_many_threads, seen)
    for key in "abcd":
        assert [each[2] for each in seen.told if each[1] == key] == list(range(200))


def test_what_the_process_logs_is_heard_here(do, caplog):
    with caplog.at_level(logging.DEBUG):
        do(say)
    heard = [(record.name, record.getMessage()) for record in caplog.records]
    assert heard == [("im_bench.tests", "to whom it concerns"), ("another", "of another")]


def test_the_process_has_the_environment_that_it_is_given_and_this_one_does_not():
    given = Worker(0.0, {WORD: "hello"})
    try:
        assert (given.do(word, Quiet(), Event()), os.environ.get(WORD)) == ("hello", None)
    finally:
        given.close()


# --- death ---


def test_a_process_that_is_killed_costs_its_work_and_the_next_has_a_new_one(worker, tmp_path):
    with killing(tmp_path / "id"), pytest.raises(Killed) as killed:
        worker.do(partial(note_and_wait, tmp_path / "id"), Quiet(), Event())
    assert str(killed.value) == "its process was killed by SIGKILL, as the system does when memory runs out"
    old = int((tmp_path / "id").read_text())
    assert worker.do(own_id, Quiet(), Event()) != old
    assert not lives(old)


def test_a_death_between_two_pieces_of_work_costs_neither(worker):
    old = worker.do(own_id, Quiet(), Event())
    os.kill(old, signal.SIGKILL)
    worker._process.join(SOON)
    assert worker.do(own_id, Quiet(), Event()) != old


def test_a_death_is_seen_though_a_child_of_the_process_lives_on(worker, tmp_path):
    with killing(tmp_path / "id"), pytest.raises(Killed, match="killed by SIGKILL"):
        worker.do(partial(fork_and_wait, tmp_path / "id"), Quiet(), Event())
    child = int((tmp_path / "id.child").read_text())
    assert lives(child)
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(("code", "told"), [(0, 0), (3, 3), ("a sentence", 1)])
def test_work_that_leaves_python_is_a_death_with_its_exit_code(worker, code, told):
    with pytest.raises(Killed, match=f"^its process ended by itself with exit code {told}$"):
        worker.do(partial(leave, code), Quiet(), Event())


# --- stop ---


def test_work_that_does_not_end_when_somebody_says_stop_is_ended(worker, tmp_path):
    stop = Event()
    with During(tmp_path / "id", lambda process: stop.set()), pytest.raises(Cancelled):
        worker.do(partial(note_and_wait, tmp_path / "id"), Quiet(), stop)
    assert not lives(int((tmp_path / "id").read_text()))


def test_work_that_is_ended_amid_a_finaliser_ends_as_any_other(worker, tmp_path):
    """Where Python ignores what is raised."""
    stop = Event()
    with During(tmp_path / "id", lambda process: stop.set()), pytest.raises(Cancelled):
        worker.do(partial(wait_amid_a_finaliser, tmp_path / "id"), Quiet(), stop)
    assert (tmp_path / "over").exists()


def test_work_has_its_patience_to_end_by_itself_and_the_next_hears_of_no_stop(tmp_path):
    worker, stop = Worker(SOON), Event()
    try:
        with During(tmp_path / "began", lambda process: stop.set()):
            piece = partial(until_stop, tmp_path / "began", 0.5)
            assert worker.do(piece, Quiet(), stop) == "ended by itself"
        assert worker.do(is_set, Quiet(), Event()) is False
        (tmp_path / "began").unlink()
        worker._patience = 0.5
        stop.clear()
        with During(tmp_path / "began", lambda process: stop.set()), pytest.raises(Cancelled):
            worker.do(partial(until_stop, tmp_path / "began", SOON), Quiet(), stop)
    finally:
        worker.close()


class Refusing(Seen):
    def within(self, key: str, done: float, total: float, what: str) -> None:
        raise OSError("no room")


def test_a_follower_that_fails_ends_the_work_and_the_next_has_its_own_value(worker):
    with pytest.raises(OSError, match="no room"):
        worker.do(follow, Refusing(), Event())
    assert worker.do(partial(add, 20, 22), Quiet(), Event()) == 42


def test_a_closed_worker_has_no_process_and_one_that_did_nothing_never_had(worker, tmp_path):
    before = multiprocessing.active_children()
    worker.close()
    assert multiprocessing.active_children() == before
    process = worker.do(own_id, Quiet(), Event())
    worker.close()
    worker.close()
    assert not lives(process) and multiprocessing.active_children() == before


# --- parents ---

PARENT = """
import sys
from functools import partial
from pathlib import Path
from threading import Event, Thread

sys.path.insert(0, sys.argv[1])
from test_worker import {piece}
from im_bench.work import Quiet
from im_bench.worker import Worker

if __name__ == "__main__":
    worker = Worker(0.0)
    {does}
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Starts another process that has a worker, in a group of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(piece: str, does: str) -> subprocess.Popen[str]:
        (tmp_path / "parent.py").write_text(PARENT.format(piece=piece, does=does))
        command = [sys.executable, str(tmp_path / "parent.py"), str(Path(__file__).parent), str(tmp_path)]
        started.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


WAITS = 'worker.do(partial(note_and_wait, Path(sys.argv[2]) / "id"), Quiet(), Event())'


def test_the_process_dies_with_its_parent(parent, tmp_path):
    one = parent("note_and_wait", WAITS)
    wait((tmp_path / "id").exists)
    process = int((tmp_path / "id").read_text())
    assert lives(process)
    one.kill()
    wait(lambda: not lives(process))


def test_an_interruption_of_all_is_the_parents_to_answer(parent, tmp_path):
    """As of Ctrl-C, which the terminal sends to a whole group."""
    one = parent(
        "until_stop",
        """stop = Event()
    file = Path(sys.argv[2]) / "began"
    work = Thread(target=lambda: print(Worker(30.0).do(partial(until_stop, file, 0.5), Quiet(), stop)))
    work.start()
    try:
        Event().wait(60)
    except KeyboardInterrupt:
        stop.set()
        work.join()""",
    )
    wait((tmp_path / "began").exists)
    os.killpg(one.pid, signal.SIGINT)
    output, error = one.communicate(timeout=SOON)
    assert (one.returncode, output) == (0, "ended by itself\n"), error


def test_a_parent_that_leaves_its_worker_open_ends_all_the_same(parent, tmp_path):
    """As one does that is interrupted while it closes it."""
    one = parent("own_id", "print(worker.do(own_id, Quiet(), Event()))")
    output, error = one.communicate(timeout=SOON)
    assert (one.returncode, error) == (0, "")
    assert not lives(int(output))


def test_what_the_process_prints_is_not_on_its_parents_standard_output(parent):
    """That is for the table."""
    one = parent("say", 'worker.do(say, Quiet(), Event()); worker.close(); print("the table")')
    output, error = one.communicate(timeout=SOON)
    assert output == "the table\n"
    assert "printed" in error and "written" in error  # beside what is logged, which is the parent's
