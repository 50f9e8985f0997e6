"""Seconds of the harness benchmarks of one checkpoint: one `im-bench run`, and one lm-eval process a category.

All benchmarks of the registry that lm-eval runs and whose data the folder has, on the first rows of every task. A
category's tasks are given to lm-eval's own command line, whose defaults are kept, its 100,000 bootstrap draws among
them; only where its tasks find their data is changed. Both sides have the tasks' own shots, as lm-eval's command line
knows one number for all tasks, and the same batch size; both read the data anew, without network. That both scored
the same rows with the same prompts is checked. The checkpoint is the toy base model, made before the clock starts;
the second one, scored in the same process as the first, is a copy of it, so it costs the model as much. im-bench's
time is that of the whole command: planning and the table, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS, Namespace
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import setting

ONE, TWO, THEIRS = "im-bench", "im-bench, two checkpoints", "lm-eval"
OURS = {ONE: ("first",), TWO: ("first", "second")}
IM_BENCH = [sys.executable, "-m", "im_bench", "run"]


def main() -> None:
    if sys.argv[1:2] == ["--lm-eval"]:
        _lm_eval(sys.argv[2], sys.argv[3:])
        return
    parser = setting.arguments(__doc__)
    parser.set_defaults(repeats=3)
    parser.add_argument("--hub", help="a folder in hub layout, or `toy`; that of --shared else")
    parser.add_argument("--checkpoint", type=Path, help="a model folder; the toy base model is made else")
    parser.add_argument("--limit", type=int, default=4, help="rows of every task")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--work", type=Path, help=SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_side(options)))
        return
    from im_bench.evaluation.benchmarks import BENCHMARKS, CATEGORIES

    with tempfile.TemporaryDirectory() as folder:
        options.work = Path(folder)
        options.hub = _prepare(options)
        categories = {BENCHMARKS[name].category for name in _benchmarks(options.hub)}
        processes = [f"{THEIRS} {category}" for category in CATEGORIES if category in categories]
        more = [
            *("--hub", options.hub, "--work", folder),
            *("--limit", str(options.limit), "--batch-size", str(options.batch_size)),
        ]
        found = setting.take_turns([*OURS, *processes], options, *more)
    _check(found, processes)
    together, second = f"{THEIRS}, together", "second checkpoint"
    found[together] = [_sum(each) for each in zip(*(found[side] for side in processes), strict=True)]
    found[second] = [
        {field: two[field] - one[field] for field in ("seconds", "rows")}
        for one, two in zip(found[ONE], found[TWO], strict=True)
    ]
    seconds, rows = setting.medians(found, "seconds"), setting.medians(found, "rows")
    table = [
        {
            "side": side,
            "rows": round(rows[side]),
            "seconds": seconds[side],
            f"/ {together}": seconds[side] / seconds[together],
            f"/ {ONE}": seconds[side] / seconds[ONE],
        }
        for side in (*processes, together, ONE, TWO, second)
    ]
    setting.show(table, options.json)


def _prepare(options: Namespace) -> str:
    """Make the checkpoint, twice; returns the folder with the data."""
    hub, base = options.hub or str(options.shared / "hub"), options.checkpoint
    if base is None or hub == "toy":
        results = options.work / "made"
        cell = ["model=toy", "dataset=toy_long", "train=toy", "benchmark=[wsc273]", "limit=1"]
        where = ["paths.hub=toy", f"paths.results={results}"]
        _call([*IM_BENCH, *cell, *where, "loss=none", "runtime=cpu", "judge=overlap"])
        (made,) = (results / "store" / "base").glob("toy-*")
        (toy,) = (results / "toy").glob("*/hub")
        base, hub = base or made, str(toy) if hub == "toy" else hub
    for name in OURS[TWO]:
        folder = shutil.copytree(base, options.work / name)
        (folder / "name.txt").write_text(name)  # a folder of equal files would be the same checkpoint
    return str(Path(hub).resolve())


def _benchmarks(hub: str) -> list[str]:
    """Those of lm-eval whose data is there."""
    from im_bench.assets import benchmark_data_sha256
    from im_bench.config import UserError
    from im_bench.evaluation.benchmarks import BENCHMARKS

    found = []
    for name, entry in BENCHMARKS.items():
        try:
            benchmark_data_sha256(name, entry.datasets, hub)
        except UserError:
            print(f"left out: {name}, whose data is not there", file=sys.stderr)
        else:
            found += [name] if entry.tasks else []
    return found


def _side(options: Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        ours = options.side in OURS
        command = _ours(options, folder) if ours else _theirs(options, folder)
        start = time.monotonic()
        _call(command, HF_DATASETS_CACHE=f"{folder}/rows")
        seconds = time.monotonic() - start
        scored = _scored(_our_rows(folder) if ours else _their_rows(folder))
    return {"seconds": seconds, "rows": sum(count for _, count in scored.values()), "scored": scored}


def _ours(options: Namespace, results: str) -> list[str]:
    names = _benchmarks(options.hub)
    return [
        *(*IM_BENCH, "--multirun", "model=local", "model.chat_template=own", "loss=none"),
        f"model.path={','.join(str(options.work / name) for name in OURS[options.side])}",
        f"benchmark=[{','.join(names)}]",
        *(f"benchmark.{name}.shots=null" for name in names),
        *("runtime=cpu", f"engine.batch_size={options.batch_size}", f"limit={options.limit}"),
        *(f"paths.hub={options.hub}", f"paths.results={results}", "judge=overlap"),
    ]


def _theirs(options: Namespace, out: str) -> list[str]:
    from im_bench.evaluation.benchmarks import BENCHMARKS

    entries = [BENCHMARKS[name] for name in _benchmarks(options.hub)]
    category = options.side.removeprefix(f"{THEIRS} ")
    tasks = [task for entry in entries if entry.category == category for task in entry.tasks]
    return [
        *(sys.executable, __file__, "--lm-eval", options.hub),
        *("--model", "hf", "--model_args", f"pretrained={options.work / 'first'}", "--device", "cpu"),
        *("--tasks", ",".join(tasks), "--limit", str(options.limit)),
        *("--batch_size", str(options.batch_size), "--output_path", out, "--log_samples"),
    ]


def _lm_eval(hub: str, arguments: list[str]) -> None:
    """lm-eval's command line, with the folder `hub` for the hub."""
    from im_bench.evaluation import squad

    squad.supply()
    from lm_eval.__main__ import cli_evaluate  # noqa: TID251  # the other side
    from lm_eval.tasks import manager  # noqa: TID251  # the other side

    class Redirected(manager.TaskFactory):
        def _load_full_config(self, *arguments: Any) -> dict[str, Any]:
            config = super()._load_full_config(*arguments)
            if "dataset_path" in config:
                config["dataset_path"] = f"{hub}/{config['dataset_path']}"
            return config

    manager.TaskFactory = Redirected
    sys.argv = ["lm_eval", *arguments]
    cli_evaluate()


def _our_rows(results: str) -> Iterator[tuple[str, str, str]]:
    from pyarrow import parquet

    for file in Path(results).rglob("items.parquet"):
        yield from {(row["task"], row["item"], row["prompt"]) for row in parquet.read_table(file).to_pylist()}


def _their_rows(out: str) -> Iterator[tuple[str, str, str]]:
    for file in Path(out).rglob("samples_*.jsonl"):
        task = file.stem.removeprefix("samples_").rpartition("_")[0]
        rows = map(json.loads, file.read_text(encoding="utf-8").strip().split("\n"))
        yield from {(task, row["doc_hash"], row["prompt_hash"]) for row in rows}  # of all filters


def _scored(rows: Iterable[tuple[str, str, str]]) -> dict[str, tuple[str, int]]:
    """For each task a hash of its rows and prompts, and how often they were scored altogether."""
    tasks = defaultdict(list)
    for task, row, prompt in rows:
        tasks[task].append((row, prompt))
    return {
        task: (hashlib.sha256(repr(sorted(set(scored))).encode()).hexdigest(), len(scored))
        for task, scored in tasks.items()
    }


def _check(found: dict[str, list[dict[str, Any]]], processes: list[str]) -> None:
    theirs = {task: scored for side in processes for task, scored in found[side][0]["scored"].items()}
    for side, checkpoints in OURS.items():
        expected = {task: [rows, count * len(checkpoints)] for task, (rows, count) in theirs.items()}
        ours = found[side][0]["scored"]
        unlike = sorted(task for task in ours | expected if ours.get(task) != expected.get(task))
        if unlike:
            sys.exit(f"{side} and {THEIRS} did not score the same rows of {', '.join(unlike)}")


def _sum(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {field: sum(one[field] for one in each) for field in ("seconds", "rows")}


def _call(command: list[str], **environment: str) -> None:
    done = subprocess.run(
        command,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


if __name__ == "__main__":
    main()
