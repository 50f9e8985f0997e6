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
from im_bench.store import EVENTS

log = logging.getLogger(__name__)


class Tracker:
    """One step's run. Once it is open, a failure of W&B is told once and stops nothing."""

    def __init__(self, folder: Path, wandb_run: Any | None):
        self.folder = folder
        self.wandb_run = wandb_run

    def log(self, values: Mapping[str, float]) -> None:
        """Numbers of one moment, e.g. of one optimiser step."""
        self._write({"time": round(time.time(), 3), **values})
        self._try(lambda run: run.log(dict(values)))

    def finish(self, scores: Mapping[str, float], table: Sequence[Mapping[str, Any]]) -> None:
        """The step's final scores, where it has any, by benchmark and metric; and all of them as a table."""
        if scores:
            self._write({"time": round(time.time(), 3), "scores": dict(scores)})
            summary = {f"score/{name}": value for name, value in scores.items()}
            self._try(lambda run: run.summary.update(summary))
            self._try(lambda run: run.log({"scores": _table(table)}))
        self._try(lambda run: run.finish())
        self.wandb_run = None

    def fail(self) -> None:
        """The step has failed, or was stopped: W&B says so too."""
        self._try(lambda run: run.finish(exit_code=1))
        self.wandb_run = None

    def _write(self, event: Mapping[str, Any]) -> None:
        with (self.folder / EVENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    def _try(self, action: Callable[[Any], None]) -> None:
        if self.wandb_run is None:
            return
        try:
            action(self.wandb_run)
        except Exception as error:  # whatever W&B raises, the run is worth more than its tracking
            log.warning(
                "W&B failed (%s); the run goes on, and %s has everything", error, self.folder / EVENTS
            )
            self.wandb_run = None


def open_tracker(
    spec: Spec,
    folder: Path,
    *,
    results: Path,
    key: str,
    name: str,
    kind: str,
    group: str,
    config: Mapping[str, Any],
) -> Tracker:
    """A tracker that writes into `folder`, the step's; what W&B has to send lies in `results/wandb`.

    Args:
        key: the step's; it is the W&B run's id, so that a step that goes on is one run.
        kind: of the step; W&B's job type.
        group: the sweep.

    Raises:
        UserError: when W&B was asked for and cannot be opened.
    """
    if spec.kind == "none":
        return Tracker(folder, None)
    run = {"id": key, "name": name, "job_type": kind, "group": group, "config": dict(config)}
    return Tracker(folder, _open_wandb(spec, results, **run))


def log_sweep(
    spec: Spec, results: Path, sweep: str, rows: Sequence[Mapping[str, Any]], figures: Sequence[Path]
) -> None:
    """The sweep's table and figures as a run of their own, one for each sweep."""
    if spec.kind == "none":
        return
    try:
        run = _open_wandb(
            spec, results, id=f"sweep-{sweep}", name=sweep, job_type="sweep", group=sweep, config={}
        )
    except UserError as error:
        log.warning("%s; the table is in %s", error, results)
        return
    tracker = Tracker(results, run)
    tracker._try(lambda run: run.log({"table": _table(rows)} | {each.stem: _image(each) for each in figures}))
    tracker._try(lambda run: run.finish())


def _open_wandb(spec: Spec, results: Path, **run: Any) -> Any:
    # In the environment, for what it prints before and beside the run's own settings.
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    offline = os.environ.get("WANDB_MODE") == "offline" or not _has_key()
    results.mkdir(parents=True, exist_ok=True)
    try:
        return wandb.init(
            project=spec.project,
            entity=spec.entity,
            dir=results,
            mode="offline" if offline else None,
            resume=None if offline else "allow",
            reinit="create_new",
            settings=wandb.Settings(console="off", x_disable_stats=True, disable_git=True),
            **run,
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


def _image(path: Path) -> Any:
    import wandb

    return wandb.Image(str(path))
