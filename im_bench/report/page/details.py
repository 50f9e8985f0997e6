"""What the store knows of a cell: its config, label report, loss curve and cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from im_bench.config import UserError
from im_bench.report.collect import Row
from im_bench.store import RECORD

POINTS = 300
"""Of a loss curve, at most."""

COUNTS = (
    *("conversations", "kept", "truncated", "dropped_rows", "skipped_rows"),
    *("supervised_tokens", "ends_outside", "instruction_output_ratio"),
)


def cell_details(rows: Sequence[Row], folders: Mapping[str, Path]) -> dict[str, Any]:
    """All that the page shows of one cell, from its rows of the ledger and the steps that made them.

    What a step did not keep, or a row that was ingested has no step for, is None.
    """
    made = _made({row.step for row in rows}, folders)
    training = next((record for record in made if record["identity"]["kind"] == "train"), None)
    base = next((record for record in made if record["identity"]["kind"] == "base"), None)
    folder = folders[training["key"]] if training else None
    scored = [record for record in made if record["identity"]["kind"] not in ("train", "base")]
    return {
        "config": _config(training, base),
        "labels": _labels(folder),
        "curve": _curve(folder),
        "cost": _cost(rows, folder, scored),
        "scores": [_score(row) for row in rows],
    }


def _made(steps: Iterable[str], folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The records of these steps and of all that they need, the nearest first, each once."""
    found: dict[str, dict[str, Any]] = {}
    ahead = sorted(steps)
    for key in ahead:  # it grows on the way
        if key in folders and key not in found:
            found[key] = _record(folders[key])
            ahead += found[key]["identity"]["needs"]
    return list(found.values())


def _config(training: dict[str, Any] | None, base: dict[str, Any] | None) -> list[tuple[str, str]]:
    """The identity of the training step and of the base model, in dotted keys."""
    named = [("base", base), ("", training)]
    return [
        (f"{prefix}.{key}".strip("."), value)
        for prefix, record in named
        if record
        for key, value in _dotted(record["identity"]["config"])
    ]


def _dotted(value: Any, key: str = "") -> list[tuple[str, str]]:
    if not isinstance(value, dict | list):
        return [(key, value if isinstance(value, str) else json.dumps(value))]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [pair for name, each in inner for pair in _dotted(each, f"{key}.{name}".strip("."))]


def _labels(folder: Path | None) -> dict[str, Any] | None:
    """The label report; of lists of rows their lengths."""
    report = _read(folder, "labels.json")
    if report is None:
        return None
    counts = {name: report[name] for name in COUNTS if name in report}
    return {
        "tokens": report["tokens"],
        "supervised": report["supervised"],
        "counts": {
            name: len(value) if isinstance(value, list) else _rounded(value) for name, value in counts.items()
        },
    }


def _curve(folder: Path | None) -> list[tuple[int, float]]:
    """Steps and their training losses, evenly thinned to `POINTS`; a step that was done again counts last."""
    if folder is None or not (folder / "events.jsonl").exists():
        return []
    losses: dict[int, float] = {}
    for line in (folder / "events.jsonl").read_text().splitlines():
        # The line that a killed process was writing is no event.
        event = json.loads(line) if line.endswith("}") else {}
        if event.get("train/loss") is not None:
            losses[event["train/step"]] = _rounded(event["train/loss"])
    points = sorted(losses.items())
    if len(points) <= POINTS:
        return points
    return [points[round(number * (len(points) - 1) / (POINTS - 1))] for number in range(POINTS)]


def _cost(rows: Iterable[Row], folder: Path | None, scored: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Seconds, floating-point operations, and the judges' tokens and dollars; None is unknown."""
    trained = _read(folder, "training.json") or {}
    billed = [row for row in rows if row.judge_prompt_tokens is not None]
    paid = [row.judge_cost for row in billed if row.judge_cost is not None]
    fields = ("steps", "seconds", "tokens", "supervised_tokens", "flops", "device", "processes")
    return {
        **{f"training_{field}": _rounded(trained.get(field)) for field in fields},
        "scoring_seconds": _rounded(sum(record["made"]["seconds"] for record in scored)) if scored else None,
        "judge_prompt_tokens": sum(row.judge_prompt_tokens or 0 for row in billed) if billed else None,
        "judge_answer_tokens": sum(row.judge_answer_tokens or 0 for row in billed) if billed else None,
        "judge_cost": sum(paid) if paid else None,
    }


def _score(row: Row) -> list[Any]:
    value, stderr = _rounded(row.value), _rounded(row.stderr)
    return [row.benchmark, row.task, row.metric, value, stderr, row.count, row.total, row.judge, row.source]


def _record(folder: Path) -> dict[str, Any]:
    return _json(folder / RECORD)


def _read(folder: Path | None, name: str) -> dict[str, Any] | None:
    path = folder / name if folder else None
    return _json(path) if path and path.exists() else None


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path}: is damaged; delete its folder and run the sweep again") from None


def _rounded(value: Any) -> Any:
    """Six digits are enough to look at."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
