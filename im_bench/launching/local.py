"""`launcher=local` and `local_parallel`: this machine, every step in a process that can die alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from graphlib import TopologicalSorter
from queue import SimpleQueue
from threading import Event
from types import TracebackType
from typing import Any, Self

from im_bench.config import Local, UserError
from im_bench.launching.chains import Chain, needs_of
from im_bench.store import Step, Store
from im_bench.work import Failure, Follower, do, failed, is_judging, make_ready
from im_bench.worker import Cancelled, Killed, Worker

JUDGES_PATIENCE = 30.0
"""Seconds that a judge's replies on their way are waited for when somebody says stop."""


def launch(chains: Sequence[Chain], launcher: Local, store: Store, follower: Follower) -> list[Failure]:
    """Do all chains, `launcher.jobs` at a time; verdicts are asked for beside them, so that no engine waits."""
    with _Workers(launcher, store, follower) as workers:
        workers.make_ready([step for chain in chains for step in chain.steps])
        workers.through(chains)
        return workers.finished()


class _Workers:
    """Processes for chains, and one for verdicts. Leaving the block by an error or an interruption ends them."""

    def __init__(self, launcher: Local, store: Store, follower: Follower) -> None:
        self._store, self._follower = store, follower
        self._stop = Event()
        self._failures: list[Failure] = []
        self._chains = ThreadPoolExecutor(launcher.jobs)
        self._free: SimpleQueue[Worker] = SimpleQueue()
        self._workers = [Worker(0.0, _share(launcher.jobs)) for _ in range(launcher.jobs)]
        for worker in self._workers:
            self._free.put(worker)
        self._verdicts = ThreadPoolExecutor(1)
        self._judge = Worker(JUDGES_PATIENCE)
        self._judged: list[Future[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop.set()
        try:
            for pool in (self._chains, self._verdicts):
                pool.shutdown(cancel_futures=error is not None)
        finally:
            for worker in (*self._workers, self._judge):
                worker.close()

    def make_ready(self, steps: Sequence[Step]) -> None:
        """Start the process that judges now, so that it is ready when the first answers are."""
        names = [getattr(step.config, "benchmark", "") for step in steps if is_judging(step)]
        if names:
            self._judged.append(self._verdicts.submit(self._begin_to_judge, names))

    def through(self, chains: Sequence[Chain]) -> None:
        """Do these chains, the first that can begin when a process is free, but for their verdicts."""
        place = {chain: number for number, chain in enumerate(chains)}
        waiting = TopologicalSorter(needs_of(chains))
        waiting.prepare()
        ready, running = list[Chain](), dict[Future[None], Chain]()
        while waiting.is_active():
            ready = sorted([*ready, *waiting.get_ready()], key=place.__getitem__)
            free = len(self._workers) - len(running)
            running |= {self._chains.submit(self._chain, chain): chain for chain in ready[:free]}
            ready = ready[free:]
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                done.result()
                waiting.done(running.pop(done))

    def finished(self) -> list[Failure]:
        """Wait for the verdicts too; all that failed."""
        for judged in self._judged:
            judged.result()
        return self._failures

    def _begin_to_judge(self, names: Sequence[str]) -> None:
        with suppress(Killed, Cancelled, OSError, RuntimeError):  # what is wrong, the steps will say
            self._judge.do(partial(make_ready, names), self._follower, self._stop)

    def _chain(self, chain: Chain) -> None:
        worker, lacking = self._free.get(), set[str]()
        try:
            for step in chain.steps:
                if lacking & {need.key for need in step.needs}:
                    lacking.add(step.key)
                elif is_judging(step):
                    self._judged.append(self._verdicts.submit(self._step, self._judge, chain, step))
                elif not self._step(worker, chain, step):
                    lacking.add(step.key)
        finally:
            self._free.put(worker)

    def _step(self, worker: Worker, chain: Chain, step: Step) -> bool:
        """Whether it is done now."""
        if self._stop.is_set():
            return False
        try:
            found = worker.do(partial(do, chain.job([step])), self._follower, self._stop)
        except Killed as death:
            if self._stop.is_set():
                return False
            path = self._store.fail(step, str(death))
            found = [failed(step, f"{death} ({path.parent})")]
            self._follower.ended(step.key)
        except (UserError, OSError, RuntimeError) as error:  # of the work before or after its step
            found = [failed(step, str(error), mendable=isinstance(error, UserError))]
        except Cancelled:
            return False
        self._failures += found
        return not found


def _share(jobs: int) -> dict[str, str]:
    """Several processes that each took all cores would wait for one another."""
    if jobs == 1:
        return {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // jobs))}
