"""A content-addressed store of step outputs.

A step is what it computes, never where or how it runs. Its key hashes its kind, its version, its
config and the keys of the steps it needs; its outputs live at `<root>/<kind>/<label>-<key>/`. The
record `step.json` is written last: with it a directory is a result, without it a run to resume, so
a step may find its own leftovers in its directory and must continue or overwrite them. A record that
is damaged, or whose files are not what it says, is none: the step runs again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import platform
import re
import shutil
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property, lru_cache, partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from filelock import FileLock, Timeout
from pydantic import BaseModel

from im_bench.config import UserError
from im_bench.drafts import SUFFIX, drafted

RECORD = "step.json"
FORMAT = 2
"""Of the record; raised when an older im-bench could not read it."""
ERROR = "error.txt"
RUNNING = "running.json"
EVENTS = "events.jsonl"
CARD = "README.md"
"""Of a checkpoint; it says more with every sweep that scores it."""
BESIDE = frozenset({RECORD, f"{RECORD}{SUFFIX}", ERROR, RUNNING, EVENTS, CARD, f"{CARD}{SUFFIX}"})
"""What lies in a step's folder and is none of its outputs."""
POLL = 0.5
"""Seconds between two looks at whether to wait any longer."""
LOOK = 0.2
"""Seconds for which somebody who only looks whether a lock is held may hold it."""
PACKAGES = ("im-bench", "torch", "transformers", "datasets", "lm_eval", "alpaca_eval")

log = logging.getLogger(__name__)


class StepFailed(RuntimeError):
    """A step raised; its traceback is in the file `path`."""

    def __init__(self, step: Step, path: Path, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error} (traceback: {path})")
        self.step = step
        self.path = path


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the graph: `run(out, *inputs)` fills `out` from the directories of `needs`."""

    kind: str
    config: BaseModel
    run: Callable[..., None]
    needs: tuple[Step, ...] = ()
    label: str = ""
    version: int = 1
    reads: Callable[[str], bool] = lambda name: True
    """Which files it reads of the steps it needs, by their path in those steps' folders."""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything the outputs depend on, and nothing else."""
        return {
            "kind": self.kind,
            "version": self.version,
            "config": self.config.model_dump(mode="json", exclude_defaults=True),
            "needs": [need.key for need in self.needs],
        }

    @cached_property
    def key(self) -> str:
        canonical = json.dumps(self.identity, sort_keys=True, allow_nan=False)
        return sha256(canonical.encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """How a person meets the step: kind, label and key."""
        return f"{self.kind}/{self.folder}"

    @property
    def folder(self) -> str:
        """A label may hold a hub id; what no folder's name can hold is left out of it."""
        label = re.sub(r"[^\w.-]+", "_", self.label)
        return f"{label}-{self.key}"


class State(NamedTuple):
    """Where a step stands. `killed` is one that began, and neither ended nor said why."""

    name: Literal["done", "running", "failed", "killed", "todo"]
    where: str = ""
    """The machine and process that runs or ran it, with the job of a cluster."""
    since: str = ""
    """When that began."""
    why: str = ""
    """What it failed of."""
    path: Path | None = None
    """Of the traceback."""


def finished(root: Path) -> dict[str, Path]:
    """The folders of all steps of a store that have their record, by key; none where there is no store."""
    return {record.parent.name.rpartition("-")[2]: record.parent for record in root.glob(f"*/*-*/{RECORD}")}


@dataclass(frozen=True)
class Store:
    """Step outputs under one root directory."""

    root: Path

    def path(self, step: Step) -> Path:
        """Where `step` is or would be; the key finds it, the label only decorates a new one."""
        usual = self.root / step.kind / step.folder
        return usual if (usual / RECORD).exists() else self._folders(step.kind).get(step.key, usual)

    def _folders(self, kind: str) -> dict[str, Path]:
        """The folders of a kind by key."""
        try:
            return _folders(self.root / kind, (self.root / kind).stat().st_mtime_ns)
        except FileNotFoundError:
            return {}

    def done(self, step: Step) -> bool:
        """Whether the step has its record, and the files that it names. What is wrong with one is told, once.

        Raises:
            UserError: when another version of im-bench, whose records are others, has written it.
        """
        return self._record(step) is not None

    def whole(self, step: Step) -> bool:
        """Whether the step is done, and none of its files were dropped since."""
        record = self._record(step)
        return record is not None and not record["dropped"]

    def serves(self, need: Step, step: Step) -> bool:
        """Whether `need` is done, and has what `step` reads of it."""
        record = self._record(need)
        return record is not None and not any(map(step.reads, record["dropped"]))

    def missing(self, steps: Iterable[Step]) -> list[Step]:
        """Those of the steps, each after what it needs, that must run for all to be done."""
        found: list[Step] = []
        readers: dict[str, list[Step]] = defaultdict(list)
        for step in reversed(list({step.key: step for step in steps}.values())):
            if not self.done(step) or not all(self.serves(step, reader) for reader in readers[step.key]):
                found.append(step)
                for need in step.needs:
                    readers[need.key].append(step)
        return found[::-1]

    def ensure(self, step: Step, stop: Callable[[], bool] = lambda: False, *, whole: bool = False) -> Path:
        """Return the directory of `step`, running it and what it needs unless done.

        Args:
            stop: asked while another process makes it: whether to wait no longer.
            whole: whether it runs also when only some of its files were dropped.

        Raises:
            UserError: told to wait no longer.
            StepFailed: when it, or a step it needs, raised anything but a `UserError`.
        """
        return self._ensure(step, self.whole if whole else self.done, stop)

    def drop(self, step: Step, files: Iterable[Path]) -> None:
        """Delete these files of a step that is done; it stays so, and runs again if they are needed again.

        Raises:
            UserError: when another process is making it.
        """
        out = self.path(step)
        with self._lock(step, lambda: True):
            record = self._record(step)
            names = sorted(path.relative_to(out).as_posix() for path in files)
            if record is None or not names:
                return
            # The record first: a file that is there and need not be harms nobody.
            record["dropped"] = sorted({*record["dropped"], *names})
            _write_json(out / RECORD, record)
            for name in names:
                (out / name).unlink(missing_ok=True)

    def remove(self, folder: Path) -> None:
        """Delete a step that nobody makes; the record first, so that what is left is never taken for a result."""
        lock = FileLock(_lock_of(folder), fallback_to_soft=False)
        with suppress(Timeout), lock.acquire(timeout=LOOK):
            (folder / RECORD).unlink(missing_ok=True)
            shutil.rmtree(folder)

    def state(self, step: Step) -> State:
        """Where a step stands, by its record, its lock and what its last process left."""
        if self.done(step):
            return State("done")
        out = self.path(step)
        began = _read_began(out)
        if self.locked(step):
            return State("running", began.get("where", ""), began.get("since", ""))
        if (out / ERROR).exists():
            why = (out / ERROR).read_text(errors="replace").strip().splitlines()
            return State("failed", why=why[-1] if why else "", path=out / ERROR)
        if began:
            return State("killed", began.get("where", ""), began.get("since", ""))
        return State("todo")

    def locked(self, step: Step) -> bool:
        """Whether a process that lives makes the step."""
        return self.runs(self.root / step.kind / step.folder)

    def runs(self, folder: Path) -> bool:
        """As `locked`, for whatever step's folder it is."""
        lock = _lock_of(folder)
        if not lock.exists():
            return False
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def fail(self, step: Step, why: str) -> Path:
        """Say of a step why it has no record, when it could not say so itself; the file that holds it."""
        out = self.path(step)
        if not self.locked(step):  # else somebody has begun it again
            out.mkdir(parents=True, exist_ok=True)
            said_itself = (out / ERROR).exists() and not (out / RUNNING).exists()
            (out / RUNNING).unlink(missing_ok=True)
            if not said_itself:
                _note(out, f"{why}\n")
        return out / ERROR

    def check_locks(self) -> None:
        """Make sure that two processes cannot both hold one lock here.

        Raises:
            UserError: when the file system has no locks, or they keep nobody out.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        probe = self.root / f".locks-{os.getpid()}"
        try:
            with probe.open("w") as first, probe.open("r+") as second:
                fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with suppress(BlockingIOError):
                    fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    raise OSError("two processes could hold one lock")
        except OSError as error:
            if _is_full_disk(error, self.root):
                raise
            raise UserError(
                f"{self.root}: the file system has no working locks ({error}), so two processes would do one step "
                "at the same time; give a folder on another with paths.results=FOLDER"
            ) from None
        finally:
            probe.unlink(missing_ok=True)

    def _ensure(self, step: Step, enough: Callable[[Step], bool], stop: Callable[[], bool]) -> Path:
        if enough(step):
            return self.path(step)
        with ExitStack() as held:
            inputs = [held.enter_context(self._input(need, step, stop)) for need in step.needs]
            (self.root / step.kind).mkdir(parents=True, exist_ok=True)
            with self._lock(step, stop):
                out = self.path(step)
                if not enough(step):  # another process may have finished it while we waited
                    out.mkdir(exist_ok=True)
                    self._run(step, out, inputs)
        return out

    @contextmanager
    def _input(self, need: Step, step: Step, stop: Callable[[], bool]) -> Iterator[Path]:
        """The directory of `need`, from which `step` starts; while it does, nobody drops or removes it."""
        enough = partial(self.serves, step=step)
        while True:
            out = self._ensure(need, enough, stop)
            with _lock_of(out).open("a+") as lock:
                _share(lock, need, stop)
                if enough(need):  # else it was dropped before we held it
                    yield out
                    return

    def _record(self, step: Step) -> dict[str, Any] | None:
        out = self.path(step)
        try:
            return _checked(json.loads((out / RECORD).read_text()), step, out)
        except FileNotFoundError:
            return None
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            _tell_once(
                f"{out / RECORD} is damaged ({error}): the step is not done, and is made again when it is needed"
            )
            return None

    @contextmanager
    def _lock(self, step: Step, stop: Callable[[], bool]) -> Iterator[None]:
        """Hold the lock of a step; the system gives it back when its holder dies."""
        lock = FileLock(_lock_of(self.root / step.kind / step.folder), fallback_to_soft=False)
        try:
            lock.acquire(timeout=LOOK)
        except Timeout:
            log.info("waiting for %s, which another process is making", step.name)
            while not lock.is_locked:
                if stop():
                    raise UserError(f"{step.name}: stopped; another process is making it") from None
                with suppress(Timeout):
                    lock.acquire(timeout=POLL)
        try:
            yield
        finally:
            lock.release()

    def _run(self, step: Step, out: Path, inputs: list[Path]) -> None:
        log.info("%s", step.name)
        (out / ERROR).unlink(missing_ok=True)
        start = time.monotonic()
        try:
            _write_json(out / RUNNING, _here())
            step.run(out, *inputs)
            self._commit(step, out, seconds=time.monotonic() - start)
        except UserError as error:
            _note(out, f"{error}\n")
            raise
        except Exception as error:
            _note(out, traceback.format_exc())
            if _is_full_disk(error, out):
                raise UserError(
                    f"{out}: the disk is full; make room and run the same command again"
                ) from error
            raise StepFailed(step, out / ERROR, error) from error
        finally:
            (out / RUNNING).unlink(missing_ok=True)

    def _commit(self, step: Step, out: Path, *, seconds: float) -> None:
        """Write the record: what the step is, its files, and (never hashed) what made it."""
        record = {
            "format": FORMAT,
            "key": step.key,
            "label": step.label,
            "identity": step.identity,
            "files": _sizes(out),
            "dropped": [],
            "made": _made(seconds),
        }
        _write_json(out / RECORD, record)


@lru_cache(maxsize=64)
def _folders(kind: Path, mtime: int) -> dict[str, Path]:
    return {path.name.rpartition("-")[2]: path for path in kind.iterdir() if path.is_dir()}


def _checked(record: dict[str, Any], step: Step, out: Path) -> dict[str, Any]:
    """The record, if it is the step's and its files are what it says.

    Raises:
        ValueError: saying what is wrong.
        UserError: when another version has written it.
    """
    if record.get("format", 1) != FORMAT:
        maker = record.get("made", {}).get("packages", {}).get("im-bench", "of another version")
        raise UserError(
            f"{out / RECORD}: im-bench {maker} has written it (record format {record.get('format', 1)}), and this is "
            f"{_version('im-bench')} (format {FORMAT}); give another folder with paths.results=FOLDER, "
            "or delete this store to begin anew"
        )
    if record["identity"] != step.identity:
        raise ValueError(f"it does not describe {step.name}")
    for name, size in record["files"].items():
        if name not in record["dropped"]:
            found = _size(out / name)
            if found != size:
                state = "is missing" if found is None else f"has {found} bytes"
                raise ValueError(f"{name} {state}, not {size}")
    return record


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sizes(out: Path) -> dict[str, int]:
    """Bytes of each output, by its path within the folder."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name not in BESIDE)
    return {path.relative_to(out).as_posix(): path.stat().st_size for path in files}


def _note(out: Path, why: str) -> None:
    """Keep what a step failed of, where there is a folder and room for it."""
    with suppress(OSError):
        (out / ERROR).write_text(why)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with drafted(path) as draft:
        draft.write_text(json.dumps(values, indent=2) + "\n")


def _here() -> dict[str, Any]:
    """Who runs a step, for people."""
    # The first that there is; of a job of an array the number by which SLURM's commands know it, too.
    jobs = (
        "SLURM job {SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}",
        "SLURM job {SLURM_JOB_ID}",
        "Ray job {RAY_JOB_ID}",
    )
    known = [
        name.format_map(os.environ) for name in jobs if set(re.findall(r"{(\w+)}", name)) <= set(os.environ)
    ]
    where = [os.environ.get("SLURMD_NODENAME", platform.node()), f"process {os.getpid()}", *known[:1]]
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"where": ", ".join(where), "since": now}


def _read_began(out: Path) -> dict[str, str]:
    try:
        return json.loads((out / RUNNING).read_text())
    except (OSError, ValueError):
        return {}


@cache
def _tell_once(what: str) -> None:
    log.warning("%s", what)


def _share(lock: IO[str], step: Step, stop: Callable[[], bool]) -> None:
    """Hold the lock of a step with others who read it; who makes it is waited for."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if stop():
                raise UserError(f"{step.name}: stopped; another process is making it") from None
            time.sleep(LOOK)


def _lock_of(folder: Path) -> Path:
    """Of a step's folder, also of one that has another label."""
    return folder.with_name(f".{folder.name.rpartition('-')[2]}.lock")


def _is_full_disk(error: Exception, out: Path) -> bool:
    """Whether there was no room: safetensors says so only in its text, and torch.save not at all."""
    no_room = os.strerror(errno.ENOSPC) in str(error) or os.strerror(errno.EDQUOT) in str(error)
    return no_room or shutil.disk_usage(out).free < 1 << 20


def _made(seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
