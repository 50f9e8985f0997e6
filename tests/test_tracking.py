"""Following a run: the JSON lines have everything, and W&B may fail at any moment but the first."""

import json
from pathlib import Path
from typing import Any

import pytest

from im_bench import tracking
from im_bench.config import Tracker as Spec
from im_bench.config import UserError
from im_bench.store import EVENTS
from im_bench.tracking import Tracker, log_sweep, open_tracker

NONE = Spec(kind="none", project=None, entity=None)
WANDB = Spec(kind="wandb", project="tests", entity=None)
STEP: dict[str, Any] = {
    "key": "8a041492",
    "name": "a-step",
    "kind": "train",
    "group": "a-sweep",
    "config": {"seed": 0},
}


class Failing:
    """A W&B run that raises from its second call on, as one does when its service has died."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.summary = self

    def log(self, values: dict[str, Any]) -> None:
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
    found = [json.loads(line) for line in (folder / EVENTS).read_text().splitlines()]
    assert all(event.pop("time") > 0 for event in found)
    return found


def follow(tracker: Tracker) -> None:
    for step in (1, 2, 3):
        tracker.log({"train/step": step, "train/loss": 1 / step})
    tracker.finish({"piqa/acc": 0.5}, [{"task": "piqa", "value": 0.5}])


WHOLE = [{"train/step": step, "train/loss": 1 / step} for step in (1, 2, 3)] + [{"scores": {"piqa/acc": 0.5}}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a step."""
    made = tmp_path / "results/store/train/a-step-8a041492"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def test_the_json_lines_have_every_number_and_lie_in_the_steps_folder(folder: Path, results: Path) -> None:
    follow(open_tracker(NONE, folder, results=results, **STEP))
    assert events(folder) == WHOLE
    assert [path.name for path in results.iterdir()] == ["store"]


def test_a_run_that_goes_on_adds_to_its_lines(folder: Path, results: Path) -> None:
    for _ in range(2):
        follow(open_tracker(NONE, folder, results=results, **STEP))
    assert events(folder) == WHOLE + WHOLE


def test_a_step_without_scores_ends_without_an_event(folder: Path, results: Path) -> None:
    tracker = open_tracker(NONE, folder, results=results, **STEP)
    tracker.finish({}, [])
    assert not (folder / EVENTS).exists()


def test_a_failing_tracker_stops_nothing_loses_no_line_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Failing()
    follow(Tracker(tmp_path, run))
    assert events(tmp_path) == WHOLE
    assert run.calls == ["log", "log"]
    (record,) = caplog.records
    assert record.getMessage() == (
        f"W&B failed (the service has died); the run goes on, and {tmp_path / EVENTS} has everything"
    )


def test_a_tracker_that_was_asked_for_and_cannot_be_opened_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**_: Any) -> None:
        raise wandb.errors.CommError("no entry")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match="tracker=wandb: no entry; use tracker=none, or WANDB_MODE=offline"):
        open_tracker(WANDB, tmp_path, results=tmp_path, **STEP)


@pytest.mark.parametrize(
    ("key", "mode", "asked"),
    [("", "", "offline"), ("k", "offline", "offline"), ("k", "", None)],
)
def test_a_step_is_a_run_under_its_key_that_goes_on_where_there_is_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, mode: str, asked: str | None
) -> None:
    import wandb

    given: dict[str, Any] = {}
    monkeypatch.setattr(wandb, "init", lambda **words: given.update(words))
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("HOME", str(tmp_path))
    open_tracker(WANDB, tmp_path / "step", results=tmp_path / "results", **STEP)
    assert (given["id"], given["job_type"], given["group"]) == ("8a041492", "train", "a-sweep")
    assert (given["project"], given["dir"]) == ("tests", tmp_path / "results")
    assert (given["mode"], given["resume"]) == (asked, None if asked else "allow")


def test_a_sweep_is_a_run_of_its_own_with_its_table_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    given: dict[str, Any] = {}
    logged: list[dict[str, Any]] = []

    class Run:
        log = logged.append

        def finish(self) -> None:
            logged.append({})

    monkeypatch.setattr(wandb, "init", lambda **words: given.update(words) or Run())
    monkeypatch.setattr(tracking, "_table", list)
    monkeypatch.setattr(tracking, "_image", lambda path: path.name)
    log_sweep(WANDB, tmp_path, "main", [{"task": "piqa"}], [tmp_path / "main.png"])
    assert (given["id"], given["job_type"], given["group"]) == ("sweep-main", "sweep", "main")
    assert logged == [{"table": [{"task": "piqa"}], "main": "main.png"}, {}]


def test_a_sweep_whose_tracker_cannot_be_opened_is_told_where_its_table_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    def refuse(**_: Any) -> None:
        raise wandb.errors.CommError("no entry")

    log_sweep(NONE, tmp_path, "main", [], [])
    monkeypatch.setattr(wandb, "init", refuse)
    log_sweep(WANDB, tmp_path, "main", [], [])
    [record] = caplog.records
    assert "no entry" in record.getMessage() and f"the table is in {tmp_path}" in record.getMessage()


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


def test_without_a_key_a_real_run_is_kept_offline_under_the_steps_key_beside_the_store(
    folder: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(results))
    follow(open_tracker(WANDB, folder, results=results, **STEP))
    (run,) = (results / "wandb").glob("offline-run-*")
    assert run.name.endswith(f"-{STEP['key']}")
    assert (run / f"run-{STEP['key']}.wandb").stat().st_size > 0
    assert events(folder) == WHOLE
    assert [path.name for path in folder.iterdir()] == [EVENTS]
    assert capfd.readouterr() == ("", "")
