"""The items of scoring steps as files that the page loads when somebody looks at them.

A step's file has answers, outcomes and verdicts. The questions, which all cells were asked alike, stand once, in a file
that is named by its contents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from im_bench.drafts import drafted
from im_bench.items import FILE, read_items


def write_texts(data: Path, steps: Mapping[str, Path]) -> frozenset[str]:
    """Write the items of every step, given by key and folder, into `data`; the keys of those that have any.

    Files of an earlier page that nobody needs any more are removed. A step of an earlier version, whose items lack
    texts, has none.
    """
    data.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    found: set[str] = set()
    for key, folder in sorted(steps.items()):
        items = read_items(folder) if (folder / FILE).exists() else []
        if items:
            asked = _asked(items)
            questions = f"q-{sha256(asked.encode()).hexdigest()[:16]}"
            if questions not in written:
                _write(data, questions, asked)
            _write(data, key, _answered(items, questions))
            written |= {questions, key}
            found.add(key)
    for left in data.glob("*.js"):
        if left.stem not in written:
            left.unlink()
    return frozenset(found)


def script_json(value: Any) -> str:
    """JSON that may stand anywhere in a script or a page: ASCII, and without the marks of HTML."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _asked(items: Iterable[dict[str, Any]]) -> str:
    """Task, identity, question and target of each item; the task by its number."""
    tasks: dict[str, int] = {}
    rows = [
        [tasks.setdefault(_task(item), len(tasks)), item["item"], item["question"], item["target"]]
        for item in items
    ]
    return script_json({"tasks": list(tasks), "items": rows})


def _answered(items: Iterable[dict[str, Any]], questions: str) -> str:
    """Outcome, size, answer and verdict of each item, in the order of its questions."""
    fields = ("outcome", "size", "answer", "verdict")
    return script_json(
        {"questions": questions, "items": [[item[field] for field in fields] for item in items]}
    )


def _task(item: Mapping[str, Any]) -> str:
    """HumanEval asks every problem at each temperature, and names it in the metric."""
    return item["metric"] if "metric" in item else item["task"]


def _write(data: Path, name: str, value: str) -> None:
    with drafted(data / f"{name}.js") as draft:
        draft.write_text(f"imBenchReceive({json.dumps(name)},{value});\n")
