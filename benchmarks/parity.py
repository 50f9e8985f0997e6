"""The harness's own scores beside ours, on the same rows and model: equal to the last digit, or not.

Real rows are in a folder in hub layout. lm-eval is called by `simple_evaluate`, with its own model class, and changed
only in where `datasets` finds the rows. Beside them, through our path: an oracle that knows every answer, and a guesser
(tests/evaluation/oracles.py).
"""

from __future__ import annotations

import argparse
import sys
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import datasets
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from im_bench.checkpoint import Checkpoint
from im_bench.config import HF, Harness, Runtime, UserError, load_yaml
from im_bench.evaluation import harness
from im_bench.evaluation.benchmarks import BENCHMARKS, Entry
from im_bench.evaluation.engine import Engine, open_engine
from im_bench.evaluation.tasks import TASKS, load_tasks
from im_bench.scores import Score, read_scores

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/evaluation"))
from oracles import Guesser, Oracle  # noqa: E402  # its folder is known only now

BATCH = 16
ABSENT = {"lambada_multilingual": ("lambada_openai_mt_en",)}
"""Benchmarks of which the folder has some tasks only."""
FEWER = {"hellaswag": 5}
"""Shots where the folder has too few examples for the paper's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a folder with a checkpoint, such as results/store/base/toy-*")
    parser.add_argument("--hub", default=str(ROOT.parent / "shared/hub"), help="folder in hub layout")
    parser.add_argument("--limit", type=int, default=40, help="rows of a task")
    parser.add_argument(
        "--limit-generated", type=int, default=2, help="rows of a task whose answers are written"
    )
    parser.add_argument(
        "--only", nargs="*", default=[name for name, entry in BENCHMARKS.items() if entry.tasks]
    )
    options = parser.parse_args()
    hub = str(Path(options.hub).resolve())
    checkpoint = Checkpoint(options.model, None, Path(options.model))
    runtime = Runtime(device="cpu", micro_batch_tokens=1, save_steps=1, threads=None)
    engine = open_engine(checkpoint, HF(kind="hf", batch_size=BATCH), runtime)
    print(
        "| benchmark | rows | shots | lm-eval | ours | equal | oracle | guesser |\n|---|--:|--:|--:|--:|---|--:|--:|"
    )
    for name in options.only:
        entry = BENCHMARKS[name]._replace(tasks=ABSENT.get(name, BENCHMARKS[name].tasks))
        shots = FEWER.get(name, load_yaml(ROOT / f"conf/benchmark/{name}.yaml")[name]["shots"])
        limit = options.limit_generated if name in ("bbh", "gsm8k", "wmt14", "wmt16") else options.limit
        ours = _ours(engine, name, entry, shots, limit, hub)
        theirs = _theirs(engine, name, entry, shots, limit, hub)
        equal = [score.value for score in ours] == theirs
        stand_ins = [
            _ours(_of(who, engine, name, entry, shots, hub), name, entry, shots, limit, hub)
            for who in STAND_INS
        ]
        cells = [
            ours[0].count,
            "own" if shots is None else shots,
            theirs[0],
            ours[0].value,
            "yes" if equal else "NO",
        ]
        print(
            "|",
            " | ".join(map(str, [name, *cells, *(found[0].value for found in stand_ins)])),
            "|",
            flush=True,
        )


def _ours(engine: Engine, name: str, entry: Entry, shots: int | None, limit: int, hub: str) -> list[Score]:
    out = Path(mkdtemp())
    spec = Harness(runner="harness", shots=shots)
    harness.evaluate(out, engine, name=name, entry=entry, spec=spec, limit=limit, hub=hub)
    return read_scores(out)


def _theirs(engine: Engine, name: str, entry: Entry, shots: int | None, limit: int, hub: str) -> list[float]:
    """The headline and, where there are several, the tasks' scores; a tag's headline is the mean of its tasks."""
    load = datasets.load_dataset
    lm = HFLM(engine.lm.model, tokenizer=engine.tokenizer, batch_size=BATCH, device="cpu")
    datasets.load_dataset = lambda path, **how: load(f"{hub}/{path}", **how)
    try:
        sys.stderr = StringIO()  # its bars
        manager = TaskManager(include_path=TASKS / (entry.folder or name), include_defaults=False)
        found: Any = lm_eval.simple_evaluate(
            lm,
            tasks=list(entry.tasks),
            num_fewshot=shots,
            limit=limit,
            bootstrap_iters=0,
            task_manager=manager,
        )
    finally:
        datasets.load_dataset, sys.stderr = load, sys.__stderr__
    results = found["results"]
    leaves = [results[task][entry.metric] for task in found["samples"]]
    if len(leaves) == 1:
        return leaves
    group = entry.tasks[0]
    headline = results[group][entry.metric] if group in results and len(entry.tasks) == 1 else None
    return [sum(leaves) / len(leaves) if headline is None else headline, *leaves]


STAND_INS = (Oracle, Guesser)


def _of(who: type, engine: Engine, name: str, entry: Entry, shots: int | None, hub: str) -> Engine:
    how = {"by_letter": entry.metric.startswith("acc_norm")} if who is Guesser else {}
    return Engine(who(load_tasks(name, entry, shots, hub)["tasks"], **how), engine.tokenizer)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
