"""Following a run: JSON lines that always have everything, and W&B when it is asked for."""

from __future__ import annotations

import json
import logging
import netrc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from im_bench.config import Tracker as Spec
from im_bench.config import UserError

FILE = "events.jsonl"
log = logging.getLogger(__name__)


class Tracker:
    """One cell's run. Once it is open, a failure of W&B is told once and stops nothing."""

    def __init__(self, folder: Path, wandb_run: Any | None):
        self.folder = folder
        self.wandb_run = wandb_run

    def log(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Numbers of one moment, e.g. of one optimiser step."""
        self._write({"time": round(time.time(), 3), **({} if step is None else {"step": step}), **values})
        self._try(lambda run: run.log(dict(values), step=step))

    def finish(self, scores: Mapping[str, float], table: Sequence[Mapping[str, Any]]) -> None:
        """The cell's final scores, by benchmark, and every row of its ledger as a table."""
        self._write({"time": round(time.time(), 3), "scores": dict(scores)})
        self._try(lambda run: run.summary.update({f"score/{name}": value for name, value in scores.items()}))
        self._try(lambda run: run.log({"scores": _table(table)}))
        self._try(lambda run: run.finish())
        self.wandb_run = None

    def _write(self, event: Mapping[str, Any]) -> None:
        with (self.folder / FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    def _try(self, action: Callable[[Any], None]) -> None:
        if self.wandb_run is None:
            return
        try:
            action(self.wandb_run)
        except Exception as error:  # whatever W&B raises, the run is worth more than its tracking
            log.warning("W&B failed (%s); the run goes on, and %s has everything", error, self.folder / FILE)
            self.wandb_run = None


def open_tracker(
    spec: Spec, folder: Path, *, key: str, name: str, group: str, config: Mapping[str, Any]
) -> Tracker:
    """A tracker that writes below `folder`.

    Args:
        key: the cell's; it is the W&B run's id, so that a cell that goes on is one run.
        group: the sweep.

    Raises:
        UserError: when W&B was asked for and cannot be opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if spec.kind == "none":
        return Tracker(folder, None)
    return Tracker(folder, _open_wandb(spec, folder, key=key, name=name, group=group, config=dict(config)))


def _open_wandb(spec: Spec, folder: Path, **run: Any) -> Any:
    # In the environment, for what it prints before and beside the run's own settings.
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    offline = os.environ.get("WANDB_MODE") == "offline" or not _has_key()
    try:
        return wandb.init(
            project=spec.project,
            entity=spec.entity,
            id=run["key"],
            name=run["name"],
            group=run["group"],
            config=run["config"],
            dir=folder,
            mode="offline" if offline else None,
            resume=None if offline else "allow",
            reinit="create_new",  # the last cell's run may still wait for its verdicts
            settings=wandb.Settings(console="off", x_disable_stats=True, disable_git=True),
        )
    except Exception as error:  # wandb raises many kinds; all mean that it cannot be opened
        raise UserError(f"tracker=wandb: {error}; use tracker=none, or WANDB_MODE=offline") from error


def _has_key() -> bool:
    """Whether W&B would find a key: in the environment, or in ~/.netrc where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc.netrc().authenticators(host or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    import wandb

    columns = list(rows[0]) if rows else []
    return wandb.Table(columns=columns, data=[[row[column] for column in columns] for row in rows])
