"""How far a sweep is: a bar with an end time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column

from im_bench.store import Step

# Rough shares of the time; only the estimate of the end depends on them.
SHARES = {"base": 30, "train": 10, "harness": 1, "humaneval": 2, "answers": 2, "verdicts": 0.5}
LONG = {"mmlu": 8, "hellaswag": 3, "bbh": 10, "gsm8k": 2, "ethics": 2, "wmt14": 2, "wmt16": 3, "coqa": 2}
"""Benchmarks of the harness that take much longer than the others."""
PLAIN_SECONDS = 30
log = logging.getLogger("im_bench")


class Progress:
    """Shows the steps of a sweep, and the optimiser steps of the training that runs."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        # A step's name is long: it is cut, and not the times beside it.
        name = TextColumn(
            "{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        )
        percent = TextColumn("{task.percentage:>3.0f}%")
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Bar(name, BarColumn(bar_width=20), percent, *times, console=self.console, expand=True)
        self.sweep = self.bar.add_task("steps", total=None, visible=False)
        self.now = self.bar.add_task("", total=None, visible=False)
        self.verdicts = self.bar.add_task("", total=None, visible=False)
        self.total = 0
        self.count = 0
        self.share = 0.0
        self.finished = 0.0
        self.spoke = 0.0

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
        self.total = len(steps)
        self.bar.update(self.sweep, total=sum(map(_share, steps)), visible=bool(steps))
        what = f"{self.total} step{'s' if self.total > 1 else ''} to do"
        log.info("%s", what if steps else "every step is done")

    def step(self, step: Step) -> None:
        self.count += 1
        self.share = _share(step)
        self.bar.update(self.sweep, description=f"step {self.count} of {self.total}")
        self.bar.reset(self.now, description=step.name, total=None, visible=True)

    def training(self, values: dict[str, float]) -> None:
        self._within(values["step"], values["steps"])
        self._say("  optimiser step %d of %d, loss %.4f", values["step"], values["steps"], values["loss"])

    def answered(self, done: int, total: int) -> None:
        self._within(done, total)
        self._say("  %d of %d requests answered", done, total)

    def judging(self, step: Step) -> None:
        self.count += 1
        self.bar.reset(self.verdicts, description=step.name, total=None, visible=True)

    def judged(self, done: int, total: int) -> None:
        self.bar.update(self.verdicts, completed=done, total=total)
        self._say("  %d of %d verdicts", done, total)

    def done(self, step: Step) -> None:
        self.finished += _share(step)
        self.bar.update(self.sweep, completed=self.finished)

    def _within(self, done: float, total: float) -> None:
        """The running step is so far, and the sweep as far within its share."""
        self.bar.update(self.now, completed=done, total=total)
        self.bar.update(self.sweep, completed=self.finished + self.share * done / max(total, 1))

    def _say(self, words: str, *values: float) -> None:
        """A line now and then, where there is no bar."""
        if not self.console.is_terminal and time.monotonic() - self.spoke > PLAIN_SECONDS:
            self.spoke = time.monotonic()
            log.info(words, *values)


def _share(step: Step) -> float:
    return LONG.get(getattr(step.config, "benchmark", ""), SHARES[step.kind])


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
