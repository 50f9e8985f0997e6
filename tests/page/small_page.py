"""A small sweep for the page: rows, a store and tables, written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from im_bench.items import write_items
from im_bench.report.collect import UNKNOWN, Row
from im_bench.report.figures import hover, svg
from im_bench.report.page import Grid, Line, Number, write_page
from im_bench.report.words import benchmark_column

HOSTILE = "</script><img src=x onerror=\"document.title='taken'\"><b>bold</b> \u2028 end"
CELLS = {"cell-it": ("lima", "it"), "cell-im": ("lima", "im"), "cell-dolly": ("dolly", "im")}
VALUES = {"cell-it": 50.0, "cell-im": 62.5, "cell-dolly": 9.0}


def dot() -> Figure:
    """A figure of one point, which says its number."""
    figure = Figure(figsize=(1.2, 0.6))
    (point,) = figure.subplots().plot([1], [62.5], "o")
    hover(point, "im: 62.50")
    return figure


def make_page(
    results: Path,
    *,
    items: int = 45,
    figures: tuple[str, ...] = ("small", "small_trend"),
    cells: Sequence[str] = tuple(CELLS),
    others: Sequence[Row] = (),
) -> Path:
    """The page of these cells, two benchmarks and `items` items of PIQA, and rows of others; below `results`."""
    for cell in CELLS:
        _train(results / "store", cell)
        _score(results / "store", cell, items, needs=[f"train{cell.replace('-', '')}"])
    lines = (*cells, *dict.fromkeys(row.cell for row in others))
    return write_page(
        results,
        "small",
        [*(row(cell, benchmark) for cell in cells for benchmark in ("piqa", "mt_bench")), *others],
        tables={"categories": grid("piqa", cells=lines), "benchmarks": grid("piqa", "mt_bench", cells=lines)},
        figures={name: svg(name, dot) for name in figures},
        baseline="it",
    )


def row(cell: str, benchmark: str) -> Row:
    dataset, loss = CELLS[cell]
    judged = benchmark == "mt_bench"
    return Row(
        sweep="small",
        cell=cell,
        model="toy",
        dataset=dataset,
        subset="full",
        loss=loss,
        seed=0,
        benchmark=benchmark,
        category="judged" if judged else "knowledge",
        task=benchmark,
        metric="score" if judged else "acc,none",
        value=5.0 if judged else VALUES[cell] / 100,
        stderr=0.01,
        count=8,
        total=8,
        direction="higher",
        judge="judge-1" if judged else None,
        reading_note=None,
        step=f"{cell.replace('-', '')}{benchmark.replace('_', '')}",
        examples=1030,
        ratio=0.0942,
        judge_prompt_tokens=1200 if judged else None,
        judge_answer_tokens=300 if judged else None,
        judge_cost=0.42 if judged else None,
    )


def ingested(model: str, step: str = "01234567") -> Row:
    """PIQA of a model of others."""
    return replace(
        row("cell-it", "piqa"),
        cell=f"cell-{model}",
        model=model,
        dataset=UNKNOWN,
        subset=None,
        loss=UNKNOWN,
        step=step,
        examples=None,
        ratio=None,
        source=f"results_{model}.json (sha256 0123456789ab)",
    )


def judged(results: Path, model: str) -> Row:
    """PIQA of a model of others whose answers were judged here; below `results`."""
    _score(results / "store", model, 45, needs=[])
    return ingested(model, step=f"{model}piqa")


def grid(*benchmarks: str, cells: Sequence[str] = tuple(CELLS)) -> Grid:
    lines = [Line(cell, tuple(_number(cell, benchmark) for benchmark in benchmarks)) for cell in cells]
    return Grid(tuple(map(benchmark_column, benchmarks)), tuple(lines), ("* p < 0.05.",))


def _number(cell: str, benchmark: str) -> Number:
    if cell not in CELLS and benchmark != "piqa":
        return Number(value=None)  # nobody asked it
    value = VALUES.get(cell, 70.0) if benchmark == "piqa" else None
    if cell != "cell-im" or benchmark != "piqa":
        return Number(value=value, stderr=1.0, count=8, total=8)
    return Number(
        value=value, stderr=1.0, count=8, total=8, difference=12.5, low=3.25, high=21.75, p=0.012, stars="*"
    )


def _train(store: Path, cell: str) -> None:
    config = {"loss": {"prompt_weight": 1.0}, "train": {"epochs": 3}}
    out = _step(store, "train", f"train{cell.replace('-', '')}", config, [])
    parts = {"instruction": 600, "output": 400}
    report = {
        "conversations": 20,
        "kept": 17,
        "truncated": 2,
        "dropped_rows": [3, 4, 5],
        "tokens": parts,
        "supervised": {"instruction": 0, "output": 400},
    }
    (out / "labels.json").write_text(json.dumps(report))
    (out / "training.json").write_text(json.dumps({"steps": 400, "seconds": 120.0, "flops": 2.5e12}))
    events = [{"train/step": step, "train/loss": 4 / step} for step in range(1, 401)]
    (out / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))


def _score(store: Path, cell: str, items: int, needs: list[str]) -> None:
    name = cell.replace("-", "")
    out = _step(store, "harness", f"{name}piqa", {"benchmark": "piqa"}, needs)
    write_items(out, [_item(cell, number) for number in range(items)])
    _step(store, "verdicts", f"{name}mtbench", {"benchmark": "mt_bench"}, needs)


def _item(cell: str, number: int) -> dict[str, object]:
    """Item 0 is hostile; `im` is right where `it` is wrong on every third; items 1 and 2 are equal rows;
    the question of item 5 has what the cell itself has said.
    """
    right = number % 3 != 0 or cell == "cell-im"
    return {
        "task": "piqa",
        "item": "same" if number in (1, 2) else f"id{number}",
        "stratum": "",
        "cluster": None,
        "outcome": float(right),
        "size": 1.0,
        "question": HOSTILE
        if number == 0
        else f"Question {number}: how is the sea?{f' [answer 1] of {cell}' if number == 5 else ''}",
        "answer": HOSTILE if number == 0 else f"answer {'wide' if right else 'dry'}",
        "target": "wide",
        "verdict": "The judge says: [[7]]" if number == 4 else None,
    }


def _step(store: Path, kind: str, key: str, config: dict[str, object], needs: list[str]) -> Path:
    out = store / kind / f"label-of-{key}"
    out.mkdir(parents=True, exist_ok=True)
    identity = {"kind": kind, "version": 1, "config": config, "needs": needs}
    (out / "step.json").write_text(json.dumps({"key": key, "identity": identity, "made": {"seconds": 30.0}}))
    return out
