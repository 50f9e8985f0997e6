"""A small cell with a tiny model: the words that ask for it, how it is run, and what is left of it."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

from im_bench.composing import CONF, compose_run
from im_bench.pipeline import Cell, plan
from im_bench.work import Follower

BENCHMARKS = {"piqa", "mt_bench", "alpaca_eval_1"}
# One of each kind that a cell of these benchmarks has.
STEPS = {"base": 1, "train": 1, "harness": 1, "answers": 2, "verdicts": 2}
ALL = f"benchmark=[{','.join(sorted(BENCHMARKS))}]"
SHORT = ["benchmark.piqa.shots=0"]
SHORT += [f"benchmark.{name}.max_new_tokens=8" for name in ("mt_bench", "alpaca_eval_1", "alpaca_eval_2")]
TRAINING = ["train.epochs=4", "train.global_batch=4", "runtime.save_steps=1"]


def words(given: Path, results: Path, *overrides: str) -> list[str]:
    """The overrides of a small cell; a later one of the same key wins."""
    chosen = next((word for word in overrides if word.startswith("benchmark=")), ALL)
    short = [word for word in SHORT if word.split(".")[1] in chosen]
    own = [
        "experiment=toy",
        "model=local",
        f"model.path={given / 'model'}",
        "dataset=local",
        f"dataset.path={given / 'rows.jsonl'}",
        chosen,
        f"paths.hub={given / 'hub'}",
        f"paths.assets={given / 'assets'}",
        f"paths.results={results}",
        "runtime.threads=1",
        "limit=2",
        *short,
        *TRAINING,
        *overrides,
    ]
    return list({word.partition("=")[0]: word for word in own}.values())


def cell_of(given: Path, *overrides: str) -> Cell:
    """The cell of these overrides, planned."""
    return plan(compose_run("config", CONF, words(given, Path("results"), *overrides)))


def process(*arguments: str, start_new_session: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "im_bench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )


class InThread:
    """A worker that is no process: what a test has broken here is broken there."""

    def __init__(self, *_: object) -> None: ...

    def do(self, piece: Callable[..., object], follower: Follower, stop: Event) -> object:
        return piece(follower, stop)

    def close(self) -> None: ...


def records(results: Path) -> dict[str, int]:
    """The steps that are done, with when."""
    found = sorted((results / "store").glob("*/*/step.json"))
    return {str(path.parent.relative_to(results / "store")): path.stat().st_mtime_ns for path in found}


def kinds(steps: Sequence[str]) -> dict[str, int]:
    count: dict[str, int] = {}
    for step in steps:
        kind = step.partition("/")[0]
        count[kind] = count.get(kind, 0) + 1
    return count
