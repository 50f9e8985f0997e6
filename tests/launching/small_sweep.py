"""A small sweep that runs in seconds, given to launchers as a user does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from im_bench.composing import sweep_file, sweep_runs
from im_bench.pipeline import plan_sweep
from im_bench.report.collect import FILE
from im_bench.store import EVENTS, Step, Store

LONGEST = 300
"""Seconds after which something hangs."""
SWEEP = """\
defaults:
  - config
  - override experiment: toy
  - override model: local
  - override dataset: local
  - override benchmark: [piqa, alpaca_eval_1]
  - _self_

model: {{path: {given}/model}}
paths: {{hub: {given}/hub, assets: {given}/assets}}
runtime: {{threads: 1, save_steps: 1}}
limit: 2
train: {{epochs: 4, global_batch: 4}}
benchmark: {{piqa: {{shots: 0}}, alpaca_eval_1: {{max_new_tokens: 8}}}}

hydra:
  mode: MULTIRUN
  sweeper:
    params:
      loss: it, im

sweep:
  zip:
    - dataset.path: [{given}/rows.jsonl, {given}/lines.jsonl]
      dataset.name: [sums, lines]
"""
SMALL = ("dataset.name=sums",)
"""Two of its four cells."""
IT, IM = "loss=it", "loss=im"
"""One each of the two."""
ONE_FAILED = "failed steps: 1; the same command tries them again\n"


class Watched(NamedTuple):
    """What was seen of the small sweep while it ran."""

    machines: set[Any]
    """Those that were used."""
    status: str
    """What `im-bench status` said when there were two."""
    error: str
    """What the command itself said."""


@dataclass
class Sweep:
    """The small sweep with its results in one folder."""

    file: Path
    results: Path
    launcher: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def overrides(self) -> list[str]:
        return [f"paths.results={self.results}", *self.launcher]

    def start(self, *overrides: str, command: str = "sweep") -> subprocess.Popen[str]:
        """The command, as a user gives it."""
        words = [sys.executable, "-m", "im_bench", command, str(self.file), *self.overrides, *overrides]
        environment = os.environ | self.environment
        return subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def run(self, *overrides: str, command: str = "sweep", code: int = 0) -> tuple[str, str]:
        """What it prints, and what it says."""
        return ended(self.start(*overrides, command=command), code)

    def watched(self, machines: Callable[[], set[Any]]) -> Watched:
        """SMALL, done on two machines; asks again and again where steps run now."""
        process, used, status = self.start(*SMALL), set[Any](), ""
        while process.poll() is None:
            used |= machines()
            if len(used) == 2 and not status:
                status, _ = self.run(*SMALL, command="status")
            time.sleep(0.05)
        output, error = ended(process)
        print(error, output)
        return Watched(used, status, error)

    def step(self, kind: str, *overrides: str, label: str = "") -> Step:
        """The only one of its kind whose label has this in it."""
        cells = plan_sweep(sweep_runs(*sweep_file(str(self.file)), [*self.overrides, *overrides]))
        found = {step.key: step for cell in cells for step in cell.steps() if step.kind == kind}
        (one,) = [step for step in found.values() if label in step.label]
        return one

    @property
    def store(self) -> Store:
        return Store(self.results / "store")

    @property
    def outcome(self) -> dict[str, str]:
        """Digests of its ledger, and of what is behind it, by their places: weights, answers and verdicts."""
        files = [
            self.results / FILE,
            *self.store.root.glob("*/*/*.safetensors"),
            *self.store.root.glob("*/*/*.jsonl"),
        ]
        found = {path.relative_to(self.results).as_posix(): path for path in files if path.name != EVENTS}
        return {place: sha256(path.read_bytes()).hexdigest() for place, path in found.items()}

    def places(self) -> list[str]:
        """Where steps run now."""
        found = []
        for path in self.results.glob("store/*/*/running.json"):
            try:
                found.append(json.loads(path.read_text())["where"])
            except (OSError, ValueError):
                continue
        return found

    def maker(self, step: Step) -> int:
        """The process that makes a step, once there is one."""

        def known() -> bool:
            return self.store.state(step).name == "running" and "process" in self.store.state(step).where

        wait_until(known)
        return int(self.store.state(step).where.partition("process ")[2].partition(",")[0])

    def kill(self, step: Step) -> None:
        os.kill(self.maker(step), signal.SIGKILL)


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    output, error = process.communicate(timeout=LONGEST)
    assert process.returncode == code, f"exit code {process.returncode}\n{output}\n{error}"
    return output, error


def costs_its_own_cell(process: subprocess.Popen[str], sweep: Sweep, lost: Step, why: str) -> None:
    """Of SMALL the step of IT that was lost has failed, as the command and the status say, and IM came to its end."""
    _, error = ended(process, 1)
    state, failed = sweep.store.state(lost), f"failed: {lost.name}: {why}"
    assert failed in error and error.endswith(ONE_FAILED), error
    assert state.name == "failed" and state.why.startswith(why), state
    status, _ = sweep.run(*SMALL, command="status")
    assert failed in status, status
    assert sweep.store.done(sweep.step("verdicts", *SMALL, IM))


def wait_until(ready: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)
