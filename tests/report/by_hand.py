"""Small ledgers written by hand."""

from __future__ import annotations

from im_bench.config import Report
from im_bench.report.collect import Row
from im_bench.report.readings import Reading
from im_bench.report.tables import Entry, Table, category_table

CATEGORY = {
    "mmlu": "knowledge",
    "piqa": "knowledge",
    "boolq": "knowledge",
    "lambada_multilingual": "multilingual",
    "wmt14": "multilingual",
    "wmt16": "multilingual",
    "winogrande": "commonsense",
    "gsm8k": "math_code",
    "humaneval": "math_code",
    "bbh": "bbh",
    "ethics": "safety",
    "mt_bench": "judged",
    "alpaca_eval_1": "judged",
    "alpaca_eval_2": "judged",
    "losses": "analysis",
    "memorisation": "analysis",
    "lengths": "analysis",
}


def row(benchmark: str, value: float | None, **other: object) -> Row:
    """A row of the cell that trains `lima` under `it`, unless `other` says otherwise."""
    fields = {
        "sweep": "small",
        "model": "toy",
        "dataset": "lima",
        "subset": "full",
        "examples": 1030,
        "ratio": 0.0942,
        "loss": "it",
        "seed": 0,
        "benchmark": benchmark,
        "category": CATEGORY[benchmark],
        "task": benchmark,
        "metric": "ter,none" if benchmark.startswith("wmt") else "acc,none",
        "value": value,
        "stderr": None,
        "count": 10,
        "total": 10,
        "direction": "lower" if benchmark.startswith("wmt") else "higher",
        "judge": "overlap" if CATEGORY[benchmark] == "judged" else None,
        "reading_note": None,
        "step": "0123abcd",
    } | other
    fields.setdefault("cell", f"{fields['model']}-{fields['dataset']}-{fields['loss']}-{fields['seed']}")
    return Row(**fields)


def base(benchmark: str, value: float | None, **other: object) -> Row:
    """A row of the untrained base model."""
    return row(benchmark, value, dataset=None, subset=None, examples=None, ratio=None, loss="none", **other)


def table_of(rows: list[Row], reading: Reading = "corrected", baseline: str = "it") -> Table:
    return category_table(rows, name="small", wanted=Report(baseline=baseline, reading=reading))


def entry(table: Table, column: str, loss: str = "it") -> Entry:
    """The table's only number in `column` under `loss`."""
    ids = [each.id for each in table.columns]
    (line,) = [line for line in table.scored if line.cell.loss == loss]
    return line.entries[ids.index(column)]


def difference(table: Table, column: str, loss: str = "im") -> float | None:
    ids = [each.id for each in table.columns]
    (line,) = [line for line in table.scored if line.cell.loss == loss]
    assert line.differences is not None
    return line.differences[ids.index(column)].value
