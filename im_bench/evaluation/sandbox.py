"""Runs programs that a model wrote, each against its test, where they can do no harm.

What holds a program, and what that is worth, is told in `jail/__init__.py`; why a verdict cannot be forged,
in `jail/server.py`. Programs run at once on at most as many workers as there are cores, and what ends a
program is the CPU time it used, not the time that passed: the outcome does not depend on the machine's load
or number of cores. The same program is run once, however often it is given.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from im_bench.config import UserError
from im_bench.evaluation.jail.plain import Broken, pack, receive, send, unpack

Kind = Literal["namespaces", "landlock", "audit"]
KINDS: tuple[Kind, ...] = ("namespaces", "landlock", "audit")
ROOT = str(Path(__file__).parents[2])
START = "import sys; root, kind = sys.argv[1:]; sys.path.insert(0, root); "
START += "from im_bench.evaluation.jail.server import main; sys.path.remove(root); main(kind)"
PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
"""Without them some interpreters do not start; no program sees any variable."""
WALL_PER_CPU_SECOND = 10
"""How long a program may take, because some sleep: generous, because machines are shared."""
WEAK = (
    "only the interpreter keeps model-written programs in, because this machine has nothing stronger (%s); "
    "to change that, allow user namespaces (user.max_user_namespaces above 0, "
    "kernel.apparmor_restrict_unprivileged_userns=0) or Landlock"
)

log = logging.getLogger(__name__)


class Program(NamedTuple):
    """Code that defines the function `entry_point`, and the test that defines `check(candidate)`."""

    code: str
    test: str
    entry_point: str
    setup: str = ""
    """Run before the test, where the test runs; defines what the test needs besides the candidate."""


class Outcome(NamedTuple):
    """`passed` means that `check` ran to its end; `reason` says why not, in a line."""

    passed: bool
    reason: str


class Isolation(NamedTuple):
    """What confines programs on this machine, and why nothing stronger does (empty for the strongest)."""

    kind: Kind
    missing: str


PROBE = Program(
    "import hashlib, random\ndef twice(x): return 2 * x", "def check(c): assert c([1]) == [1, 1]", "twice"
)


def run_programs(
    programs: Sequence[Program], *, cpu_seconds: float, memory_mib: int, workers: int | None = None
) -> list[Outcome]:
    """The outcome of every program, in their order.

    Args:
        programs: any number, equal ones included.
        cpu_seconds: of a program, its definitions and all calls of its function together.
        memory_mib: of address space; a bare interpreter takes about 40.
        workers: programs at once; at most, and by default, the cores this process may use.

    Raises:
        UserError: where not even a harmless program passes.
    """
    todo = deque(dict.fromkeys(programs))
    outcomes: dict[Program, Outcome] = {}
    if not todo:
        return []
    limits = _limits(cpu_seconds, memory_mib)
    servers = [_Server(isolation().kind) for _ in range(min(workers or num_cores(), num_cores(), len(todo)))]

    def work(server: _Server) -> None:
        while todo:
            try:
                program = todo.popleft()
            except IndexError:  # another worker was faster
                return
            outcomes[program] = server.outcome(program, limits)

    with ExitStack() as stack, ThreadPoolExecutor(len(servers)) as pool:
        for server in servers:
            stack.callback(server.close)
        try:
            list(pool.map(work, servers))
        finally:  # an interrupt does not wait for what runs
            todo.clear()
            for server in servers:
                server.stop()
    return [outcomes[program] for program in programs]


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@cache
def isolation() -> Isolation:
    """Find the strongest confinement under which a harmless program passes.

    Raises:
        UserError: there is none.
    """
    missing: list[str] = []
    for kind in KINDS:
        server = _Server(kind)
        try:
            outcome = server.outcome(PROBE, _limits(cpu_seconds=10, memory_mib=512))
        except Unavailable as error:
            outcome = Outcome(False, str(error))
        finally:
            server.close()
        if outcome.passed:
            found = Isolation(kind, "; ".join(missing))
            if kind == "audit":
                log.warning(WEAK, found.missing)
            return found
        missing.append(f"{kind}: {outcome.reason}")
    raise UserError(f"humaneval: this machine cannot run model-written programs ({'; '.join(missing)})")


def _limits(cpu_seconds: float, memory_mib: int) -> dict[str, float]:
    return {
        "cpu_seconds": cpu_seconds,
        "memory_mib": memory_mib,
        "wall_seconds": WALL_PER_CPU_SECOND * cpu_seconds,
    }


class Unavailable(RuntimeError):
    """This machine does not have the confinement asked for."""


class _Server:
    """One interpreter of `jail/server.py`: started when first needed, and again after a program ended it."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._stopped = False

    def outcome(self, program: Program, limits: dict[str, float]) -> Outcome:
        """Run one program.

        Raises:
            Unavailable: the server cannot confine programs as asked.
        """
        if self._stopped:
            return Outcome(False, "interrupted")
        channel = self._socket or self._start()
        name = {"entry_point": program.entry_point}
        try:
            send(channel.fileno(), pack({"code": program.code, **name, **limits}))
            send(channel.fileno(), pack({"setup": program.setup, "test": program.test, **name}))
            return Outcome(*unpack(receive(channel.fileno())))
        except (Broken, OSError):
            self.close()
            return Outcome(False, "it ended the sandbox")

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        # A fixed hash seed, because the order of a set may decide whether a program passes.
        environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ} | {
            "PYTHONHASHSEED": "0"
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-S", "-X", "utf8", "-c", START, ROOT, self._kind],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        self._socket = ours
        try:
            problem = unpack(receive(ours.fileno()))
        except Broken:
            problem = "its interpreter does not start"
        if problem:
            self.close()
            raise Unavailable(problem)
        return ours

    def stop(self) -> None:
        """Interrupt the server from any thread: it ends what it runs, then itself."""
        self._stopped = True
        channel = self._socket
        with suppress(OSError):  # the server may have ended, and its worker have closed the socket
            if channel:
                channel.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Wait until nothing of the server is left."""
        if self._socket:
            self._socket.close()
            self._socket = None
        if self._process:
            self._process.wait()
            self._process = None
