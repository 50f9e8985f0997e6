"""What SLURM says of this user's jobs, and what of it a person should know."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

from im_bench.stages import Stage

ALIVE = frozenset(
    "PENDING CONFIGURING RUNNING COMPLETING SUSPENDED REQUEUED REQUEUE_HOLD REQUEUE_FED RESIZING SIGNALING "
    "SPECIAL_EXIT STAGE_OUT STOPPED PREEMPTED".split()
)
"""States of a job that has not ended; a pre-empted one is requeued, and gone from the queue where it is not."""
NAME = "im-bench"
"""What the names of jobs begin with; `scancel --name im-bench-train`."""
ASK = 5.0
"""Seconds between two questions to SLURM's controller, which is everybody's."""
OF_ITSELF = frozenset({"None", "Dependency"})
"""Reasons to wait that are none: SLURM has not looked yet, or it is another of our jobs that is waited for."""

log = logging.getLogger(__name__)


class Silent(Exception):
    """SLURM's controller is away."""


class Known(NamedTuple):
    """A job as SLURM knows it."""

    state: str
    reason: str
    """Why it waits, or why it ended so."""

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE

    @property
    def is_held(self) -> bool:
        return self.is_alive and "held" in self.reason.lower()

    @property
    def waits(self) -> bool:
        return self.state == "PENDING" and not self.is_held


def ask() -> dict[str, Known]:
    """Each job of this user that SLURM still knows, by its id.

    Those of an array have ids of their own.

    Raises:
        Silent: when SLURM does not answer.
    """
    names = ",".join(f"{NAME}-{stage}" for stage in get_args(Stage))
    whose = [f"--user={os.getuid()}", f"--name={names}"]
    command = ["squeue", *whose, "--noheader", "--array", "--states=all", "--format=%i %T %r"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (subprocess.SubprocessError, OSError) as error:
        complaint = getattr(error, "stderr", None) or str(error)
        raise Silent(complaint.strip().rpartition("\n")[2]) from None
    jobs = [line.split(maxsplit=2) for line in said.splitlines()]
    return {job: Known(state, reason) for job, state, reason in jobs}


class Queue:
    """What SLURM says of jobs, asked for again every few seconds."""

    def __init__(self) -> None:
        self._asked_at = float("-inf")
        self._known: dict[str, Known] = {}
        self._waiting = Waiting()

    def look(self, jobs: Sequence[str]) -> dict[str, Known]:
        """Each of the jobs; where SLURM does not answer, they are taken to run."""
        if time.monotonic() - self._asked_at > ASK:
            self._asked_at = time.monotonic()
            try:
                self._known = ask()
                self._waiting.tell({job: self._known[job] for job in jobs if job in self._known})
            except Silent as error:
                log.warning("SLURM does not answer (%s); jobs go on without it", error)
                self._known = {job: Known("RUNNING", "") for job in jobs}
        return {job: self._known.get(job, Known("GONE", "")) for job in jobs}


class Waiting:
    """Tells why jobs do not run, once for each reason."""

    def __init__(self) -> None:
        self._held: set[tuple[str, str]] = set()
        self._seen = ""
        self._said = ""

    def tell(self, jobs: Mapping[str, Known]) -> None:
        """What is new of the jobs of a sweep; to be told every few seconds.

        Why they wait is told when it was so the last time, too: of a job that has just come, SLURM knows it not yet.
        """
        self._tell_held(jobs)
        if any(job.is_alive and not job.is_held and not job.waits for job in jobs.values()):
            self._seen = self._said = ""
            return
        reasons = {job.reason for job in jobs.values() if job.waits} - OF_ITSELF
        why, before = ", ".join(sorted(reasons)), self._seen
        self._seen = why
        if why and why == before and why != self._said:
            self._said = why
            log.info("SLURM: no job runs now; they wait (%s)", why)

    def _tell_held(self, jobs: Mapping[str, Known]) -> None:
        """An array's jobs are released together."""
        held = {(id.partition("_")[0], job.reason) for id, job in jobs.items() if job.is_held}
        for array, reason in sorted(held - self._held):
            log.warning("SLURM job %s is held (%s); scontrol release %s has it go on", array, reason, array)
        self._held = held
