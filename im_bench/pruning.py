"""`im-bench gc`: steps in the store that no sweep names.

A sweep names the steps that its command would make today, and those that its rows of the ledger were read from. Every
command is remembered for that in `<results>/sweeps/<name>.jsonl`, a line of words each; who deletes the line, or the
file, has it forgotten.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from im_bench.config import UserError
from im_bench.places import ABSENT
from im_bench.report.collect import FILE, read_ledger
from im_bench.store import RECORD, Step, Store
from im_bench.work import Planned

COMMANDS = "sweeps"
_words = TypeAdapter(list[str])


class Unnamed(NamedTuple):
    """A step that no sweep names."""

    folder: Path
    bytes: int
    days: float
    """Since anything in it changed."""
    done: bool
    """Whether it has its record."""

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def as_json(self) -> dict[str, object]:
        return {"step": self.name, "bytes": self.bytes, "days": self.days, "done": self.done}


def remember(results: Path, sweep: str, words: Sequence[str]) -> None:
    """Keep a command, so that what it makes is not taken for garbage; a command that is known is not kept twice."""
    file = results / COMMANDS / f"{sweep}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(list(words))
    if not file.exists() or line not in file.read_text().splitlines():
        with file.open("a") as out:
            out.write(f"{line}\n")


def remembered(results: Path) -> list[tuple[Path, list[str]]]:
    """The words of every command, each with its file.

    Raises:
        UserError: naming the line that is no list of words.
    """
    found = []
    for file in sorted((results / COMMANDS).glob("*.jsonl")):
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            try:
                found.append((file, _words.validate_json(line)))
            except ValidationError:
                raise UserError(f"{file}, line {number}: is no list of words; delete the line") from None
    return found


def unnamed(results: Path, plan: Callable[[Sequence[str]], Sequence[Planned]]) -> list[Unnamed]:
    """The steps of the store that no sweep names; those that run just now are not among them.

    Args:
        plan: the cells of a command, or what it judges, by its words.

    Raises:
        UserError: when a command cannot be planned any more, or what it reads is not at hand, so that nobody knows
            what it names.
    """
    store = Store(results / "store")
    named = {row.step for row in read_ledger(results / FILE)}
    for file, words in remembered(results):
        try:
            steps = {step.key: step for each in plan(words) for step in each.steps()}
            _check_known(steps.values())
        except UserError as error:
            raise UserError(
                f"{file}: `im-bench {' '.join(words)}` can no longer be planned ({error}); what it names would be "
                "taken for garbage; mend it, or delete its line to forget it"
            ) from error
        named |= steps.keys()
    folders = {path.name.rpartition("-")[2]: path for path in _folders(store.root)}
    kept = _with_needs(named, folders)
    return [_measured(path) for key, path in folders.items() if key not in kept and not store.runs(path)]


def _check_known(steps: Iterable[Step]) -> None:
    """Refuse steps whose keys would be others if all that they are made of were at hand."""
    for step in steps:
        absent = re.search(rf'"{ABSENT}(.*?)"', json.dumps(step.identity))
        if absent:
            raise UserError(f"{absent[1]} is not at hand")


def delete(found: Iterable[Unnamed], results: Path) -> list[Unnamed]:
    """Delete these steps, but for one that somebody has begun to make meanwhile; those that are gone."""
    store = Store(results / "store")
    found = list(found)
    for each in found:
        store.remove(each.folder)
    return [each for each in found if not each.folder.exists()]


def shown(found: Sequence[Unnamed], *, deleted: bool) -> RenderableType:
    """A line for each, and how much room they take."""
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for column in ("step", "bytes", "days old", ""):
        table.add_column(column, justify="left" if column in ("step", "") else "right")
    for each in found:
        note = "" if each.done else "unfinished"
        table.add_row(escape(each.name), f"{each.bytes:,}", f"{each.days:.1f}", note)
    steps = f"{len(found)} step{'s' * (len(found) != 1)}"
    room = f"{steps} that no sweep names, {sum(each.bytes for each in found) / 1e9:.2f} GB"
    if not found:
        return "every step in the store is named by a sweep"
    return Group(table, f"{room}: deleted" if deleted else f"{room}; --delete deletes them")


def _folders(root: Path) -> Iterator[Path]:
    yield from sorted(
        path for kind in root.glob("*") if kind.is_dir() for path in kind.iterdir() if path.is_dir()
    )


def _with_needs(named: set[str], folders: dict[str, Path]) -> set[str]:
    """The named steps, and all that they were made from."""
    kept: set[str] = set()
    left = list(named)
    while left:
        key = left.pop()
        if key not in kept:
            kept.add(key)
            left += _needs(folders.get(key))
    return kept


def _needs(folder: Path | None) -> list[str]:
    try:
        return json.loads((folder / RECORD).read_text())["identity"]["needs"] if folder else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _measured(folder: Path) -> Unnamed:
    stats = [path.lstat() for path in (folder, *folder.rglob("*"))]
    newest = max(stat.st_mtime for stat in stats)
    size = sum(stat.st_size for stat in stats)
    return Unnamed(folder, size, (time.time() - newest) / 86_400, (folder / RECORD).exists())
