"""Where a step stands, and what is said of one that failed."""

import errno
import json
import os

import pytest
from small_steps import fail, step

from im_bench import store
from im_bench.config import UserError
from im_bench.store import RECORD, StepFailed, Store


def test_a_step_waits_runs_and_is_done(tmp_path):
    store, seen = Store(tmp_path), []
    assert store.state(step()).name == "todo"
    store.ensure(step(run=lambda out: seen.append(Store(tmp_path).state(step()))))
    assert seen[0].name == "running" and f"process {os.getpid()}" in seen[0].where and seen[0].since
    assert store.state(step()).name == "done"


def test_a_failed_step_says_why_and_where_its_traceback_is(tmp_path):
    with pytest.raises(StepFailed):
        Store(tmp_path).ensure(step(run=fail))
    state = Store(tmp_path).state(step())
    assert (state.name, state.why) == ("failed", "RuntimeError: the reason")
    assert "Traceback" in state.path.read_text()


def test_a_step_that_could_not_say_so_itself_has_failed_with_the_words_given(tmp_path):
    store = Store(tmp_path)
    path = store.fail(step(), "its process was killed by SIGKILL")
    assert path.parent == store.path(step())
    assert store.state(step()) == ("failed", "", "", "its process was killed by SIGKILL", path)
    store.ensure(step())
    assert store.state(step()).name == "done" and not path.exists()


def test_a_step_that_was_interrupted_waits_for_its_next_turn(tmp_path):
    def interrupted(out):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).ensure(step(run=interrupted))
    assert Store(tmp_path).state(step()).name == "todo"


def test_a_failed_step_that_is_tried_again_is_no_longer_failed(tmp_path):
    with pytest.raises(StepFailed):
        Store(tmp_path).ensure(step(run=fail))
    seen = []
    Store(tmp_path).ensure(step(run=lambda out: seen.append(Store(tmp_path).state(step()).name)))
    assert seen == ["running"]
    assert not (Store(tmp_path).path(step()) / store.ERROR).exists()


def test_what_is_said_beside_a_step_is_none_of_its_outputs(tmp_path):
    def run(out):
        (out / store.EVENTS).write_text("{}\n")
        (out / store.ERROR).write_text("of an earlier try")
        (out / "result.txt").touch()

    out = Store(tmp_path).ensure(step(run=run))
    assert json.loads((out / RECORD).read_text())["files"] == {"result.txt": 0}
    (out / store.EVENTS).unlink()
    assert Store(tmp_path).whole(step())


# --- failure ---


def test_a_failed_step_keeps_its_traceback_and_is_tried_again(tmp_path):
    with pytest.raises(StepFailed, match="RuntimeError: the reason") as failure:
        Store(tmp_path).ensure(step(run=fail))
    assert str(failure.value.path) in str(failure.value)
    assert 'raise RuntimeError("the reason")' in failure.value.path.read_text()
    out = Store(tmp_path).ensure(step())
    assert sorted(path.name for path in out.iterdir()) == ["part.txt", "result.txt", RECORD]


def test_what_needs_a_failed_step_does_not_run(tmp_path):
    needing = step(run=lambda out, need: pytest.fail("it ran"), needs=(step(4, fail),))
    with pytest.raises(StepFailed) as failure:
        Store(tmp_path).ensure(needing)
    assert failure.value.step.key == step(4).key


def test_a_user_s_error_passes_as_it_is_and_is_kept(tmp_path):
    def refuse(out):
        raise UserError("rows.jsonl, row 3: the output is empty")

    with pytest.raises(UserError, match="rows.jsonl, row 3: the output is empty"):
        Store(tmp_path).ensure(step(run=refuse))
    assert Store(tmp_path).state(step()).why == "rows.jsonl, row 3: the output is empty"


class SerialisingError(Exception):
    """Stands for safetensors' own, which has no errno."""


FULL = {
    "the system's": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "a quota": OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    "a library's": SerialisingError("I/O error: No space left on device (os error 28)"),
}


@pytest.mark.parametrize("error", FULL.values(), ids=FULL)
def test_a_full_disk_is_a_user_s_to_mend(tmp_path, error):
    def run(out):
        raise error

    with pytest.raises(UserError, match=r"label-\w+: the disk is full; make room and run the same command"):
        Store(tmp_path).ensure(step(run=run))
    assert Store(tmp_path).ensure(step()).exists()


def test_a_full_disk_is_known_by_its_room_where_the_error_says_nothing(tmp_path, monkeypatch):
    usage = store.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage._replace(free=0))
    with pytest.raises(UserError, match="the disk is full"):
        Store(tmp_path).ensure(step(run=fail))


def test_another_system_error_is_no_full_disk(tmp_path):
    def run(out):
        (out / "none" / "x").read_text()

    with pytest.raises(StepFailed, match="FileNotFoundError"):
        Store(tmp_path).ensure(step(run=run))
