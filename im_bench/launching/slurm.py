"""`launcher=slurm`: an array of jobs for each stage, which SLURM runs when those before them have ended.

Jobs belong to SLURM: they go on when the command that submitted them ends, however it ends. Which steps they do is
kept in `<results>/jobs/queue.jsonl`, so that the next command follows them instead of submitting them again.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from im_bench.config import Run, Slurm, UserError
from im_bench.launching.chains import Chain, phases_of
from im_bench.launching.squeue import NAME, Known, Queue, Silent, ask
from im_bench.launching.watching import GRACE, LOOK, Watch, asked, lost, steps_of, told, work_in
from im_bench.stages import Stage
from im_bench.store import Step, Store
from im_bench.work import Failure, Follower, Job

QUEUE = "queue.jsonl"
OWN_CORES = (
    # A job that took all cores of its node would slow down its neighbours, and itself most.
    "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}",
    # Since SLURM 22.05 srun gives a step one core, whatever its job has, unless it is told.
    "export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}",
)
NOTICE = 90
"""Seconds before the end of its minutes in which a job is told."""
PROGRAMS = ("sbatch", "srun", "squeue", "scontrol")

log = logging.getLogger(__name__)


def launch(chains: Sequence[Chain], launcher: Slurm, store: Store, follower: Follower) -> list[Failure]:
    """Submit all chains, and follow them to their end.

    Raises:
        UserError: when submitit or SLURM is not installed here, or SLURM refuses a job.
    """
    queue = _Queue(launcher, store)
    try:
        queue.follow(steps_of(chains))
        for phase in phases_of(chains):
            queue.submit(phase)
        return _ended(queue.tasks, store, follower)
    except KeyboardInterrupt:
        if queue.tasks:
            arrays = " ".join(dict.fromkeys(task.array for task in queue.tasks))
            said = "the jobs stay in the queue; scancel %s ends them, and the same command follows them"
            log.warning(said, arrays)
        raise


@dataclass(frozen=True)
class Work:
    """What a job does. Told that its end is near, it goes back into the queue, and then does what is left."""

    requeues: int

    def __call__(self, folder: Path, job: Job) -> list[Failure]:
        signal.signal(signal.SIGUSR2, self._requeue)
        return work_in(folder, job)

    def _requeue(self, *_: object) -> None:
        """When it was too often, SLURM decides: a job whose minutes are over ends, a pre-empted one goes on."""
        if int(os.environ.get("SLURM_RESTART_COUNT", 0)) < self.requeues:
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True, timeout=60)
            sys.exit("requeued")


@dataclass(frozen=True, eq=False)
class _Task:
    """A job, or a job of an array, and the steps that it does."""

    job: Any
    steps: list[Step]

    @property
    def id(self) -> str:
        return str(self.job.job_id)

    @property
    def array(self) -> str:
        return self.id.partition("_")[0]


class _Queue:
    """Submits arrays, and knows those that were submitted before."""

    def __init__(self, launcher: Slurm, store: Store) -> None:
        self._launcher = launcher
        self._folder = (store.root.parent / "jobs").resolve()
        self._submitit = _submitit()
        self._executor = self._submitit.SlurmExecutor(self._folder / "%j")
        self.tasks: list[_Task] = []
        """Which do the steps of this sweep, and have not ended."""

    def follow(self, steps: Sequence[Step]) -> None:
        """Take tasks of earlier commands that are still to end and do some of these steps.

        Raises:
            UserError: when SLURM does not answer.
        """
        wanted = {step.key: step for step in steps}
        try:
            known = ask()
        except Silent as error:
            raise UserError(f"launcher=slurm: SLURM does not answer ({error}); see scontrol ping") from None
        for line in self._lines():
            own = [wanted[key] for key in line["steps"] if key in wanted]
            if own and line["job"] in known and known[line["job"]].is_alive:
                job = self._submitit.SlurmJob(folder=self._folder / "%j", job_id=line["job"])
                log.info("SLURM job %s is in the queue already, with %s", line["job"], own[0].name)
                self.tasks.append(_Task(job, own))

    def submit(self, chains: Sequence[Chain]) -> None:
        """One array for each stage of chains that have the same stages, each task after its cell's one before.

        What is in the queue already is not submitted again.
        """
        before = list(self.tasks)
        taken = {step.key for task in before for step in task.steps}
        alike: dict[tuple[Stage, ...], list[Chain]] = defaultdict(list)
        for chain in (_without(chain, taken) for chain in chains):
            if chain.steps:
                alike[tuple(stage for stage, _ in chain.stages())].append(chain)
        for stages, group in self._arrays(alike):
            wait = _after(before, steps_of(group))
            for number, stage in enumerate(stages):
                work = [(chain, chain.stages()[number][1]) for chain in group]
                tasks = self._array(stage, work, wait)
                wait = f"{'aftercorr' if len(tasks) > 1 else 'afterok'}:{tasks[0].array}"
                self.tasks += tasks

    def _arrays(
        self, alike: Mapping[tuple[Stage, ...], list[Chain]]
    ) -> Iterator[tuple[tuple[Stage, ...], list[Chain]]]:
        """Pieces of at most as many chains as SLURM takes in one array."""
        largest = _largest_array()
        for stages, group in alike.items():
            for start in range(0, len(group), largest):
                yield stages, group[start : start + largest]

    def _array(self, stage: Stage, work: Sequence[tuple[Chain, list[Step]]], wait: str | None) -> list[_Task]:
        self._executor.update_parameters(**self._parameters(stage, work[0][0].run, wait))
        jobs = [chain.job(steps) for chain, steps in work]
        try:
            work_of = Work(self._launcher.requeues)
            submitted = self._executor.map_array(work_of, [Path.cwd()] * len(jobs), jobs)
        except self._submitit.core.utils.FailedJobError as error:
            said = [line for line in str(error).splitlines() if "error:" in line] or [str(error)]
            raise UserError(
                f"launcher=slurm: sbatch refuses ({said[0].partition('error:')[2].strip() or said[0]}); see "
                "launcher.partition, launcher.account, launcher.options and launcher.resources, and sinfo"
            ) from None
        tasks = [_Task(job, steps) for job, (_, steps) in zip(submitted, work, strict=True)]
        self._keep(tasks)
        cells = f"{len(tasks)} cell{'s' if len(tasks) > 1 else ''}"
        log.info("SLURM job %s: %s of %s", tasks[0].array, stage, cells)
        return tasks

    def _parameters(self, stage: Stage, run: Run, wait: str | None) -> dict[str, Any]:
        launcher = self._launcher
        resources = asked(getattr(launcher.resources, stage), run)
        own = {"requeue": True, "signal": f"USR2@{NOTICE}"}
        own |= {"account": launcher.account} if launcher.account else {}
        own |= {"dependency": wait, "kill-on-invalid-dep": "yes"} if wait else {}
        return {
            "job_name": f"{NAME}-{stage}",
            "partition": launcher.partition,
            "cpus_per_task": resources.cpus,
            "gpus_per_node": int(resources.gpus) or None,
            "mem": f"{int(resources.memory_gb * 1024)}MB" if resources.memory_gb else None,
            "time": resources.minutes,
            "array_parallelism": launcher.jobs or 10_000,
            "setup": [*OWN_CORES, *launcher.setup],
            "additional_parameters": {**launcher.options, **own},
        }

    def _lines(self) -> Iterator[dict[str, Any]]:
        file = self._folder / QUEUE
        for line in file.read_text().splitlines() if file.exists() else []:
            with suppress(ValueError):  # one that was cut short with the process that wrote it
                yield json.loads(line)

    def _keep(self, tasks: Sequence[_Task]) -> None:
        lines = [json.dumps({"job": task.id, "steps": [step.key for step in task.steps]}) for task in tasks]
        with (self._folder / QUEUE).open("a") as file:
            file.write("".join(f"\n{line}\n" for line in lines))


def _largest_array() -> int:
    """How many jobs an array may have: SLURM's limit is the first number that none of them can have."""
    command = ["scontrol", "show", "config"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", said)
    return max(1, int(found[1]) - 1) if found else 1000


def _after(tasks: Sequence[_Task], steps: Sequence[Step]) -> str | None:
    """The dependency on those tasks that do what these steps need."""
    needed = {need.key for step in steps for need in step.needs}
    jobs = dict.fromkeys(task.array for task in tasks if needed & {step.key for step in task.steps})
    return f"afterany:{':'.join(jobs)}" if jobs else None


def _ended(tasks: Sequence[_Task], store: Store, follower: Follower) -> list[Failure]:
    """Follow tasks until SLURM has none of them; what failed."""
    queue, watch, failures, left = Queue(), Watch(store, follower), list[Failure](), list(tasks)
    ended_at: dict[str, float] = {}
    while left:
        known, now = queue.look([task.id for task in left]), time.monotonic()
        watch.look(step for task in left if not known[task.id].waits for step in task.steps)
        ended_at = {job: ended_at.get(job, now) for job, seen in known.items() if not seen.is_alive}
        # What a job says of itself may be on its way for a while.
        over = [task for task in left if _has_value(task) or now - ended_at.get(task.id, now) > GRACE]
        for task in over:
            failures += _outcome(task, known[task.id], store)
            watch.over(task.steps)
        left = [task for task in left if task not in over]
        if left:
            time.sleep(LOOK)
    return failures


def _has_value(task: _Task) -> bool:
    return bool(task.job.paths.result_pickle.exists())


def _outcome(task: _Task, known: Known, store: Store) -> list[Failure]:
    """What failed of a task that has ended."""
    if not _has_value(task):
        seen = f"{known.state.lower()}; its log: {task.job.paths.stderr}"
        return lost(store, task.steps, f"SLURM job {task.id} ended without a word ({seen})")
    try:
        failures: list[Failure] = task.job.result()
    except Exception as error:  # whatever submitit raises, and whatever the job did
        trace = [line for line in str(error).partition("\n---")[2].partition("\n---")[0].splitlines() if line]
        why = trace[-1] if trace else str(error)
        said = f"SLURM job {task.id} failed: {why} (its log: {task.job.paths.stderr})"
        return lost(store, task.steps, said)
    return told(store, task.steps, failures)


def _without(chain: Chain, taken: set[str]) -> Chain:
    return replace(chain, steps=tuple(step for step in chain.steps if step.key not in taken))


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise UserError("launcher=slurm: submitit is not installed; pip install 'im-bench[slurm]'") from None
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        raise UserError(
            f"launcher=slurm: there is no {absent[0]} here; run it where SLURM's commands are, or use another launcher"
        )
    return submitit
