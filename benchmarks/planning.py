"""Seconds of `im-bench plan` and `status` for 1,000 cells of 21 benchmarks, beside a store of about 16,000 records.

The store is made up: its records are written as the store itself does it, beside a few small files. Each measurement is
a process of its own: the command from start to end, and in one more what its parts take. Once with two thirds of the
steps done, and once with none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import setting

from im_bench import planning
from im_bench.assets import ASSETS
from im_bench.composing import sweep_runs
from im_bench.pipeline import Cell, plan_sweep
from im_bench.store import Store
from im_bench.training import TOTALS

Value = TypeVar("Value")
SWEEP = """
defaults: [config, override model: llama2_7b, override dataset: local, _self_]
dataset: {path: FOLDER/rows.jsonl}
judge: {model: judge-1}
paths: {results: FOLDER/results, assets: FOLDER/assets}
hydra: {sweeper: {params: {seed: "range(0,SEEDS)", loss: "it, im, neftune, plw"}}}
"""
TRAINED = {"steps": 18, "seconds": 600.0, "tokens": 1e6, "flops": 4e16, "device": "cuda", "processes": 1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--parts", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.parts:
        print(json.dumps(_parts(options.parts)))
        return
    with tempfile.TemporaryDirectory() as folder:
        sweep = _make_sweep(Path(folder), options.cells)
        rows = _measured(sweep, options.repeats, "nothing is done")
        cells = plan_sweep(sweep_runs(sweep.stem, sweep.parent, []), fetch=False)
        records = _fill(cells[: len(cells) * 2 // 3])
        rows += _measured(sweep, options.repeats, f"{records:,} records")
    setting.show(rows, options.json)


def _make_sweep(folder: Path, cells: int) -> Path:
    row = {"prompt": "Name a fruit.", "completion": "An apple."}
    (folder / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 100)
    for name in ASSETS:
        file = folder / "assets" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}\n")
    sweep = folder / "many.yaml"
    sweep.write_text(SWEEP.replace("FOLDER", str(folder)).replace("SEEDS", str(cells // 4)))
    return sweep


def _fill(cells: Sequence[Cell]) -> int:
    """Write the records of all steps of these cells; how many."""
    store = Store(cells[0].run.paths.results / "store")
    steps = {step.key: step for cell in cells for step in cell.steps()}
    for step in steps.values():
        out = store.root / step.kind / step.folder
        out.mkdir(parents=True)
        if step.kind == "train":
            (out / TOTALS).write_text(json.dumps(TRAINED))
        for name in ("scores.json", "items.parquet", "results.json"):
            (out / name).write_text("{}")
        store._commit(step, out, seconds=60.0)  # as it does when a step has run
    return len(steps)


def _measured(sweep: Path, repeats: int, store: str) -> list[dict[str, object]]:
    rows = []
    for command in ("plan", "status"):
        seconds = [_timed(partial(_command, command, sweep))[1] for _ in range(repeats)]
        rows.append({"store": store, "what": f"im-bench {command}", "seconds": median(seconds)})
    parts = [json.loads(_output([sys.executable, __file__, "--parts", str(sweep)])) for _ in range(repeats)]
    for part in parts[0]:
        rows.append({"store": store, "what": f"  {part}", "seconds": median(each[part] for each in parts)})
    return rows


def _command(command: str, sweep: Path) -> None:
    _output([sys.executable, "-m", "im_bench", command, str(sweep), "--json"])


def _output(words: Sequence[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout


def _parts(sweep: Path) -> dict[str, float]:
    runs, composing = _timed(lambda: sweep_runs(sweep.stem, sweep.parent, []))
    cells, planned = _timed(lambda: plan_sweep(runs, fetch=False))
    _, foreseeing = _timed(lambda: planning.foresee(cells))
    return {"composing": composing, "planning cells": planned, "looking up and estimating": foreseeing}


def _timed(action: Callable[[], Value]) -> tuple[Value, float]:
    start = time.perf_counter()
    return action(), time.perf_counter() - start


if __name__ == "__main__":
    main()
