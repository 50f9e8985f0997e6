"""Every sweep in the toy world, to its end: what its table holds, and that a second run does nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from im_bench.composing import SWEEPS, sweep_runs
from im_bench.grid import ledger_name
from im_bench.report.collect import Row, read_ledger

TWINS = sorted(path.stem for path in SWEEPS.glob("toy_*.yaml"))
OFTEN = ("toy_epochs",)
"""It runs with every change, as toy_length_ratio and toy_data_size do in test_demo.py."""


def run(name: str, results: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "im_bench", "sweep", name, f"paths.results={results}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800)


def cell(row: Row) -> tuple[object, ...]:
    return (row.model, row.dataset, row.subset, row.loss, row.seed, row.epoch)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in OFTEN else pytest.mark.nightly) for name in TWINS],
)
def test_a_twin_ends_with_a_score_for_every_cell_benchmark_and_analysis(
    name: str, toy_base: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(toy_base, results)
    first = run(name, results)
    assert first.returncode == 0, first.stderr
    rows = [
        row
        for row in read_ledger(results / "scores.jsonl")
        if row.task == row.benchmark
        or (row.category == "analysis" and row.task not in ("heldout_new", "words"))
    ]
    runs = sweep_runs(name, SWEEPS, [])
    asked = {measured for each in runs for measured in (*each.benchmark, *each.analyses)}
    assert {row.benchmark for row in rows} == asked
    assert len({cell(row) for row in rows}) == len({tuple(ledger_name(each).items()) for each in runs})
    assert [row for row in rows if row.value is None] == []
    table = (results / "tables" / f"{name}.md").read_bytes()
    second = run(name, results)
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert second.stderr.splitlines()[0] == "every step is done"
    assert (results / "tables" / f"{name}.md").read_bytes() == table
