"""Files of rows: questions, references, answers, judgments; one JSON object a line, or one JSON list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from im_bench.config import UserError


def read_rows(path: Path, fields: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, or of the list in a `.json` file, each with these text fields.

    Raises:
        UserError: naming the file and the row.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        values = _parse(text, f"{path}")
        if not isinstance(values, list):
            raise UserError(f"{path}: expected a JSON list of rows; for one object a line name it .jsonl")
    else:
        lines = enumerate(text.split("\n"), start=1)
        values = [_parse(line, f"{path}, row {row}") for row, line in lines if line.strip()]
    for row, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise UserError(
                f"{path}, row {row}: expected an object with fields, found {type(value).__name__}"
            )
        for field in fields:
            if not isinstance(value.get(field), str):
                raise UserError(f"{path}, row {row}: needs the text field `{field}`")
    if not values:
        raise UserError(f"{path}: the file holds no rows")
    return values


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as `read_rows` reads them, by rename."""
    rows = list(rows)
    draft = path.with_name(f"{path.name}.draft")
    if path.suffix == ".json":
        text = json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    else:
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg} at column {error.colno})") from None
