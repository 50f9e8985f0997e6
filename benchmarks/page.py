"""How fast the page of a large sweep opens in Chromium, from the disk: 100 cells of 21 benchmarks and their leaves.

The ledger and the store are made up: loss curves of 2,000 steps, and 14,042 items of MMLU for two of the cells. Each
measurement is a browser of its own with an empty profile. It ends when the next frame after the work is painted.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import setting

from im_bench.items import write_items
from im_bench.report.collect import Row
from im_bench.report.page import Grid, Line, Number, write_page
from im_bench.report.words import BENCHMARKS, CATEGORIES, Column

LEAVES = {
    "mmlu": 57,
    "bbh": 27,
    "ethics": 5,
    "lambada_multilingual": 5,
    "wmt14": 4,
    "wmt16": 6,
    "mt_bench": 10,
}
ITEMS = 14_042
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PAINTED = (
    "() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        page = _make_page(Path(folder), options.cells)
        made = time.monotonic() - start
        found = [_measured(page) for _ in range(options.repeats)]
        rows = [{"what": what, "seconds": median(each[what] for each in found)} for what in found[0]]
        rows.append({"what": "(made up and written, once)", "seconds": made})
        sizes = [
            ("index.html", page),
            *((path.name, path) for path in sorted((page.parent / "data").iterdir())),
        ]
        setting.show(rows, options.json)
        setting.show([{"file": name, "MB": path.stat().st_size / 1e6} for name, path in sizes], options.json)


def _measured(page: Path) -> dict[str, float]:
    """Seconds from the navigation to the table, and from a click to what it shows."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("there is no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        view = browser.new_context(offline=True).new_page()
        view.goto(page.as_uri(), wait_until="commit")
        view.wait_for_selector("#table tbody tr")
        seconds = {"open": view.evaluate(PAINTED) / 1e3}
        seconds["all benchmarks"] = _after(view, "document.querySelector('[value=benchmarks]').click()")
        seconds["sort"] = _after(view, "document.querySelectorAll('#table thead button')[4].click()")
        seconds["a cell"] = _after(view, "document.querySelector('#tab-cells').click()")
        start = time.monotonic()
        view.click("#tab-items")
        view.wait_for_selector("#list .item")
        seconds["items of MMLU, two cells"] = time.monotonic() - start
        seconds["only where they differ"] = _after(view, "document.querySelector('#differ').click()")
        view.uncheck("#differ")
        start = time.monotonic()
        view.fill("#find-item", f"{ITEMS - 1}: which")
        view.get_by_text(f"1 of {ITEMS:,} items").wait_for()
        seconds["search in all texts"] = time.monotonic() - start
        browser.close()
    return seconds


def _after(view: Any, action: str) -> float:
    """Seconds until what an action changes is painted."""
    start = view.evaluate("() => performance.now()")
    view.evaluate(f"() => {{ {action}; }}")
    return (view.evaluate(PAINTED) - start) / 1e3


def _make_page(results: Path, count: int) -> Path:
    draw = random.Random(0)
    cells = [(f"cell{number:03d}", f"data_{number // 10}", f"loss_{number % 10}") for number in range(count)]
    rows = [row for cell in cells for row in _rows(*cell, draw)]
    for cell, _, _ in cells:
        _train(results / "store", cell, draw)
    for cell, _, _ in cells[:2]:
        _score(results / "store", cell, draw)
    return write_page(
        results,
        "large",
        rows,
        tables={
            "categories": _grid(CATEGORIES, cells, draw),
            "benchmarks": _grid(BENCHMARKS, cells, draw),
        },
        figures={f"figure_{number}": _figure(draw) for number in range(10)},
        baseline="loss_0",
    )


def _rows(cell: str, dataset: str, loss: str, draw: random.Random) -> list[Row]:
    leaves = [
        (each.id, f"{each.id}_leaf_{number}")
        for each in BENCHMARKS
        for number in range(LEAVES.get(each.id, 0))
    ]
    return [
        Row(
            sweep="large",
            cell=cell,
            model="llama2_7b",
            dataset=dataset,
            subset="full",
            loss=loss,
            seed=0,
            benchmark=benchmark,
            category="knowledge",
            task=task,
            metric="acc,none",
            value=draw.random(),
            stderr=0.01,
            count=100,
            total=100,
            direction="higher",
            judge=None,
            reading_note=None,
            step=f"{cell}{benchmark}",
            examples=1030,
            ratio=0.0942,
        )
        for benchmark, task in [*((each.id, each.id) for each in BENCHMARKS), *leaves]
    ]


def _grid(columns: tuple[Column, ...], cells: list[tuple[str, str, str]], draw: random.Random) -> Grid:
    def number() -> Number:
        difference = draw.gauss(0, 3)
        return Number(
            value=draw.uniform(0, 100),
            stderr=1.0,
            count=100,
            total=100,
            difference=difference,
            low=difference - 2,
            high=difference + 2,
            p=draw.random(),
            stars="*" if abs(difference) > 2 else "",
        )

    lines = [Line(cell, tuple(number() for _ in columns)) for cell, _, _ in cells]
    return Grid(columns, tuple(lines), ("Made up.",))


def _figure(draw: random.Random) -> str:
    marks = [
        f'<circle cx="{draw.uniform(0, 400):.2f}" cy="{draw.uniform(0, 300):.2f}" r="2"><title>a mark</title></circle>'
        for _ in range(2000)
    ]
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 300">{"".join(marks)}</svg>'


def _train(store: Path, cell: str, draw: random.Random) -> None:
    config = {"train": {f"setting_{number}": number for number in range(20)}}
    out = _step(store, "train", f"{cell}train", config, [])
    events = [{"train/step": step, "train/loss": draw.random() + 1 / step} for step in range(1, 2001)]
    (out / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    for each in BENCHMARKS:
        _step(store, "harness", f"{cell}{each.id}", {"benchmark": each.id}, [f"{cell}train"])


def _score(store: Path, cell: str, draw: random.Random) -> None:
    out = next((store / "harness").glob(f"*-{cell}mmlu"))
    question = "Which of these is it? " * 15
    write_items(
        out,
        [
            {
                "task": f"mmlu_leaf_{number % 57}",
                "item": f"{number:064x}",
                "stratum": "",
                "cluster": f"mmlu_leaf_{number % 57}",
                "outcome": float(draw.random() < 0.5),
                "size": 1.0,
                "question": f"{number}: {question}",
                "answer": draw.choice("ABCD"),
                "target": "A",
                "verdict": None,
            }
            for number in range(ITEMS)
        ],
    )


def _step(store: Path, kind: str, key: str, config: dict[str, Any], needs: list[str]) -> Path:
    out = store / kind / f"large-{key}"
    out.mkdir(parents=True)
    identity = {"kind": kind, "version": 1, "config": config, "needs": needs}
    (out / "step.json").write_text(json.dumps({"key": key, "identity": identity, "made": {"seconds": 30.0}}))
    return out


if __name__ == "__main__":
    main()
