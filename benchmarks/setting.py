"""What the benchmarks share: the real conversations, and sides that take turns in processes of their own."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared"
FILES = {
    "lima": "lima_data.jsonl",
    "dolly_3k": "alpagasus_3k_dolly.jsonl",
    "alpaca_5k": "alpagasus_claude_t45_alpaca.jsonl",
}


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--shared", type=Path, default=SHARED, help="folder with data/sft and tokenizers/llama2"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser


def tokenizer(shared: Path) -> Any:
    """Llama-2's, with the Tulu template."""
    from im_bench.checkpoint import templated_tokenizer

    return templated_tokenizer(shared / "tokenizers" / "llama2", None, "tulu")


def conversations(shared: Path, name: str, count: int | None = None) -> list[Any]:
    """All conversations of a dataset, or `count` of them drawn at random."""
    from im_bench.data.conversations import read_conversations

    found = read_conversations(shared / "data" / "sft" / FILES[name], "auto", allow_empty_output=True)
    return found if count is None else random.Random(0).sample(found, count)


def take_turns(
    sides: Sequence[str], options: argparse.Namespace, *more: str
) -> dict[str, list[dict[str, Any]]]:
    """What each side printed, `options.repeats` times, one after the other so that a noisy machine is noisy to all."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(options.repeats):
        for side in sides:
            command = [sys.executable, "-W", "ignore", sys.argv[0], "--side", side, *more]
            done = subprocess.run(
                [*command, "--shared", str(options.shared)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"{side} failed:\n{done.stderr[-2000:]}")
            found[side].append(json.loads(done.stdout.strip().splitlines()[-1]))
    return found


def medians(found: Mapping[str, Sequence[Mapping[str, float]]], field: str) -> dict[str, float]:
    return {side: statistics.median(each[field] for each in repeats) for side, repeats in found.items()}


def show(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows of equal fields as a table, or each as a line of JSON."""
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
