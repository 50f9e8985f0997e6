"""Verdicts beside the engine: a thread runs their steps, and a process of its own does the work.

Not the thread itself: an engine that waits for the interpreter is slower by as much as judging computes.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from logging.handlers import QueueHandler, QueueListener
from multiprocessing.connection import wait as wait_for
from threading import Event, Thread
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from im_bench.config import UserError
from im_bench.evaluation.alpaca_eval import import_package
from im_bench.stages import Judging, Wires
from im_bench.store import Step, StepFailed, Store

POLL = 0.2
"""Seconds between two looks at how far the process is."""

ALPACA_EVAL = "alpaca_eval_"
"""What its benchmarks' names begin with."""

log = logging.getLogger(__name__)

_told: Any = None
"""In the process: the event that says stop."""
_progress: Any = None
"""In the process: how many verdicts are there, and of how many."""


class Watcher(Protocol):
    """Whoever shows a person how far the verdicts are."""

    def judging(self, step: Step) -> None:
        """A step of verdicts begins, beside the others."""

    def judged(self, done: int, total: int) -> None:
        """So many of the running benchmark's verdicts are there."""

    def done(self, step: Step) -> None:
        """A step has its record, or has failed."""


class Failure(NamedTuple):
    """A step that a cell lacks, and why."""

    step: Step
    error: Exception


def attempt(store: Store, step: Step, stop: Callable[[], bool] = lambda: False) -> Failure | None:
    """Run a step; what is wrong is told, and is the value."""
    try:
        store.ensure(step, stop)
    except (StepFailed, UserError, OSError) as error:
        log.error("%s: %s", step.name, error)
        return Failure(step, error)
    return None


class Judges:
    """Runs steps of verdicts one after the other while the block goes on.

    Leaving the block by an error or an interruption stops it: what has come is kept, and nothing more is asked.
    """

    def __init__(self, store: Store, watcher: Watcher) -> None:
        self._store, self._watcher = store, watcher
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judges")
        self._child: _Child | None = None
        self._jobs: list[Future[None]] = []
        self._failures: list[Failure] = []
        self._stop = Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop.set()
        self._thread.shutdown(cancel_futures=error is not None)
        if self._child is not None:
            self._child.close()

    def prepare(self, steps: Iterable[Step]) -> None:
        """Start the process now, so that it is ready when the first answers of these steps are."""
        benchmarks = [getattr(step.config, "benchmark", "") for step in steps if step.kind == "verdicts"]
        if benchmarks:
            self._child = _Child()
        if self._child and any(name.startswith(ALPACA_EVAL) for name in benchmarks):
            self._child.prepare()

    def wire(self, wires: Wires) -> None:
        """Have the verdicts of these wires' steps asked for by the process."""
        wires.judge = self._judge

    def ask(self, step: Step) -> None:
        """Have this step run when those before it are through."""
        self.then(lambda: self._run(step))

    def then(self, job: Callable[[], None]) -> None:
        """Have this done when every step asked for so far is through."""
        self._jobs.append(self._thread.submit(job))

    def finished(self) -> list[Failure]:
        """Wait for all; the steps that failed."""
        for job in self._jobs:
            job.result()
        return self._failures

    def _run(self, step: Step) -> None:
        self._watcher.judging(step)
        failure = attempt(self._store, step, self._stop.is_set)
        if failure is not None:
            self._failures.append(failure)
        self._watcher.done(step)

    def _judge(self, work: Judging) -> None:
        self._child = self._child or _Child()
        try:
            self._child.run(work, self._watcher.judged, self._stop)
        except BrokenProcessPool:
            self._child.close()
            self._child = None
            raise RuntimeError("the process that asks the judge was killed; what had come is kept") from None


class _Child:
    """The process, from its first work on. It ignores interruptions, which are its parent's, and dies with it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._told = context.Event()
        self._progress = context.Array("q", 2)
        records: Any = context.Queue()
        self._pool = ProcessPoolExecutor(1, context, _begin, (self._told, self._progress, records))
        self._listener = QueueListener(records, _Heard())
        self._listener.start()

    def prepare(self) -> None:
        self._pool.submit(import_package, alone=True)

    def run(self, work: Judging, follow: Callable[[int, int], None], stop: Event) -> None:
        self._progress[:] = [0, 0]
        future = self._pool.submit(_work, work)
        while not future.done():
            wait([future], timeout=POLL)
            done, total = self._progress[:]
            if total:
                follow(done, total)
            if stop.is_set():
                self._told.set()
        future.result()

    def close(self) -> None:
        self._pool.shutdown()
        self._listener.stop()


class _Heard(logging.Handler):
    """What the process logs is logged here."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


def _begin(told: Any, progress: Any, records: Any) -> None:
    global _told, _progress
    _told, _progress = told, progress
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_die_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[QueueHandler(records)])
    logging.getLogger("im_bench").setLevel(logging.INFO)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for([parent.sentinel])
    os._exit(1)


def _work(work: Judging) -> None:
    def follow(done: int, total: int) -> None:
        _progress[:] = [done, total]

    if work.name.startswith(ALPACA_EVAL):
        import_package(alone=True)
    work.here(follow, _told)
