"""Files of rows: JSON lines, a JSON list, parquet or csv, as they are or compressed; read as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from im_bench.config import UserError
from im_bench.data.files import CHUNK, reader
from im_bench.drafts import drafted

Row = tuple[int, str, dict[str, Any] | UserError]


def scan(path: Path) -> Iterator[Row]:
    """Each row's number from 0 (its line, or its place in the file), where it is in words, and its object.

    Instead of the object stands what is wrong with the row, where what follows it can be read all the same.

    Raises:
        UserError: when the file holds no rows, or cannot be read any further.
    """
    found = False
    for number, where, value in reader(path)(path):
        found = True
        if not isinstance(value, dict | UserError):
            value = UserError(f"{where}: expected an object with fields, found {type(value).__name__}")
        yield number, where, value
    if not found:
        raise UserError(f"{path}: the file holds no rows")


def numbered_rows(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """As `scan`, of a file in which every row must be right.

    Raises:
        UserError: naming the file and the row.
    """
    for number, where, value in scan(path):
        if isinstance(value, UserError):
            raise value
        yield number, where, value


def estimated_rows(path: Path) -> int | None:
    """About how many rows a file has, by the lines of its first megabyte; None where lines are not rows."""
    if path.suffix not in (".jsonl", ".csv", ".tsv") or not path.is_file():
        return None
    with path.open("rb") as file:
        beginning = file.read(CHUNK)
    return round(beginning.count(b"\n") * path.stat().st_size / len(beginning)) if beginning else None


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
    if path.suffix == ".json":
        text = json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    else:
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    with drafted(path) as draft:
        draft.write_text(text, encoding="utf-8")
