"""A content-addressed store of step outputs.

A step is what it computes, never where or how it runs. Its key hashes its kind, its version, its
config and the keys of the steps it needs; its outputs live at `<root>/<kind>/<label>-<key>/`. The
record `step.json` is written last: with it a directory is a result, without it a run to resume, so
a step may find its own leftovers in its directory and must continue or overwrite them.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import re
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel

from im_bench.config import UserError

RECORD = "step.json"
POLL = 0.5
"""Seconds between two looks at whether to wait any longer."""
ERROR = "error.txt"
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


@dataclass(frozen=True)
class Store:
    """Step outputs under one root directory."""

    root: Path

    def path(self, step: Step) -> Path:
        """Where `step` is or would be; the key finds it, the label only decorates a new one."""
        found = next((self.root / step.kind).glob(f"*-{step.key}"), None)
        return found or self.root / step.kind / step.folder

    def done(self, step: Step) -> bool:
        """Whether the record is there.

        Raises:
            UserError: when it is the record of something else, i.e. the file was changed by hand.
        """
        record = self.path(step) / RECORD
        if not record.exists():
            return False
        try:
            identity = json.loads(record.read_text())["identity"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{record} is damaged ({error!r}); delete the folder and run again") from None
        if identity != step.identity:
            raise UserError(f"{record} does not describe {step.name}; delete the folder and run again")
        return True

    def ensure(self, step: Step, stop: Callable[[], bool] = lambda: False) -> Path:
        """Return the directory of `step`, running it and what it needs unless done.

        Args:
            stop: asked while another process makes it: whether to wait no longer.

        Raises:
            UserError: told to wait no longer.
            StepFailed: when it, or a step it needs, raised anything but a `UserError`.
        """
        if self.done(step):
            return self.path(step)
        inputs = [self.ensure(need, stop) for need in step.needs]
        (self.root / step.kind).mkdir(parents=True, exist_ok=True)
        with self._lock(step, stop):
            out = self.path(step)
            if not self.done(step):  # another process may have finished it while we waited
                out.mkdir(exist_ok=True)
                self._run(step, out, inputs)
        return out

    @contextmanager
    def _lock(self, step: Step, stop: Callable[[], bool]) -> Iterator[None]:
        """Hold the lock of a step; the system gives it back when its holder dies."""
        lock = FileLock(self.root / step.kind / f".{step.key}.lock")
        try:
            lock.acquire(blocking=False)
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
            step.run(out, *inputs)
            self._commit(step, out, seconds=time.monotonic() - start)
        except UserError:
            with suppress(OSError):  # something is in it, to go on from
                out.rmdir()
            raise
        except Exception as error:
            if _is_full_disk(error, out):
                raise UserError(
                    f"{out}: the disk is full; make room and run the same command again"
                ) from error
            raise self._failure(step, out, error) from error

    def _failure(self, step: Step, out: Path, error: Exception) -> StepFailed:
        (out / ERROR).write_text(traceback.format_exc())
        return StepFailed(step, out / ERROR, error)

    def _commit(self, step: Step, out: Path, *, seconds: float) -> None:
        """Write the record: what the step is, and (never hashed) what made it."""
        record = {"key": step.key, "label": step.label, "identity": step.identity, "made": _made(seconds)}
        draft = out / f"{RECORD}.draft"
        draft.write_text(json.dumps(record, indent=2) + "\n")
        draft.replace(out / RECORD)


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
