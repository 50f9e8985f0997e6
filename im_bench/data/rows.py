"""Files of rows: one JSON object a line, or one JSON list in a `.json` file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from im_bench.config import UserError


def at(file: Path | str, row: int) -> str:
    """Where a row is, in words: its number from 0, and in JSON lines its line."""
    line = f" (line {row + 1})" if str(file).endswith(".jsonl") else ""
    return f"{file}, row {row}{line}"


def numbered_rows(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Each row's number from 0 (its line, or its place in the list), where it is in words, and its object.

    Raises:
        UserError: naming the file and the row.
    """
    found = False
    for row, value in _values(path):
        where = at(path, row)
        if not isinstance(value, dict):
            raise UserError(f"{where}: expected an object with fields, found {type(value).__name__}")
        found = True
        yield row, where, value
    if not found:
        raise UserError(f"{path}: the file holds no rows")


def read_rows(path: Path, fields: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The objects of a file, each with these text fields.

    Raises:
        UserError: naming the file and the row.
    """
    rows = []
    for _, where, value in numbered_rows(path):
        for field in fields:
            if not isinstance(value.get(field), str):
                raise UserError(f"{where}: needs the text field `{field}`")
        rows.append(value)
    return rows


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


def _values(path: Path) -> Iterator[tuple[int, Any]]:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    try:
        # Editors on Windows put a byte order mark first, and JSON has none.
        text = path.read_text(encoding="utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {number}: not UTF-8; save the file as UTF-8") from None
    if path.suffix == ".json":
        values = _parse(text, f"{path}", remedy="; for one object a line name the file .jsonl")
        if not isinstance(values, list):
            raise UserError(f"{path}: expected a JSON list of rows; for one object a line name it .jsonl")
        yield from enumerate(values)
        return
    for row, line in enumerate(text.split("\n")):
        if line.strip():
            yield row, _parse(line, at(path, row))


def _parse(text: str, where: str, remedy: str = "") -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{where}: nested too deeply") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise UserError(f"{where}: not JSON ({error.msg} at {line}column {error.colno}){remedy}") from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{where}: {error}") from None
