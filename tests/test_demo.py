"""The demo, run once as a person runs it: what its table must show."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from im_bench.analysis.pairs import score
from im_bench.items import read_outcomes
from im_bench.report.collect import FILE, Row, read_ledger
from im_bench.store import finished

pytestmark = pytest.mark.slow

# A guess's expected score where there is one; 0 where an answer has to be written.
CHANCE = {
    "mmlu": 0.25,
    "piqa": 0.5,
    "openbookqa": 0.25,
    "hellaswag": 0.25,
    "lambada": 0.0,
    "lambada_multilingual": 0.0,
    "wsc273": 0.5,
    "winogrande": 0.5,
    "arc": 0.25,
    "coqa": 0.0,
    "gsm8k": 0.0,
    "humaneval": 0.0,
    "bbh": 0.0,
    "truthfulqa": 0.5,
    "toxigen": 0.5,
    "ethics": 0.5,
}


class Demo(NamedTuple):
    results: Path
    output: str
    rows: list[Row]

    def headline(self, benchmark: str, dataset: str | None, loss: str) -> Row:
        """The first headline row: of HumanEval the lowest temperature."""
        wanted = (benchmark, benchmark, dataset, loss)
        return next(row for row in self.rows if (row.benchmark, row.task, row.dataset, row.loss) == wanted)


def difference(one: Row, other: Row) -> tuple[float, float]:
    """Of two scores, and its standard error as if their items were independent; infinite where none is known."""
    assert one.value is not None and other.value is not None
    known = one.stderr is not None and other.stderr is not None
    return one.value - other.value, math.hypot(one.stderr or 0, other.stderr or 0) if known else math.inf


def im_bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "im_bench", *words], capture_output=True, text=True, check=False, timeout=1800
    )


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    results = tmp_path_factory.mktemp("demo")
    done = im_bench("sweep", "demo", f"paths.results={results}")
    assert done.returncode == 0, done.stderr
    return Demo(results, done.stdout, read_ledger(results / FILE))


def test_the_demo_scores_five_cells_on_all_21_benchmarks(demo: Demo) -> None:
    headlines = {(row.cell, row.benchmark) for row in demo.rows if row.task == row.benchmark}
    assert len({cell for cell, _ in headlines}) == 5
    assert len(headlines) == 5 * 21
    assert all(row.value is not None for row in demo.rows if row.task == row.benchmark)


def test_the_demo_writes_tables_a_figure_and_an_offline_run_per_step(demo: Demo) -> None:
    for name in (
        "tables/demo.md",
        "tables/demo.tex",
        "tables/demo.csv",
        "figures/demo.png",
        "figures/demo.pdf",
    ):
        assert (demo.results / name).stat().st_size > 0
    runs = [run.name.rpartition("-")[2] for run in (demo.results / "wandb").glob("offline-run-*")]
    steps = [step.parent for step in demo.results.glob("store/*/*/step.json")]
    assert set(runs) - {"demo"} == {step.name.rpartition("-")[2] for step in steps}
    for step in steps:
        if (step / "scores.json").exists():
            assert "scores" in json.loads((step / "events.jsonl").read_text().splitlines()[-1])


def test_the_table_says_under_its_columns_that_the_judge_is_no_language_model(demo: Demo) -> None:
    assert "not an LLM judge" in " ".join(demo.output.split())


def test_the_base_model_is_well_above_chance_on_eight_benchmarks(demo: Demo) -> None:
    above = []
    for benchmark, chance in CHANCE.items():
        row = demo.headline(benchmark, None, "none")
        assert row.value is not None
        # BBH has one item a task here, and so no error of its own.
        if row.stderr is not None and row.value > chance + max(0.1, 3 * row.stderr):
            above.append(benchmark)
    assert len(above) >= 8, above


def test_instruction_tuning_raises_three_benchmarks_over_the_base_model(demo: Demo) -> None:
    raised = set()
    for benchmark in [*CHANCE, "mt_bench", "alpaca_eval_1", "alpaca_eval_2"]:
        base = demo.headline(benchmark, None, "none")
        for dataset, loss in itertools.product(("toy_long", "toy_short"), ("it", "im")):
            gain, error = difference(demo.headline(benchmark, dataset, loss), base)
            if gain > 1.5 * error > 0:
                raised.add(benchmark)
    assert len(raised) >= 3, raised


def test_it_and_im_differ(demo: Demo) -> None:
    differ = set()
    for benchmark, dataset in itertools.product(CHANCE, ("toy_long", "toy_short")):
        gain, error = difference(
            demo.headline(benchmark, dataset, "im"), demo.headline(benchmark, dataset, "it")
        )
        if abs(gain) > 2 * error > 0:
            differ.add((dataset, benchmark))
    assert differ


def test_every_score_is_the_score_of_its_items(demo: Demo) -> None:
    """What is tested in pairs is what the table shows: in percent, or points for MT-Bench."""
    folders = finished(demo.results / "store")
    heads = [row for row in demo.rows if row.task == row.benchmark and row.loss == "im"]
    assert len({row.benchmark for row in heads}) == 21
    for row in heads:
        kept = read_outcomes(folders[row.step], row.metric if row.benchmark == "humaneval" else None)
        shown = 1.0 if row.benchmark == "mt_bench" else 100.0
        percent = row.metric in ("ter,none", "win_rate", "score")
        value = (row.value or 0.0) * (1.0 if percent else 100.0)
        assert score(kept.outcome, kept.size, np.unique(kept.stratum, return_inverse=True)[1]) * shown == (
            pytest.approx(value)
        ), row.benchmark


def test_a_second_run_does_no_step_and_writes_the_same_bytes(demo: Demo) -> None:
    files = [demo.results / FILE, *demo.results.glob("tables/*"), *demo.results.glob("figures/*")]
    before = {path: path.read_bytes() for path in files}
    again = im_bench("sweep", "demo", f"paths.results={demo.results}")
    assert again.returncode == 0
    assert "every step is done" in again.stderr
    assert {path: path.read_bytes() for path in files} == before


def test_real_data_runs_through_the_same_path(demo: Demo, shared: Path) -> None:
    """LIMA, real benchmark rows, real MT-Bench questions and AlpacaEval instructions; the README's command."""
    done = im_bench(
        "sweep",
        "own_files",
        f"dataset.path={shared}/data/sft/lima_data.jsonl",
        f"paths.hub={shared}/hub",
        f"paths.assets={shared}/data",
        "~benchmark.lambada_multilingual",  # four of its five languages are not there
        "benchmark.hellaswag.shots=5",  # six examples are there
        "subset=first",
        "subset.size=128",
        "limit=1",
        f"paths.results={demo.results}",
    )
    assert done.returncode == 0, done.stderr
    rows = [row for row in read_ledger(demo.results / FILE) if row.sweep == "own_files"]
    assert {row.loss for row in rows} == {"none", "it", "im"}
    headlines = [row for row in rows if row.task == row.benchmark]
    assert len({row.benchmark for row in headlines}) == 20
    assert all(row.value is not None for row in headlines)


def test_the_toy_length_ratio_sweep_ends_in_its_figure(demo: Demo) -> None:
    """Two of its targets; the base model is the demo's."""
    done = im_bench("sweep", "toy_length_ratio", "subset.target=5,15", f"paths.results={demo.results}")
    assert done.returncode == 0, done.stderr
    assert "base/" not in done.stderr
    rows = [row for row in read_ledger(demo.results / FILE) if row.sweep == "toy_length_ratio"]
    assert {(row.subset, row.loss) for row in rows} == {
        (f"ratio_{target}_120", loss) for target in (5, 15) for loss in ("it", "im")
    }
    for row in rows:
        assert row.examples == 120
        assert row.ratio == pytest.approx(float(str(row.subset).split("_")[1]), rel=0.1)
    picture = demo.results / "figures/toy_length_ratio_trend.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_toy_data_size_sweep_ends_in_its_figure(demo: Demo) -> None:
    """Two of its sizes, the smaller inside the larger."""
    done = im_bench("sweep", "toy_data_size", "subset.size=50,100", f"paths.results={demo.results}")
    assert done.returncode == 0, done.stderr
    rows = [row for row in read_ledger(demo.results / FILE) if row.sweep == "toy_data_size"]
    assert {(row.examples, row.loss) for row in rows} == {
        (size, loss) for size in (50, 100) for loss in ("it", "im")
    }
    assert (demo.results / "figures/toy_data_size_trend.pdf").exists()
