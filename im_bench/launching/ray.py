"""`launcher=ray`: each stage of a cell as a task of Ray, which knows what is free and waits for what comes before."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from im_bench.config import Ray, Resources, Run, UserError
from im_bench.launching.chains import Chain
from im_bench.launching.watching import LOOK, Watch, asked, lost, told, work_in
from im_bench.store import Step, Store
from im_bench.work import Failure, Follower, Job

PASSED = ("HF_", "WANDB_")
"""Variables that begin so are set for a task too, unless its machine sets them; and the keys of judge and engine."""
ANSWERS = 10.0
"""Seconds in which a cluster answers; Ray itself would try for many minutes, and then end this process."""
ASKED = 20.0
"""Seconds in which a process that asks it starts, and is answered."""

log = logging.getLogger(__name__)


def launch(chains: Sequence[Chain], launcher: Ray, store: Store, follower: Follower) -> list[Failure]:
    """Do all chains, as many side by side as the cluster has room for.

    Raises:
        UserError: when Ray is not installed, there is no such cluster, or it can never have room.
    """
    with _connected(launcher) as ray:
        return _Tasks(ray, launcher, store, follower).through(chains)


class _Tasks:
    """The tasks of one sweep. What an interruption leaves is cancelled."""

    def __init__(self, ray: Any, launcher: Ray, store: Store, follower: Follower) -> None:
        self._ray, self._launcher, self._store = ray, launcher, store
        self._watch = Watch(store, follower)
        # A process of its own for each task: it takes its memory, and that of its GPU, with it.
        self._work = ray.remote(max_calls=1, max_retries=0)(_work)

    def through(self, chains: Sequence[Chain]) -> list[Failure]:
        """Do the chains."""
        for chain in chains:
            for stage, _ in chain.stages():
                self._check_room(stage, self._options(chain, stage))
        tasks = self._submitted(chains)
        pending, failures = list(tasks), []
        try:
            while pending:
                ready, pending = self._ray.wait(pending, timeout=LOOK)
                self._watch.look(step for task in (*ready, *pending) for step in tasks[task])
                for task in ready:
                    failures += self._outcome(task, tasks[task])
        finally:
            for task in pending:
                self._ray.cancel(task, force=True)
        return failures

    def _submitted(self, chains: Sequence[Chain]) -> dict[Any, list[Step]]:
        """A task for each stage of each chain, which waits for those that make what it needs."""
        tasks, makers = dict[Any, list[Step]](), dict[str, Any]()
        for chain in chains:
            for stage, steps in chain.stages():
                work = self._work.options(**self._options(chain, stage), name=f"{stage} {steps[0].label}")
                before = {makers[need.key] for step in steps for need in step.needs if need.key in makers}
                task = work.remote(Path.cwd(), _environment(chain.run), chain.job(steps), *before)
                tasks[task] = steps
                makers.update((step.key, task) for step in steps)
        return tasks

    def _options(self, chain: Chain, stage: str) -> dict[str, Any]:
        resources: Resources = asked(getattr(self._launcher.resources, stage), chain.run)
        memory = resources.memory_gb and resources.memory_gb * 1e9
        return {"num_gpus": resources.gpus, "num_cpus": resources.cpus, "memory": memory}

    def _check_room(self, stage: str, options: dict[str, Any]) -> None:
        """A task is on one machine, so one must have room for it."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for key, name, option in (
            ("gpus", "GPU", "num_gpus"),
            ("cpus", "CPU", "num_cpus"),
            ("memory_gb", "memory", "memory"),
        ):
            unit = 1e9 if name == "memory" else 1
            wanted, most = (options[option] or 0) / unit, max(each.get(name, 0) for each in machines) / unit
            if wanted > most:
                said = f"launcher.resources.{stage}.{key}={wanted:g}: "
                if self._launcher.address is None:
                    raise UserError(
                        f"{said}Ray has {most:.3g} here; ask for fewer, or give launcher.address of a cluster"
                    )
                log.warning("%sno machine of the cluster has more than %.3g; jobs wait for one", said, most)

    def _outcome(self, task: Any, steps: list[Step]) -> list[Failure]:
        try:
            failures = told(self._store, steps, self._ray.get(task))
        except self._ray.exceptions.RayTaskError as error:
            failures = lost(self._store, steps, f"its task failed: {str(error).strip().splitlines()[-1]}")
        except self._ray.exceptions.RayError as error:
            failures = lost(
                self._store, steps, f"its process or machine is gone: {str(error).splitlines()[0]}"
            )
        self._watch.over(steps)
        return failures


def _work(folder: Path, environment: Mapping[str, str], job: Job, *before: object) -> list[Failure]:
    """What a task does.

    Args:
        before: what it waited for.
    """
    import ray

    os.environ.update({name: value for name, value in environment.items() if name not in os.environ})
    # A process that Ray started ahead does not know in its environment for which job.
    os.environ["RAY_JOB_ID"] = ray.get_runtime_context().get_job_id()
    return work_in(folder, job)


def _environment(run: Run) -> dict[str, str]:
    """What a task has of this process's environment."""
    keys = [getattr(each, "api_key_env", None) for each in (run.judge, run.engine)]
    return {name: value for name, value in os.environ.items() if name.startswith(PASSED) or name in keys}


@contextmanager
def _connected(launcher: Ray) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if launcher.address is None:
        # Otherwise it would listen to whoever reaches this machine.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise UserError("launcher=ray: Ray is not installed; pip install 'im-bench[ray]'") from None
    try:
        _check_answers(launcher.address)
        # Without an address Ray would take any cluster that it finds.
        here: dict[str, Any] = {"address": "local", "include_dashboard": False}
        how = here if launcher.address is None else {"address": launcher.address}
        with _sigterm_kept():
            ray.init(log_to_driver=False, logging_level="ERROR", **how)
    except (OSError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()
        raise UserError(
            f"launcher.address={launcher.address or 'null'}: no Ray cluster answers ({said[0] if said else error}); "
            "start one with ray start --head, or leave it null to use this machine"
        ) from None
    machines = sum(node["Alive"] for node in ray.nodes())
    job = ray.get_runtime_context().get_job_id()
    log.info("Ray job %s, on %d machine%s", job, machines, "s" if machines > 1 else "")
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Whether anybody listens at `HOST:PORT`, or where Ray says that `auto` is."""
    from ray._private.services import canonicalize_bootstrap_address

    if address is not None and "://" not in address:
        found = canonicalize_bootstrap_address(address)
        if found is None:
            raise ConnectionError("there is none on this machine")
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS).close()
        _check_is_ray(found)


def _check_is_ray(address: str) -> None:
    """Asked by a process of its own: Ray says on standard error, again and again, that it is not answered."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check"]
    try:
        subprocess.run([*command, f"--address={address}"], capture_output=True, check=True, timeout=ASKED)
    except subprocess.SubprocessError:
        raise ConnectionError(
            f"what listens at {address} does not speak as one; its port is the one of ray start, usually 6379"
        ) from None


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray takes this signal for itself, and would end the command without a word."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
