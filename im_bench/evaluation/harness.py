"""The benchmarks of lm-evaluation-harness: its own tasks, one loaded model, group scores of ours."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import sacrebleu
from lm_eval.api.model import hash_args
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.loggers.utils import add_tokenizer_info
from lm_eval.utils import handle_non_serializable, hash_string, sanitize_model_name

from im_bench import config
from im_bench.config import UserError
from im_bench.counting import Follow, Tally, nobody
from im_bench.evaluation.benchmarks import Entry, group_score
from im_bench.evaluation.engine import Engine
from im_bench.evaluation.engines.asking import Answered
from im_bench.evaluation.tasks import hand_out, load_tasks, requests
from im_bench.items import write_items
from im_bench.scores import Score, write_scores


def evaluate(
    out: Path,
    engine: Engine,
    *,
    name: str,
    entry: Entry,
    spec: config.Harness,
    limit: int | None,
    hub: str | None,
    rows: str | None = None,
    follow: Follow = nobody,
) -> None:
    """Score one benchmark: `results.json` as lm-eval writes it, `items.parquet` and the scores.

    Args:
        hub: a folder in hub layout that stands for the hub; null is the hub.
        rows: where `datasets` keeps what it reads of that folder; it does not notice when a file changes, so
            each content needs a place of its own.
        follow: told how many requests are answered, and of how many.

    Raises:
        UserError: the data cannot be had or do not fit the task, or a request does not fit the model.
    """
    loaded = load_tasks(name, entry, spec.shots, hub, rows)
    tasks = loaded["tasks"].values()
    built = [requests(name, task, limit, engine if spec.prompt == "chat" else None) for task in tasks]
    for task, asked in zip(tasks, built, strict=True):
        hand_out(task, asked)
    tally = Tally(sum(map(len, built)), follow)
    with engine.benchmark(out, tally.more) as answered:
        # No bootstrap of the harness's: 100,000 draws in plain Python; standard errors are ours.
        results = lm_eval.evaluate(engine.lm, loaded, limit=limit, bootstrap_iters=0, log_samples=True)
        samples = results.pop("samples")
        items = [
            item for task in tasks for item in _items(task, samples[task.task_name], entry, engine, answered)
        ]
        _check_outcomes(name, items)
        write_items(out, items)
        leaves = [_leaf(name, entry, task, results, items) for task in samples]
        headline = group_score(name, entry, leaves)
        _add_errors(results["results"], samples)
        _name_data(results["configs"], hub)
        _write_results(out, results, engine, limit=limit, scores=[headline, *leaves])
        write_scores(out, [headline, *(leaves if len(leaves) > 1 else [])])


def _items(
    task: Any, samples: Sequence[dict[str, Any]], entry: Entry, engine: Engine, answered: Answered
) -> Iterator[dict[str, Any]]:
    """One row per item: what it was, what the model said, and its outcome, for paired tests."""
    metric, filter_ = entry.metric.split(",")
    for row in samples:
        if row["filter"] == filter_:
            outcome, size = (float(row[metric]), 1.0) if metric != "ter" else _edits(row[metric])
            said = row["filtered_resps"]
            kind = "generate_until" if isinstance(said[0], str) else "loglikelihood"
            asked = [answered.sizes[hash_args(kind, arguments)] for arguments in row["arguments"]]
            raw = [each[0] for each in row["resps"]]
            written = [engine.num_tokens(text) for text in raw if isinstance(text, str)]
            prediction = _prediction(task, row["doc"], said, metric)
            yield {
                "task": task.task_name,
                "item": row["doc_hash"],
                "stratum": task.task_name if entry.weighting == "tasks" else "",
                "cluster": _cluster(task, row, entry),
                "outcome": outcome,
                "size": size,
                "question": _question(task, row["doc"]),
                "answer": _answer(task, row["doc"], prediction, raw),
                "target": _chosen(task, row["doc"], row["target"]),
                "verdict": None,
                "prediction": prediction,
                "prompt": row["prompt_hash"],
                "row": json.dumps(row["doc"], default=handle_non_serializable, ensure_ascii=False),
                "responses": json.dumps(raw, ensure_ascii=False),
                "prompt_tokens": max(each.prompt for each in asked),
                "answer_tokens": max(written or [each.answer for each in asked]),
                "cut_tokens": max(each.cut for each in asked),
            }


def _cluster(task: Any, row: dict[str, Any], entry: Entry) -> str | None:
    names = {"tasks": task.task_name, "places": str(row["doc_id"]), "rows": row["doc_hash"]}
    return None if entry.clusters is None else names[entry.clusters]


def _question(task: Any, doc: Any) -> str:
    """What the item asks, without examples; where the choices are beginnings, they stand before their common end."""
    asked = task.doc_to_text(doc)
    return (
        asked
        if isinstance(asked, str)
        else f"{' / '.join(task.doc_to_choice(doc))} {task.doc_to_target(doc)}"
    )


def _answer(task: Any, doc: Any, prediction: str, raw: Sequence[Any]) -> str:
    """The whole text written, or the choice that the metric counts."""
    return (
        raw[0]
        if isinstance(raw[0], str)
        else _chosen(task, doc, int(prediction) if len(raw) > 1 else prediction)
    )


def _chosen(task: Any, doc: Any, choice: Any) -> str:
    """A choice by its text."""
    return task.doc_to_choice(doc)[choice] if isinstance(choice, int) else str(choice)


def _check_outcomes(name: str, items: Sequence[dict[str, Any]]) -> None:
    without = [item["task"] for item in items if not math.isfinite(item["outcome"])]
    if without:
        raise UserError(
            f"benchmark.{name}: {len(without)} items have no number as outcome, the first of {without[0]}; the model's "
            "log-likelihoods are too small to compare"
        )


def _prediction(task: Any, doc: Any, said: Sequence[Any], metric: str) -> str:
    """The text written, the number of the choice that the metric counts, or whether the target is the likeliest."""
    if isinstance(said[0], str):
        return said[0]
    if len(said) == 1:
        return str(said[0][1])
    lengths = [len(choice) for choice in task.doc_to_choice(doc)] if metric == "acc_norm" else None
    values = [value / lengths[place] if lengths else value for place, (value, _) in enumerate(said)]
    return str(int(np.argmax(values)))


def _leaf(
    name: str, entry: Entry, task: str, results: dict[str, Any], items: Sequence[dict[str, Any]]
) -> Score:
    mine = [item for item in items if item["task"] == task]
    outcomes = [item["outcome"] for item in mine]
    by_size = entry.metric.startswith("ter")
    return Score(
        benchmark=name,
        category=entry.category,
        task=task,
        metric=entry.metric,
        value=float(results["results"][task][entry.metric]),
        stderr=ratio_stderr(outcomes, [item["size"] for item in mine]) if by_size else mean_stderr(outcomes),
        count=len(mine),
        total=len(mine),
        direction=entry.direction,
        truncated=sum(item["cut_tokens"] > 0 for item in mine),
        version=str(results["versions"][task]),
    )


def mean_stderr(values: Sequence[float]) -> float | None:
    """Standard error of a mean, s / sqrt(n) with ddof 1 as in lm-eval; None for a single value."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def ratio_stderr(edits: Sequence[float], lengths: Sequence[float]) -> float | None:
    """Standard error in percent of sum(edits) / sum(lengths), linearised, with items as the sample."""
    n, total = len(edits), sum(lengths)
    if n < 2 or total == 0:
        return None
    residuals = np.asarray(edits) - sum(edits) / total * np.asarray(lengths)
    return float(100 * math.sqrt(np.square(residuals).sum() * n / (n - 1)) / total)


def _edits(pair: Any) -> tuple[float, float]:
    """Edits and reference length of one translation, from lm-eval's (reference, prediction)."""
    reference, prediction = pair
    score = sacrebleu.sentence_ter(prediction, [reference])
    return score.num_edits, score.ref_length


def _add_errors(tables: dict[str, dict[str, Any]], samples: dict[str, list[dict[str, Any]]]) -> None:
    """Standard errors of what is a mean over items; the harness leaves all out with its bootstrap."""
    for task, rows in samples.items():
        for key, value in list(tables[task].items()):
            metric, _, filter_ = key.partition(",")
            mine = [row[metric] for row in rows if filter_ and row["filter"] == filter_ and metric in row]
            if len(mine) > 1 and all(isinstance(each, int | float | bool) for each in mine):
                values = [float(each) for each in mine]
                if math.isclose(sum(values) / len(values), value, rel_tol=1e-9):
                    tables[task][f"{metric}_stderr,{filter_}"] = mean_stderr(values)


def _name_data(tasks: dict[str, dict[str, Any]], hub: str | None) -> None:
    """By its id on the hub, wherever it was read from."""
    for task in tasks.values():
        if hub is not None:
            folder = Path(task["dataset_path"]).resolve().relative_to(Path(hub).resolve())
            task["dataset_path"] = folder.as_posix()
        (task.get("dataset_kwargs") or {}).pop("cache_dir", None)


def _write_results(
    out: Path, results: dict[str, Any], engine: Engine, *, limit: int | None, scores: Sequence[Score]
) -> None:
    """The harness's own file, with what its command line adds, and our standard errors where it has none."""
    for score in scores:
        metric, filter_ = score.metric.split(",")
        for table in (results["results"], results.get("groups", {})):
            if score.task in table and score.stderr is not None:
                table[score.task][f"{metric}_stderr,{filter_}"] = score.stderr
    template = engine.tokenizer.chat_template
    # By name alone: the file goes with the results, and the folder that a model lies in does not.
    weights = Path(engine.weights).name if Path(engine.weights).is_dir() else engine.weights
    results |= {
        "config": {
            "model": engine.name,
            "model_args": {"pretrained": weights},
            "limit": limit,
            "bootstrap_iters": 0,
            "fewshot_seed": DEFAULT_OTHER_SEED,
        },
        "model_source": engine.name,
        "model_name": weights,
        "model_name_sanitized": sanitize_model_name(weights),
        "chat_template": template,
        "chat_template_sha": None if template is None else hash_string(template),
        "date": time.time(),
        "lm_eval_version": version("lm_eval"),
        "transformers_version": version("transformers"),
    }
    add_tokenizer_info(results, engine.lm)
    text = json.dumps(results, indent=1, default=handle_non_serializable, ensure_ascii=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
