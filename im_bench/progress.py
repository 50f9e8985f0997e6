"""How far a sweep is: a bar with an end time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import ceil
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from im_bench.store import Step

# Rough shares of the time; only the estimate of the end depends on them.
SHARES = {"base": 30, "train": 10, "harness": 1, "humaneval": 2, "answers": 2, "analysis": 2, "verdicts": 0.5}
LONG = {"mmlu": 8, "hellaswag": 3, "bbh": 10, "gsm8k": 2, "ethics": 2, "wmt14": 2, "wmt16": 3, "coqa": 2}
"""Benchmarks of the harness that take much longer than the others."""
SMALL = 0.1
"""Of any other step, and of a base model that is there."""
ENOUGH = 0.2
"""Of a share: what must have been done before the end is foretold."""
PLAIN_SECONDS = 60.0
"""Between two lines about a step that runs, where there is no bar."""
HISTORY = 3600.0
"""Seconds of a step from which its end is foretold: of a large model one optimiser step may take a minute."""

log = logging.getLogger("im_bench")


class Progress:
    """Shows the steps of a sweep, and how far each of those is that run; to be told by any thread."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        # A step's name is long: it is cut, and not the times beside it.
        name = TextColumn(
            "{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        )
        percent = TextColumn("{task.percentage:>3.0f}%")
        columns = (name, BarColumn(bar_width=20), percent, TimeElapsedColumn(), _Left(self._left))
        self.bar = Bar(*columns, console=self.console, expand=True, speed_estimate_period=HISTORY)
        self.sweep = self.bar.add_task("steps", total=None, visible=False)
        self.steps: dict[str, Step] = {}
        self.running: dict[str, TaskID] = {}
        self.ended_steps: set[str] = set()
        self.shares: dict[str, float] = {}
        """Of each step that began, how much of its share is done."""
        self.kept: dict[str, float] = {}
        """Of each step that runs, how much was there when it went on: it took none of this command's time."""
        self.began_at = self.total = 0.0
        self.ends_at: float | None = None
        """When all steps will have ended, as far as can be said."""
        self.spoke: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bar.start()
            log.handlers = [
                RichHandler(console=self.console, show_time=False, show_path=False, show_level=False)
            ]
            log.propagate = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def start(self, steps: Sequence[Step]) -> None:
        self.steps = {step.key: step for step in steps}
        self.began_at = self.bar.get_time()
        self.total = sum(map(_share, steps))
        self.bar.update(self.sweep, total=self.total, visible=bool(steps))
        what = f"{len(steps)} step{'s' if len(steps) > 1 else ''} to do"
        log.info("%s", what if steps else "every step is done")

    def began(self, key: str) -> None:
        self.shares[key] = 0.0
        self.spoke[key] = self.bar.get_time()
        self.running[key] = self.bar.add_task(self.steps[key].name, total=None)
        self.bar.update(self.sweep, description=f"step {len(self.shares)} of {len(self.steps)}")

    def within(self, key: str, done: float, total: float, what: str) -> None:
        share = _share(self.steps[key]) * done / max(total, 1)
        self.kept.setdefault(key, share)
        self.shares[key] = share
        self.bar.update(self.running[key], completed=done, total=total)
        self._advanced()
        if not self.console.is_terminal and self.bar.get_time() - self.spoke[key] >= PLAIN_SECONDS:
            self.spoke[key] = self.bar.get_time()
            left = _about(self._left(self._task(self.running[key])))
            log.info("  %s: %d of %d %s%s", self.steps[key].name, done, total, what, left)

    def ended(self, key: str) -> None:
        self.ended_steps.add(key)
        self.shares[key] = _share(self.steps[key])
        self.kept.pop(key, None)
        bar = self.running.pop(key, None)
        self._advanced()
        if bar is None:  # it never began, as of what it needs something failed
            return
        self.bar.remove_task(bar)
        if not self.console.is_terminal:
            count = f"{len(self.ended_steps)} of {len(self.steps)} steps ended"
            log.info("%s%s: %s", count, _about(self._left(self._task(self.sweep))), self.steps[key].name)

    def _advanced(self) -> None:
        """Foretell the end as if all shares took as long as those that were done."""
        done = sum(self.shares.values())
        self.bar.update(self.sweep, completed=done)
        worked = done - sum(self.kept.values())
        if worked >= ENOUGH:
            now = self.bar.get_time()
            self.ends_at = now + (now - self.began_at) * (self.total - done) / worked

    def _left(self, task: Task) -> float | None:
        """Seconds until a step, or all of them, will have ended."""
        if task.id != self.sweep:
            return task.time_remaining
        return None if self.ends_at is None else max(0.0, self.ends_at - self.bar.get_time())

    def _task(self, wanted: TaskID) -> Task:
        return next(task for task in self.bar.tasks if task.id == wanted)


class _Left(ProgressColumn):
    """How long until the end."""

    def __init__(self, left: Callable[[Task], float | None]) -> None:
        super().__init__()
        self._seconds = left

    def render(self, task: Task) -> Text:
        left = self._seconds(task)
        return Text("-:--:--" if left is None else _clock(left), style="progress.remaining")


def _about(left: float | None) -> str:
    return f", about {_clock(left)} left" if left else ""


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=ceil(seconds)))


def _share(step: Step) -> float:
    if step.kind == "base" and getattr(step.config, "source", "toy") != "toy":
        return SMALL
    return LONG.get(getattr(step.config, "benchmark", ""), SHARES.get(step.kind, SMALL))


class Reading:
    """Shows how many rows of a dataset have been read, and about when all will be."""

    def __init__(self, name: str, total: int | None) -> None:
        console = Console(stderr=True)
        rows = TextColumn("reading {task.description}: {task.completed:,} rows")
        columns = (rows, BarColumn(bar_width=20), TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task(escape(name), total=total)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def more(self, rows: int) -> None:
        self.bar.advance(self.task, rows)
