"""The forms of files of rows: JSON lines, one JSON list, parquet and csv; read as streams, packed or not."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from im_bench.config import UserError

COMPRESSED = (".gz", ".zst")
CHUNK = 1 << 20
LONGEST_TOKEN = 16
"""Characters that a word or an escape of JSON has at most."""
BYTE_ORDER_MARK = "\ufeff"
"""Editors on Windows put it first, and JSON has none."""
Read = Iterator[tuple[int, str, Any]]
"""Rows: number from 0, where it is in words, and the value, or a UserError that says what is wrong with it."""


def at(file: Path | str, row: int) -> str:
    """Where a row is, in words: its number from 0, and in JSON lines its line."""
    return _named(Path(file))(row)


MAGIC = {
    b"PAR1": "parquet; name it .parquet",
    b"\x1f\x8b": "packed by gzip; name it .gz",
    b"\x28\xb5\x2f\xfd": "packed by zstandard; name it .zst",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"BZh91AY": "packed by bzip2; unpack it",
    b"\xfd7zXZ": "packed by xz; unpack it",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
}
"""How files begin that are other than their names say, and the remedy."""
OWN = {".parquet": (b"PAR1",), ".gz": (b"\x1f\x8b",), ".zst": (b"\x28\xb5\x2f\xfd",)}


def reader(path: Path) -> Callable[[Path], Read]:
    """What reads a file of this name; JSON lines where the name says nothing.

    Raises:
        UserError: when there is no such file, or it is of no form that can be read.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    if not path.exists():
        raise UserError(f"{path}: there is no such file")
    if path.is_file():  # a pipe could not be begun again
        _check_beginning(path)
    return {".json": _json, ".parquet": _parquet, ".csv": _csv, ".tsv": _csv}.get(suffix(path), _json_lines)


def _check_beginning(path: Path) -> None:
    with path.open("rb") as file:
        beginning = file.read(8)
    own = OWN.get(path.suffix.lower(), ())
    for magic, said in MAGIC.items():
        if beginning.startswith(magic) and magic not in own:
            raise UserError(f"{path}: is {said}")
    if own and beginning and not beginning.startswith(own):
        raise UserError(f"{path}: is no {path.suffix.lower()[1:]} file; its name should say what it is")


def _named(path: Path) -> Callable[[int], str]:
    """As `at`, for many rows of a file."""
    name, lines = str(path), suffix(path) == ".jsonl"
    return lambda row: f"{name}, row {row} (line {row + 1})" if lines else f"{name}, row {row}"


def suffix(path: Path) -> str:
    """What says the form of a file: its suffix below that of its compression."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSED else path).suffix.lower()


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with _unpacked(path) as file:
            yield file
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked ({error}); it may be cut off") from None
    except OSError as error:
        if path.suffix.lower() not in COMPRESSED or error.filename:
            raise
        raise UserError(f"{path}: cannot be unpacked ({error}); it may be cut off") from None


def _unpacked(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]  # a stream of bytes by another name
    if path.suffix.lower() == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _json_lines(path: Path, remedy: str = "") -> Read:
    named = _named(path)
    for row, line in enumerate(_lines(path)):
        if isinstance(line, UserError) or line.strip():
            where = named(row)
            value = line if isinstance(line, UserError) else _parsed(line, where, remedy or _list(line))
            yield row, where, value


def _list(line: str) -> str:
    return "; a file that is one JSON list is named .json" if line.lstrip().startswith("[") else ""


def _lines(path: Path) -> Iterator[str | UserError]:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                yield UserError(f"{path}, line {number}: not UTF-8; save the file as UTF-8")
            else:
                yield text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text


def _parsed(line: str, where: str, remedy: str) -> Any:
    try:
        value = json.loads(line.rstrip())
        if isinstance(value, list):
            return UserError(f"{where}: expected an object with fields, found list{remedy}")
        return value
    except (ValueError, RecursionError) as error:
        return UserError(f"{where}: {_reason(error)}{remedy}")


def _reason(error: ValueError | RecursionError, place: str | None = None) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg} at {place or f'column {error.colno}'})"
    return str(error).partition(";")[0]  # a number of thousands of digits


def _json(path: Path) -> Read:
    """One list of rows; or, as many programs write it, one object a line."""
    text = _Window(path)
    if text.peek() != "[":
        yield from _json_lines(path, "; a .json file holds one list of objects, or one object a line")
        return
    text.take()
    for row in count():
        if text.peek() == "]" and row == 0:
            break
        yield row, at(path, row), text.value(row)
        if text.peek() == "]":
            break
        text.expect(",", row)
    text.take()
    text.expect("", None)


class _Window:
    """A window on the text of a file, which moves as values are taken from it: memory for one chunk or value."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chunks = _chunks(path)
        self.text, self.start = "", 0
        # Of the window's beginning.
        self.line, self.column = 1, 1
        self.decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is no white space; none at the end."""
        while True:
            while self.start < len(self.text):
                if not self.text[self.start].isspace():
                    return self.text[self.start]
                self.start += 1
            if not self.more():
                return ""

    def take(self) -> None:
        self.start += 1

    def expect(self, sign: str, row: int | None) -> None:
        found = self.peek()
        if found != sign:
            error = json.JSONDecodeError(f"Expecting {sign or 'the end'!r}", self.text, self.start)
            raise self.fault(error, row)
        self.take()

    def value(self, row: int) -> Any:
        self.peek()
        while True:
            try:
                value, end = self.decode(self.text, self.start)
            except (ValueError, RecursionError) as error:
                fault = self.fault(error, row)
                if not self.cut_off(error) or not self.more():
                    raise fault from None
                continue
            length = end - self.start
            # A number may go on in what is not read yet. Reading on, the value comes to stand at the beginning.
            if end < len(self.text) or not self.more():
                self.start += length
                return value

    def cut_off(self, error: ValueError | RecursionError) -> bool:
        """Whether more text might mend the error: it is at the end, or in a string that has none."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.pos + LONGEST_TOKEN >= len(self.text) or error.msg.startswith("Unterminated")

    def more(self) -> bool:
        """Drop what was taken and read on, at least as much as is left; whether there was anything."""
        self.line, self.column = self.place(self.start)
        kept, wanted = self.text[self.start :], max(CHUNK, len(self.text) - self.start)
        read: list[str] = []
        while sum(map(len, read)) < wanted and (chunk := next(self.chunks, None)) is not None:
            read.append(chunk)
        self.text, self.start = "".join([kept, *read]), 0
        return bool(read)

    def place(self, position: int) -> tuple[int, int]:
        """Line and column, from 1, of a position in the window."""
        lines = self.text.count("\n", 0, position)
        if not lines:
            return self.line, self.column + position
        return self.line + lines, position - self.text.rfind("\n", 0, position)

    def fault(self, error: ValueError | RecursionError, row: int | None) -> UserError:
        place = None
        if isinstance(error, json.JSONDecodeError):
            place = "line {}, column {}".format(*self.place(error.pos))
        where = self.path if row is None else at(self.path, row)
        return UserError(f"{where}: {_reason(error, place)}")


def _chunks(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, first = 1, True
    with _opened(path) as file:
        while True:
            block = file.read(CHUNK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                raise UserError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
            yield text.removeprefix(BYTE_ORDER_MARK) if first else text
            first = False
            if not block:
                return
            line += block.count(b"\n")


def _parquet(path: Path) -> Read:
    import pyarrow
    from pyarrow import parquet

    if path.suffix.lower() in COMPRESSED:
        raise UserError(f"{path}: parquet is compressed within; unpack it")
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for value in _values(batch, f"{path}, rows {number} to {number + len(batch) - 1}"):
                    yield number, at(path, number), value
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise UserError(f"{path}: not parquet ({str(error).splitlines()[0]})") from None


def _values(batch: Any, where: str) -> list[Any]:
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError) as error:  # bytes that are not UTF-8, a date beyond Python's
        raise UserError(f"{where}: a cell cannot be read ({error})") from None


def _csv(path: Path) -> Read:
    csv.field_size_limit(sys.maxsize)
    reader = csv.DictReader(_csv_lines(path), delimiter="\t" if suffix(path) == ".tsv" else ",", strict=True)
    for number in count():
        start = reader.reader.line_num + 1 + (number == 0)
        try:
            value = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}, line {start}: not csv ({error}); is a quote left open there?") from None
        where = f"{path}, row {number} (line {reader.line_num})"
        cells, columns = sum(cell is not None for cell in value.values()), len(reader.fieldnames or ())
        if None in value or cells < columns:
            found = "more" if None in value else f"{cells}"
            yield number, where, UserError(f"{where}: {found} cells, but the header has {columns} columns")
        else:
            yield number, where, value


def _csv_lines(path: Path) -> Iterator[str]:
    for line in _lines(path):
        if isinstance(line, UserError):
            raise line
        yield line
