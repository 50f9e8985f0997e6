"""The benchmarks of lm-evaluation-harness: its own tasks, one loaded model, group scores of ours."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import pyarrow
import pyarrow.parquet
import sacrebleu
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory
from lm_eval.utils import handle_non_serializable

from im_bench.config import UserError
from im_bench.evaluation import squad
from im_bench.evaluation.benchmarks import Entry
from im_bench.evaluation.engine import Engine
from im_bench.scores import Score, write_scores

TASKS = Path(lm_eval.__file__).parent / "tasks"

logging.getLogger("lm_eval").setLevel(logging.ERROR)
datasets.disable_progress_bars()
squad.supply()


def evaluate(
    out: Path,
    engine: Engine,
    *,
    name: str,
    entry: Entry,
    shots: int | None,
    limit: int | None,
    hub: str | None,
    rows: str | None = None,
) -> None:
    """Score one benchmark: `results.json` as lm-eval writes it, `items.parquet` and the scores.

    Args:
        hub: a folder in hub layout that stands for the hub; null is the hub.
        rows: where `datasets` keeps what it reads of that folder; it does not notice when a file changes, so
            each content needs a place of its own.
    """
    tasks = load_tasks(entry.folder or name, entry.tasks, shots, hub, rows)
    for task in tasks["tasks"].values():
        # Anew for every checkpoint: the tasks draw their examples from a generator that would go on, and a score
        # would depend on what was scored before.
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    # No bootstrap of the harness's: 100,000 draws in plain Python; standard errors are ours.
    results = lm_eval.evaluate(engine.lm, tasks, limit=limit, bootstrap_iters=0, log_samples=True)
    samples = results.pop("samples")
    (out / "results.json").write_text(json.dumps(results, indent=1, default=handle_non_serializable) + "\n")
    items = list(_items(samples, entry))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(items), out / "items.parquet")
    leaves = [_leaf(name, entry, task, results["results"][task], samples[task]) for task in samples]
    write_scores(out, [group_score(name, entry, leaves), *(leaves if len(leaves) > 1 else [])])


@cache
def load_tasks(
    folder: str, tasks: tuple[str, ...], shots: int | None, hub: str | None, rows: str | None = None
) -> Any:
    """lm-eval's task objects with their data; built once a process, whatever the number of checkpoints."""
    # Only the folder of these tasks: the harness's index of all its folders takes 8 s.
    manager = TaskManager(include_path=TASKS / folder, include_defaults=False)
    if hub is not None:
        manager._factory = _Redirected(Path(hub).resolve(), rows)
    try:
        loaded = manager.load(list(tasks))
    except (FileNotFoundError, ConnectionError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"benchmark data of {', '.join(tasks)}: {first.rstrip('.')}; where the hub is out of reach, "
            "paths.hub=FOLDER can serve it"
        ) from error
    for task in loaded["tasks"].values():
        # The harness's own rule: a task that states 0 shots keeps them, as its examples are in its prompt.
        own = task.get_config("num_fewshot")
        if shots is not None and own != 0:
            task.set_config(key="num_fewshot", value=shots)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        _check_shots(folder, task)
    return loaded


def _check_shots(benchmark: str, task: Any) -> None:
    asked = task.get_config("num_fewshot")
    there = len(list(task.fewshot_docs())) if asked else 0
    if there < asked:
        raise UserError(
            f"benchmark.{benchmark}.shots={asked}: the data of {task.config.task} has {there} examples to show"
        )


class _Redirected(TaskFactory):
    """Builds the official tasks with data from a folder in hub layout; nothing else of them is changed."""

    def __init__(self, hub: Path, rows: str | None):
        super().__init__()
        self.hub = hub
        self.rows = {"cache_dir": rows} if rows else {}

    def _load_full_config(self, *arguments: Any) -> dict[str, Any]:
        config = super()._load_full_config(*arguments)
        if "dataset_path" in config:
            config["dataset_path"] = str(self.hub / config["dataset_path"])
            config["dataset_kwargs"] = (config.get("dataset_kwargs") or {}) | self.rows
        return config


def _items(samples: dict[str, list[dict[str, Any]]], entry: Entry) -> Iterator[dict[str, Any]]:
    """One row per item: what it was, what the model said, and its outcome, for paired tests."""
    metric, filter_ = entry.metric.split(",")
    for task, rows in samples.items():
        for row in rows:
            if row["filter"] == filter_:
                outcome = row[metric]
                yield {
                    "task": task,
                    "item": row["doc_hash"],
                    "prompt": row["prompt_hash"],
                    "prediction": json.dumps(row["filtered_resps"], default=handle_non_serializable),
                    "target": str(row["target"]),
                    "outcome": float(outcome) if metric != "ter" else _edits(outcome)[0],
                    "size": 1.0 if metric != "ter" else _edits(outcome)[1],
                }


def _leaf(
    name: str, entry: Entry, task: str, results: dict[str, Any], samples: list[dict[str, Any]]
) -> Score:
    metric, filter_ = entry.metric.split(",")
    outcomes = [row[metric] for row in samples if row["filter"] == filter_]
    stderr = ratio_stderr([_edits(pair) for pair in outcomes]) if metric == "ter" else mean_stderr(outcomes)
    return Score(
        benchmark=name,
        category=entry.category,
        task=task,
        metric=entry.metric,
        value=float(results[entry.metric]),
        stderr=stderr,
        count=len(outcomes),
        total=len(outcomes),
        direction=entry.direction,
    )


def group_score(name: str, entry: Entry, leaves: Sequence[Score]) -> Score:
    """The headline: the mean of the leaves, weighted as the registry says.

    With weights v (equal, or by items) that sum to 1 its standard error is sqrt(sum v^2 se^2): leaves are
    independent samples.
    """
    total = sum(leaf.count for leaf in leaves)
    weights = [leaf.count / total if entry.weighting == "items" else 1 / len(leaves) for leaf in leaves]
    parts = [(weight, leaf.value, leaf.stderr) for weight, leaf in zip(weights, leaves, strict=True)]
    value = sum(weight * value for weight, value, _ in parts if value is not None)
    known = all(stderr is not None for _, _, stderr in parts)
    return Score(
        benchmark=name,
        category=entry.category,
        task=name,
        metric=entry.metric,
        value=value,
        stderr=math.sqrt(sum((weight * (stderr or 0)) ** 2 for weight, _, stderr in parts))
        if known
        else None,
        count=total,
        total=total,
        direction=entry.direction,
    )


def mean_stderr(values: Sequence[float]) -> float | None:
    """Standard error of a mean, s / sqrt(n) with ddof 1 as in lm-eval; None for a single value."""
    n = len(values)
    if n < 2:
        return None
    mean = sum(values) / n
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)


def ratio_stderr(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Standard error in percent of sum(edits) / sum(length), linearised, with items as the sample."""
    n, length = len(pairs), sum(size for _, size in pairs)
    if n < 2 or length == 0:
        return None
    ratio = sum(edits for edits, _ in pairs) / length
    return 100 * math.sqrt(sum((edits - ratio * size) ** 2 for edits, size in pairs) * n / (n - 1)) / length


def _edits(pair: Any) -> tuple[float, float]:
    """Edits and reference length of one translation, from lm-eval's (reference, prediction)."""
    reference, prediction = pair
    score = sacrebleu.sentence_ter(prediction, [reference])
    return score.num_edits, score.ref_length
