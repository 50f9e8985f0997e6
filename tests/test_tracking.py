"""Following a run: the JSON lines have everything, and W&B may fail at any moment but the first."""

import json
from pathlib import Path
from typing import Any

import pytest

from im_bench import tracking
from im_bench.config import Tracker as Spec
from im_bench.config import UserError
from im_bench.tracking import FILE, Tracker, open_tracker

NONE = Spec(kind="none", project=None, entity=None)
WANDB = Spec(kind="wandb", project="tests", entity=None)
CELL: dict[str, Any] = {"key": "8a041492", "name": "a-cell", "group": "a-sweep", "config": {"seed": 0}}


class Failing:
    """A W&B run that raises from its second call on, as one does when its service has died."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.summary = self

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self._call("log")

    def update(self, values: dict[str, Any]) -> None:
        self._call("summary")

    def finish(self) -> None:
        self._call("finish")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) > 1:
            raise RuntimeError("the service has died")


def events(folder: Path) -> list[dict[str, Any]]:
    """What was written, without when."""
    found = [json.loads(line) for line in (folder / FILE).read_text().splitlines()]
    assert all(event.pop("time") > 0 for event in found)
    return found


def follow(tracker: Tracker) -> None:
    for step in (1, 2, 3):
        tracker.log({"train/loss": 1 / step}, step=step)
    tracker.finish({"piqa/acc": 0.5}, [{"task": "piqa", "value": 0.5}])


WHOLE = [{"step": step, "train/loss": 1 / step} for step in (1, 2, 3)] + [{"scores": {"piqa/acc": 0.5}}]


def test_the_json_lines_have_every_number(tmp_path: Path) -> None:
    follow(open_tracker(NONE, tmp_path / "cell", **CELL))
    assert events(tmp_path / "cell") == WHOLE


def test_a_run_that_goes_on_adds_to_its_lines(tmp_path: Path) -> None:
    for _ in range(2):
        follow(open_tracker(NONE, tmp_path, **CELL))
    assert events(tmp_path) == WHOLE + WHOLE


def test_a_failing_tracker_stops_nothing_loses_no_line_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Failing()
    follow(Tracker(tmp_path, run))
    assert events(tmp_path) == WHOLE
    assert run.calls == ["log", "log"]
    (record,) = caplog.records
    assert record.getMessage() == (
        f"W&B failed (the service has died); the run goes on, and {tmp_path / FILE} has everything"
    )


def test_a_tracker_that_was_asked_for_and_cannot_be_opened_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**_: Any) -> None:
        raise wandb.errors.CommError("no entry")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match="tracker=wandb: no entry; use tracker=none, or WANDB_MODE=offline"):
        open_tracker(WANDB, tmp_path, **CELL)


@pytest.mark.parametrize(
    ("key", "netrc", "known"),
    [
        ("", "", False),
        ("k", "", True),
        ("", "machine api.wandb.ai login user password k\n", True),
        ("", "machine example.org login user password k\n", False),
    ],
)
def test_a_key_is_found_in_the_environment_or_where_a_login_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, netrc: str, known: bool
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / ".netrc").write_text(netrc)
    (tmp_path / ".netrc").chmod(0o600)
    assert tracking._has_key() == known


def test_without_a_key_a_real_run_is_kept_offline_under_the_cells_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    follow(open_tracker(WANDB, tmp_path / "cell", **CELL))
    (run,) = (tmp_path / "cell/wandb").glob("offline-run-*")
    assert run.name.endswith(f"-{CELL['key']}")
    assert (run / f"run-{CELL['key']}.wandb").stat().st_size > 0
    assert events(tmp_path / "cell") == WHOLE
    assert capfd.readouterr() == ("", "")
