import subprocess
import sys

import pytest
from by_hand import base, row

from im_bench import config
from im_bench.report import report
from im_bench.report.collect import write_ledger

CORRECTED = config.Report(baseline="it", reading="corrected")
FILES = [
    *("figures/small.pdf", "figures/small.png", "tables/small.csv", "tables/small.md", "tables/small.tex"),
    *("tables/small_benchmarks.csv", "tables/small_benchmarks.md", "tables/small_benchmarks.tex"),
    "tables/small_comparisons.csv",
]


def rendered(results):
    paths = [path for folder in ("tables", "figures") for path in (results / folder).iterdir()]
    return {str(path.relative_to(results)): path.read_bytes() for path in sorted(paths)}


def test_a_report_is_a_function_of_the_ledger(tmp_path):
    rows = [base("mmlu", 0.1), row("mmlu", 0.2), row("mmlu", 0.3, loss="im"), row("mmlu", 0.9, sweep="other")]
    for sweep in ("small", "other"):
        write_ledger(tmp_path / "scores.jsonl", sweep, [each for each in rows if each.sweep == sweep])
    table = report(tmp_path, "small", CORRECTED).table
    first = rendered(tmp_path)
    assert [line.cell.loss for line in table.scored] == ["none", "it", "im"]
    assert sorted(first) == FILES
    report(tmp_path, "small", CORRECTED)
    assert rendered(tmp_path) == first


def test_a_sweep_without_scores_is_told_and_writes_nothing(tmp_path):
    with pytest.raises(config.UserError, match="small: .*scores.jsonl has no score of this sweep"):
        report(tmp_path, "small", CORRECTED)
    assert list(tmp_path.iterdir()) == []


def test_tables_need_neither_torch_nor_matplotlib():
    heavy = "{'torch', 'transformers', 'matplotlib', 'lm_eval', 'datasets'}"
    program = f"import sys, im_bench.report; sys.exit(', '.join({heavy} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
