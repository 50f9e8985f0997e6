"""Verdicts that were asked for, in one SQLite file: none is asked, or paid, twice.

A verdict is kept in the moment it comes, under the hash of what it depends on: the judge (model, temperature, what else
is in the request's body), the messages, the limits and the seed. One process at a time asks one judge, since it is one
account whose limits and budget they would share; another waits, and finds what was kept.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from im_bench.config import Price, UserError
from im_bench.judging.judge import Bill, Reply, Request, Stop, Stopped

FILE = "verdicts.sqlite"
VERSION = 1
POLL = 0.5
"""Seconds between two looks at whether somebody says stop."""
PATIENCE = 60
"""Seconds to wait for another process that writes."""
TABLE = """
CREATE TABLE IF NOT EXISTS verdicts (
    key TEXT PRIMARY KEY,
    judge TEXT NOT NULL,
    text TEXT NOT NULL,
    first_token TEXT,
    prompt_tokens INTEGER,
    answer_tokens INTEGER,
    cost REAL,
    served TEXT,
    at TEXT NOT NULL
)"""

SMALLEST = 1e-9
"""US dollars; less is what sums of fractions leave."""
LOST = "CREATE TABLE IF NOT EXISTS lost (judge TEXT NOT NULL, cost REAL NOT NULL)"

log = logging.getLogger(__name__)


class Verdict(NamedTuple):
    """One reply to be kept."""

    key: str
    reply: Reply
    served: str | None
    """The model as the server named it: an alias may come to mean another."""


class Verdicts:
    """What one judge has said, in the file `path`.

    Args:
        judge: what of the judge changes its replies.
    """

    def __init__(self, path: Path, judge: Mapping[str, Any]) -> None:
        self._path = path
        self._judge = json.dumps(judge, sort_keys=True)
        self._samples = judge.get("temperature") != 0
        self._held: sqlite3.Connection | None = None

    def key(self, request: Request) -> str:
        """What the reply to a request depends on, hashed."""
        seed = request.seed if self._samples else None  # a server is sent it only then
        asked = [request.messages, request.max_tokens, request.top_logprobs, seed]
        return sha256(json.dumps([self._judge, *asked]).encode()).hexdigest()

    @contextmanager
    def alone(self, stop: Stop) -> Iterator[None]:
        """Be the only process that asks this judge, with the file open; the system gives the lock back if we die."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        name = sha256(self._judge.encode()).hexdigest()[:8]
        lock = FileLock(self._path.with_name(f".{self._path.name}.{name}.lock"))
        for turn in count():
            try:
                lock.acquire(timeout=POLL if turn else 0)
                break
            except Timeout:
                if stop.is_set():
                    raise Stopped("stopped; another process was asking the same judge") from None
                if not turn:
                    log.info("waiting for another process, which asks the same judge")
        try:
            with self._opened() as self._held:
                yield
        finally:
            self._held = None
            lock.release()

    def kept(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The replies that are there, by key."""
        if not self._path.exists():
            return {}
        columns = "key, text, first_token, prompt_tokens, answer_tokens, cost"
        found = {}
        with self._open() as file:
            for key in dict.fromkeys(keys):
                row = file.execute(f"SELECT {columns} FROM verdicts WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = _reply(*row[1:])
        return found

    def keep(self, arrived: Iterable[Verdict]) -> None:
        """Keep replies, all or none."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [
            (
                each.key,
                self._judge,
                each.reply.text,
                None if each.reply.first_token is None else json.dumps(each.reply.first_token),
                *each.reply.bill,
                each.served,
                now,
            )
            for each in arrived
        ]
        if rows:
            with self._open() as file, file:
                file.executemany("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def lose(self, cost: float) -> None:
        """Note what tries without a reply may have cost."""
        if cost > SMALLEST:
            with self._open() as file, file:
                file.execute("INSERT INTO lost VALUES (?, ?)", (self._judge, cost))

    def spent(self, price: Price | None) -> float:
        """US dollars that this judge's verdicts and tries in vain have cost; what had no price then, at this one."""
        asked = """SELECT coalesce(sum(coalesce(cost, (prompt_tokens * ? + answer_tokens * ?) / 1e6)), 0)
            FROM verdicts WHERE judge = ?"""
        prices = (price.prompt, price.answer) if price else (0.0, 0.0)
        with self._open() as file:
            kept = float(file.execute(asked, (*prices, self._judge)).fetchone()[0])
            asked = "SELECT coalesce(sum(cost), 0) FROM lost WHERE judge = ?"
            return kept + float(file.execute(asked, (self._judge,)).fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The file that is open, or else for this moment."""
        if self._held is None:
            with self._opened() as file:
                yield file
        else:
            with self._told():
                yield self._held

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # The journal stays SQLite's own: its write-ahead log would not do on a cluster's file system. Threads take
        # turns, see `served.py`.
        with (
            self._told(),
            closing(sqlite3.connect(self._path, timeout=PATIENCE, check_same_thread=False)) as file,
        ):
            file.execute("PRAGMA journal_mode = TRUNCATE")
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                with file:
                    file.execute(TABLE)
                    file.execute(LOST)
                    file.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise UserError(f"{self._path}: was written by another version of im-bench; move it away")
            yield file

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            damaged = (
                type(error) is sqlite3.DatabaseError
            )  # else no room, no right, another that does not end
            remedy = (
                "move it away, and verdicts are asked for again" if damaged else "what it holds is as it was"
            )
            raise UserError(f"{self._path}: {error}; {remedy}") from None


def _reply(
    text: str,
    first_token: str | None,
    prompt_tokens: int | None,
    answer_tokens: int | None,
    cost: float | None,
) -> Reply:
    alternatives = None if first_token is None else json.loads(first_token)
    return Reply(text, alternatives, Bill(prompt_tokens, answer_tokens, cost))
