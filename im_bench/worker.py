"""A process that does work for this one, so that whatever kills it costs that piece of work alone.

It ignores interruptions, which are its parent's, and dies with it.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Event, Lock, Thread, Timer
from typing import Any, TypeVar, cast

from im_bench.config import UserError
from im_bench.judging.judge import Stop
from im_bench.work import Follower

POLL = 0.2
"""Seconds between two looks at whether to stop."""
LAST = 5.0
"""Seconds that a process has to end when it is told so, before it is killed."""

T = TypeVar("T")
Piece = Callable[[Follower, Stop], T]
"""Work; it can be pickled."""


class Killed(Exception):
    """The process of a piece of work ended before it; the message says how."""


class Cancelled(Exception):
    """Somebody said stop before the work was done."""


class Worker:
    """Does one piece of work at a time in a process of its own; after a death the next piece has a new one.

    Args:
        patience: seconds that work has to end by itself when somebody says stop.
        environment: variables of the process besides this one's.
    """

    def __init__(self, patience: float, environment: Mapping[str, str] | None = None) -> None:
        self._patience, self._environment = patience, dict(environment or {})
        self._process: Any = None
        self._pipe: Connection | None = None
        atexit.register(self.close)  # an interruption may have left it open, and Python would wait for it

    def do(self, piece: Piece[T], follower: Follower, stop: Stop) -> T:
        """The work's value; what it raises is raised here.

        Raises:
            Killed: when the process died.
            Cancelled: when somebody said stop, and it did not end in time.
        """
        pipe = self._pipe if self._pipe and self._process.is_alive() else self._start()
        try:
            pipe.send(("work", piece))
            word, value = self._followed(pipe, follower, stop)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            self._pipe = None
            raise Killed(_death(self._process.exitcode)) from None
        except BaseException:
            self.close()  # nobody follows the work any more, and the next would get its value
            raise
        if word == "raised":
            raise value
        return cast(T, value)

    def _followed(self, pipe: Connection, follower: Follower, stop: Stop) -> tuple[str, Any]:
        said_at: float | None = None
        while True:
            if pipe.poll(POLL):
                match pipe.recv():
                    case ("follow", name, values):
                        getattr(follower, name)(*values)
                    case ("log", record):
                        logging.getLogger(record.name).handle(record)
                    case (("value" | "raised") as word, value):
                        return word, value
            elif not self._process.is_alive() and not pipe.poll():  # its children may hold the pipe
                raise EOFError
            if stop.is_set():
                if said_at is None:
                    said_at = time.monotonic()
                    pipe.send(("stop",))
                if time.monotonic() - said_at > self._patience:
                    raise Cancelled

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._pipe is None:
            return
        self._process.terminate()
        self._process.join(LAST)
        self._process.kill()
        self._process.join()
        self._pipe = None

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._environment), daemon=False)
        self._process.start()
        theirs.close()
        return self._pipe


def _death(code: int) -> str:
    """How a process died, for people."""
    if code >= 0:
        return f"its process ended by itself with exit code {code}"
    name = signal.Signals(-code).name
    memory = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{memory}"


# --- in the process ---


class _Line:
    """The way to the parent, for all threads of the process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, Lock()

    def send(self, *message: Any) -> None:
        with self._lock:
            self._pipe.send(message)

    # As a follower.

    def began(self, key: str) -> None:
        self.send("follow", "began", (key,))

    def within(self, key: str, done: float, total: float, what: str) -> None:
        self.send("follow", "within", (key, done, total, what))

    def ended(self, key: str) -> None:
        self.send("follow", "ended", (key,))

    # As a queue of log records, into which they are only put.

    def put_nowait(self, record: logging.LogRecord) -> None:
        self.send("log", record)


def _serve(pipe: Connection, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # standard output is for the parent's table
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    sys.unraisablehook = _end_after_all
    line, work, stop = _Line(pipe), SimpleQueue[Piece[Any]](), Event()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[QueueHandler(cast(Any, line))])
    logging.getLogger("im_bench").setLevel(logging.INFO)
    Thread(target=_hear, args=(pipe, work, stop), daemon=True).start()
    while True:
        piece = work.get()
        try:
            line.send("value", piece(line, stop))
        # Of plain kinds: whatever was raised, they can be sent.
        except UserError as error:
            line.send("raised", UserError(str(error)))
        except OSError as error:
            line.send("raised", OSError(str(error)))
        except Exception:
            line.send("raised", RuntimeError(traceback.format_exc()))


def _end(*_: object) -> None:
    """Once: when the whole group is told, the parent says it again."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _end_after_all(ignored: sys.UnraisableHookArgs) -> None:
    """What is raised amid a finaliser Python ignores: an exit that came there comes again."""
    if ignored.exc_type is SystemExit:
        signal.signal(signal.SIGTERM, _end)
        Timer(POLL, signal.raise_signal, [signal.SIGTERM]).start()
    else:
        sys.__unraisablehook__(ignored)


def _hear(pipe: Connection, work: SimpleQueue[Piece[Any]], stop: Event) -> None:
    """What the parent says while work goes on; it is over when the parent is."""
    while True:
        try:
            message = pipe.recv()
        except Exception:  # the parent is gone, or sends what this process cannot read
            os._exit(1)
        match message:
            case ("work", piece):
                stop.clear()
                work.put(piece)
            case ("stop",):
                stop.set()
