"""A small interpreter that runs programs one after the other, each in two processes of its own.

The *program* has the model's code and nothing else; the *checker* has the test. The checker calls the
program's function by messages of plain data (`plain.py`) and alone writes the verdict, into a pipe the
program does not have. So a program passes if and only if the test, run where the program cannot reach it,
came to its end with the values the program sent. Not even the test's text is ever in a process that runs a
program's code, or in one that forks it. The price: arguments are copies, so a test does not see that a
program changed one, and only plain data can be returned.

A request is two messages on descriptor 0, a socket: the program with its limits, then the test. One reply
follows.
"""

from __future__ import annotations

import gc
import importlib
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NoReturn

from im_bench.evaluation.jail import audit, kernel
from im_bench.evaluation.jail.kernel import Limits
from im_bench.evaluation.jail.namespaces import Namespaces
from im_bench.evaluation.jail.plain import Broken, pack, receive, send, unpack
from im_bench.evaluation.jail.trial import answer, check, failure, run_program

PARENT = 0
"""The socket to the process that asks."""
PRELOADED = "bisect collections copy datetime decimal fractions functools hashlib heapq itertools json math "
PRELOADED += "operator re statistics string typing"
"""What programs import most; loaded once here, so that none pays for it."""


class Server:
    """Runs programs until nobody asks any more."""

    def __init__(self, kind: str) -> None:
        """Set up the confinement `kind` (see the package).

        Raises:
            OSError: this machine does not have it.
        """
        self._kind = kind
        self._null = os.open(os.devnull, os.O_RDWR)
        for name in PRELOADED.split():
            importlib.import_module(name)
        if kind != "audit" and not kernel.can_filter():
            raise OSError("no filter of system calls for this system and processor")
        if kind == "landlock":
            kernel.landlock_version()
        self._namespaces = Namespaces() if kind == "namespaces" else None
        gc.freeze()  # what is here stays: a collection in a child would only copy its pages

    def serve(self) -> None:
        """Answer every request."""
        while True:
            try:
                request = unpack(receive(PARENT))
            except Broken:
                return
            scratch = None if self._namespaces else tempfile.mkdtemp(prefix="im-bench-program-")
            try:
                send(PARENT, pack(self._outcome(request, scratch)))
            finally:
                if scratch:
                    shutil.rmtree(scratch, ignore_errors=True)

    def _outcome(self, request: dict[str, Any], scratch: str | None) -> tuple[bool, str]:
        limits = Limits(request["cpu_seconds"], request["memory_mib"])
        to_program, to_checker, verdict = os.pipe(), os.pipe(), os.pipe()

        def program() -> None:
            try:
                self._confine(limits, scratch, keep=(to_program[0], to_checker[1]))
            except OSError as error:
                answer(to_checker[1], failure(error))
            else:
                run_program(
                    request["code"], request["entry_point"], calls=to_program[0], answers=to_checker[1]
                )

        def checker() -> None:
            test = unpack(receive(PARENT))
            self._confine(limits, scratch, keep=(to_checker[0], to_program[1], verdict[1]))
            passed, reason = check(**test, calls=to_program[1], answers=to_checker[0])
            send(verdict[1], pack((passed, reason)))

        children = [self._start(program), self._start(checker)]
        for descriptor in (*to_program, *to_checker, verdict[1]):
            os.close(descriptor)
        passed, reason = _wait(verdict[0], seconds=request["wall_seconds"])
        usage = _end(children)
        os.close(verdict[0])
        # A process that the kernel ended for its CPU time may have used a little less, as measured here.
        if usage > limits.cpu_seconds * (1 if passed else 0.95):
            return False, f"more than {limits.cpu_seconds:g} s of CPU time"
        return passed, reason

    def _start(self, body: Callable[[], None]) -> int:
        """Fork a process that does `body` and ends, whatever happens in it."""
        child = self._namespaces.fork() if self._namespaces else os.fork()
        if child == 0:
            try:
                body()
            finally:
                os._exit(0)
        return child

    def _confine(self, limits: Limits, scratch: str | None, *, keep: tuple[int, ...]) -> None:
        """Leave the calling process with the descriptors `keep`, its limits, and the right to compute."""
        os.setsid()
        place = self._namespaces.private_scratch() if self._namespaces else scratch
        assert place is not None
        os.chdir(place)
        for standard in (0, 1, 2):
            os.dup2(self._null, standard)
        low = 3
        for descriptor in sorted(keep):
            os.closerange(low, descriptor)
            low = descriptor + 1
        os.closerange(low, 1024)
        random.seed(0)
        if sys.platform == "linux":
            kernel.give_up_privileges()
        if self._kind == "landlock":
            kernel.restrict_files(place)
        kernel.limit(limits)
        if kernel.can_filter():
            kernel.filter_system_calls()
        if self._kind == "audit":
            audit.keep_out(place)


def _wait(verdict: int, *, seconds: float) -> tuple[bool, str]:
    """The checker's verdict, if it comes in time and while somebody waits for it."""
    poll = select.poll()
    poll.register(verdict, select.POLLIN)
    poll.register(PARENT, 0)  # tells only of the other side's end
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready = dict(poll.poll(left * 1000))
        if PARENT in ready:
            return False, "nobody asks any more"
        if verdict in ready:
            try:
                passed, reason = unpack(receive(verdict))
            except Broken:
                return False, "the check did not come to its end"
            return bool(passed), str(reason)
    return False, f"no end within {seconds:g} s"


def _end(children: list[int]) -> float:
    """Kill the processes, wait for them, and return the most CPU seconds that one of them used."""
    used = []
    for child in children:
        for kill in (os.kill, os.killpg):
            try:
                kill(child, signal.SIGKILL)
            except ProcessLookupError:  # it has ended, or has not made its group yet
                continue
        usage = os.wait4(child, 0)[2]
        used.append(usage.ru_utime + usage.ru_stime)
    return max(used)


def main(kind: str) -> NoReturn:
    """Say whether this machine has the confinement `kind`, then serve."""
    os.environ.clear()
    try:
        server = Server(kind)
    except OSError as error:
        send(PARENT, pack(str(error)))
        sys.exit(0)
    send(PARENT, pack(""))
    server.serve()
    sys.exit(0)
